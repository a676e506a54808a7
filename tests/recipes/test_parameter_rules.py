# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Which parameters the published rules reach: they go by texts in names, which are other names here."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from vitseg.conversion.hlg import HlgConverter
from vitseg.recipes import OptimizationRecipe, get_recipe
from vitseg.training.optimization import build_optimizer, poly_schedule


GOLDEN = Path(__file__).parents[1] / "golden"
HEADS = ("decode_head.", "auxiliary_head.")
# One of each method, and of each table of rules.
NAMES = (
    "setr-mla-vit-l-ade20k-512-160k-b8",
    "setr-mmseg-pup-vit-l-ade20k-512-160k",
    "segvit-atm-vit-l-ade20k-640-160k",
    "segvit-shrunk-vit-l-ade20k-640-160k",
    "structtoken-cse-vit-t-ade20k-512-160k",
    "structtoken-sse-vit-l-ade20k-640-160k",
    "sctnet-s-ade20k-512-160k",
    "sctnet-s-seg50-cityscapes-512x1024-160k",
    "hlg-setr-small-ade20k-512-160k",
)
FACTORS = {"structtoken-cse-vit-t-ade20k-512-160k": 9, "structtoken-sse-vit-l-ade20k-640-160k": 6}


def factors(model: nn.Module, training: OptimizationRecipe) -> dict[str, tuple[float, float]]:
    """Parameter -> its learning rate as a multiple of the recipe's, and its weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (round(group["lr"] / training.learning_rate, 6), group["weight_decay"])
        for group in build_optimizer(model, training).param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", NAMES)
def test_heads_alone_learn_faster(name, build):
    found = factors(build(name), get_recipe(name).training)
    assert found
    for key, (rate, _) in found.items():
        assert rate == (FACTORS.get(name, 10) if key.startswith(HEADS) else 1), key


def test_segmenter_learns_all_alike(build):
    name = "cts-segmenter-mask-30-vit-s-ade20k-512"
    assert set(factors(build(name), get_recipe(name).training).values()) == {(1, 0)}


def test_what_decays_in_segvit(build):
    name = "segvit-atm-vit-l-ade20k-640-160k"
    found = factors(build(name), get_recipe(name).training)
    groups = {group: {key for key, value in found.items() if value == group} for group in set(found.values())}
    assert set(groups) == {(10, 0.01), (1, 0.0), (1, 0.01)}
    assert all(key.startswith("backbone.layers.") and ".layernorm_" in key for key in groups[1, 0.0])
    # 213, 96 and 196 tensors of the original. Each packed projection (its weight and its bias) becomes three here;
    # the constant weights of the loss are no parameters, and the class token is left out.
    assert len(groups[10, 0.01]) == 213 + 2 * 2 * 3 * 3
    assert len(groups[1, 0.0]) == 96
    assert len(groups[1, 0.01]) == 196 - 1 + 2 * 2 * 24


def test_what_decays_in_structtoken(build):
    name = "structtoken-cse-vit-t-ade20k-512-160k"
    found = factors(build(name), get_recipe(name).training)
    assert {key for key, (_, decay) in found.items() if decay != 0.01} == {
        "backbone.embeddings.cls_token",
        "backbone.embeddings.position_embeddings",
    }


@pytest.mark.parametrize("name", ["sctnet-s-ade20k-512-160k", "sctnet-s-seg50-cityscapes-512x1024-160k"])
def test_what_decays_in_sctnet(name, build):
    training = get_recipe(name).training
    found = factors(build(name), training)
    norms = {
        f"backbone.stage{stage}.layers.{index}.{block}.norm.{leaf}"
        for stage, index in ((3, 0), (4, 0), (4, 1))
        for block in ("attention", "mlp")
        for leaf in ("weight", "bias")
    }
    undecayed = {key for key, (_, decay) in found.items() if decay == 0}
    assert undecayed == (norms if "ade20k" in name else set())
    assert {decay for key, (_, decay) in found.items() if key not in undecayed} == {training.weight_decay}


def test_what_decays_in_a_detector(build):
    """Of the original's names, those with "norm" do not."""
    name = "hlg-retinanet-small-coco-800-12e"
    model = build(name)
    found = factors(model, get_recipe(name).training)
    manifest = json.loads((GOLDEN / "hlg" / "full_det_small_coco" / "case.json").read_text())["state_dict"]
    rules = HlgConverter({key: torch.empty(shape, device="meta") for key, shape in manifest.items()}).rules(
        model.config
    )
    checked = set()
    for original in manifest:
        for key in next(names for rule in rules if (names := rule.rename(original)) is not None):
            if key in found:
                assert found[key] == (1, 0.0 if "norm" in original else 1e-4), (original, key)
                checked.add(key)
    assert checked == set(found)


# Of the original's own hook: the rates at some iterations.
@pytest.mark.parametrize(
    ("name", "factor", "rates"),
    [
        (
            "sctnet-s-ade20k-512-160k",
            1,
            {0: 5.0e-10, 1: 3.338309e-7, 750: 2.488284e-4, 1499: 4.949854e-4, 1500: 4.953125e-4, 80000: 2.5e-4},
        ),
        (
            "sctnet-s-seg50-cityscapes-512x1024-160k",
            1,
            {0: 4.0e-10, 750: 1.990650e-4, 1500: 3.962594e-4, 80000: 2.005e-4, 159999: 1.002494e-6},
        ),
        ("sctnet-s-seg50-cityscapes-512x1024-160k", 10, {0: 4.0e-9, 1499: 3.959893e-3, 159999: 1.024994e-6}),
        ("structtoken-sse-vit-t-ade20k-512-160k", 1, {0: 2.0e-11, 1500: 1.98125e-5, 80000: 1e-5}),
    ],
)
def test_schedule(name, factor, rates):
    training = get_recipe(name).training
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=factor * training.learning_rate)
    (rate,) = poly_schedule(optimizer, training).lr_lambdas
    for iteration, expected in rates.items():
        assert factor * training.learning_rate * rate(iteration) == pytest.approx(expected, rel=1e-6)
