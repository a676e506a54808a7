# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a detector: images with boxes, COCO's average precision."""

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from accelerate.utils import send_to_device
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..data.dataset_labels import DatasetLabels
from ..data.image_labels import load_class_names
from ..data.objects import DetectionStream, DetectionTransform, load_images_with_objects
from ..data.streaming import ExampleStream
from ..evaluation.detection import COCO_SCORES, evaluate_detector
from ..recipes import DetectionTraining
from .tasks import Task, Validation


class DetectionTask(Task):
    """Images with objects; see [`Task`]."""

    scores = COCO_SCORES
    score_name = "box AP"
    training: DetectionTraining
    # One kind of object is told from the rest of the image.
    min_classes = 1

    def load_labels(self) -> DatasetLabels:
        return DatasetLabels(names=load_class_names(self.options.dataset, "objects.category"))

    def load_examples(self) -> Any:
        return load_images_with_objects(self.options.dataset, self.options.validation_split)

    def open_stream(self, image_processor: BaseImageProcessor | None, **arguments: Any) -> ExampleStream:
        transform = DetectionTransform(self.training, image_processor) if image_processor else None
        return DetectionStream(self.options.dataset, self.options.train_split, transform, **arguments)

    def describe(self, stream: ExampleStream) -> str:
        examples = list(islice(stream, 64))
        classes = torch.cat([example["labels"]["class_labels"] for example in examples])
        counts = classes.bincount(minlength=len(self.labels.names))
        commonest = counts.argsort(descending=True)[:10].tolist()
        listed = ", ".join(f"{counts[index]} {self.labels.names[index]}" for index in commonest)
        return f"Objects of {len(examples)} images: {listed}."

    def count_items(self, model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor:
        return model.count_items(**send_to_device(batch, model.device, non_blocking=True))

    def measure(self, given: Validation) -> Mapping[str, float]:
        scores = evaluate_detector(
            given.model, given.image_processor, given.examples, given.accelerator, limit=given.limit
        )
        # COCO's -1 says that there is no such object.
        return {name: math.nan if score < 0 else score for name, score in scores.items()}
