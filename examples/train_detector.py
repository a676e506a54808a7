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
from itertools import islice
from typing import Any

import torch
import train

from vitseg.data.dataset_labels import DatasetLabels
from vitseg.data.image_labels import load_class_names
from vitseg.data.objects import DetectionStream, DetectionTransform, load_images_with_objects
from vitseg.evaluation.detection import COCO_SCORES, evaluate_detector


class DetectorTraining(train.Training):
    """What the training of a detector has of its own."""

    task = "detection"
    scores = COCO_SCORES
    score_name = "box AP"

    def load_labels(self) -> DatasetLabels:
        return DatasetLabels(names=load_class_names(self.args.dataset, "objects.category"))

    def load_examples(self) -> Any:
        return load_images_with_objects(self.args.dataset, self.args.validation_split)

    def build_transform(self) -> Any:
        return DetectionTransform.from_recipe(self.recipe.training, self.image_processor)

    def make_stream(self, transform: Any, **kwargs: Any) -> DetectionStream:
        return DetectionStream(self.args.dataset, self.args.train_split, transform, **kwargs)

    def describe_examples(self) -> None:
        examples = list(islice(self.open_stream(transform=None), 64))
        classes = torch.cat([example["labels"]["class_labels"] for example in examples])
        counts = classes.bincount(minlength=len(self.labels.names))
        commonest = counts.argsort(descending=True)[:10].tolist()
        print(
            f"Objects of {len(examples)} images: "
            f"{', '.join(f'{counts[index]} {self.labels.names[index]}' for index in commonest)}."
        )

    def measure_scores(self, limit: int | None) -> dict[str, float]:
        return evaluate_detector(self.evaluated, self.image_processor, self.examples, self.accelerator, limit=limit)


def main(arguments: list[str] | None = None) -> int:
    return train.run(DetectorTraining, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
