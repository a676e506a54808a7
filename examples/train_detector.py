# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a detector, on one device or many:

    accelerate launch examples/train_detector.py --recipe hlg-retinanet-small-coco-800-12e --init CLASSIFIER \\
        --dataset coco --output runs/detector

The data set has Parquet files with the columns `image`, `image_id` and `objects`, as data sets in COCO's style have
them on the Hub (`bbox` as x, y, width, height), in a folder or there. `--init` names the folder of a converted
classifier, whose encoder is where training starts. All else is as in train.py: devices, checkpoints, `--resume
latest`, and what the output folder gets; the best weights are those with the highest box AP, by COCO's own code
(`pip install vitseg[detection]`).

Without anything to download, on drawn scenes:

    python -c "from vitseg.scenes import write_annotated_scenes as write; write('scenes', 2000, 200)"
    accelerate launch examples/train_detector.py --recipe examples/recipes/scenes-hlg-detector.json \\
        --dataset scenes --output runs/scenes
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
