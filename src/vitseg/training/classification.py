# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a classifier: timm's augmentation, mixup and cutmix, soft targets, accuracy."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..data.dataset_labels import DatasetLabels
from ..data.image_labels import (
    ClassificationStream,
    load_class_names,
    load_labelled_images,
    mixing,
    training_transform,
)
from ..data.streaming import ExampleStream
from ..evaluation.classification import evaluate_classifier
from ..recipes import ClassificationTraining, Recipe
from .options import TrainingOptions
from .tasks import Task, Validation


class ClassificationTask(Task):
    """Images with a class each; see [`Task`]."""

    scores = ("top1", "top5", "cross_entropy")
    score_name = "top-1 accuracy"
    training: ClassificationTraining

    def __init__(self, recipe: Recipe, options: TrainingOptions) -> None:
        super().__init__(recipe, options)
        self.mixup = mixing(self.training, len(self.labels.names))

    def load_labels(self) -> DatasetLabels:
        return DatasetLabels(names=load_class_names(self.options.dataset), max_names=None)

    def load_examples(self) -> Any:
        return load_labelled_images(self.options.dataset, self.options.validation_split)

    def open_stream(self, image_processor: BaseImageProcessor | None, **arguments: Any) -> ExampleStream:
        transform = training_transform(self.training, image_processor) if image_processor else None
        return ClassificationStream(self.options.dataset, self.options.train_split, transform, **arguments)

    def describe(self, stream: ExampleStream) -> str:
        labels = torch.stack([example["labels"] for example in islice(stream, 256)])
        shares = labels.bincount(minlength=len(self.labels.names)) / len(labels)
        commonest = shares.argsort(descending=True)[:10].tolist()
        listed = ", ".join(f"{self.labels.names[index]} {shares[index]:.1%}" for index in commonest)
        return f"Classes of {len(labels)} images: {listed}."

    def prepare_batch(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Images `(batch, 3, height, width)`, mixed if the recipe says so, and the shares of each class in them."""
        pixel_values, labels = batch["pixel_values"], batch["labels"]
        if self.mixup is not None:
            pixel_values, labels = self.mixup(pixel_values, labels)
        else:
            smoothing, count = self.training.label_smoothing, len(self.labels.names)
            labels = nn.functional.one_hot(labels, count).float() * (1 - smoothing) + smoothing / count
        return {**batch, "pixel_values": pixel_values, "labels": labels}

    def count_items(self, model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor:
        """As in the base class: a share of each class in each image, as `prepare_batch` makes them."""
        return super().count_items(model, batch) * len(self.labels.names)

    def measure(self, given: Validation) -> Mapping[str, float]:
        return evaluate_classifier(
            given.model, given.image_processor, given.examples, given.accelerator, limit=given.limit
        )
