# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What conversion asks of each method, and of each model that transformers has itself, and where it finds the answers.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

import vitseg

from ..methods import METHODS, TASKS, methods_for
from ..models.layers import as_pair
from .arguments import OriginalClass
from .rules import Rule


class Converter(ABC):
    """
    What is known of a method's original checkpoints; an object is about one of them.

    A method's class lies in the file of this folder that is named as the method, and is called
    `<prefix of the method>Converter`. Those of transformers' own models are in `transformers_models`.

    Attributes:
        result: what becomes of a checkpoint, in words.
        tasks: what the originals do, of `vitseg.methods.TASKS`.
        needs_original_config: whether no checkpoint tells its configuration by itself.
        has_optional_heads: whether auxiliary heads that do not fit are left out. Only training needs them, and the
            files of one result differ in them by when they were trained.
        refusal: what to say of a file that is no checkpoint of the method.
        expected_names: names that a checkpoint would hold, in words.
        architectures: backbone and head of the models in mmsegmentation's form, which a configuration names.
        unused_parameters: pattern of parameters that the class has and never looks at; they stay as they are made.
        tensors: the original state dict. Only names and shapes are looked at.
    """

    result: ClassVar[str] = "a model of vitseg"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    needs_original_config: ClassVar[bool] = True
    has_optional_heads: ClassVar[bool] = False
    refusal: ClassVar[str]
    expected_names: ClassVar[str]
    architectures: ClassVar[tuple[tuple[OriginalClass, OriginalClass], ...]]
    unused_parameters: ClassVar[str] = ""

    def __init__(self, tensors: Mapping[str, torch.Tensor]):
        """
        Raises:
            ValueError: if these are not the names of a checkpoint of the method.
        """
        self.tensors = tensors
        if not self.has_known_names():
            raise ValueError(
                f"{self.refusal}: expected names such as {self.expected_names}. The file's first names are "
                f"{list(tensors)[:5]}."
            )

    @abstractmethod
    def has_known_names(self) -> bool:
        """Whether the names are those of a checkpoint of the method."""

    @abstractmethod
    def read_config(self, original: dict[str, Any]) -> PreTrainedConfig:
        """
        Our configuration for the original's, which is empty where none was given.

        Raises:
            ValueError: if it asks for something that the method does not have here; the message names it.
            KeyError, TypeError, AttributeError: if it lacks a value, or holds one of the wrong kind.
        """

    @abstractmethod
    def rules(self, config: PreTrainedConfig) -> list[Rule]:
        """The table that renames the checkpoint for a model of `config`."""

    def adapt_config(self, config: PreTrainedConfig) -> PreTrainedConfig:
        """
        A configuration, of a recipe or of [`read_config`], with what the checkpoint knows better; as it is by default.

        Raises:
            ValueError: if the checkpoint is not one of such a model.
        """
        return config

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        """The settings of the image processor that the original's configuration tells; none by default."""
        return {}

    def build_image_processor(self, config: PreTrainedConfig, settings: dict[str, Any]) -> BaseImageProcessor:
        """The image processor of a model of `config`, with what the original tells of it."""
        if "size" not in settings:  # What has no windows, such as a policy network, says its size.
            settings = {**settings, "size": {"shortest_edge": min(as_pair(config.window_size))}}
        return getattr(vitseg, str(METHODS[config.model_type].processor_class))(**settings)

    def build_model(self, config: PreTrainedConfig, task: str) -> PreTrainedModel:
        """A model of `config` to put the weights into, on the meta device if these are all that it needs."""
        tasks = METHODS[config.model_type].tasks
        # A policy network has a task of its own.
        auto_class = getattr(transformers, TASKS[task if task in tasks else tasks[0]].auto_class)
        if self.new_parameters(task) is None:
            with torch.device("meta"):
                return auto_class.from_config(config)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return auto_class.from_config(config)

    def notes(self, original: dict[str, Any]) -> list[str]:
        """
        What the model that is made does otherwise than the original, a sentence each; nothing by default.

        Args:
            original: the original's configuration, that [`read_config`] has read.
        """
        return []

    def absent_biases(self, config: PreTrainedConfig) -> str:
        """
        Pattern of the biases of a model of `config` that the original may be built without; they are 0 where the
        checkpoint lacks them. None by default.
        """
        return ""

    def new_parameters(self, task: str) -> str | None:
        """Pattern of our names that the checkpoint does not hold because it belongs to another task, if any."""
        return None


# mmsegmentation's models that transformers has -> the class that converts them, in the file of `transformers_models`
# that is named as the model.
TRANSFORMERS_MODELS = {
    "dpt": "DptConverter",
    "mask2former": "Mask2FormerConverter",
    "segformer": "SegformerConverter",
    "upernet_beit": "UperNetBeitConverter",
    "upernet_convnext": "UperNetConvNextConverter",
    "upernet_swin": "UperNetSwinConverter",
}
# Methods and models whose original checkpoints convert.
CONVERTIBLE = (*methods_for("segmentation"), *TRANSFORMERS_MODELS)


def converter_of(method: str) -> type[Converter]:
    """The converter of a method or model of `CONVERTIBLE`."""
    if method in TRANSFORMERS_MODELS:
        module = importlib.import_module(f".transformers_models.{method}", __package__)
        return getattr(module, TRANSFORMERS_MODELS[method])
    module = importlib.import_module(f".{method}", __package__)
    return getattr(module, f"{METHODS[method].prefix}Converter")
