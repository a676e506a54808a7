# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Turn an original checkpoint into a model folder: `vitseg convert`, for a clone that is not installed.

    python conversion/convert.py --list [--method setr]
    python conversion/convert.py --recipe setr-pup-vit-l-ade20k-512-160k --checkpoint FILE.pth --output DIR --verify
    python conversion/convert.py --method setr --original-config CONFIG.json --checkpoint FILE.pth --output DIR
"""

import sys
from collections.abc import Sequence

from vitseg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(["convert", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
