# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
One record per published result: what conversion, training, evaluation and model cards read.

`python -m vitseg.recipes` lists them, and prints one as a file to edit.
"""

from collections.abc import Mapping
from types import MappingProxyType

from . import cts_segmenter, hlg, sctnet, segvit, setr, structtoken
from .cts_policy import POLICY_RECIPES, PolicyRecipe, get_policy_recipe
from .files import load_policy_recipe, load_recipe, recipe_to_json
from .labels import CLASS_LISTS, LABEL_SETS, LabelSet, load_id2label, load_label_set
from .lookup import unknown_name
from .schema import (
    ClassificationTraining,
    DetectionTraining,
    EvaluationRecipe,
    OptimizationRecipe,
    PretrainedWeights,
    PublishedRecipe,
    PublishedResult,
    PublishedScore,
    Recipe,
    TrainingRecipe,
    Weights,
)


RECIPES: Mapping[str, PublishedRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for module in (setr, segvit, structtoken, sctnet, cts_segmenter, hlg)
        for recipe in module.RECIPES
    }
)


def get_recipe(name: str) -> PublishedRecipe:
    """
    The recipe of this name.

    Raises:
        ValueError: if there is none; the message gives the closest names.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, hint="`python -m vitseg.recipes` lists all.")
    return RECIPES[name]


__all__ = [
    "CLASS_LISTS",
    "LABEL_SETS",
    "POLICY_RECIPES",
    "RECIPES",
    "ClassificationTraining",
    "DetectionTraining",
    "EvaluationRecipe",
    "LabelSet",
    "OptimizationRecipe",
    "PolicyRecipe",
    "PretrainedWeights",
    "PublishedRecipe",
    "PublishedResult",
    "PublishedScore",
    "Recipe",
    "TrainingRecipe",
    "Weights",
    "get_policy_recipe",
    "get_recipe",
    "load_id2label",
    "load_label_set",
    "load_policy_recipe",
    "load_recipe",
    "recipe_to_json",
]
