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
from itertools import islice
from typing import Any

import torch
import train

from vitseg.data.dataset_labels import DatasetLabels
from vitseg.data.image_labels import (
    ClassificationStream,
    load_class_names,
    load_labelled_images,
    mixing,
    training_transform,
)
from vitseg.evaluation.classification import evaluate_classifier


class ClassifierTraining(train.Training):
    """What the training of a classifier has of its own."""

    task = "classification"
    scores = ("top1", "top5", "cross_entropy")
    score_name = "top-1 accuracy"

    def __init__(self, args: Any) -> None:
        self.mixup = None
        super().__init__(args)

    def load_labels(self) -> DatasetLabels:
        return DatasetLabels(names=load_class_names(self.args.dataset), max_names=None)

    def load_examples(self) -> Any:
        return load_labelled_images(self.args.dataset, self.args.validation_split)

    def build_transform(self) -> Any:
        self.mixup = mixing(self.recipe.training, len(self.labels.names))
        return training_transform(self.recipe.training, self.image_processor)

    def make_stream(self, transform: Any, **kwargs: Any) -> ClassificationStream:
        return ClassificationStream(self.args.dataset, self.args.train_split, transform, **kwargs)

    def describe_examples(self) -> None:
        labels = torch.stack([example["labels"] for example in islice(self.open_stream(transform=None), 256)])
        counts = labels.bincount(minlength=len(self.labels.names))
        commonest = counts.argsort(descending=True)[:10].tolist()
        print(
            f"Classes of {len(labels)} images: "
            f"{', '.join(f'{self.labels.names[index]} {counts[index] / len(labels):.1%}' for index in commonest)}."
        )

    def prepare_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.mixup is not None:
            pixel_values, labels = self.mixup(batch["pixel_values"], batch["labels"])
            return {"pixel_values": pixel_values, "labels": labels}
        smoothing, count = self.recipe.training.label_smoothing, len(self.labels.names)
        labels = torch.nn.functional.one_hot(batch["labels"], count).float()
        return {**batch, "labels": labels * (1 - smoothing) + smoothing / count}

    def measure_scores(self, limit: int | None) -> dict[str, float]:
        return evaluate_classifier(self.evaluated, self.image_processor, self.examples, self.accelerator, limit=limit)


def main(arguments: list[str] | None = None) -> int:
    return train.run(ClassifierTraining, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
