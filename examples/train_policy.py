# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train the policy network of content-aware token sharing, on one device or many:

    accelerate launch examples/train_policy.py --recipe cts-policy-ade20k-512 --dataset data/ade20k \\
        --output runs/policy

It learns which squares of 32 x 32 pixels show a single class. A model that shares tokens is then trained with it:

    accelerate launch examples/train.py --recipe cts-segmenter-mask-30-vit-s-ade20k-512 --dataset data/ade20k \\
        --policy runs/policy/model --output runs/cts

All else is as in train.py: data, devices, checkpoints, `--resume latest`, and what the output folder gets; the best
weights are those that are right about the most superpatches.
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
