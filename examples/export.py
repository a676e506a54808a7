# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Export a model to ONNX, for images of any size, and check the file in ONNX Runtime; the same as `vitseg export`:

    python examples/export.py --model runs/mine/best --format onnx --output exported
"""

import sys

from vitseg import cli


def main(arguments: list[str] | None = None) -> int:
    return cli.main(["export", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
