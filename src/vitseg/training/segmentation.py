# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a segmentation model: label maps, SCTNet's teacher, the policy network of shared tokens, mean IoU."""

import functools
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from transformers.image_processing_utils import BaseImageProcessor

from ..data.augmentation import IGNORE_INDEX, TrainingTransform
from ..data.class_counts import class_pixel_counts
from ..data.repetition import repeat_factors
from ..data.streaming import ExampleStream, SegmentationStream
from ..evaluation.evaluator import evaluate_model
from ..models.adapters import encoder_digest
from ..recipes import TrainingRecipe
from .distillation import Distillation
from .initialization import initial_model, is_of_policy_net
from .label_maps import LabelMapTask
from .policy_networks import insert_policy_net
from .tasks import ModelToTrain, Validation
from .teacher import load_teacher


class SegmentationTask(LabelMapTask):
    """The class of each pixel; see [`Task`]."""

    scores = ("mean_iou", "mean_accuracy", "overall_accuracy")
    score_name = "mean IoU"
    training: TrainingRecipe

    def open_stream(self, image_processor: BaseImageProcessor | None, **arguments: Any) -> ExampleStream:
        transform = TrainingTransform.from_recipe(self.training, image_processor) if image_processor else None
        return SegmentationStream(
            self.options.dataset,
            self.options.train_split,
            transform,
            do_reduce_labels=self.options.reduce_labels,
            repeat_factors=self.repeat_factors,
            **arguments,
        )

    @functools.cached_property
    def repeat_factors(self) -> np.ndarray | None:
        """How often each image comes in an epoch, where the recipe has rare classes come more often."""
        if self.training.rare_class_sampling is None:
            return None
        counts = class_pixel_counts(
            self.options.dataset,
            self.options.train_split,
            num_labels=len(self.labels.names),
            do_reduce_labels=self.options.reduce_labels,
        )
        return repeat_factors(counts, self.training.rare_class_sampling)

    def describe(self, stream: ExampleStream) -> str:
        examples = list(islice(stream, 16))
        counts = sum(example["labels"].flatten().bincount(minlength=256) for example in examples)
        shares = {name: counts[index] / counts.sum() for index, name in enumerate(self.labels.names)}
        shares["(ignored)"] = counts[IGNORE_INDEX] / counts.sum()
        commonest = sorted(shares, key=lambda name: -shares[name])[:10]
        listed = ", ".join(f"{name} {shares[name]:.1%}" for name in commonest)
        described = f"Labels of {len(examples)} images: {listed}."
        if (factors := self.repeat_factors) is None:
            return described
        return (
            f"{described} For rare classes, {(factors > 1).sum()} of {len(factors)} images are repeated, up to "
            f"{factors.max():.1f} times: an epoch has {stream.epoch_length}."
        )

    def build_model(self, init: str, resumes: bool) -> ModelToTrain:
        """
        As [`Task.build_model`]: where tokens are shared, with the trained policy network of the options, unless `init`
        brings one; and inside of what SCTNet is taught by.

        Raises:
            ValueError: if a policy network or a teacher is missing, needless, or does not fit.
        """
        model, image_processor, random_names = initial_model(init, self.recipe, self.labels.id2label)
        image_processor.do_reduce_labels = self.options.reduce_labels
        policy = self.options.policy
        if policy or any(map(is_of_policy_net, random_names)):
            insert_policy_net(model, "none" if resumes else policy)
            random_names = [name for name in random_names if not is_of_policy_net(name)]
        source = self.training.teacher if self.training.teacher != "none" else None
        if model.config.model_type != "sctnet":
            if source:
                raise ValueError(f"{self.recipe.name} has a teacher, {source}, from whom only SCTNet learns.")
            return ModelToTrain(model, image_processor, random_names, trained=model)
        teacher = load_teacher(source, self.labels.id2label) if source else None
        inputs = {f"teacher {source}": {"weights": encoder_digest(teacher)}} if teacher else {}
        trained = Distillation(model, teacher)
        return ModelToTrain(model, image_processor, [*random_names, *trained.names_of_heads()], trained, inputs)

    def measure(self, given: Validation) -> Mapping[str, float]:
        return evaluate_model(
            given.model,
            given.image_processor,
            given.examples,
            given.accelerator,
            limit=given.limit,
            num_workers=given.workers,
        )
