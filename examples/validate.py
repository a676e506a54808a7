# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure a model on a labelled data set, by the protocol of its folder or of a recipe: `vitseg validate`, for a clone
that is not installed.

    accelerate launch examples/validate.py --model DIR_OR_ID --dataset DIR_OR_ID --output DIR
    accelerate launch examples/validate.py --model DIR_OR_ID --dataset DIR_OR_ID --recipe NAME --multi-scale --flip
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
