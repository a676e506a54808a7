# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
A recipe's decoder over a pretrained backbone of transformers: its layers, pixels and sizes in place of the published
ViT's. Training, its schedule and the decoder stay the recipe's.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig, AutoImageProcessor
from transformers.configuration_utils import PreTrainedConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..methods import METHODS
from ..models.adapters import PLAIN_VITS
from ..models.configuration_plain_vit import PlainVitConfig
from .changes import CROP_SIZE, Values, apply_changes


# What of transformers' configurations is not about the architecture.
BOOKKEEPING = {"architectures", "dtype", "id2label", "label2id", "out_features", "out_indices", "problem_type"}
BOOKKEEPING |= {"stage_names", "transformers_version"}
# Of the plain ViT, what is the training's and not the weights'.
STOCHASTIC_DEPTH = {"drop_path_rate", "drop_path_on_attention"}
# Pixels of the input that a position of a pyramid's smallest feature map stands for, and what its maps are brought to.
PYRAMID_STRIDE, FEATURE_STRIDE = 32, 16


def put_on_backbone(values: Values, source: str) -> None:
    """
    Put the decoder of a recipe, given as plain JSON values that are changed in place, over a pretrained backbone.

    The feature maps are taken at the published shares of the depth, or the last ones of a pyramid, which are brought
    to one stride. Mean and standard deviation of the pixels are those of the backbone's own image processor. Crops,
    test windows and image sizes become multiples of its patches.

    Args:
        values: of a recipe for segmentation.
        source: folder, or repository on the Hub, of any transformers model whose encoder AutoBackbone knows, or of a
            ViT, DeiT, MAE or MSN.

    Raises:
        ValueError: if there is no such model, it takes other images than RGB, it gives no feature maps, or too few, or
            the recipe's model has an encoder of its own or needs what the plain ViT alone can do.
    """
    source = source.rstrip("/") or source
    published = dict(values["model"].get("backbone_config") or {})
    if not published:
        raise ValueError(
            f"{values['name']} has an encoder of its own, which no backbone takes the place of. Choose a recipe of "
            "SETR, SegViT, StructToken or Segmenter."
        )
    config = _read_config(source)
    if is_plain := config.model_type in PLAIN_VITS:
        config = _plain_vit_config(config)
    _refuse_lost_abilities(values["name"], published, config)

    is_pyramid = hasattr(config, "depths") or not hasattr(config, "num_hidden_layers")
    arguments = {field.name for field in dataclasses.fields(config)} - BOOKKEEPING
    given = {key: value for key, value in config.to_diff_dict().items() if key in arguments}
    kept = STOCHASTIC_DEPTH & published.keys() if is_plain and published["model_type"] == config.model_type else set()
    values["model"]["backbone_config"] = {
        "model_type": config.model_type,
        **given,
        **{key: published[key] for key in kept},
        "out_indices": _pyramid_taps(config, published) if is_pyramid else _taps(config, published, source),
    }
    if is_pyramid:
        values["model"]["feature_stride"] = FEATURE_STRIDE
    values["image_processor"] = {**values["image_processor"], **_pixel_statistics(source)}
    _fit_sizes(values, PYRAMID_STRIDE if is_pyramid else config.patch_size)
    values["training"]["pretrained"] = {"model": source}
    values["name"] = f"{values['name']}-on-{source.rpartition('/')[2]}"


def _read_config(source: str) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source} is no model of transformers, in a folder or on the Hub: {error}") from error
    if (channels := getattr(config, "num_channels", 3)) != 3:
        raise ValueError(f"{source} takes images of {channels} channels, but data sets hold RGB: 3 channels.")
    if config.model_type in METHODS and not hasattr(config, "out_indices"):
        raise ValueError(
            f"{source} is a {config.model_type}, which has a decoder of its own: go on from it with --init {source}."
        )
    if config.model_type == "timm_backbone":
        raise ValueError(
            f"{source} is a model of timm in a wrapper, which cannot be built without its folder. Take an encoder of "
            "transformers, such as facebook/dinov2-base."
        )
    if config.model_type not in PLAIN_VITS and type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(
            f"{source} is a {config.model_type}, which transformers has no backbone of, so it gives no feature maps. "
            "Take a DINOv2, DINOv3, ViT, DeiT, MAE, BEiT, Swin, ConvNeXt or another one that AutoBackbone knows."
        )
    return config


def _plain_vit_config(config: PreTrainedConfig) -> PlainVitConfig:
    """Ours for a plain ViT of transformers."""
    shared = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"]
    shared += ["layer_norm_eps", "image_size", "patch_size", "num_channels", "qkv_bias"]
    settings = {name: getattr(config, name) for name in shared}
    return PlainVitConfig(
        **settings,
        use_distillation_token=config.model_type == "deit",
        use_final_norm=True,
        interpolation_mode="bicubic",
    )


def _refuse_lost_abilities(name: str, published: Mapping[str, Any], config: PreTrainedConfig) -> None:
    """Shrinking and sharing tokens are the plain ViT's, and belong to the weights that the recipe was made for."""
    for ability in ("shrink_layer", "token_sharing"):
        if published.get(ability) is not None:
            raise ValueError(
                f"{name} has {ability} {published[ability]}, which a pretrained {config.model_type} has not. Choose a "
                "recipe without, such as segvit-atm-vit-l-ade20k-640-160k or segmenter-mask-vit-s-ade20k-512."
            )


def _taps(config: PreTrainedConfig, published: Mapping[str, Any], source: str) -> list[int]:
    """The blocks, counted from 1, at the published shares of the depth; no two are the same."""
    depth = config.num_hidden_layers
    wanted = published.get("out_indices") or [published["num_hidden_layers"]]
    # Of a pyramid, the last stage is the whole depth.
    published_depth = published.get("num_hidden_layers", max(wanted))
    if len(wanted) > depth:
        raise ValueError(f"{source} has {depth} blocks, but the decoder takes {len(wanted)} feature maps.")
    taps: list[int] = []
    for place, index in enumerate(wanted):
        at_most = depth - (len(wanted) - 1 - place)
        taps.append(min(max(round(depth * index / published_depth), taps[-1] + 1 if taps else 1), at_most))
    return taps


def _pyramid_taps(config: PreTrainedConfig, published: Mapping[str, Any]) -> list[int]:
    """The last stages of a pyramid."""
    count, stages = len(published.get("out_indices") or [0]), len(config.stage_names)
    return list(range(max(stages - count, 0), stages))


def _pixel_statistics(source: str) -> dict[str, Any]:
    """Mean and standard deviation of the channels, from 0 to 1, that an encoder was trained with."""
    try:
        processor = AutoImageProcessor.from_pretrained(source)
    except (OSError, ValueError):
        processor = None
    if not getattr(processor, "do_normalize", True):
        return {"do_normalize": False}
    mean, std = (getattr(processor, name, None) for name in ("image_mean", "image_std"))
    if mean is None or std is None:
        warnings.warn(
            f"{source} has no image processor that says how pixels are normalised, so that it is by ImageNet's mean "
            "and standard deviation. If the encoder was trained otherwise, change image_processor.image_mean and "
            "image_processor.image_std.",
            stacklevel=2,
        )
        return {"image_mean": list(IMAGENET_DEFAULT_MEAN), "image_std": list(IMAGENET_DEFAULT_STD)}
    # It may take bytes as they are, or scale them to something else than 0 to 1.
    white = 255 * processor.rescale_factor if processor.do_rescale else 255
    channels = {"image_mean": mean, "image_std": std}
    return {
        name: [value / white for value in (values if isinstance(values, Sequence) else [values] * 3)]
        for name, values in channels.items()
    }


def _fit_sizes(values: Values, divisor: int) -> None:
    """Make crops, windows and image sizes the nearest multiples of a number of pixels."""

    def fit(sides: Any) -> Any:
        if isinstance(sides, Mapping):
            return {name: fit(side) for name, side in sides.items()}
        if isinstance(sides, list | tuple):
            return [fit(side) for side in sides]
        return max(round(sides / divisor), 1) * divisor

    evaluation, training, image_processor = (values[part] for part in ("evaluation", "training", "image_processor"))
    apply_changes(values, {CROP_SIZE: fit(training["crop_size"])})
    sizes = ((training, "scale"), (evaluation, "scale"), (evaluation, "window_size"), (image_processor, "size"))
    for record, name in sizes:
        if record.get(name) is not None:
            record[name] = fit(record[name])
