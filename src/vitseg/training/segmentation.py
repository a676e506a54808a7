# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a segmentation model: label maps, SCTNet's teacher, the policy network of shared tokens, mean IoU."""

import functools
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..bands import bands_of
from ..data.augmentation import IGNORE_INDEX, TrainingTransform
from ..data.class_counts import class_pixel_counts
from ..data.repetition import repeat_factors
from ..data.streaming import ExampleStream, SegmentationStream
from ..evaluation.evaluator import evaluate_model
from ..models.adapters import encoder_digest
from ..models.image_processing_semantic import SemanticImageProcessor
from ..recipes import TrainingRecipe
from .bands import processor_of_bands, with_bands
from .distillation import Distillation
from .initialization import initial_model, is_of_policy_net
from .label_maps import LabelMapTask
from .losses import balanced_class_weights, change_loss
from .policy_networks import insert_policy_net
from .tasks import ModelToTrain, Validation
from .teacher import load_teacher


class SegmentationTask(LabelMapTask):
    """The class of each pixel; see [`Task`]."""

    scores = ("mean_iou", "mean_accuracy", "overall_accuracy")
    score_name = "mean IoU"
    takes_bands = True
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
    def class_counts(self) -> np.ndarray:
        """The pixels of each class in each image to learn from, `(images, classes)`."""
        return class_pixel_counts(
            self.options.dataset,
            self.options.train_split,
            num_labels=len(self.labels.names),
            do_reduce_labels=self.options.reduce_labels,
        )

    @property
    def absent_classes(self) -> list[str]:
        """The names of the classes without a pixel."""
        pixels = self.class_counts.sum(axis=0)
        return [name for name, count in zip(self.labels.names, pixels, strict=True) if not count]

    @functools.cached_property
    def repeat_factors(self) -> np.ndarray | None:
        """How often each image comes in an epoch, where the recipe has rare classes come more often."""
        if self.training.rare_class_sampling is None:
            return None
        return repeat_factors(self.class_counts, self.training.rare_class_sampling)

    @property
    def class_weights(self) -> Sequence[float] | None:
        """
        Of the cross-entropy of the pixels, where the recipe has any.

        Raises:
            ValueError: if there are not as many as classes.
        """
        weights, names = self.training.class_weights, self.labels.names
        if isinstance(weights, str):
            return balanced_class_weights(self.class_counts.sum(axis=0))
        if weights and len(weights) != len(names):
            raise ValueError(
                f"training.class_weights has {len(weights)} numbers, but there are {len(names)} classes: "
                f"{', '.join(names)}."
            )
        return weights

    def describe(self, stream: ExampleStream) -> str:
        examples = list(islice(stream, 16))
        counts = sum(example["labels"].flatten().bincount(minlength=256) for example in examples)
        shares = {name: counts[index] / counts.sum() for index, name in enumerate(self.labels.names)}
        shares["(ignored)"] = counts[IGNORE_INDEX] / counts.sum()
        commonest = sorted(shares, key=lambda name: -shares[name])[:10]
        listed = ", ".join(f"{name} {shares[name]:.1%}" for name in commonest)
        described = f"Labels of {len(examples)} images: {listed}."
        if self.bands is not None:
            described += f" Images have {len(self.bands.image_mean)} bands, whose numbers are moved but not changed."
        if (factors := self.repeat_factors) is not None:
            described += (
                f" For rare classes, {(factors > 1).sum()} of {len(factors)} images are repeated, up to "
                f"{factors.max():.1f} times: an epoch has {stream.epoch_length}."
            )
        if (weights := self.class_weights) is not None:
            listed = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(self.labels.names, weights, strict=True))
            described += f" Weights of classes: {listed}."
        if self.training.class_weights == "balanced" and (absent := self.absent_classes):
            described += f" No pixel is of the class {', '.join(absent)}: that weight is 1."
        return described

    def fit_bands(
        self, model: PreTrainedModel, image_processor: SemanticImageProcessor
    ) -> tuple[PreTrainedModel, SemanticImageProcessor]:
        """
        A model and an image processor for the images of the data set. Those that came for its number of bands stay as
        they are.

        Raises:
            ValueError: if they cannot be had.
        """
        known, bands = bands_of(image_processor), self.bands
        if bands is None:
            if known is not None:
                raise ValueError(
                    f"The model takes images of {known} bands, but {self.options.dataset} holds pictures: prepare the "
                    "bands (vitseg prepare folder --bands), or start from a model for pictures."
                )
            return model, image_processor
        if self.options.save_adapter:
            raise ValueError(
                "An adapter is saved beside an encoder as it was published, which takes RGB, but the images have "
                f"{len(bands.image_mean)} bands. Leave out --save-adapter."
            )
        model = with_bands(model, len(bands.image_mean))
        if known is None:
            image_processor = processor_of_bands(image_processor, bands.image_mean, bands.image_std)
        return model, image_processor

    def build_model(self, init: str, resumes: bool) -> ModelToTrain:
        """
        As [`Task.build_model`]: where tokens are shared, with the trained policy network of the options, unless `init`
        brings one; and inside of what SCTNet is taught by.

        Raises:
            ValueError: if a policy network or a teacher is missing, needless, or does not fit, or the model cannot
                have the loss that the recipe says.
        """
        model, image_processor, random_names = initial_model(init, self.recipe, self.labels.id2label)
        model, image_processor = self.fit_bands(model, image_processor)
        image_processor.do_reduce_labels = self.options.reduce_labels
        policy = self.options.policy
        if policy or any(map(is_of_policy_net, random_names)):
            insert_policy_net(model, "none" if resumes else policy)
            random_names = [name for name in random_names if not is_of_policy_net(name)]
        source = self.training.teacher if self.training.teacher != "none" else None
        trained: nn.Module = model
        inputs = {}
        if model.config.model_type == "sctnet":
            teacher = load_teacher(source, self.labels.id2label) if source else None
            if teacher and _channels_of(teacher.config) != model.num_channels:
                raise ValueError(
                    f"The teacher {source} takes {_channels_of(teacher.config)} channels, and the images have "
                    f"{model.num_channels}: train a teacher on this data set first."
                )
            inputs = {f"teacher {source}": {"weights": encoder_digest(teacher)}} if teacher else {}
            trained = Distillation(model, teacher)
            random_names = [*random_names, *trained.names_of_heads()]
        elif source:
            raise ValueError(f"{self.recipe.name} has a teacher, {source}, from whom only SCTNet learns.")
        trained = change_loss(trained, model, self.training, self.class_weights)
        return ModelToTrain(model, image_processor, random_names, trained, inputs)

    def measure(self, given: Validation) -> Mapping[str, float]:
        return evaluate_model(
            given.model,
            given.image_processor,
            given.examples,
            given.accelerator,
            limit=given.limit,
            num_workers=given.workers,
        )


def _channels_of(config: PreTrainedConfig) -> int:
    """How many channels a teacher takes."""
    return getattr(config, "encoder_config", config).num_channels
