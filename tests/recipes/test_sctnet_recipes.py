# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet's recipes: every published row, its model, its protocol, and its training."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vitseg import SctNetForSemanticSegmentation
from vitseg.conversion.sctnet import SctNetConverter
from vitseg.recipes import RECIPES, get_recipe, load_recipe
from vitseg.recipes.protocol import Protocol
from vitseg.training.optimization import build_optimizer, poly_schedule


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "sctnet"
SCTNET = {name: recipe for name, recipe in RECIPES.items() if recipe.method == "sctnet"}

# mIoU, frames/s by PyTorch and TensorRT, batch size, base rate, parameters, 1e9 multiply-adds at the size of the test.
PUBLISHED = {
    "sctnet-s-ade20k-512-160k": (37.91, 158.4, None, 32, 5e-4, 4_671_542, (512, 512)),
    "sctnet-b-ade20k-512-160k": (43.04, 145.1, None, 32, 5e-4, 17_471_446, (512, 512)),
    "sctnet-b-coco-stuff-10k-640-160k": (35.91, 141.5, None, 16, 6e-5, 17_476_843, (640, 640)),
    "sctnet-s-seg50-cityscapes-512x1024-160k": (72.94, 160.3, 451.2, 16, 4e-4, 4_654_643, (512, 1024)),
    "sctnet-s-seg75-cityscapes-512x1024-160k": (76.33, 149.2, 233.3, 16, 4e-4, 4_654_643, (768, 1536)),
    "sctnet-b-seg50-cityscapes-512x1024-160k": (76.46, 144.9, 374.6, 16, 4e-4, 17_437_779, (512, 1024)),
    "sctnet-b-seg75-cityscapes-512x1024-160k": (79.83, 105.2, 186.6, 16, 4e-4, 17_437_779, (768, 1536)),
    "sctnet-b-seg100-cityscapes-1024-160k": (80.51, 62.8, 105.0, 16, 4e-4, 17_437_779, (1024, 2048)),
}
GFLOPS = [4.1, 15.1, 23.6, 8.0, 18.0, 29.9, 67.2, 119.5]


def build(name: str) -> SctNetForSemanticSegmentation:
    with torch.device("meta"):
        return SctNetForSemanticSegmentation(get_recipe(name).build_config()).eval()


@pytest.mark.parametrize("name", SCTNET)
def test_published_rows(name):
    assert SCTNET.keys() == PUBLISHED.keys()
    recipe, model = get_recipe(name), build(name)
    published = recipe.published
    assert (
        published.miou,
        published.frames_per_second,
        published.frames_per_second_tensorrt,
        recipe.training.batch_size,
        recipe.training.learning_rate,
        model.num_parameters(),
        tuple(model.config.image_size),
    ) == PUBLISHED[name]
    assert (recipe.weights.status, recipe.weights.licence) == ("published", "MIT")


@pytest.mark.parametrize(("name", "gflops"), list(zip(PUBLISHED, GFLOPS, strict=True)))
def test_cost(name, gflops):
    from vitseg.evaluation.throughput import count_multiply_adds

    images = torch.empty(1, 3, *PUBLISHED[name][-1], device="meta")
    assert count_multiply_adds(build(name), images) / 1e9 == pytest.approx(gflops, abs=0.051)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("full_b_ade20k", "sctnet-b-ade20k-512-160k"),
        ("full_s_seg50_cityscapes", "sctnet-s-seg50-cityscapes-512x1024-160k"),
    ],
)
def test_manifest(case, name):
    """The converted names are those of the published checkpoint, but for what only training needs."""
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    model = build(name)
    converted, rules = {}, SctNetConverter(manifest).rules(model.config)
    for original, shape in manifest.items():
        names = next(names for rule in rules if (names := rule.rename(original)) is not None)
        assert names or original.startswith("auxiliary_head.")
        converted |= dict.fromkeys(names, shape)
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    assert converted == expected
    running = [shape for key, shape in converted.items() if "running_" in key]
    assert sum(map(math.prod, converted.values())) - sum(map(math.prod, running)) == model.num_parameters()


@pytest.mark.parametrize(
    ("name", "size", "expected_size", "reduces"),
    [
        ("sctnet-s-ade20k-512-160k", (300, 400), (512, 683), True),
        ("sctnet-s-ade20k-512-160k", (100, 500), (410, 2048), True),
        ("sctnet-b-coco-stuff-10k-640-160k", (480, 640), (640, 853), True),
        ("sctnet-s-seg50-cityscapes-512x1024-160k", (1024, 2048), (512, 1024), False),
        ("sctnet-b-seg75-cityscapes-512x1024-160k", (1024, 2048), (768, 1536), False),
        ("sctnet-b-seg100-cityscapes-1024-160k", (1024, 2048), (1024, 2048), False),
    ],
)
def test_protocol(name, size, expected_size, reduces):
    recipe = get_recipe(name)
    image, label_map = np.zeros((*size, 3), dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    inputs = recipe.build_image_processor()(image, label_map, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *expected_size)
    assert (inputs["labels"] == (255 if reduces else 0)).all()
    config = recipe.build_config()
    assert config.inference_mode == recipe.evaluation.mode == "whole"
    protocol = Protocol.of_recipe(recipe)
    assert [(view.height, view.width, view.flip) for view in protocol.views(*size)] == [(*expected_size, False)]
    assert Protocol.of_model(config, recipe.build_image_processor()) == protocol


@pytest.mark.parametrize("name", SCTNET)
def test_training(name):
    training = get_recipe(name).training
    cityscapes = "cityscapes" in name
    assert (training.optimizer, training.power, training.iterations) == ("adamw", 1.0, 160_000)
    assert (training.warmup_iterations, training.warmup_ratio) == (1500, 1e-6)
    assert (training.weight_decay, training.min_learning_rate) == ((0.0125, 1e-6) if cityscapes else (0.01, 0.0))
    assert training.max_gradient_norm is None
    assert training.ratio_range == ((0.25, 1.5) if cityscapes and "seg100" not in name else (0.5, 2.0))
    scale = (2048, 1024) if cityscapes else (2560, 640) if "coco" in name else (2048, 512)
    assert training.scale == scale
    crop = re.search(r"-(\d+)(?:x(\d+))?-160k", name)
    assert training.crop_size == (int(crop[1]), int(crop[2] or crop[1]))
    size, data = ("b3" if "sctnet-b" in name else "b2"), re.search(r"ade20k|cityscapes|coco-stuff-10k", name)[0]
    assert training.teacher == f"sctnet-teacher-mit-{size}-{data}"
    assert training.pretrained.timm_model is None
    assert f"SCT-{'B' if 'sctnet-b' in name else 'S'}_Pretrain.pth" in training.pretrained.note


class Teacher(torch.nn.Module):
    """Of the channels of MiT-B2."""

    alignment_channels = [1024, 512, 320]

    def __init__(self, config):
        super().__init__()
        self.config = config


def groups(name: str) -> dict[str, tuple[float, float]]:
    """Factors on learning rate and weight decay of each parameter that is trained."""
    training = get_recipe(name).training
    with torch.device("meta"):
        model = SctNetForSemanticSegmentation(get_recipe(name).build_config())
    model.add_training_heads(Teacher(model.config))
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (
            group["lr"] / training.learning_rate,
            group["weight_decay"] / training.weight_decay,
        )
        for group in build_optimizer(model, training).param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", ["sctnet-s-ade20k-512-160k", "sctnet-s-seg50-cityscapes-512x1024-160k"])
def test_parameter_groups(name):
    factors = groups(name)
    tenfold = {key for key, (rate, _) in factors.items() if rate == pytest.approx(10)}
    assert tenfold == {key for key in factors if key.startswith(("decode_head.", "auxiliary_head.", "alignment."))}
    assert {rate for key, (rate, _) in factors.items() if key not in tenfold} == {1.0}
    undecayed = {key for key, (_, decay) in factors.items() if decay == 0}
    norms = {
        f"backbone.stage{stage}.layers.{index}.{block}.norm.{leaf}"
        for stage, index in ((3, 0), (4, 0), (4, 1))
        for block in ("attention", "mlp")
        for leaf in ("weight", "bias")
    }
    assert undecayed == (norms if "ade20k" in name else set())
    assert {decay for key, (_, decay) in factors.items() if key not in undecayed} == {1.0}


# Of the original's own hook: base and floor, and the rates at some iterations.
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
    ],
)
def test_schedule(name, factor, rates):
    training = get_recipe(name).training
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=factor * training.learning_rate)
    (rate,) = poly_schedule(optimizer, training).lr_lambdas
    for iteration, expected in rates.items():
        assert factor * training.learning_rate * rate(iteration) == pytest.approx(expected, rel=1e-6)


def test_demo_recipes():
    folder = REPOSITORY / "examples" / "recipes"
    student, teacher = (load_recipe(folder / f"scenes-sctnet{suffix}.json") for suffix in ("", "-teacher"))
    assert (student.method, student.training.teacher) == ("sctnet", "none")
    assert (teacher.method, teacher.training.teacher) == ("sctnet_teacher", None)
    labels = {0: "sky", 1: "sea"}
    assert student.build_config(labels).num_labels == teacher.build_config(labels).num_labels == 2
    wrong = load_recipe(folder / "scenes-sctnet-teacher.json", {"model.encoder_config.depth": [1, 1, 1, 1]})
    with pytest.raises(ValueError, match=r"no SegformerConfig argument 'depth'.*'depths'"):
        wrong.build_config(labels)
