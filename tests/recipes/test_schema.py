# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Records of recipes: what is built of them, and what is refused."""

import dataclasses
import json

import pytest

from vitseg.recipes import PublishedResult, PublishedScore, Weights, get_recipe


def test_weights_are_described_in_one_line():
    assert get_recipe("setr-pup-vit-l-ade20k-512-160k").weights.describe() == (
        "published (MIT), Google Drive, by the authors' README: "
        "https://drive.google.com/file/d/1hCeiz60ITgVPkWsrKwah8JnwM3G8VVL4/view"
    )
    empty = get_recipe("setr-pup-deit-b-ade20k-512-160k").weights.describe()
    assert empty == "link empty (MIT), Google Drive, by the authors' README"
    assert "3x3 instead of 1x1" in get_recipe("setr-naive-vit-l-ade20k-512-160k").weights.describe()


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


def test_wrong_values_of_other_tasks_are_refused():
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
