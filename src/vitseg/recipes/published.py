# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""All recipes by name: those of published results, and those of policy networks, of which nothing was published."""

from collections.abc import Mapping
from types import MappingProxyType

from . import cts_policy, cts_segmenter, hlg, sctnet, segvit, setr, structtoken
from .lookup import unknown_name
from .schema import PublishedRecipe, Recipe


RECIPES: Mapping[str, PublishedRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for module in (setr, segvit, structtoken, sctnet, cts_segmenter, hlg)
        for recipe in module.RECIPES
    }
)
POLICY_RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in cts_policy.RECIPES})


def get_recipe(name: str) -> PublishedRecipe:
    """
    The recipe of the published result of this name.

    Raises:
        ValueError: if there is none; the message gives the closest names.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, hint="`python -m vitseg.recipes` lists all.")
    return RECIPES[name]
