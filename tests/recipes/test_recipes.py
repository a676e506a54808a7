# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: every published row is there, builds the published model, and states its protocol and figures."""

import ast
import dataclasses
import functools
import json
import math
import re
import runpy
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard

from vitseg import SetrForSemanticSegmentation, SetrImageProcessor
from vitseg.recipes import RECIPES, PublishedResult, Weights, get_recipe
from vitseg.recipes.cards import write_cards


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "setr"

# mIoU, with multi-scale and flip, batch size, base learning rate and weights, from the tables of the sources.
PUBLISHED = {
    "setr-naive-vit-l-cityscapes-768-40k": (77.37, None, 8, 0.01, "published"),
    "setr-mla-vit-l-cityscapes-768-80k": (77.24, None, 8, 0.002, "published"),
    "setr-pup-vit-l-cityscapes-768-80k": (79.34, None, 8, 0.01, "published"),
    "setr-naive-vit-b-cityscapes-768-80k": (76.25, None, 8, 0.01, "published"),
    "setr-naive-deit-b-cityscapes-768-80k": (78.66, None, 8, 0.01, "link empty"),
    "setr-pup-deit-b-cityscapes-768-40k": (78.79, None, 8, 0.01, "link empty"),
    "setr-naive-vit-l-ade20k-512-160k": (48.06, 48.80, 16, 0.01, "published"),
    "setr-mla-vit-l-ade20k-512-160k-b8": (47.79, 50.03, 8, 0.001, "published"),
    "setr-mla-vit-l-ade20k-512-160k-b16": (48.64, 50.28, 16, 0.001, "link empty"),
    "setr-mla-deit-b-ade20k-512-160k": (46.15, 47.71, 16, 0.001, "link empty"),
    "setr-pup-vit-l-ade20k-512-160k": (48.62, 50.09, 16, 0.001, "published"),
    "setr-mla-vit-l-pascal-context-480-80k-b16": (55.01, 55.83, 16, 0.001, "published"),
    "setr-pup-deit-b-pascal-context-480-80k": (52.00, 52.50, 16, 0.001, "link empty"),
    "setr-mmseg-naive-vit-l-ade20k-512-160k": (48.28, 49.56, 16, 0.01, "published"),
    "setr-mmseg-mla-vit-l-ade20k-512-160k-b8": (47.34, 49.05, 8, 0.001, "published"),
    "setr-mmseg-pup-vit-l-cityscapes-768-80k": (79.21, 81.02, 8, 0.01, "published"),
}

# Millions of parameters of the original over its data sets, least and most: of the whole training model, and of what
# inference needs.
ORIGINAL_MILLIONS = {
    "setr-naive-vit-l": ((305.3, 306.6), (304.3, 305.7)),
    "setr-pup-vit-l": ((317.8, 319.1), (308.2, 309.6)),
    "setr-mla-vit-l": ((309.7, 310.8), (309.5, 310.7)),
    "setr-naive-vit-b": ((88.3, 88.3), (87.6, 87.6)),
    "setr-naive-deit-b": ((88.3, 88.3), (87.6, 87.6)),
    "setr-pup-deit-b": ((97.2, 98.1), (89.9, 91.0)),
    "setr-mla-deit-b": ((91.8, 92.6), (91.5, 92.4)),
    "setr-mmseg-naive-vit-l": ((305.6, 306.5), (304.5, 305.7)),
    "setr-mmseg-pup-vit-l": ((317.3, 318.5), (308.3, 309.6)),
    "setr-mmseg-mla-vit-l": ((309.6, 310.7), (309.4, 310.7)),
}

# The blocks whose output the decoder takes, counted from 0 as the originals do.
ORIGINAL_TAPS = {
    "setr-naive-vit-l": [9, 14, 19, 23],
    "setr-pup-vit-l": [9, 14, 19, 23],
    "setr-mla-vit-l": [5, 11, 17, 23],
    "setr-naive-vit-b": [2, 5, 8, 11],
    "setr-naive-deit-b": [2, 5, 8, 11],
    "setr-pup-deit-b": [4, 7, 9, 11],
    "setr-mla-deit-b": [2, 5, 8, 11],
    "setr-mmseg-naive-vit-l": [9, 14, 19, 23],
    "setr-mmseg-pup-vit-l": [9, 14, 19, 23],
    "setr-mmseg-mla-vit-l": [5, 11, 17, 23],
}

SETR_RECIPES = {name: recipe for name, recipe in RECIPES.items() if recipe.method == "setr"}
SIX_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def family(name):
    return re.match(r"(.+)-(?:ade20k|cityscapes|pascal-context)-", name)[1]


@functools.cache
def build(name):
    with torch.device("meta"):
        return SetrForSemanticSegmentation(get_recipe(name).build_config())


def parameter_counts(name):
    """Parameters of the whole original model and of what inference needs."""
    model = build(name)
    num_heads = 1 + len(model.auxiliary_head)
    trained = sum(parameter.numel() for parameter in model.parameters())
    # Every head of the authors' owns a 1x1 convolution from 512 channels that nothing uses.
    unused = 0 if "mmseg" in name else num_heads * (512 + 1) * model.config.num_labels
    if model.config.decoder_type == "mla":
        # The class token and its position, which the original cuts off before the first block.
        unused += 2 * model.config.backbone_config.hidden_size
    auxiliary = sum(parameter.numel() for parameter in model.auxiliary_head.parameters())
    return trained + unused, trained - auxiliary


def test_every_published_row_has_a_recipe():
    assert Counter("mmseg" in name for name in SETR_RECIPES) == {False: 26, True: 7}
    assert Counter(recipe.label_set for recipe in SETR_RECIPES.values()) == {
        "cityscapes": 14 + 3,
        "ade20k": 6 + 4,
        "pascal_context60": 6,
    }
    assert Counter(recipe.weights.status for recipe in SETR_RECIPES.values()) == {
        "published": 15 + 7,
        "link empty": 11,
    }
    assert all(name == recipe.name for name, recipe in SETR_RECIPES.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    recipe = get_recipe(name)
    assert (
        recipe.published.miou,
        recipe.published.miou_multi_scale,
        recipe.training.batch_size,
        recipe.training.learning_rate,
        recipe.weights.status,
    ) == PUBLISHED[name]
    assert recipe.weights.licence == ("Apache-2.0" if "mmseg" in name else "MIT")


def test_weights_links_are_complete_and_different():
    urls = [recipe.weights.url for recipe in SETR_RECIPES.values() if recipe.weights.url]
    assert len(set(urls)) == len(urls)
    assert get_recipe("setr-mmseg-pup-vit-l-cityscapes-768-80k").weights.url == (
        "https://download.openmmlab.com/mmsegmentation/v0.5/setr/setr_pup_vit-large_8x1_768x768_80k_cityscapes/"
        "setr_pup_vit-large_8x1_768x768_80k_cityscapes_20211122_155115-f6f37b8f.pth"
    )
    assert get_recipe("setr-mmseg-mla-vit-l-ade20k-512-160k-b8").weights.url == (
        "https://download.openmmlab.com/mmsegmentation/v0.5/setr/setr_mla_512x512_160k_b8_ade20k/"
        "setr_mla_512x512_160k_b8_ade20k_20210619_191118-c6d21df0.pth"
    )
    drive = re.compile(r"https://drive\.google\.com/file/d/[\w-]{33}/view")
    assert sum(drive.fullmatch(url) is not None for url in urls) == 15


def test_weights_are_described_in_one_line():
    assert get_recipe("setr-pup-vit-l-ade20k-512-160k").weights.describe() == (
        "published (MIT), Google Drive, by the authors' README: "
        "https://drive.google.com/file/d/1hCeiz60ITgVPkWsrKwah8JnwM3G8VVL4/view"
    )
    empty = get_recipe("setr-pup-deit-b-ade20k-512-160k").weights.describe()
    assert empty == "link empty (MIT), Google Drive, by the authors' README"
    assert "3x3 instead of 1x1" in get_recipe("setr-naive-vit-l-ade20k-512-160k").weights.describe()


def test_parameter_counts():
    millions = defaultdict(list)
    for name in SETR_RECIPES:
        millions[family(name)].append([round(count / 1e6, 1) for count in parameter_counts(name)])
    ranges = {
        key: tuple((min(counts), max(counts)) for counts in zip(*values, strict=True))
        for key, values in millions.items()
    }
    assert ranges == ORIGINAL_MILLIONS


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("full_naive_base_cityscapes_768", "setr-naive-vit-b-cityscapes-768-80k"),
        ("full_pup_large_ade20k_512", "setr-pup-vit-l-ade20k-512-160k"),
        ("full_mla_deit_pascal_context_480", "setr-mla-deit-b-pascal-context-480-80k"),
        ("mmseg_full_mla_large_ade20k_512", "setr-mmseg-mla-vit-l-ade20k-512-160k-b8"),
    ],
)
def test_parameter_count_equals_the_original_checkpoint(case, name):
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    original = sum(math.prod(shape) for key, shape in manifest.items() if "running_" not in key)
    assert parameter_counts(name)[0] == original


@pytest.mark.parametrize("name", SETR_RECIPES)
def test_architecture(name):
    config = get_recipe(name).build_config()
    backbone, key = config.backbone_config, family(name)
    large = "vit-l" in name
    assert [index - 1 for index in backbone.out_indices] == ORIGINAL_TAPS[key]
    assert (backbone.hidden_size, backbone.num_hidden_layers, backbone.num_attention_heads) == (
        (1024, 24, 16) if large else (768, 12, 12)
    )
    assert backbone.intermediate_size == 4 * backbone.hidden_size
    assert backbone.use_class_token == ("mla" not in key)
    assert backbone.interpolate_by_token_count == ("mmseg" in key)
    # The decode head takes the last block.
    assert config.decoder_type in key
    assert config.decoder_in_index == -1
    assert config.auxiliary_loss_weight == 0.4
    assert config.label2id == {label: index for index, label in config.id2label.items()}


# In-index, kernel and upsampling of each auxiliary head; for MLA the level, shallowest first.
@pytest.mark.parametrize(
    ("name", "decoder_scales", "auxiliary_heads"),
    [
        ("setr-naive-vit-l-ade20k-512-160k", [1], [(0, 1, [1]), (1, 1, [1]), (2, 1, [1])]),
        ("setr-pup-deit-b-cityscapes-768-40k", [2, 2, 2, 2], [(i, 3, [4]) for i in range(4)]),
        ("setr-mla-vit-l-cityscapes-768-40k", None, [(0,), (1,), (2,), (3,)]),
        ("setr-mmseg-naive-vit-l-ade20k-512-160k", [4], [(i, 1, [4, 4]) for i in range(3)]),
        ("setr-mmseg-naive-vit-l-cityscapes-768-80k", [4], [(i, 1, [4]) for i in range(3)]),
        ("setr-mmseg-pup-vit-l-ade20k-512-160k", [2, 2, 2, 2], [(i, 3, [4, 4]) for i in range(3)]),
        ("setr-mmseg-pup-vit-l-cityscapes-768-80k", [2, 2, 2, 2], [(i, 3, [4, 4]) for i in range(3)]),
        ("setr-mmseg-mla-vit-l-cityscapes-768-80k", None, [(3,), (2,), (1,), (0,)]),
    ],
)
def test_heads(name, decoder_scales, auxiliary_heads):
    config = get_recipe(name).build_config()
    assert config.decoder_upsample_scales == decoder_scales
    assert [tuple(head.values()) for head in config.auxiliary_heads] == auxiliary_heads
    mmseg = "mmseg" in name
    assert config.mla_align_corners == (not (mmseg and config.decoder_type == "mla"))
    assert config.mla_classifier_kernel_size == (1 if mmseg and config.decoder_type == "mla" else 3)
    assert config.mla_auxiliary_bias == (mmseg and config.decoder_type == "mla")
    assert config.decoder_conv_bias == (not mmseg or config.decoder_type == "mla")


@pytest.mark.parametrize("name", SETR_RECIPES)
def test_protocol(name):
    recipe = get_recipe(name)
    config = recipe.build_config()
    num_labels, crop, stride, scale = {
        "ade20k": (150, 512, 341, (2048, 512)),
        "cityscapes": (19, 768, 512, (2049, 1025)),
        "pascal_context60": (60, 480, 320, (520, 520)),
    }[recipe.label_set]
    assert config.num_labels == num_labels
    assert config.inference_mode == "slide"
    assert config.backbone_config.image_size == crop
    assert tuple(config.window_size) == recipe.training.crop_size == (crop, crop)
    assert tuple(config.window_stride) == (stride, stride)
    assert recipe.evaluation.scale == recipe.training.scale == scale
    assert recipe.evaluation.min_short == (None if "mmseg" in name else crop)
    three = re.match(r"setr-(naive|mla)-.*-ade20k", name)
    assert recipe.evaluation.ratios == ((0.5, 0.75, 1.0) if three else SIX_RATIOS)


# Height and width of an image, as loaded and as the single-scale test feeds it in; label 0 on class ids.
@pytest.mark.parametrize(
    ("name", "size", "expected_size", "expected_label"),
    [
        ("setr-pup-vit-l-ade20k-512-160k", (300, 400), (512, 683), 255),
        ("setr-pup-vit-l-ade20k-512-160k", (100, 500), (410, 2048), 255),
        ("setr-pup-vit-l-cityscapes-768-80k", (512, 1024), (1025, 2049), 0),
        ("setr-pup-vit-l-pascal-context-480-80k", (375, 500), (520, 693), 0),
        ("setr-mmseg-pup-vit-l-ade20k-512-160k", (400, 300), (683, 512), 255),
    ],
)
def test_image_processor(name, size, expected_size, expected_label):
    processor = get_recipe(name).build_image_processor()
    assert isinstance(processor, SetrImageProcessor)
    image = np.full((*size, 3), (124, 116, 104), dtype=np.uint8)
    inputs = processor(image, np.zeros(size, dtype=np.uint8), return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *expected_size)
    # Nearly the mean colour of ImageNet.
    assert inputs["pixel_values"].abs().max() < 0.02
    assert (inputs["labels"] == expected_label).all()


@pytest.mark.parametrize("name", SETR_RECIPES)
def test_training(name):
    training = get_recipe(name).training
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.9, 0)
    assert (training.power, training.min_learning_rate, training.warmup_iterations) == (0.9, 1e-4, 0)
    assert (training.ratio_range, training.max_category_share) == ((0.5, 2.0), 0.75)
    assert (training.flip_probability, training.photometric_distortion) == (0.5, True)
    assert training.iterations == 1000 * int(re.search(r"-(\d+)k", name)[1])


@pytest.mark.parametrize("name", SETR_RECIPES)
def test_parameter_rules_reach_the_heads_alone(name):
    rules = get_recipe(name).training.parameter_rules
    assert rules == {"head": {"lr_mult": 10}}
    matched = {key for key, _ in build(name).named_parameters() if "head" in key}
    heads = {key for key, _ in build(name).named_parameters() if key.startswith(("decode_head.", "auxiliary_head."))}
    assert matched == heads != set()


@pytest.mark.parametrize(
    ("name", "file_name", "same_in_timm"),
    [
        ("setr-pup-vit-l-ade20k-512-160k", "jx_vit_large_p16_384-b3be5167.pth", False),
        ("setr-naive-vit-b-cityscapes-768-80k", "jx_vit_base_p16_384-83fb41ba.pth", True),
        ("setr-pup-deit-b-ade20k-512-160k", "deit_base_distilled_patch16_384-d0272ac0.pth", True),
    ],
)
def test_pretrained_weights_exist_in_timm(name, file_name, same_in_timm):
    recipe = get_recipe(name)
    timm_config = timm.get_pretrained_cfg(recipe.training.pretrained.timm_model)
    assert recipe.training.pretrained.url.endswith("/" + file_name)
    assert (timm_config.url == recipe.training.pretrained.url) == same_in_timm
    assert bool(recipe.training.pretrained.note) != same_in_timm
    with torch.device("meta"):
        timm_model = timm.create_model(timm_config.architecture, pretrained=False)
    assert timm_model.embed_dim == recipe.model["backbone_config"]["hidden_size"]


@pytest.mark.parametrize("name", SETR_RECIPES)
def test_recipes_are_json(name):
    record = json.loads(json.dumps(dataclasses.asdict(get_recipe(name))))
    assert record["name"] == name
    assert record["training"]["parameter_rules"] == {"head": {"lr_mult": 10}}


def test_building_leaves_the_recipe_alone():
    recipe = get_recipe("setr-mmseg-naive-vit-l-ade20k-512-160k")
    before = json.dumps(dataclasses.asdict(recipe))
    config = recipe.build_config()
    config.auxiliary_heads[0]["upsample_scales"].append(8)
    config.backbone_config.out_indices = [1, 2, 3, 4]
    recipe.build_image_processor().size["shortest_edge"] = 1
    assert json.dumps(dataclasses.asdict(recipe)) == before


def test_misspelt_arguments_are_refused():
    recipe = get_recipe("setr-mla-vit-l-ade20k-512-160k-b8")
    model = dataclasses.replace(recipe, model={**recipe.model, "mla_align_corner": False})
    with pytest.raises(ValueError, match=r"no SetrConfig argument 'mla_align_corner'.*'mla_align_corners'"):
        model.build_config()
    backbone_config = {**recipe.model["backbone_config"], "num_hidden_layer": 24}
    backbone = dataclasses.replace(recipe, model={**recipe.model, "backbone_config": backbone_config})
    with pytest.raises(ValueError, match=r"no PlainVitConfig argument 'num_hidden_layer'.*'num_hidden_layers'"):
        backbone.build_config()
    processor = dataclasses.replace(recipe, image_processor={"do_reduce_label": True})
    with pytest.raises(ValueError, match=r"no SetrImageProcessor argument 'do_reduce_label'.*'do_reduce_labels'"):
        processor.build_image_processor()


@pytest.mark.parametrize(
    ("record", "changes", "message"),
    [
        ("", {"method": "seter"}, "no method 'seter'.*'setr'"),
        ("", {"label_set": "ade20"}, "no label set 'ade20'.*'ade20k'"),
        ("training", {"optimizer": "adam"}, "no optimizer 'adam'.*'adamw'"),
        ("training", {"iterations": 0}, "iterations is 0"),
        ("training", {"crop_size": (512,)}, "crop_size is"),
        ("training", {"max_category_share": 75}, "max_category_share is 75"),
        ("training", {"parameter_rules": {"head": {"lr": 10}}}, "no parameter rule multiplier 'lr'"),
        ("evaluation", {"mode": "sliding"}, "no mode 'sliding'.*'slide'"),
        ("evaluation", {"window_size": None}, "expected both with 'slide'"),
        ("evaluation", {"mode": "whole"}, "neither with 'whole'"),
    ],
)
def test_wrong_values_are_refused(record, changes, message):
    recipe = get_recipe("setr-pup-vit-l-ade20k-512-160k")
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(getattr(recipe, record) if record else recipe, **changes)


def test_wrong_results_and_weights_are_refused():
    with pytest.raises(ValueError, match="miou is 4862"):
        PublishedResult(miou=4862, miou_multi_scale=None, source="a typing error")
    with pytest.raises(ValueError, match=r"no status 'publishd'.*'published'"):
        Weights(status="publishd", host="a server", url="https://example.org/a.pth", licence="MIT")
    with pytest.raises(ValueError, match="published weights alone have a url"):
        Weights(status="published", host="a server", url=None, licence="MIT")


def test_unknown_recipe_names_the_closest():
    with pytest.raises(ValueError, match=r"no recipe 'setr-pup-vit-l-ade20k'.*'setr-pup-vit-l-ade20k-512-160k'"):
        get_recipe("setr-pup-vit-l-ade20k")
    with pytest.raises(ValueError, match=r"python -m vitseg\.recipes"):
        get_recipe("deeplab")


def test_command_lists_every_recipe(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vitseg.recipes"])
    runpy.run_module("vitseg.recipes", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(RECIPES)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["setr-pup-vit-l-ade20k-512-160k", "ade20k", "48.62", "50.09", "convertible"] in cells
    assert ["setr-pup-deit-b-cityscapes-768-40k", "cityscapes", "78.79", "", "weights never released"] in cells


def test_committed_cards_are_those_of_the_recipes(tmp_path):
    written = {path.name: path.read_text(encoding="utf-8") for path in write_cards(tmp_path / "cards")}
    assert set(written) == {
        "README.md",
        "cts_segmenter.md",
        "hlg.md",
        "sctnet.md",
        "segvit.md",
        "setr.md",
        "structtoken.md",
    }
    assert {path.name for path in (tmp_path / "cards").iterdir()} == set(written)
    for name, text in written.items():
        assert (REPOSITORY / "MODEL_CARDS" / name).read_text(encoding="utf-8") == text, (
            f"MODEL_CARDS/{name} is out of date: run `python -m vitseg.recipes --write-cards MODEL_CARDS`."
        )


def test_family_card():
    card = ModelCard.load(REPOSITORY / "MODEL_CARDS" / "setr.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-segmentation")
    assert "as published, not measured here" in card.text
    rows = [line for line in card.text.splitlines() if line.startswith("| setr-")]
    assert len(rows) == 33
    assert [row.rstrip(" |").endswith("link empty") for row in rows].count(True) == 11
    snippets = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        ast.parse(snippet)
