# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights as the start of an encoder: those of timm, of Google's JAX ViT, and of SCTNet's authors."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from . import cts_segmenter, plain_vit, sctnet
from .reading import read_checkpoint
from .rules import Rule, rename


class Encoder(NamedTuple):
    """
    An encoder that starts from ImageNet weights: the rules for weights of these names, given its configuration, and
    the pattern of the parameters that they do not hold.
    """

    rules: Callable[[Any, Iterable[str]], list[Rule]]
    new_parameters: str = ""


ENCODERS: Mapping[str, Encoder] = {
    # A policy network that chooses the tokens to share is trained by itself.
    "plain_vit": Encoder(plain_vit.encoder_rules, r"policy_net\..*"),
    "sctnet": Encoder(sctnet.encoder_rules),
    "cts_policy": Encoder(cts_segmenter.encoder_rules, r"head\..*"),
}


def load_encoder_weights(encoder: PreTrainedModel, file: str | Path) -> None:
    """
    Load ImageNet weights from a file into an encoder of the same widths and depth.

    Args:
        encoder: a [`PlainVitBackbone`], for weights under the names of timm's ViT or DeiT or of Google's JAX ViT; an
            [`SctNetBackbone`], for those of its authors; or a [`CtsPolicyNet`], for timm's EfficientNet-Lite0.
        file: `.pth`, `.safetensors` or `.npz`.

    Raises:
        ValueError: if the file cannot be read (see [`read_checkpoint`]), or does not fit: it lists the parameters that
            are missing, unknown or of another shape; or if the encoder is another.
    """
    fill_encoder(encoder, read_checkpoint(file).state_dict)


def load_timm_weights(encoder: PreTrainedModel, name: str) -> None:
    """
    Load the pre-trained weights of a timm model, such as `vit_large_patch16_384`, which timm downloads.

    Raises:
        ValueError: see [`load_encoder_weights`].
    """
    import timm

    fill_encoder(encoder, timm.create_model(name, pretrained=True).state_dict())


def fill_encoder(encoder: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """As [`load_encoder_weights`], for a state dict."""
    kind = ENCODERS.get(getattr(encoder.config, "model_type", ""))
    if kind is None:
        raise ValueError(
            f"ImageNet weights load into a plain ViT, the encoder of an SCTNet or a policy network, but this is a "
            f"{type(encoder).__name__}. Start from a model folder, or from random weights (none)."
        )
    expected = {
        name: tensor for name, tensor in encoder.state_dict().items() if not re.fullmatch(kind.new_parameters, name)
    }
    renamed = rename(tensors, kind.rules(encoder.config, tensors), expected, type(encoder).__name__)
    encoder.load_state_dict(renamed.state_dict, strict=False)
