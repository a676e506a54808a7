# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The originals' parameter groups and learning-rate schedules."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..recipes import ClassificationTraining, DetectionTraining, OptimizationRecipe, PolicyTraining, TrainingRecipe


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    rules: Mapping[str, Mapping[str, float]],
    decay_vectors: bool = True,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """
    Trainable parameters grouped by learning rate and weight decay.

    A rule applies to the parameters whose full name contains its text; of several the longest counts, of equally long
    ones the first in alphabetical order (mmcv's `paramwise_cfg.custom_keys`). Parameters whose rate it makes 0 are in
    no group.

    Args:
        model: whose parameters to group.
        learning_rate: of the parameters that no rule matches.
        weight_decay: of the parameters that no rule matches.
        rules: text -> `{"lr_mult": ..., "decay_mult": ...}`, factors that are 1 when not given.
        decay_vectors: whether weight decay applies to parameters of one dimension, such as biases, too.
        layer_decay: see [`layer_factors`].

    Returns:
        Groups for an optimizer, with `params`, `lr` and `weight_decay`.
    """
    texts = sorted(sorted(rules), key=len, reverse=True)
    factors = layer_factors([name for name, _ in model.named_parameters()], layer_decay or 1.0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = next((rules[text] for text in texts if text in name), {})
        decay = weight_decay * rule.get("decay_mult", 1.0) if decay_vectors or parameter.ndim > 1 else 0.0
        key = (learning_rate * rule.get("lr_mult", 1.0) * factors[name], decay)
        if key[0] > 0:
            groups.setdefault(key, []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def layer_factors(names: Sequence[str], layer_decay: float) -> dict[str, float]:
    """
    Factors on the learning rates of a model's parameters, by their names: less for the blocks further from the output
    (https://arxiv.org/abs/2106.08254, appendix). Outside the backbone, in its last block and after it they are 1.

    Args:
        names: of all parameters, in their order. The backbone's contain "backbone.", and those of a block its number,
            or the numbers of its stage and in it.
        layer_decay: the factor of each block in parts of that of the next, more than 0 and at most 1.
    """
    blocks = {}
    for name in names:
        _, backbone, rest = name.partition("backbone.")
        if backbone and (numbers := re.findall(r"\.(\d+)\.", rest)):
            blocks[name] = tuple(int(number) for number in numbers[:2])
    order = sorted(set(blocks.values()))
    factors, has_begun = {}, False
    for name in names:
        has_begun = has_begun or name in blocks
        if name in blocks:
            factors[name] = layer_decay ** (len(order) - 1 - order.index(blocks[name]))
        else:
            is_embedding = "backbone." in name and not has_begun
            factors[name] = layer_decay ** len(order) if is_embedding else 1.0
    return factors


def build_optimizer(model: nn.Module, recipe: OptimizationRecipe, *, fused: bool = False) -> torch.optim.Optimizer:
    """
    The optimizer of a recipe over the trainable parameters of `model`. Those that a rule gives the rate 0 are frozen
    (`requires_grad` is off): they take no gradient, and no memory of the optimizer.

    With `fused`, one kernel updates all of them: several times as fast. But on a CPU its rounding depends on where a
    tensor lies in memory, so that a run which was stopped and goes on ends with other bits than one that was not.

    Raises:
        ValueError: if no parameter is left to train.
    """
    decay_vectors = getattr(recipe, "decay_vectors", True)
    groups = parameter_groups(
        model,
        recipe.learning_rate,
        recipe.weight_decay,
        recipe.parameter_rules,
        decay_vectors,
        recipe.layer_decay,
    )
    if not groups:
        raise ValueError(
            "No parameter is left to train: the rules of the recipe (training.parameter_rules) give all of them "
            "lr_mult 0."
        )
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    if recipe.optimizer == "sgd":
        momentum, nesterov = recipe.momentum, recipe.nesterov
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)


def build_schedule(optimizer: torch.optim.Optimizer, recipe: OptimizationRecipe) -> LambdaLR:
    """The schedule of a recipe: call `step()` once after each optimizer step."""
    if isinstance(recipe, ClassificationTraining):
        return cosine_schedule(optimizer, recipe)
    if isinstance(recipe, DetectionTraining):
        return step_schedule(optimizer, recipe, recipe.decay_iterations)
    if isinstance(recipe, PolicyTraining):
        return step_schedule(optimizer, recipe)
    if isinstance(recipe, TrainingRecipe):
        return poly_schedule(optimizer, recipe)
    raise TypeError(f"A {type(recipe).__name__} has no schedule.")


def unfinished_warmup(schedule: LambdaLR, recipe: OptimizationRecipe) -> str | None:
    """What to know about a warm-up that is longer than the run, whose learning rate therefore never gets high."""
    if recipe.warmup_iterations <= recipe.iterations:
        return None
    peak = max(schedule.lr_lambdas[0](step) for step in range(recipe.iterations))
    return (
        f"The warm-up of {recipe.warmup_iterations} steps is longer than the run of {recipe.iterations}: the learning "
        f"rate gets no higher than {peak:.1%} of what the recipe says. Shorten it with --set "
        f"training.warmup_iterations={recipe.iterations // 10}."
    )


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
            decay = iteration / warmup * max(1.0 - warmup / recipe.iterations, 0.0) ** recipe.power
        value = (initial - floor) * decay + floor
        if iteration < warmup and by_mmcv:
            value *= 1.0 - (1.0 - iteration / warmup) * (1.0 - recipe.warmup_ratio)
        # LambdaLR multiplies each group's initial rate, which the floor is no fixed share of.
        return value / initial

    return LambdaLR(optimizer, [partial(factor, initial=group["lr"]) for group in optimizer.param_groups])


def cosine_schedule(optimizer: torch.optim.Optimizer, recipe: ClassificationTraining) -> LambdaLR:
    """
    Half a cosine by iteration, from the initial rate to a common floor, after a linear warm-up.

    With T iterations, w of them of the warm-up, the initial rate `lr0` of a group and the floor `m`, the value at i is
    `lr0 (r + (1 - r) i / w)` with `r = warmup_ratio` in the warm-up, and after it
    `m + (lr0 - m) (1 + cos(pi (i - w) / (T - w))) / 2`. As in Swin's trainer, the first two steps are made at the
    value at 0, and every other step at that before its own.
    """

    def factor(step: int, initial: float) -> float:
        iteration, warmup = max(step - 1, 0), recipe.warmup_iterations
        if iteration < warmup:
            return recipe.warmup_ratio + (1.0 - recipe.warmup_ratio) * iteration / warmup
        share = min((iteration - warmup) / max(recipe.iterations - warmup, 1), 1.0)
        floor = recipe.min_learning_rate / initial
        return floor + (1.0 - floor) * (1.0 + math.cos(math.pi * share)) / 2

    return LambdaLR(optimizer, [partial(factor, initial=group["lr"]) for group in optimizer.param_groups])


def step_schedule(
    optimizer: torch.optim.Optimizer, recipe: OptimizationRecipe, decay_iterations: Sequence[int] = ()
) -> LambdaLR:
    """A tenth of the rate after each of `decay_iterations`; in the warm-up linearly from `warmup_ratio` of it."""

    def factor(iteration: int) -> float:
        value = 0.1 ** sum(iteration >= decay for decay in decay_iterations)
        if iteration < recipe.warmup_iterations:
            value *= 1.0 - (1.0 - iteration / recipe.warmup_iterations) * (1.0 - recipe.warmup_ratio)
        return value

    return LambdaLR(optimizer, factor)
