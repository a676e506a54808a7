# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken's recipes: every published row, with its own normalisation and learning rates, and the card."""

import ast
import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard

from vitseg import StructTokenForSemanticSegmentation, StructTokenImageProcessor
from vitseg.conversion.structtoken import StructTokenConverter
from vitseg.evaluation.throughput import count_multiply_adds
from vitseg.recipes import RECIPES, get_recipe, load_recipe
from vitseg.training.optimization import parameter_groups


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "structtoken"

# mIoU, with multi-scale and flip, whether pixels are normalised to -1..1, base learning rate, the decode head's
# factor; of the original: parameters in millions, entries of the state dict and 1e9 multiply-adds of a window.
PUBLISHED = {
    "structtoken-cse-vit-t-ade20k-512-160k": (39.12, 40.23, False, 2e-5, 9, 9.08, 435, 13.9),
    "structtoken-pwe-vit-t-ade20k-512-160k": (41.87, 42.99, False, 2e-5, 9, 12.65, 311, 17.3),
    "structtoken-sse-vit-t-ade20k-512-160k": (40.81, 42.24, False, 2e-5, 9, 14.10, 399, 19.8),
    "structtoken-cse-vit-s-ade20k-512-160k": (45.86, 47.44, False, 2e-5, 8, 30.04, 435, 40),
    "structtoken-pwe-vit-s-ade20k-512-160k": (47.36, 48.89, False, 2e-5, 8, 37.96, 311, 48),
    "structtoken-sse-vit-s-ade20k-512-160k": (47.11, 49.07, False, 2e-5, 8, 41.46, 399, 54),
    "structtoken-cse-vit-b-ade20k-512-160k": (49.51, 50.87, False, 2e-5, 8, 112.88, 435, 135),
    "structtoken-pwe-vit-b-ade20k-512-160k": (50.92, 51.82, True, 1e-5, 9, 132.17, 311, 154),
    "structtoken-sse-vit-b-ade20k-512-160k": (50.72, 51.85, True, 2e-5, 8, 142.41, 399, 171),
    "structtoken-pwe-vit-l-ade20k-640-160k": (52.95, 54.03, True, 2e-5, 8, 379.08, 455, 729),
    "structtoken-sse-vit-l-ade20k-640-160k": (53.04, 53.95, True, 2e-5, 6, 395.78, 543, 773),
}
SIZES = {
    "vit-t": (192, 12, 3, "tiny"),
    "vit-s": (384, 12, 6, "small"),
    "vit-b": (768, 12, 12, "base"),
    "vit-l": (1024, 24, 16, "large"),
}
FULL_CASES = {
    "full_vit_t_pwe_ade20k": "structtoken-pwe-vit-t-ade20k-512-160k",
    "full_vit_s_sse_ade20k": "structtoken-sse-vit-s-ade20k-512-160k",
}


def parts_of(name: str) -> tuple[str, str, int]:
    """Extraction, backbone and crop."""
    extraction, backbone, crop = re.match(r"structtoken-(\w+)-(vit-\w)-ade20k-(\d+)-160k", name).groups()
    return extraction, backbone, int(crop)


@functools.cache
def build(name: str) -> StructTokenForSemanticSegmentation:
    with torch.device("meta"):
        return StructTokenForSemanticSegmentation(get_recipe(name).build_config())


def test_every_published_row_has_a_recipe():
    assert {name for name, recipe in RECIPES.items() if recipe.method == "structtoken"} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    recipe, (miou, miou_multi_scale, *_) = get_recipe(name), PUBLISHED[name]
    assert (recipe.published.miou, recipe.published.miou_multi_scale) == (miou, miou_multi_scale)
    assert (recipe.weights.status, recipe.weights.licence) == ("published", "Apache-2.0")
    extraction, backbone, crop = parts_of(name)
    assert recipe.weights.url.endswith(f"/v0.1.0/struct-token-{extraction}_{backbone}_ade20k.pth")
    assert f"{backbone}_struct-token-{extraction}_ade20k_{crop}x{crop}.py" in recipe.published.source
    assert bool(recipe.weights.note) == (name == "structtoken-sse-vit-s-ade20k-512-160k")


@pytest.mark.parametrize("name", PUBLISHED)
def test_size(name):
    model, (*_, millions, num_entries, _) = build(name), PUBLISHED[name]
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions
    # Query, key and value are one entry there.
    fused = sum(re.search(r"\.[kv]_proj\.", key) is not None for key in model.state_dict())
    assert len(model.state_dict()) - fused == num_entries


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds(name):
    _, _, crop = parts_of(name)
    with torch.device("meta"):
        counted = count_multiply_adds(build(name).eval(), torch.empty(1, 3, crop, crop)) / 1e9
    # The original's are stated to two or three digits.
    assert counted == pytest.approx(PUBLISHED[name][-1], rel=0.02)


@pytest.mark.parametrize(("case", "name"), FULL_CASES.items())
def test_names_and_shapes_are_those_of_the_original(case, name):
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    model = build(name)
    assert sum(map(math.prod, manifest.values())) == sum(parameter.numel() for parameter in model.parameters())
    renamed = {}
    for original, shape in manifest.items():
        for rule in StructTokenConverter(manifest).rules(model.config):
            if match := re.fullmatch(rule.pattern, original):
                tensor = torch.empty(shape, device="meta")
                tensor = rule.transform(tensor) if rule.transform else tensor
                for target, part in zip(rule.targets, tensor.chunk(len(rule.targets)), strict=True):
                    renamed[match.expand(target)] = part.shape
                break
    assert renamed == {key: tensor.shape for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_architecture(name):
    extraction, backbone, crop = parts_of(name)
    config, (hidden_size, depth, num_heads, _) = get_recipe(name).build_config(), SIZES[backbone]
    vit = config.backbone_config
    assert (vit.hidden_size, vit.num_hidden_layers, vit.num_attention_heads) == (hidden_size, depth, num_heads)
    assert (vit.intermediate_size, vit.image_size, vit.patch_size) == (4 * hidden_size, crop, 16)
    assert (vit.drop_path_rate, vit.layer_norm_eps, vit.out_indices) == (0.1, 1e-6, [depth])
    assert (vit.use_class_token, vit.use_final_norm, vit.use_patch_norm) == (True, False, False)
    assert (vit.interpolate_by_token_count, vit.interpolation_mode) == (True, "bicubic")
    assert (config.extraction, config.num_labels) == (extraction, 150)
    assert (config.decoder_num_layers, config.decoder_mlp_ratio, config.decoder_drop_path_rate) == (4, 4, 0.1)
    assert (config.decoder_layer_norm_eps, config.decoder_mlp_layer_norm_eps) == (1e-6, 1e-5)
    assert config.token_grid_size == [crop // 16, crop // 16]


@pytest.mark.parametrize("name", PUBLISHED)
def test_protocol(name):
    recipe, (_, _, crop) = get_recipe(name), parts_of(name)
    config = recipe.build_config()
    stride = {512: 341, 640: 426}[crop]
    assert config.inference_mode == "slide"
    assert tuple(config.window_size) == recipe.training.crop_size == (crop, crop)
    assert tuple(config.window_stride) == (stride, stride)
    assert recipe.evaluation.scale == recipe.training.scale == (4 * crop, crop)
    assert recipe.evaluation.ratios == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert (recipe.evaluation.flip, recipe.evaluation.min_short) == (True, None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_image_processor(name):
    processor, (_, _, crop) = get_recipe(name).build_image_processor(), parts_of(name)
    assert isinstance(processor, StructTokenImageProcessor)
    image = np.full((300, 400, 3), (255, 0, 51), dtype=np.uint8)
    inputs = processor(image, np.zeros((300, 400), dtype=np.uint8), return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, crop, (4 * crop + 1) // 3)
    assert (inputs["labels"] == 255).all()
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    if PUBLISHED[name][2]:
        mean = std = np.full(3, 127.5)
    expected = torch.from_numpy((np.array([255, 0, 51]) - mean) / std).float()
    torch.testing.assert_close(inputs["pixel_values"][0, :, 0, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_training(name):
    training, (_, _, _, learning_rate, head_factor, *_) = get_recipe(name).training, PUBLISHED[name]
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adamw", learning_rate, 0.01)
    assert (training.power, training.min_learning_rate) == (1.0, 0.0)
    assert (training.warmup_iterations, training.warmup_ratio) == (1500, 1e-6)
    assert (training.iterations, training.batch_size, training.max_gradient_norm) == (160_000, 16, None)
    assert (training.ratio_range, training.max_category_share) == ((0.5, 2.0), 0.75)

    parameters = {parameter: key for key, parameter in build(name).named_parameters()}
    groups = parameter_groups(build(name), learning_rate, training.weight_decay, training.parameter_rules)
    for group in groups:
        for key in map(parameters.__getitem__, group["params"]):
            spared = key in ("backbone.embeddings.cls_token", "backbone.embeddings.position_embeddings")
            assert group["weight_decay"] == (0 if spared else 0.01), key
            factor = head_factor if key.startswith("decode_head.") else 1
            assert group["lr"] == pytest.approx(factor * learning_rate), key


@pytest.mark.parametrize("name", PUBLISHED)
def test_pretrained_weights_exist_in_timm(name):
    pretrained, (_, backbone, _) = get_recipe(name).training.pretrained, parts_of(name)
    hidden_size, depth, num_heads, size = SIZES[backbone]
    assert pretrained.timm_model == f"vit_{size}_patch16_384.augreg_in21k_ft_in1k"
    assert timm.get_pretrained_cfg(pretrained.timm_model).url == pretrained.url
    with torch.device("meta"):
        model = timm.create_model(pretrained.timm_model, pretrained=False)
    assert (model.embed_dim, len(model.blocks), model.blocks[0].attn.num_heads) == (hidden_size, depth, num_heads)


@pytest.mark.parametrize("extraction", ["cse", "sse", "pwe"])
def test_recipe_for_the_drawn_scenes(extraction):
    recipe = load_recipe(REPOSITORY / "examples" / "recipes" / f"scenes-structtoken-{extraction}.json")
    assert recipe.name == f"scenes-structtoken-{extraction}"
    config = recipe.build_config({0: "sky", 1: "sea"})
    assert (config.extraction, config.num_labels, config.token_grid_size) == (extraction, 2, [16, 16])
    assert isinstance(recipe.build_image_processor(), StructTokenImageProcessor)


def test_card():
    card = ModelCard.load(REPOSITORY / "MODEL_CARDS" / "structtoken.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "transformers")
    assert card.data.pipeline_tag == "image-segmentation"
    assert "as published, not measured here" in card.text
    rows = [line for line in card.text.splitlines() if line.startswith("| structtoken-")]
    assert len(rows) == 11
    for row, (name, (miou, miou_multi_scale, *_)) in zip(rows, PUBLISHED.items(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == name
        assert cells[3:6] == [f"{miou:.2f}", f"{miou_multi_scale:.2f}", "Apache-2.0"]
    snippets = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        ast.parse(snippet)
