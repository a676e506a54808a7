# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a classifier, on one device or many:

    accelerate launch examples/train_classifier.py --recipe hlg-small-imagenet1k-224-300e --dataset imagenet-1k \\
        --output runs/classifier

The data set has Parquet files with the columns `image` and `label`, as ImageNet-1K has them on the Hub, in a folder or
there. Augmentation, mixup and cutmix are timm's, and so is the moving average of the weights that recipes validate and
save. All else is as in train.py: devices, checkpoints, `--resume latest`, and what the output folder gets; the best
weights are those with the highest top-1 accuracy.

Without anything to download, on drawn scenes:

    python -c "from vitseg.scenes import write_annotated_scenes as write; write('scenes', 2000, 200)"
    accelerate launch examples/train_classifier.py --recipe examples/recipes/scenes-hlg-classifier.json \\
        --dataset scenes --output runs/scenes
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
