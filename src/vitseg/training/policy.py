# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training the policy network of content-aware token sharing: where it starts from, and how often it is right."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from ..conversion.encoders import load_encoder_weights, load_timm_weights
from ..data.policy_targets import PolicyTransform
from ..evaluation.inference import Examples
from ..models.configuration_cts_policy import CtsPolicyNetConfig
from ..models.modeling_cts_policy import BACKBONE, CtsPolicyNet


def initial_policy_net(init: str) -> CtsPolicyNet:
    """
    A policy network to train.

    Args:
        init: `"timm"` for timm's ImageNet weights, `"none"` for random ones, a file with such weights under timm's
            names (`.pth` or `.safetensors`), or the folder or Hub repository of a policy network.

    Raises:
        ValueError: if the weights do not fit.
    """
    if init not in ("none", "timm") and not Path(init).is_file():
        return load_policy_net(init)
    model = CtsPolicyNet(CtsPolicyNetConfig())
    if init == "timm":
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
        return CtsPolicyNet.from_pretrained(source)
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
            "This model shares tokens where a trained policy network says so. Train one with examples/train_policy.py "
            "and give it with --policy DIR (or, to see what a random one does, --policy none)."
        )
    policy_net.load_state_dict(load_policy_net(source).state_dict())


@torch.no_grad()
def policy_accuracy(
    model: nn.Module,
    examples: Examples,
    transform: PolicyTransform,
    accelerator: Accelerator,
    limit: int | None = None,
) -> dict[str, float]:
    """
    How often a policy network is right about the superpatches of labelled images. All processes call this.

    Args:
        model: on the accelerator's device. It is put into evaluation mode for that time.
        examples: items with `image` (PIL) and `label_map`.
        transform: makes the targets; images are not flipped, and crops are the same each time.
        accelerator: says which share of the images is this process's.
        limit: look at the first `limit` images only.

    Returns:
        `accuracy`: the share of superpatches classified right, ignored ones left out; `single_class`: the share of
        those that hold a single class, what always saying so would reach.
    """
    transform = dataclasses.replace(transform, recipe=dataclasses.replace(transform.recipe, flip_probability=0.0))
    was_training = model.training
    model.eval()
    counts = torch.zeros(3, dtype=torch.float64)
    count = len(examples) if limit is None else min(limit, len(examples))
    for index in range(accelerator.process_index, count, accelerator.num_processes):
        example = examples[index]
        image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
        label_map = torch.from_numpy(np.array(example["label_map"]))
        made = transform(image, label_map, np.random.default_rng(index))
        answer = model(made["pixel_values"][None].to(accelerator.device)).logits.argmax(dim=1)[0].cpu()
        targets = made["labels"]
        valid = targets != 255
        counts += torch.stack([(answer == targets)[valid].sum(), (targets == 1).sum(), valid.sum()])
    model.train(was_training)
    right, single, total = accelerator.reduce(counts.float().to(accelerator.device)).tolist()
    return {"accuracy": right / max(total, 1), "single_class": single / max(total, 1)}
