# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the weights of a model come from when its training starts."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.utils import logging

from ..models.image_processing_semantic import SemanticImageProcessor
from ..models.modeling_plain_vit import PlainVitBackbone
from ..recipes import Recipe
from .pretrained import download_timm_weights, load_jax_weights, load_timm_weights


def initial_model(
    init: str, recipe: Recipe, id2label: Mapping[int, str]
) -> tuple[PreTrainedModel, SemanticImageProcessor, list[str]]:
    """
    A model to train, and its image processor.

    Args:
        init: `"none"` for random weights, `"timm"` for the ImageNet weights that the recipe names, a file with such
            weights under timm's names (`.pth` or `.safetensors`) or those of Google's JAX ViT (`.npz`), or a model
            folder or Hub repository to fine-tune. The latter brings its own architecture, image processor and test
            protocol; only training is the recipe's then.
        recipe: what to build.
        id2label: train id -> class name.

    Returns:
        The model, its image processor, and the names of the parameters that did not come from `init` and are random.

    Raises:
        ValueError: if the weights do not fit, or there are none of this name.
    """
    label2id = {name: index for index, name in id2label.items()}
    if init not in ("none", "timm") and not Path(init).is_file():
        return _from_model(init, dict(id2label), label2id)

    model = AutoModelForSemanticSegmentation.from_config(recipe.build_config(id2label))
    names = [name for name, _ in model.named_parameters()]
    if init != "none":
        if not isinstance(model.backbone, PlainVitBackbone):
            raise ValueError(
                f"ImageNet weights load into a plain ViT, but the backbone of {recipe.name} is a "
                f"{type(model.backbone).__name__}. Start from a model folder, or from random weights (none)."
            )
        load = load_jax_weights if init.endswith(".npz") else load_timm_weights
        load(model.backbone, _imagenet_weights(init, recipe))
        names = [name for name in names if not name.startswith("backbone.")]
    return model, recipe.build_image_processor(), names


def _imagenet_weights(init: str, recipe: Recipe) -> Mapping[str, Any]:
    if init == "timm":
        if recipe.training.pretrained is None:
            raise ValueError(f"The recipe {recipe.name} names no ImageNet weights (training.pretrained).")
        return download_timm_weights(recipe.training.pretrained.timm_model)
    try:
        if init.endswith(".safetensors"):
            return load_file(init)
        if init.endswith(".npz"):
            with np.load(init, allow_pickle=False) as arrays:
                return dict(arrays)
        weights = torch.load(init, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, BadZipFile) as error:
        raise ValueError(f"{init} is no complete file of tensors alone, and was not loaded: {error}") from error
    # As DeiT, mmcv and timm write them.
    return weights.get("model", weights.get("state_dict", weights))


def _from_model(
    source: str, id2label: dict[int, str], label2id: dict[str, int]
) -> tuple[PreTrainedModel, SemanticImageProcessor, list[str]]:
    try:
        AutoConfig.from_pretrained(source)
    except OSError as error:
        raise ValueError(f"{source} is neither a model folder, nor a file of weights, nor a Hub model.") from error
    # transformers reports what did not fit as a warning. Here it is expected, and returned.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, info = AutoModelForSemanticSegmentation.from_pretrained(
            source, id2label=id2label, label2id=label2id, ignore_mismatched_sizes=True, output_loading_info=True
        )
    finally:
        logging.set_verbosity(verbosity)
    random = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return model, AutoImageProcessor.from_pretrained(source), sorted(random)
