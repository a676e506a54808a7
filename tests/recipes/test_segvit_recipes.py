# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT's recipes: the seven published rows, with their models, protocols, training and figures."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard

from vitseg import SegVitForSemanticSegmentation, SegVitImageProcessor
from vitseg.conversion.segvit import SegVitConverter
from vitseg.evaluation.throughput import count_multiply_adds
from vitseg.recipes import RECIPES, get_recipe
from vitseg.training.optimization import build_optimizer


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "segvit"

NAMES = [name for name, recipe in RECIPES.items() if recipe.method == "segvit"]

# The authors' table: mIoU, with multi-scale and flip, 1e9 multiply-adds of a window, checkpoint; and millions of
# tensor elements in the checkpoint.
PUBLISHED = {
    "segvit-atm-vit-b-ade20k-512-160k": (51.3, 53.0, 120.9, "ade_51.3.pth", 108.74),
    "segvit-shrunk-vit-l-ade20k-640-160k": (53.9, 55.1, 373.5, "ade_shrunk_53.9.pth", 344.60),
    "segvit-atm-vit-l-ade20k-640-160k": (54.6, 55.2, 637.9, "ade_54.6.pth", 344.31),
    "segvit-shrunk-vit-l-coco-stuff-10k-512-80k": (49.1, 49.4, 224.8, "COCOstuff10k_shrunk_49.1.pth", 343.74),
    "segvit-atm-vit-l-coco-stuff-10k-512-80k": (49.9, 50.3, 383.9, "COCOstuff_49.9.pth", 343.74),
    "segvit-shrunk-vit-l-pascal-context-59-480-80k": (62.3, 63.7, 186.9, "PC59cls_62.3.pth", 343.43),
    "segvit-atm-vit-l-pascal-context-59-480-80k": (64.1, 65.3, 321.6, "PC59cls_64.1.pth", 343.50),
}


@functools.cache
def build(name: str) -> SegVitForSemanticSegmentation:
    with torch.device("meta"):
        return SegVitForSemanticSegmentation(get_recipe(name).build_config()).eval()


def test_every_published_row_has_a_recipe():
    assert set(NAMES) == set(PUBLISHED)


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_and_weights(name):
    recipe = get_recipe(name)
    miou, multi_scale, _, file, _ = PUBLISHED[name]
    assert (recipe.published.miou, recipe.published.miou_multi_scale) == (miou, multi_scale)
    assert recipe.weights.status == "published"
    assert recipe.weights.url == f"https://huggingface.co/Akide/SegViTv1/resolve/main/{file}"
    assert "academic" in recipe.weights.licence
    assert "not for commercial use" in recipe.weights.describe()


def checkpoint_elements(name: str) -> int:
    """Elements of the original's tensors: ours, and those that it holds without using them."""
    model = build(name)
    # The class token and its position, and the weights of the loss.
    num_losses = 2 if "shrunk" in name else 1
    unused = 2 * model.config.backbone_config.hidden_size + num_losses * (model.config.num_labels + 1)
    return sum(parameter.numel() for parameter in model.parameters()) + unused


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count(name):
    assert checkpoint_elements(name) / 1e6 == pytest.approx(PUBLISHED[name][-1], abs=0.005)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("full-vitb-ade20k", "segvit-atm-vit-b-ade20k-512-160k"),
        ("full-vitl-shrunk-ade20k", "segvit-shrunk-vit-l-ade20k-640-160k"),
    ],
)
def test_converted_names_cover_the_original_checkpoint(case, name):
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    assert checkpoint_elements(name) == sum(math.prod(shape) for shape in manifest.values())
    rules = SegVitConverter(manifest).rules(get_recipe(name).build_config())
    converted, dropped = set(), set()
    for original in manifest:
        names = next(names for rule in rules if (names := rule.rename(original)) is not None)
        converted |= set(names)
        dropped |= set() if names else {original.rpartition(".")[2]}
    assert converted == set(build(name).state_dict())
    assert dropped == {"cls_token", "empty_weight"}


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic_as_published(name):
    recipe = get_recipe(name)
    side = recipe.training.crop_size[0]
    with torch.device("meta"):
        counted = count_multiply_adds(build(name), torch.empty(1, 3, side, side)) / 1e9
    published = PUBLISHED[name][2]
    assert counted == pytest.approx(published, rel=0.005)
    card = (REPOSITORY / "MODEL_CARDS" / "segvit.md").read_text(encoding="utf-8")
    labels = build(name).config.num_labels
    assert f"| {side} | {labels} | {published} | {counted:.1f} |" in card


@pytest.mark.parametrize("name", NAMES)
def test_architecture(name):
    config = get_recipe(name).build_config()
    backbone, shrunk, large = config.backbone_config, "shrunk" in name, "vit-l" in name
    taps = [7, 23] if shrunk else [7, 15, 23] if large else [5, 7, 11]
    assert [index - 1 for index in backbone.out_indices] == taps
    assert backbone.shrink_layer == (9 if shrunk else None)
    assert (backbone.hidden_size, backbone.num_hidden_layers, backbone.num_attention_heads) == (
        (1024, 24, 16) if large else (768, 12, 12)
    )
    assert (backbone.drop_path_rate, backbone.drop_path_on_attention) == (0.3 if large else 0.1, False)
    assert (backbone.use_class_token, backbone.interpolation_mode) == (False, "bicubic")
    assert (config.decoder_hidden_size, config.decoder_num_attention_heads) == ((512, 16) if large else (384, 12))
    assert (config.decoder_type, config.decoder_num_layers) == ("tpn_atm" if shrunk else "atm", 3)
    assert config.label2id == {label: index for index, label in config.id2label.items()}


@pytest.mark.parametrize("name", NAMES)
def test_protocol(name):
    recipe = get_recipe(name)
    config = recipe.build_config()
    num_labels, crop, stride, scale = {
        "ade20k": (150, 640, 608, (2048, 640)),
        "coco_stuff10k": (171, 512, 341, (2048, 512)),
        "pascal_context59": (59, 480, 320, (520, 520)),
    }[recipe.label_set]
    if "vit-b" in name:
        crop, stride, scale = 512, 341, (2048, 512)
    assert config.num_labels == num_labels
    assert config.inference_mode == "slide"
    assert config.backbone_config.image_size == config.mask_size == crop
    assert tuple(config.window_size) == recipe.training.crop_size == (crop, crop)
    assert tuple(config.window_stride) == (stride, stride)
    assert recipe.evaluation.scale == recipe.training.scale == scale
    assert (recipe.evaluation.min_short, recipe.evaluation.flip) == (crop, True)
    assert recipe.evaluation.ratios == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


# Height and width of an image, as loaded and as the single-scale test feeds it in; and what white becomes.
@pytest.mark.parametrize(
    ("name", "size", "expected_size", "white"),
    [
        ("segvit-atm-vit-l-ade20k-640-160k", (512, 683), (640, 854), 1),
        ("segvit-shrunk-vit-l-ade20k-640-160k", (375, 500), (640, 853), 1),
        ("segvit-atm-vit-b-ade20k-512-160k", (100, 500), (410, 2048), (1 - 0.485) / 0.229),
        ("segvit-atm-vit-l-coco-stuff-10k-512-80k", (427, 640), (512, 767), 1),
        ("segvit-atm-vit-l-pascal-context-59-480-80k", (375, 500), (520, 693), 1),
    ],
)
def test_image_processor(name, size, expected_size, white):
    processor = get_recipe(name).build_image_processor()
    assert isinstance(processor, SegVitImageProcessor)
    image, label_map = np.full((*size, 3), 255, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    label_map[0] = 7
    inputs = processor(image, label_map, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *expected_size)
    assert inputs["pixel_values"][0, 0].unique().tolist() == pytest.approx([white], rel=1e-5)
    assert inputs["labels"].unique().tolist() == [6, 255]


@pytest.mark.parametrize("name", NAMES)
def test_training(name):
    recipe = get_recipe(name)
    training = recipe.training
    weight_decay, power, thousands = {
        "ade20k": (0.01, 1.0, 160),
        "coco_stuff10k": (0.02, 2.0, 80),
        "pascal_context59": (0.03, 1.0, 80),
    }[recipe.label_set]
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adamw", 2e-5, weight_decay)
    assert (training.power, training.min_learning_rate) == (power, 0)
    assert (training.warmup_iterations, training.warmup_ratio, training.max_gradient_norm) == (1500, 1e-6, 35)
    assert (training.iterations, training.batch_size) == (1000 * thousands, 16)
    assert (training.ratio_range, training.max_category_share) == ((0.5, 2.0), 0.75)


def test_parameter_groups():
    name = "segvit-atm-vit-l-ade20k-640-160k"
    model = build(name)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    groups = {
        (group["lr"], group["weight_decay"]): {names[id(parameter)] for parameter in group["params"]}
        for group in build_optimizer(model, get_recipe(name).training).param_groups
    }
    assert set(groups) == {(2e-4, 0.01), (2e-5, 0.0), (2e-5, 0.01)}
    assert all(key.startswith("decode_head.") for key in groups[2e-4, 0.01])
    norms = groups[2e-5, 0.0]
    assert all(key.startswith("backbone.layers.") and ".layernorm_" in key for key in norms)
    assert all(key.startswith("backbone.") for key in groups[2e-5, 0.01])
    # 213, 96 and 196 tensors of the original. Each packed projection (its weight and its bias) becomes three here;
    # the constant weights of the loss are no parameters, and the class token is left out.
    assert len(groups[2e-4, 0.01]) == 213 + 2 * 2 * 3 * 3
    assert len(norms) == 96
    assert len(groups[2e-5, 0.01]) == 196 - 1 + 2 * 2 * 24


@pytest.mark.parametrize("backbone", ["vit-b", "vit-l"])
def test_pretrained_weights_exist_in_timm(backbone):
    recipe = next(get_recipe(name) for name in NAMES if backbone in name)
    with torch.device("meta"):
        timm_model = timm.create_model(recipe.training.pretrained.timm_model, pretrained=False)
    assert timm_model.embed_dim == recipe.model["backbone_config"]["hidden_size"]
    assert recipe.training.pretrained.note


def test_card():
    card = ModelCard.load(REPOSITORY / "MODEL_CARDS" / "segvit.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-segmentation")
    assert (card.data.license, card.data.license_name) == ("other", "bsd-2-clause-academic-use")
    assert "The weights are for academic use" in card.text
    assert "as published, not measured here" in card.text
    rows = [line for line in card.text.splitlines() if line.startswith("| segvit-")]
    assert len(rows) == len(NAMES)
    for row, name in zip(rows, NAMES, strict=True):
        assert PUBLISHED[name][3] in row
