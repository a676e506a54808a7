# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Export a model to ONNX, for images of any size, and check the file in ONNX Runtime; the same as `vitseg export`:

    python examples/export.py --model runs/mine/best --format onnx --output exported
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
