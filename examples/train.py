# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a published recipe, or your own, on one device or many:

    accelerate launch examples/train.py --recipe setr-pup-vit-l-ade20k-512-160k --dataset ade20k --output runs/ade20k

Fine-tune a trained model on your own data:

    accelerate launch examples/train.py --recipe setr-pup-vit-l-ade20k-512-160k --init MODEL --dataset DATA \\
        --iterations 8000 --output runs/mine

The data set is a folder that `vitseg prepare` wrote, or such a data set on the Hub. Devices, machines, mixed precision
and FSDP are chosen by `accelerate launch` or `accelerate config`; on any number of devices a step takes as many images
as the recipe says. A run that was stopped goes on with the same command and `--resume latest`, as if it had not been.

The output folder gets checkpoints/ to resume from, model/ (the last weights), best/ (the best ones, by mean IoU on the
validation split), metrics.jsonl and training.png.
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
