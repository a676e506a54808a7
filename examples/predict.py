# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Predict label maps of images without labels, by the whole test protocol, in the form that a test server wants:
`vitseg predict`, for a clone that is not installed.

    accelerate launch examples/predict.py --model DIR_OR_ID --images leftImg8bit/test --format cityscapes --output DIR
    accelerate launch examples/predict.py --model DIR_OR_ID --dataset DIR_OR_ID --split test --format ids --output DIR
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
