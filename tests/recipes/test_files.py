# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes as files: what is printed trains the same, and what is mistyped is refused by its nearest name."""

import dataclasses
import json
import runpy
import sys
from pathlib import Path

import pytest

from vitseg.recipes import RECIPES, get_recipe, load_recipe, recipe_to_json


NAME = "setr-pup-vit-l-ade20k-512-160k"


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_recipe_is_the_same_recipe(name, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(recipe_to_json(get_recipe(name)))
    recipe, published = load_recipe(file), get_recipe(name)
    for field in dataclasses.fields(recipe):
        assert getattr(recipe, field.name) == getattr(published, field.name)
    labels = {0: "cat", 1: "dog"}
    assert recipe.build_config(labels).to_dict() == published.build_config(labels).to_dict()


def test_changes_replace_what_the_recipe_says():
    changes = {
        "training.iterations": 20,
        "training.ratio_range": [0.75, 1.5],
        "training.parameter_rules": {"norm": {"decay_mult": 0.0}},
        "model.backbone_config.num_hidden_layers": 12,
        "image_processor.do_reduce_labels": False,
    }
    recipe = load_recipe(NAME, changes)
    assert recipe.training.iterations == 20
    assert recipe.training.ratio_range == (0.75, 1.5)
    assert recipe.training.parameter_rules == {"norm": {"decay_mult": 0.0}}
    assert recipe.training.learning_rate == 0.001
    assert recipe.model["backbone_config"]["num_hidden_layers"] == 12
    assert recipe.model["backbone_config"]["hidden_size"] == 1024
    assert recipe.image_processor["do_reduce_labels"] is False
    assert get_recipe(NAME).model["backbone_config"]["num_hidden_layers"] == 24


def test_what_has_a_default_may_be_left_out(tmp_path):
    values = json.loads(recipe_to_json(get_recipe(NAME)))
    for key in ("momentum", "power", "ratio_range", "pretrained"):
        del values["training"][key]
    del values["name"]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(values))
    recipe = load_recipe(file)
    assert recipe.name == "mine"
    assert (recipe.training.momentum, recipe.training.pretrained) == (0.9, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.itertions": 10}, "no key of training 'itertions'. Did you mean 'iterations'"),
        ({"trainig.iterations": 10}, "no key of the recipe 'trainig'. Did you mean 'training'"),
        ({"training.optimizer": "adam"}, "no optimizer 'adam'. Did you mean 'adamw'"),
        ({"training.iterations": "many"}, "iterations is 'many'; expected int"),
        ({"training.iterations": 1.5}, "iterations is 1.5; expected int"),
        ({"training.iterations": True}, "iterations is True; expected int"),
        ({"training.crop_size": 512}, "crop_size is 512; expected a list"),
        ({"training.crop_size": [512]}, "crop_size is .*; expected two positive numbers"),
        ({"training.iterations.more": 1}, "training.iterations is 160000, so it has no 'more'"),
        ({"training": 3}, "training is 3; expected an object"),
        ({"training.parameter_rules": {"head": {"lr": 10.0}}}, "no parameter rule multiplier 'lr'"),
    ],
)
def test_wrong_changes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(NAME, changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.decoder_tipe": "pup"}, "no SetrConfig argument 'decoder_tipe'. Did you mean 'decoder_type'"),
        ({"model.backbone_config.hiden_size": 1}, "no PlainVitConfig argument 'hiden_size'"),
    ],
)
def test_wrong_model_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(NAME, changes).build_config({0: "cat"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "Cannot read the recipe .*mine.json"), ("[]", "holds .*; expected an object"), ("{}", "has no 'method'")],
)
def test_broken_files_are_refused(tmp_path, text, message):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(file)


def test_missing_files_and_names_are_refused():
    with pytest.raises(ValueError, match=r"Cannot read the recipe nowhere\.json"):
        load_recipe("nowhere.json")
    with pytest.raises(ValueError, match=f"Did you mean .*{NAME}"):
        load_recipe(NAME.replace("512", "51"))


def test_the_command_prints_a_recipe_to_edit(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes", NAME])
    runpy.run_module("vitseg.recipes", run_name="__main__")
    assert json.loads(capsys.readouterr().out)["training"]["iterations"] == 160_000


def test_the_command_offers_the_closest_name(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipes", NAME + "x"])
    with pytest.raises(SystemExit):
        runpy.run_module("vitseg.recipes", run_name="__main__")
    assert NAME in capsys.readouterr().err


CROP = "training.crop_size"


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        (
            NAME,
            {CROP: [768, 768]},
            {
                "evaluation.window_size": [768, 768],
                "evaluation.window_stride": [512, 512],
                "evaluation.min_short": 768,
                "model.backbone_config.image_size": 768,
            },
        ),
        (
            NAME,
            {CROP: [640, 768]},
            {
                "evaluation.window_size": [640, 768],
                "evaluation.window_stride": [426, 512],
                "evaluation.min_short": 768,
                "model.backbone_config.image_size": [640, 768],
            },
        ),
        # What is given in the same command stays, and what belongs to it.
        (
            NAME,
            {CROP: [768, 768], "evaluation.window_size": [512, 512]},
            {"evaluation.window_size": [512, 512], "model.backbone_config.image_size": 768},
        ),
        (
            NAME,
            {CROP: [768, 768], "evaluation.window_stride": [600, 600], "model.backbone_config.image_size": 512},
            {
                "evaluation.window_size": [768, 768],
                "evaluation.window_stride": [600, 600],
                "evaluation.min_short": 768,
            },
        ),
        # Segmenter's share without rounding; tokens shared as the published model for this crop does it.
        (
            "segmenter-mask-vit-b-ade20k-512",
            {CROP: [640, 640]},
            {
                "evaluation.window_size": [640, 640],
                "evaluation.window_stride": [600, 600],
                "model.backbone_config.image_size": 640,
            },
        ),
        (
            "cts-segmenter-mask-30-vit-b-ade20k-512",
            {CROP: [640, 640]},
            {
                "evaluation.window_size": [640, 640],
                "evaluation.window_stride": [640, 640],
                "model.backbone_config.image_size": 640,
                "model.backbone_config.token_sharing": 160,
            },
        ),
        # No windows; and an image size that never was the crop's.
        ("sctnet-b-ade20k-512-160k", {CROP: [640, 640]}, {"model.image_size": 640}),
        ("sctnet-s-seg75-cityscapes-512x1024-160k", {CROP: [640, 640]}, {}),
        (
            "hlg-small-imagenet1k-224-300e",
            {CROP: [192, 192]},
            {
                "image_processor.crop_size": {"height": 192, "width": 192},
                "image_processor.size.shortest_edge": 219,
            },
        ),
        (NAME, {CROP: [512, 512], "training.iterations": 10}, {}),
        (NAME, {"evaluation.window_size": [640, 640]}, {}),
    ],
)
def test_what_moves_with_the_crop(name, changes, expected):
    """All that is as large as the crops follows them, and nothing else."""
    changed = flat(json.loads(recipe_to_json(load_recipe(name, changes))))
    before = flat(json.loads(recipe_to_json(get_recipe(name))))
    moved = {key: value for key, value in changed.items() if before.get(key) != value}
    assert moved == {key: value for key, value in flat({**changes, **expected}).items() if before.get(key) != value}
    recipe = load_recipe(name, changes)
    recipe.build_config({0: "cat", 1: "dog"})
    recipe.build_image_processor()


def flat(values, path=""):
    """A nested dictionary by dotted keys."""
    if not isinstance(values, dict):
        return {path: values}
    return {key: value for name in values for key, value in flat(values[name], f"{path}.{name}".strip(".")).items()}


DRAWN = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.json"))


@pytest.mark.parametrize("file", DRAWN, ids=lambda file: file.stem)
def test_recipes_for_the_drawn_scenes(file):
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    config = recipe.build_config(None if recipe.task == "policy" else {0: "sky", 1: "sea"})
    assert config.num_labels == 2
    recipe.build_image_processor()
    if (shared := getattr(getattr(config, "backbone_config", None), "token_sharing", None)) is not None:
        # A shared token takes the places of three more patches.
        assert round(100 * 3 * shared / config.backbone_config.grid_size[0] ** 2) in (30, 45)
        policy = load_recipe(file.with_name("scenes-cts-policy.json"))
        assert policy.training.crop_size == recipe.training.crop_size


def test_wrong_arguments_of_a_teacher_are_refused():
    teacher = next(file for file in DRAWN if file.stem == "scenes-sctnet-teacher")
    wrong = load_recipe(teacher, {"model.encoder_config.depth": [1, 1, 1, 1]})
    with pytest.raises(ValueError, match=r"no SegformerConfig argument 'depth'.*'depths'"):
        wrong.build_config({0: "sky", 1: "sea"})
