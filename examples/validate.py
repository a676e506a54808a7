# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure a model on a labelled data set, by the protocol of its folder or of a recipe: `vitseg validate`, for a clone
that is not installed.

    accelerate launch examples/validate.py --model DIR_OR_ID --dataset DIR_OR_ID --output DIR
    accelerate launch examples/validate.py --model DIR_OR_ID --dataset DIR_OR_ID --recipe NAME --multi-scale --flip
"""

import sys

from vitseg import cli


def main(arguments: list[str] | None = None) -> int:
    return cli.main(["validate", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
