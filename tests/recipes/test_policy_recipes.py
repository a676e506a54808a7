# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes of policy networks: recipes like any other, of which nothing was published."""

import dataclasses
import json

import pytest

from vitseg import CtsPolicyNetConfig, CtsSegmenterImageProcessor
from vitseg.recipes import POLICY_RECIPES, PolicyTraining, load_recipe, recipe_to_json


NAME = "cts-policy-ade20k-512"


@pytest.mark.parametrize("name", POLICY_RECIPES)
def test_a_written_recipe_is_the_same_recipe(name, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(recipe_to_json(POLICY_RECIPES[name]))
    assert load_recipe(file) == load_recipe(name) == POLICY_RECIPES[name]


def test_what_a_recipe_builds():
    recipe = load_recipe(NAME, {"training.iterations": 7, "image_processor.size": {"shortest_edge": 480}})
    assert recipe.training.iterations == 7
    assert isinstance(recipe.build_config(), CtsPolicyNetConfig)
    processor = recipe.build_image_processor()
    assert isinstance(processor, CtsSegmenterImageProcessor)
    assert (*processor.image_mean, *processor.image_std) == (0.5,) * 6
    assert dict(processor.size) == {"shortest_edge": 480}
    with pytest.raises(ValueError, match="policy networks take none"):
        recipe.build_config({0: "cat"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": {}}, "multiples of 32"),
        ({"size": {"height": 500, "width": 512}}, "500 x 512 pixels: sides must be multiples of 32"),
        ({"size": {"shortest_edge": 512}}, "give a crop_size"),
        ({"size": {"longest_edge": 512}}, "expected height and width, shortest_edge, or nothing"),
        ({"crop_size": (64,)}, "64 pixels: sides must be multiples of 32"),
        ({"iterations": 0}, "iterations is 0"),
        ({"flip_probability": 2.0}, "flip_probability is 2.0"),
    ],
)
def test_impossible_trainings_are_refused(arguments, message):
    training = dataclasses.asdict(POLICY_RECIPES[NAME].training)
    with pytest.raises(ValueError, match=message):
        PolicyTraining(**{**training, **arguments})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"no recipe 'cts-policy-ade20k'.*cts-policy-ade20k-512"):
        load_recipe("cts-policy-ade20k")


def test_files_without_a_training_of_their_own_are_refused(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"learning_rate": 0.001, "size": {"shortest_edge": 256}}))
    with pytest.raises(ValueError, match=r"no key of the recipe 'learning_rate'.* as 'training.learning_rate'"):
        load_recipe(file)


def test_tasks_have_their_methods():
    with pytest.raises(ValueError, match="no method for segmentation 'cts_policy'"):
        dataclasses.replace(POLICY_RECIPES[NAME], task="segmentation")
    with pytest.raises(ValueError, match="no method for policy 'setr'"):
        load_recipe(NAME, {"method": "setr"})
