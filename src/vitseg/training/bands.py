# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models for images of other bands than red, green and blue, made of models for these."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..models.image_processing_semantic import SemanticImageProcessor


_COLORS = 3
# Where the configurations of models hold those of their encoders.
_ENCODERS = ("backbone_config", "encoder_config")


def inflate(weight: torch.Tensor, num_bands: int) -> torch.Tensor:
    """
    The weight of a first layer for images of some bands, from one for RGB: the bands take the weights of red, green
    and blue in turn, and those of a colour are divided by the number of its bands. One or two bands share the sum of
    the three. So what is the same in all bands is answered as a grey picture was.

    Args:
        weight: `(out channels, 3, ...)`.
        num_bands: of the images.

    Returns:
        `(out channels, num_bands, ...)`.
    """
    if num_bands < _COLORS:
        return weight.sum(dim=1, keepdim=True).repeat_interleave(num_bands, dim=1) / num_bands
    colors = torch.arange(num_bands) % _COLORS
    shares = 1 / colors.bincount()[colors]
    return weight[:, colors] * shares.to(weight).reshape(-1, *[1] * (weight.ndim - 2))


def with_bands(model: PreTrainedModel, num_bands: int) -> PreTrainedModel:
    """
    A model for images of some bands, from one for as many, or for RGB.

    Args:
        model: a segmentation model of vitseg, on the CPU.
        num_bands: of the images.

    Returns:
        The model itself, or another one with its weights, and the first layer that [`inflate`] makes of its own. What
        did not learn does not.

    Raises:
        ValueError: if it takes another number of channels, or cannot do with other than RGB.
    """
    if model.num_channels == num_bands:
        return model
    if model.num_channels != _COLORS:
        raise ValueError(
            f"The images have {num_bands} bands, but the model takes {model.num_channels}: only one for RGB is made "
            "to take others. Start from such a one, or prepare the bands that it knows (vitseg prepare --bands)."
        )
    try:
        inflated = type(model)(_with_channels(model.config, num_bands))
    except ValueError as error:
        raise ValueError(
            f"The images have {num_bands} bands, which this model cannot take: {error.__cause__ or error}"
        ) from error
    weights = model.state_dict()
    for name, weight in inflated.state_dict().items():
        if weight.shape != weights[name].shape:
            weights[name] = inflate(weights[name], num_bands)
    inflated.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        inflated.get_parameter(name).requires_grad_(parameter.requires_grad)
    return inflated


def processor_of_bands(
    image_processor: SemanticImageProcessor, mean: Sequence[float], std: Sequence[float]
) -> SemanticImageProcessor:
    """An image processor like another for images whose bands have these means and standard deviations."""
    settings: dict[str, Any] = {"do_convert_rgb": False, "do_rescale": False, "do_normalize": True}
    settings |= {"image_mean": list(mean), "image_std": list(std)}
    return type(image_processor).from_dict(image_processor.to_dict() | settings)


def _with_channels(config: Any, num_channels: int) -> Any:
    """A copy of a model's configuration whose encoder takes so many channels."""
    values = copy.deepcopy(config.to_dict())
    encoder = next((values[name] for name in _ENCODERS if values.get(name)), values)
    if "num_channels" not in encoder:
        raise ValueError(f"its encoder, a {encoder.get('model_type')}, takes RGB alone.")
    encoder["num_channels"] = num_channels
    return type(config).from_dict(values)
