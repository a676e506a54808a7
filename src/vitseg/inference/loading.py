# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models for inference: by name, on a device, with the colours of their classes."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor

from ..bands import bands_of
from ..deployment.tuning import tune
from ..label_maps import Palette
from ..recipes.colors import distinct_palette
from ..recipes.labels import LABEL_SETS, load_label_set
from ..recipes.protocol import cuts
from .universal import universal_segmenter


# What label maps of bytes hold beside ignored pixels, and those of 16 bits.
MOST_CLASSES, MOST_CLASSES_OF_PICTURES = 255, 65535


def choose_device(name: str) -> str:
    """
    `"cuda"` or `"cpu"`; `"auto"` is CUDA where there is some.

    Raises:
        ValueError: if CUDA is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu.")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def is_model_name(name: str) -> bool:
    """Whether this is a folder, or could be the name of a model on the Hub."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return Path(name).is_dir()
    return True


def bands_of_model(name: str) -> int | None:
    """How many bands the images have that a model takes, before it is loaded; `None` if it takes pictures, or cannot
    be loaded at all, of which `load_model` says why."""
    try:
        return bands_of(AutoImageProcessor.from_pretrained(name))
    except (OSError, ValueError):
        return None


def load_model(
    name: str, device: str | torch.device, dtype: torch.dtype, most_classes: int = MOST_CLASSES
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """
    A segmentation model, tuned for inference on this machine, and its image processor, from a folder or from the Hub.

    It is a semantic one, or a universal one that is called as such ([`UniversalSegmenter`]). Image processors of
    others that crop images, or split or pad them, are told not to: every pixel is segmented.

    Raises:
        ValueError: if there is no such model, it cannot be loaded, or it has more classes than that.
    """
    if not is_model_name(name):
        raise ValueError(f"there is no model folder {name}.")
    try:
        is_universal = type(AutoConfig.from_pretrained(name)) in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
        auto_class = AutoModelForUniversalSegmentation if is_universal else AutoModelForSemanticSegmentation
        model = tune(auto_class.from_pretrained(name, dtype=torch.float32))
        image_processor = AutoImageProcessor.from_pretrained(name)
        if is_universal:  # which answers to all that is asked of a semantic one
            model = cast(PreTrainedModel, universal_segmenter(name, model, copy.deepcopy(image_processor)))
    except StrictDataclassError as error:  # which wraps what the configuration's own checks raise
        raise ValueError(f"cannot load a model from {name}: {error.__cause__ or error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"cannot load a model from {name}: {str(error).splitlines()[0]}") from error
    if model.config.num_labels > most_classes:
        raise ValueError(f"{name} has {model.config.num_labels} classes; what is written here holds {most_classes}.")
    class_names(model)  # which refuses a model that does not name them
    for switch in cuts(image_processor):
        setattr(image_processor, switch, False)
    if is_universal:
        image_processor.scores_are_logits = False
    return model.to(device, dtype), image_processor


def class_names(model: PreTrainedModel) -> list[str]:
    """
    The names of a model's classes, by class id.

    Raises:
        ValueError: if `id2label` does not name the ids from 0 on.
    """
    id2label = model.config.id2label
    if sorted(id2label) != list(range(len(id2label))):
        raise ValueError(f"id2label of the model has the ids {sorted(id2label)}; expected 0 to {len(id2label) - 1}.")
    return [id2label[index] for index in range(len(id2label))]


def palette_for(names: Sequence[str], config: PreTrainedConfig | None = None) -> Palette:
    """
    The published colours of the data set that has exactly these classes, or else those that a converted model brought
    along in its configuration, or some that tell the classes apart.
    """
    for label_set in map(load_label_set, LABEL_SETS):
        if label_set.names == tuple(names):
            return label_set.palette
    brought = getattr(config, "palette", None)
    return brought if brought and len(brought) == len(names) else distinct_palette(names)
