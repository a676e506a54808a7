# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Prepare a data set for training and evaluation: from the original download, or a folder of your own, to Parquet shards;
the same as `vitseg prepare`:

    python examples/prepare_data.py ade20k --source ADEChallengeData2016.zip --output data/ade20k
    python examples/prepare_data.py folder --source FOLDER --labels labels.json --output data/mine
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
