# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The originals' parameter groups and learning-rate schedule."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..recipes import TrainingRecipe


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, rules: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """
    Trainable parameters grouped by learning rate and weight decay.

    A rule applies to the parameters whose full name contains its text; of several the longest counts, of equally long
    ones the first in alphabetical order (mmcv's `paramwise_cfg.custom_keys`).

    Args:
        model: whose parameters to group.
        learning_rate: of the parameters that no rule matches.
        weight_decay: of the parameters that no rule matches.
        rules: text -> `{"lr_mult": ..., "decay_mult": ...}`, factors that are 1 when not given.

    Returns:
        Groups for an optimizer, with `params`, `lr` and `weight_decay`.
    """
    texts = sorted(sorted(rules), key=len, reverse=True)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = next((rules[text] for text in texts if text in name), {})
        key = (learning_rate * rule.get("lr_mult", 1.0), weight_decay * rule.get("decay_mult", 1.0))
        groups.setdefault(key, []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe over the trainable parameters of `model`."""
    groups = parameter_groups(model, recipe.learning_rate, recipe.weight_decay, recipe.parameter_rules)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def poly_schedule(optimizer: torch.optim.Optimizer, recipe: TrainingRecipe) -> LambdaLR:
    """
    Polynomial decay by iteration with a common floor, after an optional linear warm-up.

    With T iterations, the initial rate `lr0` of a group and the floor `m`, iteration i is made at
    `(lr0 - m) (1 - i / T) ** power + m`. In the first `w` iterations that value, taken at the same i, is multiplied
    by `1 - (1 - i / w) (1 - warmup_ratio)`. By Segmenter's rule, instead, `(i / w) (1 - w / T) ** power` takes the
    place of `(1 - i / T) ** power` for 0 < i < w. Call `step()` once after each optimizer step.
    """

    def factor(iteration: int, initial: float) -> float:
        floor, warmup = recipe.min_learning_rate, recipe.warmup_iterations
        decay = max(1.0 - iteration / recipe.iterations, 0.0) ** recipe.power
        by_mmcv = recipe.warmup_rule == "mmcv"
        if 0 < iteration < warmup and not by_mmcv:
            decay = iteration / warmup * (1.0 - warmup / recipe.iterations) ** recipe.power
        value = (initial - floor) * decay + floor
        if iteration < warmup and by_mmcv:
            value *= 1.0 - (1.0 - iteration / warmup) * (1.0 - recipe.warmup_ratio)
        # LambdaLR multiplies each group's initial rate, which the floor is no fixed share of.
        return value / initial

    return LambdaLR(optimizer, [partial(factor, initial=group["lr"]) for group in optimizer.param_groups])
