# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the weights of a model come from when its training starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, PreTrainedModel, SegformerModel
from transformers.utils import logging

from ..conversion.encoders import load_encoder_weights, load_timm_weights
from ..methods import METHODS, TASKS
from ..models.adapters import load_encoder
from ..models.image_processing_semantic import SemanticImageProcessor
from ..models.modeling_decoder import trace_feature_maps
from ..recipes import Recipe
from ..replacing import standing


# As `init`: the weights that the recipe names. Most of them are timm's.
PRETRAINED = ("pretrained", "timm")


def initial_model(
    init: str, recipe: Recipe, id2label: Mapping[int, str]
) -> tuple[PreTrainedModel, SemanticImageProcessor, list[str]]:
    """
    A model to train, and its image processor.

    Args:
        init: `"none"` for random weights, `"pretrained"` (or `"timm"`) for those that the recipe names, a file of
            ImageNet weights under timm's names (`.pth` or `.safetensors`) or those of Google's JAX ViT (`.npz`), or
            for SCTNet those of its authors, or a model folder or Hub repository to fine-tune. The latter brings its
            own architecture, image processor and test protocol; only training is the recipe's then. A model of another
            task, such as a classifier to start segmentation from, gives its encoder alone. SCTNet's teacher also
            starts from a SegFormer of transformers, such as `nvidia/mit-b2`, whose encoder it takes.
        recipe: what to build.
        id2label: train id -> class name.

    Returns:
        The model, its image processor, and the names of the parameters that did not come from `init` and are random.

    Raises:
        ValueError: if the weights do not fit, or there are none of this name.
    """
    if init not in ("none", *PRETRAINED) and not Path(init).is_file():
        return _from_model(standing(init), recipe, dict(id2label))
    model = _auto_class(recipe).from_config(recipe.build_config(id2label))
    if recipe.model.get("backbone_config", {}).get("model_type") not in (None, *METHODS):
        _freeze_unused(model.backbone)
    random = [name for name, _ in model.named_parameters()]
    if init != "none":
        missing = _load_backbone(model.backbone, init, recipe)
        # They are of the encoder, but not of the policy network that it may hold.
        random = [name for name in random if not name.startswith("backbone.") or is_of_policy_net(name)]
        random += [f"backbone.{name}" for name in missing]
    return model, recipe.build_image_processor(), random


def is_of_policy_net(name: str) -> bool:
    """Whether a parameter of a segmenter is one of its policy network."""
    return ".policy_net." in name


def _load_backbone(backbone: PreTrainedModel, init: str, recipe: Recipe) -> list[str]:
    """Load the weights that a recipe names, or a file; returns the names of the parameters that they do not hold."""
    if init not in PRETRAINED:
        load_encoder_weights(backbone, init)
    elif recipe.training.pretrained is not None and (source := recipe.training.pretrained.model) is not None:
        return load_encoder(backbone, source)
    else:
        load_timm_weights(backbone, _timm_model(recipe))
    return []


def _auto_class(recipe: Recipe) -> Any:
    """What makes the models of a recipe's task."""
    return getattr(transformers, TASKS[recipe.task].auto_class)


def _freeze_unused(backbone: PreTrainedModel) -> None:
    """
    Let what no feature map depends on not be trained: transformers' backbones hold mask tokens and norms that take
    part in their pretraining alone, and distributed training would wait for their gradients.
    """
    try:
        feature_maps, weights = trace_feature_maps(backbone, 448)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"A {type(backbone).__name__} with this configuration gives no feature maps of 448 x 448 pixels, as if it "
            f"took images of one size alone ({error}). Choose another encoder."
        ) from error
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    sums = [feature_map.sum() for feature_map in feature_maps]
    gradients = torch.autograd.grad(sums, [weights[name] for name in names], allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)


def _timm_model(recipe: Recipe) -> str:
    """The timm model whose weights a recipe starts from."""
    pretrained = recipe.training.pretrained
    if pretrained is None:
        raise ValueError(f"The recipe {recipe.name} names no weights to start from (training.pretrained).")
    if pretrained.recipe is not None:
        raise ValueError(
            f"{recipe.name} starts from the weights of {pretrained.recipe}. Convert them, and give the folder: "
            f"--init DIR. They are published here: {pretrained.url}. Or start from random weights: --init none."
        )
    if pretrained.timm_model is None:
        raise ValueError(
            f"The recipe {recipe.name} starts from weights that only its authors have ({pretrained.url}). Give the "
            "file with --init, or start without, with --init none."
        )
    return pretrained.timm_model


def _from_model(
    source: str, recipe: Recipe, id2label: dict[int, str]
) -> tuple[PreTrainedModel, SemanticImageProcessor, list[str]]:
    try:
        config = AutoConfig.from_pretrained(source)
    except OSError as error:
        raise ValueError(f"{source} is neither a model folder, nor a file of weights, nor a Hub model.") from error
    if config.model_type == "segformer" and recipe.method == "sctnet_teacher":
        return _from_segformer(source, recipe, id2label)
    model_class, ending = _auto_class(recipe), TASKS[recipe.task].suffix
    label2id = {name: index for index, name in id2label.items()}
    settings: dict[str, Any] = {"id2label": id2label, "label2id": label2id, "ignore_mismatched_sizes": True}
    is_of_task = all(name.endswith(ending) for name in config.architectures or ())
    is_other_task = config.model_type in METHODS and not is_of_task
    if is_other_task:
        if config.model_type != recipe.method:
            raise ValueError(
                f"{source} is a {config.model_type} of another task; only a model of {recipe.method} has an encoder "
                f"for {recipe.name}."
            )
        # Here a difference in size is a wrong encoder.
        settings = {"config": recipe.build_config(id2label)}
    # transformers reports what did not fit as a warning. Here it is expected, and returned.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # Also of a folder in half precision, in whose numbers training would lose its small steps.
        settings |= {"dtype": torch.float32, "output_loading_info": True}
        model, info = model_class.from_pretrained(source, **settings)
    except RuntimeError as error:
        raise ValueError(f"The encoder of {source} does not fit {recipe.name}: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    random = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    image_processor = recipe.build_image_processor() if is_other_task else AutoImageProcessor.from_pretrained(source)
    return model, image_processor, sorted(random)


def _from_segformer(
    source: str, recipe: Recipe, id2label: dict[int, str]
) -> tuple[PreTrainedModel, SemanticImageProcessor, list[str]]:
    """SCTNet's teacher with the encoder of a SegFormer of transformers."""
    model = _auto_class(recipe).from_config(recipe.build_config(id2label))
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # for the head that is left out
    try:
        encoder = SegformerModel.from_pretrained(source, dtype=torch.float32)
    finally:
        logging.set_verbosity(verbosity)
    try:
        model.encoder.load_state_dict(encoder.state_dict())
    except RuntimeError as error:
        raise ValueError(f"The encoder of {source} is not that of {recipe.name}: {error}") from error
    random = [name for name, _ in model.named_parameters() if not name.startswith("encoder.")]
    return model, recipe.build_image_processor(), random
