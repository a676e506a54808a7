# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
One record per published result: what conversion, training, evaluation and model cards read.

`python -m vitseg.recipes` lists them, and prints one as a file to edit.
"""

from collections.abc import Mapping
from types import MappingProxyType

from . import sctnet, segvit, setr, structtoken
from .files import load_recipe, recipe_to_json
from .labels import LABEL_SETS, LabelSet, load_label_set
from .lookup import unknown_name
from .schema import (
    EvaluationRecipe,
    PretrainedWeights,
    PublishedRecipe,
    PublishedResult,
    Recipe,
    TrainingRecipe,
    Weights,
)


RECIPES: Mapping[str, PublishedRecipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (*setr.RECIPES, *segvit.RECIPES, *structtoken.RECIPES, *sctnet.RECIPES)}
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
    "LABEL_SETS",
    "RECIPES",
    "EvaluationRecipe",
    "LabelSet",
    "PretrainedWeights",
    "PublishedRecipe",
    "PublishedResult",
    "Recipe",
    "TrainingRecipe",
    "Weights",
    "get_recipe",
    "load_label_set",
    "load_recipe",
    "recipe_to_json",
]
