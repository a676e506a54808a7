# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameter groups and schedule follow the originals' rules."""

import copy
import dataclasses
import math
import re
from typing import Any

import pytest
import torch
from golden_cases import load_case
from torch import nn

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation
from vitseg.recipes import TrainingRecipe, get_recipe
from vitseg.training.optimization import (
    build_optimizer,
    build_schedule,
    layer_factors,
    parameter_groups,
    poly_schedule,
    unfinished_warmup,
)


CASE = load_case("evaluation", "lr_poly")
RECIPE: Any = get_recipe("setr-pup-vit-l-ade20k-512-160k").training


def schedule_recipe(schedule: dict) -> TrainingRecipe:
    return dataclasses.replace(
        RECIPE,
        learning_rate=schedule["base_lr"],
        iterations=schedule["max_iters"],
        power=schedule["power"],
        min_learning_rate=schedule["min_lr"],
        warmup_iterations=schedule.get("warmup_iters", 0),
        warmup_ratio=schedule.get("warmup_ratio", 1.0),
    )


@pytest.mark.parametrize("index", range(len(CASE.description["input"]["schedules"])))
def test_learning_rates_as_mmcv(index):
    schedule = CASE.description["input"]["schedules"][index]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=schedule["base_lr"])
    scheduler = poly_schedule(optimizer, schedule_recipe(schedule))
    (rate,) = scheduler.lr_lambdas
    rates = [1e6 * schedule["base_lr"] * rate(iteration) for iteration in schedule["iterations"]]
    CASE.assert_matches(f"lr_{index}", torch.tensor(rates))


SCHEDULES = [
    "setr-pup-vit-l-ade20k-512-160k",
    "cts-segmenter-mask-0-vit-t-ade20k-512",
    "hlg-medium-imagenet1k-224-300e",
    "hlg-retinanet-medium-coco-800-12e",
]


@pytest.mark.parametrize("name", SCHEDULES)
def test_parameters_of_rate_zero_are_frozen(name):
    recipe = dataclasses.replace(get_recipe(name).training, parameter_rules={"0.": {"lr_mult": 0.0}}, weight_decay=0.1)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = build_optimizer(model, recipe)
    schedule = build_schedule(optimizer, recipe)
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        assert model[0].weight.grad is None
        optimizer.step()
        schedule.step()
    assert [torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()] == [True] * 2 + [
        False
    ] * 2
    assert set(optimizer.state) == set(model[1].parameters())


def test_nothing_left_to_train():
    recipe = dataclasses.replace(RECIPE, parameter_rules={"": {"lr_mult": 0}})
    with pytest.raises(ValueError, match="No parameter is left to train"):
        build_optimizer(nn.Linear(2, 2), recipe)
    with pytest.raises(ValueError, match="lr_mult is -1 in a parameter rule"):
        dataclasses.replace(RECIPE, parameter_rules={"head": {"lr_mult": -1}})


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warmup_longer_than_the_run_is_told(name):
    recipe = dataclasses.replace(get_recipe(name).training, warmup_iterations=100, warmup_ratio=0.0, iterations=8)
    message = unfinished_warmup(build_schedule(build_optimizer(nn.Linear(2, 2), recipe), recipe), recipe)
    assert "The warm-up of 100 steps is longer than the run of 8" in message
    peak = float(re.search(r"no higher than ([\d.]+)%", message)[1])
    assert 0 < peak <= 7
    recipe = dataclasses.replace(recipe, warmup_iterations=8)
    assert unfinished_warmup(build_schedule(build_optimizer(nn.Linear(2, 2), recipe), recipe), recipe) is None


def test_first_steps_use_the_first_rates():
    model = nn.Linear(2, 2)
    recipe = dataclasses.replace(RECIPE, learning_rate=1.0, min_learning_rate=0.0, power=1.0, iterations=4)
    optimizer = build_optimizer(model, recipe)
    scheduler = poly_schedule(optimizer, recipe)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fused_steps_are_the_same(optimizer):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=0.01, weight_decay=0.1)
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(7, 5)
        steps = build_optimizer(model, recipe, fused=fused)
        for _ in range(3):
            model(torch.ones(1, 7)).square().sum().backward()
            steps.step()
        weights.append(model.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"norm": nn.LayerNorm(2), "fc": nn.Linear(2, 2)})
        self.decode_head = nn.ModuleDict({"norm": nn.LayerNorm(2), "fc": nn.Linear(2, 2)})


def rates_by_name(model: nn.Module, rules: dict) -> dict[str, tuple[float, float]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, 0.1, 0.01, rules)
        for parameter in group["params"]
    }


def test_longest_matching_rule_wins():
    rules = {"head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}, "decode_head.norm": {"lr_mult": 2.0}}
    rates = rates_by_name(Model(), rules)
    assert rates["backbone.fc.weight"] == pytest.approx((0.1, 0.01))
    assert rates["backbone.norm.bias"] == pytest.approx((0.1, 0.0))
    assert rates["decode_head.fc.bias"] == pytest.approx((1.0, 0.01))
    # "decode_head.norm" is longer than "head" and "norm", and brings no decay factor of its own.
    assert rates["decode_head.norm.weight"] == pytest.approx((0.2, 0.01))


def test_equally_long_rules_are_tried_alphabetically():
    rules = {"norm": {"lr_mult": 3.0}, "head": {"lr_mult": 2.0}}
    assert rates_by_name(Model(), rules)["decode_head.norm.bias"] == pytest.approx((0.2, 0.01))


def test_frozen_parameters_are_left_out():
    model = Model()
    model.backbone.requires_grad_(False)
    assert all(name.startswith("decode_head") for name in rates_by_name(model, {}))


def test_setr_trains_its_heads_ten_times_faster():
    rates = rates_by_name(Model(), RECIPE.parameter_rules)
    assert rates["decode_head.fc.weight"][0] == pytest.approx(10 * rates["backbone.fc.weight"][0])


def rates_of(recipe, count: int) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), recipe)
    scheduler = build_schedule(optimizer, recipe)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_after_a_warm_up():
    recipe = dataclasses.replace(
        get_recipe("hlg-tiny-imagenet1k-224-300e").training,
        learning_rate=1.0,
        min_learning_rate=0.1,
        warmup_iterations=2,
        warmup_ratio=0.2,
        iterations=6,
    )
    # Each step is made at the value of the one before it.
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert rates_of(recipe, 7) == pytest.approx([0.2, 0.2, 0.6, *cosine])


def test_steps_after_a_warm_up():
    recipe = dataclasses.replace(
        get_recipe("hlg-retinanet-small-coco-800-12e").training,
        learning_rate=1.0,
        warmup_iterations=2,
        warmup_ratio=0.5,
        iterations=6,
        decay_iterations=(3, 5),
    )
    assert rates_of(recipe, 6) == pytest.approx([0.5, 0.75, 1.0, 0.1, 0.1, 0.01])


def test_weight_decay_may_spare_vectors():
    recipe = dataclasses.replace(get_recipe("hlg-tiny-imagenet1k-224-300e").training, weight_decay=0.5)
    model = Model()
    decays = {}
    for group in build_optimizer(model, recipe).param_groups:
        decays |= dict.fromkeys(group["params"], group["weight_decay"])
    for name, parameter in model.named_parameters():
        assert decays[parameter] == (0.5 if parameter.ndim > 1 else 0.0), name


def test_blocks_further_from_the_output_learn_less():
    """By half: embeddings, blocks, the norm after them, a head. Of pyramids, blocks are counted through the stages."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    config = PlainVitConfig(**sizes, image_size=16, use_final_norm=True)
    model = SetrForSemanticSegmentation(SetrConfig(backbone_config=config, decoder_type="naive", auxiliary_heads=[]))
    groups = parameter_groups(model, 1.0, 0.0, {"head": {"lr_mult": 10.0}}, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    assert rates["backbone.embeddings.position_embeddings"] == 0.25
    assert rates["backbone.layers.0.mlp.fc1.weight"] == 0.5
    assert rates["backbone.layers.1.mlp.fc1.weight"] == rates["backbone.layernorm.weight"] == 1.0
    assert rates["decode_head.classifier.weight"] == 10.0

    pyramid = ["backbone.patches.weight", "backbone.stages.0.layers.0.weight", "backbone.stages.0.layers.1.weight"]
    pyramid += ["backbone.stages.1.layers.0.weight", "backbone.hidden_states_norms.stage1.weight"]
    assert list(layer_factors(pyramid, 0.5).values()) == [0.125, 0.25, 0.5, 1.0, 1.0]
