# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG's recipes: every published row of the three tasks, with its protocol and training, and the card."""

import ast
import dataclasses
import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from torch import nn

from vitseg import HlgForImageClassification, HlgForObjectDetection, HlgForSemanticSegmentation, HlgImageProcessor
from vitseg.conversion.hlg import HlgConverter
from vitseg.evaluation.throughput import count_multiply_adds
from vitseg.recipes import (
    RECIPES,
    ClassificationTraining,
    DetectionTraining,
    PublishedScore,
    TrainingRecipe,
    get_recipe,
    load_id2label,
    load_recipe,
    recipe_to_json,
)
from vitseg.training.optimization import parameter_groups


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "hlg"
MODEL_CLASSES = {
    "classification": HlgForImageClassification,
    "segmentation": HlgForSemanticSegmentation,
    "detection": HlgForObjectDetection,
}

# Figure, blocks in the third stage, drop path, parameters in millions.
CLASSIFIERS = {
    "tiny": (81.1, 6, 0.2, 11.04),
    "small": (82.3, 6, 0.2, 24.27),
    "medium": (83.6, 14, 0.2, 39.98),
    "large": (84.1, 18, 0.2, 84.36),
}
SEGMENTERS = {
    "small-cityscapes-768-40k": (81.8, 6, 0.1, None),
    "medium-cityscapes-768-40k": (82.5, 14, 0.3, None),
    "large-cityscapes-768-40k": (82.9, 18, 0.3, None),
    "small-ade20k-512-160k": (47.3, 6, 0.1, 38.0),
    "medium-ade20k-512-160k": (49.3, 14, 0.1, 53.7),
    "large-ade20k-512-160k": (49.8, 18, 0.1, 100.4),
}
DETECTORS = {
    "small": (44.4, 6, 0.1, 34.4),
    "medium": (46.6, 14, 0.3, 50.1),
    "large": (47.7, 14, 0.3, 81.1),
}
PUBLISHED = {
    **{f"hlg-{name}-imagenet1k-224-300e": values for name, values in CLASSIFIERS.items()},
    **{f"hlg-setr-{name}": values for name, values in SEGMENTERS.items()},
    **{f"hlg-retinanet-{name}-coco-800-12e": values for name, values in DETECTORS.items()},
}
WIDTHS = {"tiny": 64, "small": 96, "medium": 96, "large": 128}
# Of the encoder alone, in millions, by size and blocks in the third stage.
ENCODERS = {("tiny", 6): 10.5, ("small", 6): 23.5, ("medium", 14): 39.2, ("large", 18): 83.3, ("large", 14): 69.4}
FULL_CASES = {
    "full_cls_tiny_224": "hlg-tiny-imagenet1k-224-300e",
    "full_cls_large_224": "hlg-large-imagenet1k-224-300e",
    "full_seg_small_ade20k_512": "hlg-setr-small-ade20k-512-160k",
    "full_det_small_coco": "hlg-retinanet-small-coco-800-12e",
}


def size_of(name: str) -> str:
    return re.search("tiny|small|medium|large", name)[0]


@functools.cache
def build(name: str) -> nn.Module:
    recipe = get_recipe(name)
    with torch.device("meta"):
        return MODEL_CLASSES[recipe.task](recipe.build_config())


def test_every_published_row_has_a_recipe():
    assert {name for name, recipe in RECIPES.items() if recipe.method == "hlg"} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    recipe, (figure, *_) = get_recipe(name), PUBLISHED[name]
    if recipe.task == "segmentation":
        assert (recipe.published.miou, recipe.published.miou_multi_scale) == (figure, None)
    else:
        metric = {"classification": "top-1", "detection": "box AP"}[recipe.task]
        assert (recipe.published.metric, recipe.published.value) == (metric, figure)
    assert recipe.weights.licence == "MIT"
    # Weights were published for the classifiers alone.
    assert recipe.weights.status == ("published" if recipe.task == "classification" else "none")


def test_links():
    urls = [recipe.weights.url for recipe in RECIPES.values() if recipe.method == "hlg" and recipe.weights.url]
    assert len(set(urls)) == 4
    assert all(re.fullmatch(r"https://drive\.google\.com/file/d/[\w-]{33}/view", url) for url in urls)


@pytest.mark.parametrize("name", PUBLISHED)
def test_size(name):
    _, deep, _, millions = PUBLISHED[name]
    model = build(name)
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    if millions is not None:
        assert round(count, 2 if "imagenet" in name else 1) == millions
    encoder = sum(parameter.numel() for parameter in model.backbone.parameters()) / 1e6
    assert round(encoder, 1) == ENCODERS[size_of(name), deep]
    if "imagenet" in name and "medium" not in name:
        # Within 3% of what the README says; no reading of the configuration fits Medium.
        assert count == pytest.approx({"tiny": 11, "small": 24, "large": 84}[size_of(name)], rel=0.03)


@pytest.mark.parametrize(("size", "expected"), [("tiny", 2.63), ("small", 5.75), ("medium", 8.65)])
def test_multiply_adds_of_classifiers(size, expected):
    with torch.device("meta"):
        image = torch.empty(1, 3, 224, 224)
        counted = count_multiply_adds(build(f"hlg-{size}-imagenet1k-224-300e").eval(), image) / 1e9
    assert round(counted, 2) == expected


def test_multiply_adds_of_a_segmenter():
    with torch.device("meta"):
        image = torch.empty(1, 3, 512, 512)
        counted = count_multiply_adds(build("hlg-setr-small-ade20k-512-160k").eval(), image) / 1e9
    assert round(counted) == 287


@pytest.mark.parametrize(("case", "name"), FULL_CASES.items())
def test_names_and_shapes_are_those_of_the_original(case, name):
    manifest = json.loads((GOLDEN / case / "case.json").read_text())["state_dict"]
    model = build(name)
    original = {key: torch.empty(shape, device="meta") for key, shape in manifest.items()}
    renamed = {}
    for key, tensor in original.items():
        rule = next(rule for rule in HlgConverter(original).rules(model.config) if re.fullmatch(rule.pattern, key))
        match = re.fullmatch(rule.pattern, key)
        for target, part in zip(rule.targets, tensor.chunk(len(rule.targets)), strict=True):
            renamed[match.expand(target)] = part.shape
    expected = {key: tensor.shape for key, tensor in model.state_dict().items() if "num_batches" not in key}
    assert renamed == expected
    parameters = {key: shape for key, shape in manifest.items() if "running_" not in key}
    assert sum(map(math.prod, parameters.values())) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_architecture(name):
    config, (_, deep, drop_path_rate, _) = get_recipe(name).build_config(), PUBLISHED[name]
    width = WIDTHS[size_of(name)]
    assert list(config.hidden_sizes) == [width, 2 * width, 4 * width, 8 * width]
    assert list(config.num_attention_heads) == [width // 32 * 2**stage for stage in range(4)]
    assert list(config.depths) == [2, 2, deep, 2]
    assert (config.drop_path_rate, config.mlp_width, config.window_pooling) == (drop_path_rate, "input", "mean")
    is_classifier = "imagenet" in name
    assert (config.global_bias, config.use_stage_norm, config.layer_norm_eps) == (
        ("prefix", False, 1e-5) if is_classifier else ("key_grid", True, 1e-6)
    )
    assert (config.decoder_hidden_size, config.decoder_num_layers, config.decoder_interval) == (512, 2, 8)
    assert config.auxiliary_heads == [{"in_index": 2, "hidden_size": 256}]
    assert config.label2id == {label: index for index, label in config.id2label.items()}


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("imagenet1k", 1000, {0: "tench", 207: "golden retriever", 999: "toilet tissue"}),
        ("coco", 80, {0: "person", 11: "stop sign", 79: "toothbrush"}),
        ("ade20k", 150, {0: "wall"}),
    ],
)
def test_class_names(name, count, some):
    id2label = load_id2label(name)
    assert list(id2label) == list(range(count))
    assert len(set(id2label.values())) == count
    for index, label in some.items():
        assert id2label[index] == label


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "setr" in name])
def test_segmentation_protocol_and_training(name):
    recipe = get_recipe(name)
    config, training = recipe.build_config(), recipe.training
    crop, stride, scale, iterations = {
        "cityscapes": (768, 512, (2049, 1025), 40_000),
        "ade20k": (512, 341, (2048, 512), 160_000),
    }[recipe.label_set]
    assert config.inference_mode == "slide"
    assert tuple(config.window_size) == training.crop_size == (crop, crop)
    assert tuple(config.window_stride) == (stride, stride)
    assert recipe.evaluation.scale == training.scale == scale
    assert (recipe.evaluation.ratios, recipe.evaluation.flip) == ((1.0,), False)
    assert isinstance(training, TrainingRecipe)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adamw", 6e-5, 0.0)
    assert (training.power, training.min_learning_rate) == (1.0, 0.0)
    assert (training.warmup_iterations, training.warmup_ratio) == (1500, 1e-6)
    assert (training.iterations, training.batch_size, training.max_gradient_norm) == (iterations, 16, None)
    assert training.pretrained.recipe == f"hlg-{size_of(name)}-imagenet1k-224-300e"
    model = build(name)
    parameters = {parameter: key for key, parameter in model.named_parameters()}
    for group in parameter_groups(model, training.learning_rate, training.weight_decay, training.parameter_rules):
        for key in map(parameters.__getitem__, group["params"]):
            is_head = key.startswith(("decode_head.", "auxiliary_head."))
            assert group["lr"] == pytest.approx(6e-4 if is_head else 6e-5), key


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "imagenet" in name])
def test_classification_training(name):
    training = get_recipe(name).training
    assert isinstance(training, ClassificationTraining)
    assert (training.optimizer, training.weight_decay, training.batch_size) == ("adamw", 0.05, 1024)
    # For 512 images the rates are 5e-4, 5e-7 at the start of the warm-up and 5e-6 at the end.
    assert training.learning_rate == 2 * 5e-4
    assert training.learning_rate * training.warmup_ratio == pytest.approx(2 * 5e-7)
    assert training.min_learning_rate == 2 * 5e-6
    assert (training.iterations, training.warmup_iterations) == (300 * 1251, 20 * 1251)
    assert (training.max_gradient_norm, training.ema_decay, training.decay_vectors) == (5.0, 0.99996, False)
    assert (training.mixup, training.cutmix, training.label_smoothing) == (0.8, 1.0, 0.1)
    assert (training.auto_augment, training.random_erasing) == ("rand-m9-mstd0.5-inc1", 0.25)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "retinanet" in name])
def test_detection_training(name):
    training = get_recipe(name).training
    assert isinstance(training, DetectionTraining)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adamw", 1e-4, 1e-4)
    assert (training.warmup_iterations, training.warmup_ratio, training.batch_size) == (500, 1e-3, 16)
    assert (training.iterations, training.decay_iterations) == (12 * 7330, (8 * 7330, 11 * 7330))
    assert (training.short_sides, training.longest_side) == ((640, 672, 704, 736, 768, 800), 1333)


def test_which_parameters_of_a_detector_decay():
    """Of the original's names, those with "norm" do not."""
    name = "hlg-retinanet-small-coco-800-12e"
    model, training = build(name), get_recipe(name).training
    manifest = json.loads((GOLDEN / FULL_CASES_BY_NAME[name] / "case.json").read_text())["state_dict"]
    original = {key: torch.empty(shape, device="meta") for key, shape in manifest.items()}
    decays = {}
    for group in parameter_groups(model, training.learning_rate, training.weight_decay, training.parameter_rules):
        decays |= dict.fromkeys(group["params"], group["weight_decay"])
    parameters = dict(model.named_parameters())
    table = HlgConverter(original).rules(model.config)
    checked = 0
    for key in original:
        rule = next(rule for rule in table if re.fullmatch(rule.pattern, key))
        for target in rule.targets:
            ours = re.fullmatch(rule.pattern, key).expand(target)
            if ours in parameters:
                assert decays[parameters[ours]] == (0.0 if "norm" in key else 1e-4), (key, ours)
                checked += 1
    assert checked == len(parameters)


FULL_CASES_BY_NAME = {name: case for case, name in FULL_CASES.items()}


@pytest.mark.parametrize(
    ("name", "size", "expected_size"),
    [
        ("hlg-tiny-imagenet1k-224-300e", (300, 400), (224, 224)),
        ("hlg-setr-small-cityscapes-768-40k", (512, 1024), (1025, 2049)),
        ("hlg-setr-small-ade20k-512-160k", (300, 400), (512, 683)),
        ("hlg-retinanet-small-coco-800-12e", (480, 640), (800, 1088)),
        ("hlg-retinanet-small-coco-800-12e", (300, 1000), (416, 1344)),
    ],
)
def test_image_processor(name, size, expected_size):
    processor = get_recipe(name).build_image_processor()
    assert isinstance(processor, HlgImageProcessor)
    image = np.full((*size, 3), (124, 116, 104), dtype=np.uint8)
    inputs = processor(image, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *expected_size)
    # Nearly the mean colour of ImageNet.
    assert inputs["pixel_values"].abs().max() < 0.02
    assert ("pixel_mask" in inputs) == ("coco" in name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_are_files_too(name, tmp_path):
    recipe = get_recipe(name)
    (tmp_path / "mine.json").write_text(recipe_to_json(recipe))
    loaded = load_recipe(tmp_path / "mine.json", {"training.iterations": 5})
    assert loaded.task == recipe.task
    assert loaded.training == dataclasses.replace(recipe.training, iterations=5)
    assert loaded.build_config({0: "sky", 1: "sea"}).num_labels == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detecton"}, "no task 'detecton'.*'detection'"),
        ({"task": "detection"}, "training is a TrainingRecipe, which is not one for detection"),
        ({"task": "classification", "method": "setr"}, "no method for classification 'setr'"),
        ({"evaluation": None}, "no 'evaluation'"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(get_recipe("hlg-setr-small-ade20k-512-160k"), **changes)


def test_wrong_values_are_refused():
    detector = get_recipe("hlg-retinanet-small-coco-800-12e")
    with pytest.raises(ValueError, match="detection takes no 'evaluation'"):
        dataclasses.replace(detector, evaluation=get_recipe("hlg-setr-small-ade20k-512-160k").evaluation)
    with pytest.raises(ValueError, match="short_sides is"):
        dataclasses.replace(detector.training, short_sides=())
    with pytest.raises(ValueError, match="label_smoothing is 2"):
        dataclasses.replace(get_recipe("hlg-tiny-imagenet1k-224-300e").training, label_smoothing=2)
    with pytest.raises(ValueError, match=r"value is 4400"):
        PublishedScore(metric="box AP", value=4400, source="a typing error")
    with pytest.raises(ValueError, match="no label set 'ade20k'"):
        dataclasses.replace(detector, label_set="ade20k")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("scenes-hlg", "segmentation"),
        ("scenes-hlg-classifier", "classification"),
        ("scenes-hlg-detector", "detection"),
    ],
)
def test_recipes_for_the_drawn_scenes(name, task):
    recipe = load_recipe(REPOSITORY / "examples" / "recipes" / f"{name}.json")
    assert (recipe.name, recipe.task) == (name, task)
    assert recipe.build_config({0: "sky", 1: "sea"}).num_labels == 2
    assert isinstance(recipe.build_image_processor(), HlgImageProcessor)


def test_card():
    card = ModelCard.load(REPOSITORY / "MODEL_CARDS" / "hlg.md")
    assert (card.data.license, card.data.library_name) == ("mit", "transformers")
    assert "as published, not measured here" in card.text
    rows = [line for line in card.text.splitlines() if line.startswith("| hlg-")]
    assert len(rows) == 13
    for row, (name, (figure, *_)) in zip(rows, PUBLISHED.items(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == name
        assert cells[3].startswith(f"{figure:.2f}")
    # No reading of its configuration has the published number of parameters.
    assert re.search(r"(?s)Medium.*43 million", card.text)
    snippets = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        ast.parse(snippet)
