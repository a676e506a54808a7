# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the training of a task has of its own, as the training loop asks for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..data.bands import load_bands
from ..data.dataset_labels import DatasetLabels, load_labels, read_labels
from ..data.streaming import ExampleStream, load_examples
from ..recipes import OptimizationRecipe, Recipe
from .initialization import initial_model
from .options import TrainingOptions


@dataclass(frozen=True)
class ModelToTrain:
    """
    A model at the start of its training.

    Args:
        model: what is validated and saved.
        image_processor: is saved with it.
        random_names: of the parameters that did not come from where the weights were to come from.
        trained: what makes the losses of a batch: the model itself, or a module around it.
        inputs: models that it learns from, by name, each with what tells it from others.
    """

    model: PreTrainedModel
    image_processor: BaseImageProcessor
    random_names: list[str]
    trained: nn.Module
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """
    What is measured on what.

    Args:
        model: in evaluation mode meanwhile, on the accelerator's device.
        image_processor: the model's.
        examples: what the task's `load_examples` gave.
        accelerator: says which share of the examples is this process's.
        limit: look at the first `limit` examples only.
        workers: number of processes that may read images for this one.
    """

    model: PreTrainedModel
    image_processor: BaseImageProcessor
    examples: Any
    accelerator: Accelerator
    limit: int | None
    workers: int


class Task(ABC):
    """
    A task: its data, its model, and its scores.

    Args:
        recipe: of this task.
        options: of the run.

    Raises:
        ValueError: if there are no class names, or too few.
    """

    # With fewer classes there is nothing to tell apart.
    min_classes = 2
    # Whether it can be learned from images of any number of bands.
    takes_bands = False
    # What a validation measures, the first of which tells the best weights; and what that one is called.
    scores: tuple[str, ...]
    score_name: str
    # How the recipe trains; each task has a record of its own for it.
    training: OptimizationRecipe

    def __init__(self, recipe: Recipe, options: TrainingOptions) -> None:
        self.recipe = recipe
        self.training = recipe.training
        self.options = options
        self.labels = read_labels(options.labels) if options.labels else self.load_labels()
        names = self.labels.names
        if len(names) < self.min_classes:
            raise ValueError(
                f"{options.labels or options.dataset} names {len(names)} class ({', '.join(names)}), so there is "
                "nothing to tell apart. What is to be told from it, such as the background, is a class too: name it."
            )

        self.bands = load_bands(options.dataset)
        if self.bands is not None and not self.takes_bands:
            count = len(self.bands.image_mean)
            raise ValueError(f"{options.dataset} holds images of {count} bands, but {recipe.name} takes pictures.")

    def load_labels(self) -> DatasetLabels:
        """The class names that the data set brings; by default, those of a prepared one."""
        return load_labels(self.options.dataset)

    def load_examples(self) -> Any:
        """The validation split, to be given to `measure`; by default, images with label maps."""
        return load_examples(self.options.dataset, self.options.validation_split, self.options.reduce_labels)

    def check_training_split(self) -> str | None:
        """
        What to know about the labels to learn from before it is too late, if anything.

        Raises:
            ValueError: if nothing can be learned from them.
        """
        return None

    @abstractmethod
    def open_stream(self, image_processor: BaseImageProcessor | None, **arguments: Any) -> ExampleStream:
        """
        The training split.

        Args:
            image_processor: of the model that the examples are made for; `None` for labels as they are, to be given
                to `describe`.
            arguments: those of [`ExampleStream`] that are the same for all tasks.
        """

    @abstractmethod
    def describe(self, stream: ExampleStream) -> str:
        """In a line, what the labels of the first examples of a stream look like to the model."""

    def build_model(self, init: str, resumes: bool) -> ModelToTrain:
        """
        The model at the start, on the CPU.

        Args:
            init: see [`initial_model`].
            resumes: whether weights come from a checkpoint of the run in a moment.
        """
        model, image_processor, random_names = initial_model(init, self.recipe, self.labels.id2label)
        return ModelToTrain(model, image_processor, random_names, trained=model)

    def prepare_batch(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments of the trained module's forward pass, of a batch of the stream on its device."""
        return batch

    def count_items(self, model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor:
        """What the losses of a batch of the stream are means over, as the model counts it on its device."""
        return model.count_items(batch["labels"].to(model.device, non_blocking=True))

    @abstractmethod
    def measure(self, given: Validation) -> Mapping[str, float]:
        """The scores of a model, NaN for what the examples have nothing for. All processes call this."""
