# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""CTS Segmenter's recipes: every published row, with and without sharing, and the card."""

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

from vitseg import CtsSegmenterForSemanticSegmentation, CtsSegmenterImageProcessor
from vitseg.conversion.cts_segmenter import CtsSegmenterConverter
from vitseg.evaluation.throughput import count_multiply_adds
from vitseg.recipes import RECIPES, get_recipe, load_recipe
from vitseg.training.optimization import parameter_groups


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "cts_segmenter"

# Of CTS: mIoU, patches that share no token and superpatches that share one.
CTS = {
    "cts-segmenter-mask-0-vit-t-ade20k-512": (38.1, 1024, 0),
    "cts-segmenter-mask-30-vit-t-ade20k-512": (38.2, 612, 103),
    "cts-segmenter-mask-0-vit-s-ade20k-512": (45.0, 1024, 0),
    "cts-segmenter-mask-30-vit-s-ade20k-512": (45.1, 612, 103),
    "cts-segmenter-mask-0-vit-b-ade20k-512": (48.5, 1024, 0),
    "cts-segmenter-mask-30-vit-b-ade20k-512": (48.7, 612, 103),
    "cts-segmenter-mask-0-vit-l-ade20k-640": (51.8, 1600, 0),
    "cts-segmenter-mask-30-vit-l-ade20k-640": (51.6, 960, 160),
    "cts-segmenter-mask-0-vit-s-pascal-context-480": (53.0, 900, 0),
    "cts-segmenter-mask-30-vit-s-pascal-context-480": (52.9, 540, 90),
    "cts-segmenter-mask-0-vit-s-cityscapes-768": (76.5, 2304, 0),
    "cts-segmenter-mask-44-vit-s-cityscapes-768": (76.5, 960, 336),
}
# Of Segmenter: mIoU, with multi-scale and flip, parameters in millions (with ImageNet's classifier), end of the link.
# Its table says 106 for ViT-B with the mask transformer, more than its parts add up to.
SEGMENTER = {
    "segmenter-mask-vit-t-ade20k-512": (38.1, 38.8, 7, "ade20k/seg_tiny_mask/checkpoint.pth"),
    "segmenter-mask-vit-s-ade20k-512": (45.3, 46.9, 27, "ade20k/seg_small_mask/checkpoint.pth"),
    "segmenter-mask-vit-b-ade20k-512": (48.5, 50.0, 103, "ade20k/seg_base_mask/checkpoint.pth"),
    "segmenter-linear-vit-b8-ade20k-512": (49.5, 50.5, 89, "ade20k/seg_base_patch8/checkpoint.pth"),
    "segmenter-mask-vit-l-ade20k-640": (51.8, 53.6, 334, "ade20k/seg_large_mask_640/checkpoint.pth"),
    "segmenter-linear-deit-b-ade20k-512": (47.1, 48.1, 87, "ade20k/seg_base_deit_linear/checkpoint.pth"),
    "segmenter-mask-deit-b-ade20k-512": (48.7, 50.1, 103, "ade20k/seg_base_deit_mask/checkpoint.pth"),
    "segmenter-mask-vit-l-pascal-context-480": (58.1, 59.0, 334, "pascal_context/seg_large_mask/checkpoint.pth"),
    "segmenter-mask-vit-l-cityscapes-768": (79.1, 81.3, 322, "cityscapes/seg_large_mask/checkpoint.pth"),
}
# Of mmsegmentation: the same, and entries of the state dict.
MMSEG = {
    "segmenter-mmseg-mask-vit-t-ade20k-512-160k": (39.99, 40.83, 6.7, "ade20k_20220105_151706-ffcf7509.pth", 183),
    "segmenter-mmseg-linear-vit-s-ade20k-512-160k": (45.75, 46.82, 22.0, "ade20k_20220105_151713-39658c46.pth", 152),
    "segmenter-mmseg-mask-vit-s-ade20k-512-160k": (46.19, 47.85, 26.0, "ade20k_20220105_151706-511bb103.pth", 183),
    "segmenter-mmseg-mask-vit-b-ade20k-512-160k": (49.60, 51.07, 102.5, "ade20k_20220105_151706-bc533b08.pth", 183),
    "segmenter-mmseg-mask-vit-l-ade20k-640-160k": (51.65, 53.58, 333.2, "ade20k_20220614_024513-4783a347.pth", 327),
}
ALL = [*CTS, *SEGMENTER, *MMSEG]
# Width, depth, timm's name.
SIZES = {
    "vit-t": (192, 12, "vit_tiny_patch16_384.augreg_in21k_ft_in1k"),
    "vit-s": (384, 12, "vit_small_patch16_384.augreg_in21k_ft_in1k"),
    "vit-b": (768, 12, "vit_base_patch16_384.augreg_in21k_ft_in1k"),
    "vit-b8": (768, 12, None),
    "vit-l": (1024, 24, "vit_large_patch16_384.augreg_in21k_ft_in1k"),
    "deit-b": (768, 12, "deit_base_distilled_patch16_384.fb_in1k"),
}
# Updates, batch size, learning rate, long and short side, strides of CTS's evaluation.
DATA = {
    "ade20k-512": (161_728, 8, 0.001, (2048, 512), 512),
    "ade20k-640": (161_728, 8, 0.001, (2560, 640), 640),
    "pascal-context-480": (80_128, 16, 0.001, (4160, 520), 320),
    "cityscapes-768": (80_352, 8, 0.01, (2048, 1024), 512),
}
FULL_CASES = {
    "full_vit_small_ade20k_nosharing": "cts-segmenter-mask-0-vit-s-ade20k-512",
    "full_vit_tiny_ade20k_cts_612_103": "cts-segmenter-mask-30-vit-t-ade20k-512",
    "mmseg_full_vit_tiny": "segmenter-mmseg-mask-vit-t-ade20k-512-160k",
}


def parts_of(name: str) -> tuple[str, str, int]:
    """Backbone, data set with crop, and crop."""
    backbone, data, crop = re.search(r"((?:vit|deit)-\w+)-(ade20k|pascal-context|cityscapes)-(\d+)", name).groups()
    return backbone, f"{data}-{crop}", int(crop)


@functools.cache
def build(name: str) -> CtsSegmenterForSemanticSegmentation:
    with torch.device("meta"):
        return CtsSegmenterForSemanticSegmentation(get_recipe(name).build_config())


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def test_every_published_row_has_a_recipe():
    assert {name for name, recipe in RECIPES.items() if recipe.method == "cts_segmenter"} == set(ALL)


@pytest.mark.parametrize("name", CTS)
def test_rows_of_cts(name):
    recipe, (miou, alone, shared) = get_recipe(name), CTS[name]
    assert (recipe.published.miou, recipe.published.miou_multi_scale) == (miou, None)
    assert (recipe.weights.status, recipe.weights.url, recipe.weights.licence) == ("none", None, "MIT")
    vit = recipe.build_config().backbone_config
    side = vit.image_size // 16
    assert (vit.token_sharing or 0) == shared
    assert (vit.token_sharing is None) == (shared == 0)
    assert side**2 == alone + 4 * shared
    reduction = int(re.search(r"mask-(\d+)", name)[1])
    assert round(100 * (1 - (alone + shared) / side**2)) == reduction


@pytest.mark.parametrize("name", [*SEGMENTER, *MMSEG])
def test_published_figures(name):
    recipe, (miou, miou_multi_scale, _, link, *_) = get_recipe(name), (SEGMENTER | MMSEG)[name]
    assert (recipe.published.miou, recipe.published.miou_multi_scale) == (miou, miou_multi_scale)
    assert recipe.weights.status == "published"
    assert recipe.weights.url.endswith(link)
    assert recipe.weights.licence == ("MIT" if name in SEGMENTER else "Apache-2.0")


def test_parts_have_the_sizes_of_the_original():
    for backbone, encoder, classifier, decoder in (
        ("vit-t", 5.88, 0.19, 1.03),
        ("vit-s", 22.37, 0.39, 4.05),
        ("vit-b", 87.20, 0.77, 16.06),
    ):
        model = build(f"cts-segmenter-mask-30-{backbone}-ade20k-512")
        assert millions(model.decode_head) == pytest.approx(decoder, abs=0.006)
        assert millions(model.backbone.policy_net) == 2.95949
        vit = millions(model.backbone) - millions(model.backbone.policy_net)
        assert vit + classifier == pytest.approx(encoder, abs=0.011)


@pytest.mark.parametrize("name", [*SEGMENTER, *MMSEG])
def test_sizes(name):
    model, expected = build(name), (SEGMENTER | MMSEG)[name][2]
    if name in MMSEG:
        assert round(millions(model), 1) == expected
        # Query, key and value are one entry there.
        fused = sum(re.search(r"\.[kv]_proj\.", key) is not None for key in model.state_dict())
        assert len(model.state_dict()) - fused == MMSEG[name][4]
        return
    # Two of them for DeiT.
    hidden_size = model.config.backbone_config.hidden_size
    classifiers = (hidden_size + 1) * 1000 * (2 if "deit" in name else 1) / 1e6
    assert millions(model) + classifiers == pytest.approx(expected, abs=1.1)


@pytest.mark.parametrize(
    ("name", "gflops"),
    [("cts-segmenter-mask-0-vit-s-ade20k-512", 76.8), ("cts-segmenter-mask-30-vit-s-ade20k-512", 53.0)],
)
def test_arithmetic_of_a_window(name, gflops):
    """As the original's was counted, two operations for each multiply-add and the policy network included."""
    with torch.device("meta"):
        counted = count_multiply_adds(build(name).eval(), torch.empty(1, 3, 512, 512))
    assert round(2 * counted / 1e9, 1) == gflops


@pytest.mark.parametrize(("case", "name"), FULL_CASES.items())
def test_names_and_shapes_are_those_of_the_original(case, name):
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    model = build(name)
    renamed = {}
    for original, shape in manifest.items():
        for rule in CtsSegmenterConverter(manifest).rules(model.config):
            if match := re.fullmatch(rule.pattern, original):
                tensor = torch.empty(shape, device="meta")
                tensor = rule.transform(tensor) if rule.transform else tensor
                for target, part in zip(rule.targets, tensor.tensor_split(len(rule.targets) or 1), strict=False):
                    renamed[match.expand(target)] = part.shape
                break
    expected = {key: tensor.shape for key, tensor in model.state_dict().items() if "num_batches_tracked" not in key}
    assert renamed == expected
    dropped = sum(math.prod(shape) for key, shape in manifest.items() if key.startswith("encoder.head"))
    assert sum(map(math.prod, manifest.values())) - dropped == sum(map(math.prod, expected.values()))


@pytest.mark.parametrize("name", ALL)
def test_architecture(name):
    (backbone, _, crop), config = parts_of(name), get_recipe(name).build_config()
    vit, (hidden_size, depth, _) = config.backbone_config, SIZES[backbone]
    assert (vit.hidden_size, vit.num_hidden_layers, vit.num_attention_heads) == (hidden_size, depth, hidden_size // 64)
    assert (vit.intermediate_size, vit.image_size) == (4 * hidden_size, crop)
    assert vit.patch_size == (8 if backbone == "vit-b8" else 16)
    assert vit.use_distillation_token == (backbone == "deit-b")
    assert (vit.use_class_token, vit.use_final_norm, vit.drop_path_rate) == (True, True, 0.1)
    assert vit.interpolate_by_token_count
    by_mmseg = name in MMSEG
    assert (vit.layer_norm_eps, vit.interpolation_mode) == ((1e-6, "bicubic") if by_mmseg else (1e-5, "bilinear"))
    assert vit.drop_path_on_attention != by_mmseg
    assert config.decoder_type == ("linear" if "linear" in name else "mask_transformer")
    if config.decoder_type == "mask_transformer":
        assert config.decoder_num_layers == (1 if name == "segmenter-mask-vit-l-cityscapes-768" else 2)
        assert (config.decoder_dropout, config.decoder_drop_path_rate) == ((0, 0.1) if by_mmseg else (0.1, 0))
    switches = (config.crop_padding, config.enlarge_small_images, config.average_valid_pixels)
    assert switches == (not by_mmseg,) * 3
    assert config.num_labels == {"ade20k": 150, "pascal": 60, "cityscapes": 19}[re.split("-", parts_of(name)[1])[0]]


@pytest.mark.parametrize("name", ALL)
def test_protocol(name):
    recipe, (_, data, crop) = get_recipe(name), parts_of(name)
    config, (_, _, _, scale, stride) = recipe.build_config(), DATA[data]
    stride = stride if name in CTS else crop - 32
    assert config.inference_mode == "slide"
    assert tuple(config.window_size) == recipe.training.crop_size == (crop, crop)
    assert tuple(config.window_stride) == (stride, stride)
    assert recipe.evaluation.scale == recipe.training.scale == scale
    assert recipe.evaluation.ratios == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert (recipe.evaluation.flip, recipe.evaluation.min_short) == (True, None)


@pytest.mark.parametrize("name", ALL)
def test_image_processor(name):
    processor, (backbone, data, _) = get_recipe(name).build_image_processor(), parts_of(name)
    assert isinstance(processor, CtsSegmenterImageProcessor)
    long, short = DATA[data][3]
    assert (processor.size["longest_edge"], processor.size["shortest_edge"]) == (long, short)
    image = np.full((32, 40, 3), (255, 0, 51), dtype=np.uint8)
    inputs = processor(image, np.zeros((32, 40), dtype=np.uint8), do_resize=False, return_tensors="pt")
    assert (inputs["labels"] == (255 if "ade20k" in name else 0)).all()
    mean, std = np.full(3, 127.5), np.full(3, 127.5)
    if backbone == "deit-b":
        mean, std = np.array([123.68, 116.28, 103.53]), np.array([58.4, 57.12, 57.38])
    expected = torch.from_numpy((np.array([255, 0, 51]) - mean) / std).float()
    torch.testing.assert_close(inputs["pixel_values"][0, :, 0, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_training(name):
    training, (_, data, _) = get_recipe(name).training, parts_of(name)
    iterations, batch_size, learning_rate, *_ = DATA[data]
    by_mmseg = name in MMSEG
    assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, not by_mmseg)
    assert (training.learning_rate, training.weight_decay) == (learning_rate, 0)
    assert (training.power, training.min_learning_rate) == (0.9, 1e-4 if by_mmseg else 1e-5)
    assert (training.iterations, training.batch_size) == (160_000 if by_mmseg else iterations, batch_size)
    assert (training.warmup_iterations, training.max_gradient_norm) == (0, None)
    assert (training.ratio_range, training.max_category_share) == ((0.5, 2.0), 0.75)
    (group,) = parameter_groups(build(name).train(), learning_rate, 0.0, training.parameter_rules)
    assert group["lr"] == learning_rate


@pytest.mark.parametrize("name", ALL)
def test_pretrained_weights_exist_in_timm(name):
    pretrained, (backbone, _, _) = get_recipe(name).training.pretrained, parts_of(name)
    hidden_size, depth, timm_name = SIZES[backbone]
    if timm_name is None:
        assert pretrained is None
        return
    assert (pretrained.timm_model, timm.get_pretrained_cfg(timm_name).url) == (timm_name, pretrained.url)
    with torch.device("meta"):
        model = timm.create_model(timm_name, pretrained=False)
    assert (model.embed_dim, len(model.blocks)) == (hidden_size, depth)


@pytest.mark.parametrize(("name", "shared"), [("", None), ("-30", 26), ("-44", 38)])
def test_recipes_for_the_drawn_scenes(name, shared):
    recipe = load_recipe(REPOSITORY / "examples" / "recipes" / f"scenes-cts-segmenter{name}.json")
    assert recipe.name == f"scenes-cts-segmenter{name}"
    config = recipe.build_config({0: "sky", 1: "sea"})
    assert config.backbone_config.token_sharing == shared
    if shared:
        assert round(100 * 3 * shared / 16**2) in (30, 45)
    assert isinstance(recipe.build_image_processor(), CtsSegmenterImageProcessor)
    policy = load_recipe(REPOSITORY / "examples" / "recipes" / "scenes-cts-policy.json")
    assert policy.training.crop_size == recipe.training.crop_size


def test_card():
    card = ModelCard.load(REPOSITORY / "MODEL_CARDS" / "cts_segmenter.md")
    assert (card.data.license, card.data.library_name) == ("mit", "transformers")
    assert card.data.pipeline_tag == "image-segmentation"
    assert "as published, not measured here" in card.text
    assert "No weights of CTS Segmenter" in card.text
    rows = [line for line in card.text.splitlines() if re.match(r"\| (cts-)?segmenter-", line)]
    for row, name in zip(rows, ALL, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == name
        assert cells[3] == f"{get_recipe(name).published.miou:.2f}"
        assert cells[5] == ("Apache-2.0" if name in MMSEG else "MIT")
    snippets = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        ast.parse(snippet)
