# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Every recipe says what its source says, and its model has the published size.

published.json holds the facts as the texts `SPEC.md` beside the golden cases state them, a row for each published
result. `common` and `sets` are what rows share and name, `all` is what holds for all of a table. A key with a dot is
of the recipe, or with `config.` in front of the configuration that it builds; the others are explained below.
"""

import dataclasses
import json
import math
import operator
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from benchmarks.throughput import count_multiply_adds
from torch import nn
from transformers import PreTrainedConfig

from vitseg.conversion.base import converter_of
from vitseg.conversion.rules import rename
from vitseg.recipes import POLICY_RECIPES, RECIPES, get_recipe


GOLDEN = Path(__file__).parents[1] / "golden"
CARDS = Path(__file__).parents[2] / "MODEL_CARDS"
# Of the models, checked apart. Parameters are in millions: of the whole original model, of what inference needs, with
# ImageNet's classifiers, of the encoder; "a-b" are the least and the most of several. `entries` are those of the
# original's state dict, `gmac` 1e9 multiply-adds of a window or of an image.
COUNTED = (
    "parameters",
    "inference_parameters",
    "parameters_with_classifier",
    "backbone_parameters",
    "entries",
    "gmac",
)


def read_facts() -> dict[str, dict]:
    """Recipe -> fact -> value."""
    tables = json.loads(Path(__file__).with_name("published.json").read_text())
    common = tables.pop("common")["sets"]
    facts = {}
    for table in tables.values():
        for name, sets, *values in table["rows"]:
            row = dict(table["all"])
            for key in filter(None, sets.split(", ")):
                assert key in common or key in table["sets"], (name, key)
                row |= common.get(key, {}) | table["sets"].get(key, {})
            facts[name] = row | dict(zip(table["columns"][2:], values, strict=True))
    return facts


FACTS = read_facts()


def with_fact(fact: str) -> list[str]:
    return [name for name, facts in FACTS.items() if facts.get(fact) is not None]


def test_every_published_result_has_a_recipe():
    assert set(FACTS) == {*RECIPES, *POLICY_RECIPES}


@pytest.mark.parametrize("name", FACTS)
def test_recipes_say_what_their_source_says(name):
    recipe = RECIPES[name] if name in RECIPES else POLICY_RECIPES[name]
    config = recipe.build_config()
    values = plain(dataclasses.asdict(recipe))
    for key, expected in FACTS[name].items():
        if key not in COUNTED:
            assert said(recipe, config, values, key) == expected, key


def said(recipe: Any, config: PreTrainedConfig, values: dict[str, Any], key: str) -> Any:
    if key == "crop":
        # Windows and images of the backbone are as large.
        sizes = [values["training"]["crop_size"]]
        if recipe.evaluation is not None and recipe.evaluation.mode == "slide":
            sizes += [values["evaluation"]["window_size"], list(config.window_size)]
        if "image_size" in values["model"].get("backbone_config", {}):
            sizes += [[values["model"]["backbone_config"]["image_size"]] * 2]
        assert sizes == sizes[:1] * len(sizes)
        return sizes[0]
    if key == "stride":
        assert values["evaluation"]["window_stride"] == list(config.window_stride)
        (stride,) = set(config.window_stride)
        return stride
    if key == "taps":
        # Blocks are counted from 0 there.
        return [index - 1 for index in config.backbone_config.out_indices]
    if key in ("reduces_labels", "pixels.mean", "pixels.std"):
        processor = recipe.build_image_processor()
        if key == "reduces_labels":
            return processor.do_reduce_labels
        # Of pixels from 0 to 255.
        return pytest.approx([255 * value for value in getattr(processor, key.replace("pixels.", "image_"))])
    if key == "link":
        return recipe.weights.url[-len(FACTS[recipe.name][key]) :]
    if key == "pretrained_file":
        return recipe.training.pretrained.url.rpartition("/")[2]
    if key == "pretrained_note":
        return re.findall(r"[\w-]+\.pth", recipe.training.pretrained.note)[0]
    if key.startswith("config."):
        return plain(operator.attrgetter(key.removeprefix("config."))(config))
    for part in key.split("."):
        values = values[part]
    return values


def plain(value: Any) -> Any:
    """As JSON has it: tuples are lists."""
    return json.loads(json.dumps(value, default=list))


def test_links_are_complete_and_different():
    # Those of SCTNet are in its README.
    urls = [recipe.weights.url for recipe in RECIPES.values() if recipe.weights.url and recipe.method != "sctnet"]
    assert len(set(urls)) == len(urls)
    drive = [url for url in urls if "drive.google.com" in url]
    assert len(drive) == 15 + 4
    assert all(re.fullmatch(r"https://drive\.google\.com/file/d/[\w-]{33}/view", url) for url in drive)


@pytest.mark.parametrize("name", RECIPES)
def test_models_build(name, build):
    config = build(name).config
    assert config.label2id == {label: index for index, label in config.id2label.items()}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def unused(model: Any, name: str) -> int:
    """Elements of the original's tensors that nothing uses, and that are not here."""
    method, num_labels = model.config.model_type, model.config.num_labels
    if method == "segvit":
        # The class token and its position, and the weights of the loss.
        num_losses = 2 if "shrunk" in name else 1
        return 2 * model.config.backbone_config.hidden_size + num_losses * (num_labels + 1)
    if method == "setr":
        # Every head of the authors' owns a 1x1 convolution from 512 channels.
        heads = 0 if "mmseg" in name else (1 + len(model.auxiliary_head)) * (512 + 1) * num_labels
        # The class token and its position, which the original cuts off before the first block.
        return heads + (2 * model.config.backbone_config.hidden_size if model.config.decoder_type == "mla" else 0)
    return 0


def inference_parameters(model: Any) -> int:
    return count(model) - (count(model.auxiliary_head) if hasattr(model, "auxiliary_head") else 0)


@pytest.mark.parametrize("fact", ["parameters", "inference_parameters", "backbone_parameters"])
def test_models_have_the_published_size(fact, build):
    counted = defaultdict(list)
    for name in with_fact(fact):
        model = build(name)
        if fact == "parameters":
            number = count(model) + unused(model, name)
        else:
            number = count(model.backbone) if fact == "backbone_parameters" else inference_parameters(model)
        stated = FACTS[name][fact]
        decimals = len(stated.rpartition(".")[2])
        # What is stated for several is stated as a range.
        counted[re.sub(r"-(vit|deit).*|-(small|medium|large|tiny).*", "", name), stated].append(
            round(number / 1e6, decimals)
        )
    for (family, stated), numbers in counted.items():
        least, _, most = stated.partition("-")
        assert (min(numbers), max(numbers)) == (float(least), float(most or least)), family


@pytest.mark.parametrize("name", with_fact("parameters_with_classifier"))
def test_segmenter_has_the_published_size(name, build):
    model = build(name)
    # Two of them for DeiT.
    classifiers = (model.config.backbone_config.hidden_size + 1) * 1000 * (2 if "deit" in name else 1)
    expected = FACTS[name]["parameters_with_classifier"]
    assert (count(model) + classifiers) / 1e6 == pytest.approx(expected, abs=1.1)


def test_parts_of_cts_have_the_published_size(build):
    """Section 2 of cts_segmenter/SPEC.md, in millions: encoder with classifier, decoder, policy network."""
    for backbone, encoder, classifier, decoder in (
        ("vit-t", 5.88, 0.19, 1.03),
        ("vit-s", 22.37, 0.39, 4.05),
        ("vit-b", 87.20, 0.77, 16.06),
    ):
        model = build(f"cts-segmenter-mask-30-{backbone}-ade20k-512")
        policy_net = count(model.backbone.policy_net) / 1e6
        assert round(policy_net, 2) == 2.96
        assert count(model.decode_head) / 1e6 == pytest.approx(decoder, abs=0.006)
        assert count(model.backbone) / 1e6 - policy_net + classifier == pytest.approx(encoder, abs=0.011)


@pytest.mark.parametrize("name", with_fact("entries"))
def test_models_have_as_many_tensors(name, build):
    names = list(build(name).state_dict())
    # Query, key and value are one entry there.
    fused = sum(re.search(r"\.[kv]_proj\.", key) is not None for key in names)
    assert len(names) - fused == FACTS[name]["entries"]


def multiply_adds(model: nn.Module, size: tuple[int, int]) -> float:
    return count_multiply_adds(model, torch.empty(1, 3, *size, device="meta")) / 1e9


@pytest.mark.slow
@pytest.mark.parametrize("name", with_fact("gmac"))
def test_models_compute_as_much(name, build):
    config, stated = build(name).config, FACTS[name]["gmac"]
    height, width = getattr(config, "image_size", None) or config.window_size
    counted = multiply_adds(build(name), (height, width))
    last_digit = 10 ** -len(stated.partition(".")[2])
    assert counted == pytest.approx(float(stated), abs=last_digit / 2 + 0.005 * counted)
    if config.model_type == "segvit":
        card = (CARDS / "segvit.md").read_text(encoding="utf-8")
        assert f"| {height} | {config.num_labels} | {stated} | {counted:.1f} |" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        # With the policy network, and two operations for each multiply-add: 76.8 and 53.0 GFLOP.
        ("cts-segmenter-mask-0-vit-s-ade20k-512", 512, "38.4"),
        ("cts-segmenter-mask-30-vit-s-ade20k-512", 512, "26.5"),
        ("hlg-setr-small-ade20k-512-160k", 512, "287"),
        # As the card has them.
        ("hlg-tiny-imagenet1k-224-300e", 224, "2.63"),
        ("hlg-small-imagenet1k-224-300e", 224, "5.75"),
        ("hlg-medium-imagenet1k-224-300e", 224, "8.65"),
    ],
)
def test_arithmetic(name, size, expected, build):
    assert f"{multiply_adds(build(name), (size, size)):.{len(expected.partition('.')[2])}f}" == expected


CASES = {
    "setr/full_naive_base_cityscapes_768": "setr-naive-vit-b-cityscapes-768-80k",
    "setr/full_pup_large_ade20k_512": "setr-pup-vit-l-ade20k-512-160k",
    "setr/full_mla_deit_pascal_context_480": "setr-mla-deit-b-pascal-context-480-80k",
    "setr/mmseg_full_mla_large_ade20k_512": "setr-mmseg-mla-vit-l-ade20k-512-160k-b8",
    "segvit/full-vitb-ade20k": "segvit-atm-vit-b-ade20k-512-160k",
    "segvit/full-vitl-shrunk-ade20k": "segvit-shrunk-vit-l-ade20k-640-160k",
    "structtoken/full_vit_t_pwe_ade20k": "structtoken-pwe-vit-t-ade20k-512-160k",
    "structtoken/full_vit_s_sse_ade20k": "structtoken-sse-vit-s-ade20k-512-160k",
    "sctnet/full_b_ade20k": "sctnet-b-ade20k-512-160k",
    "sctnet/full_s_seg50_cityscapes": "sctnet-s-seg50-cityscapes-512x1024-160k",
    "cts_segmenter/full_vit_small_ade20k_nosharing": "cts-segmenter-mask-0-vit-s-ade20k-512",
    "cts_segmenter/full_vit_tiny_ade20k_cts_612_103": "cts-segmenter-mask-30-vit-t-ade20k-512",
    "cts_segmenter/mmseg_full_vit_tiny": "segmenter-mmseg-mask-vit-t-ade20k-512-160k",
    "hlg/full_cls_tiny_224": "hlg-tiny-imagenet1k-224-300e",
    "hlg/full_cls_large_224": "hlg-large-imagenet1k-224-300e",
    "hlg/full_seg_small_ade20k_512": "hlg-setr-small-ade20k-512-160k",
    "hlg/full_det_small_coco": "hlg-retinanet-small-coco-800-12e",
}


def manifest(case: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(("case", "name"), CASES.items())
def test_names_and_shapes_are_those_of_the_original(case, name, build):
    """Each tensor of the original checkpoint has its place in the recipe's model, and each parameter its tensor."""
    model, tensors = build(name), manifest(case)
    rules = converter_of(model.config.model_type)(tensors).rules(model.config)
    dropped = {key for keys in rename(tensors, rules, model.state_dict()).dropped.values() for key in keys}
    needless = (
        r"(auxiliary_head\..*|.*(cls_token|empty_weight|conv_seg\.\w+)|encoder\.head\.\w+|.*num_batches_tracked)"
    )
    assert all(re.fullmatch(needless, key) for key in dropped), dropped
    if model.config.model_type in ("setr", "segvit"):
        original = sum(math.prod(tensor.shape) for key, tensor in tensors.items() if "running_" not in key)
        assert count(model) + unused(model, name) == original


PRETRAINED = {
    recipe.training.pretrained: recipe
    for recipe in RECIPES.values()
    if recipe.training.pretrained is not None and recipe.training.pretrained.timm_model is not None
}


@pytest.mark.parametrize("pretrained", PRETRAINED, ids=lambda pretrained: pretrained.url.rpartition("/")[2])
def test_pretrained_weights_exist_in_timm(pretrained):
    config = timm.get_pretrained_cfg(pretrained.timm_model)
    # What is another file of theirs, a note explains.
    assert pretrained.url == config.url or pretrained.note
    with torch.device("meta"):
        theirs = timm.create_model(pretrained.timm_model, pretrained=False)
    ours = get_recipe(PRETRAINED[pretrained].name).build_config().backbone_config
    sizes = (ours.hidden_size, ours.num_hidden_layers, ours.num_attention_heads)
    assert (theirs.embed_dim, len(theirs.blocks), theirs.blocks[0].attn.num_heads) == sizes
