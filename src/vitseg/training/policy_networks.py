# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Policy networks of token sharing: where their training starts from, and how a segmenter gets a trained one."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..conversion.encoders import load_encoder_weights, load_timm_weights
from ..models.configuration_cts_policy import CtsPolicyNetConfig
from ..models.modeling_cts_policy import BACKBONE, CtsPolicyNet
from ..replacing import standing
from .initialization import PRETRAINED


def initial_policy_net(init: str) -> CtsPolicyNet:
    """
    A policy network to train.

    Args:
        init: `"pretrained"` (or `"timm"`) for timm's ImageNet weights, `"none"` for random ones, a file with such
            weights under timm's names (`.pth` or `.safetensors`), or the folder or Hub repository of a policy network.

    Raises:
        ValueError: if the weights do not fit.
    """
    if init not in ("none", *PRETRAINED) and not Path(init).is_file():
        return load_policy_net(init)
    model = CtsPolicyNet(CtsPolicyNetConfig())
    if init in PRETRAINED:
        load_timm_weights(model, BACKBONE)
    elif init != "none":
        load_encoder_weights(model, init)
    return model


def load_policy_net(source: str) -> CtsPolicyNet:
    """
    A trained policy network.

    Raises:
        ValueError: if `source` is not the folder or Hub repository of one. (The original goes on with random weights.)
    """
    try:
        return CtsPolicyNet.from_pretrained(standing(source), dtype=torch.float32)
    except OSError as error:
        raise ValueError(f"{source} is not the folder or Hub repository of a policy network: {error}") from error


def insert_policy_net(model: PreTrainedModel, source: str | None) -> None:
    """
    Give a model that shares tokens its trained policy network.

    Args:
        model: whose backbone is a plain ViT.
        source: folder or Hub repository of the policy network, or `"none"` to leave a random one.

    Raises:
        ValueError: if the model needs one and none is given, or the other way round, or it cannot be loaded.
    """
    policy_net = getattr(getattr(model, "backbone", None), "policy_net", None)
    if policy_net is None and source is not None:
        raise ValueError(f"This model shares no tokens, so it has no use for the policy network {source}.")
    if policy_net is None or source == "none":
        return
    if source is None:
        raise ValueError(
            "This model shares tokens where a trained policy network says so. Train one with `vitseg train` and a "
            "recipe such as cts-policy-ade20k-512, and give it with --policy DIR (or, to see what a random one does, "
            "--policy none)."
        )
    policy_net.load_state_dict(load_policy_net(source).state_dict())
