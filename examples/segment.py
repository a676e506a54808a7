# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segment images with a model folder, or a model from the Hub: `vitseg segment`, for a clone that is not installed.

    python examples/segment.py --model DIR_OR_HUB_ID image.jpg folder/ --output out/
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["segment", *sys.argv[1:]]))
