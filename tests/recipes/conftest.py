# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models of published recipes, made once."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn

import vitseg
from vitseg.methods import METHODS
from vitseg.recipes import get_recipe


@pytest.fixture(scope="session")
def build() -> Callable[[str], nn.Module]:
    """The model of a recipe by its name, without memory for its weights."""

    @functools.cache
    def built(name: str) -> nn.Module:
        recipe = get_recipe(name)
        with torch.device("meta"):
            return getattr(vitseg, METHODS[recipe.method].class_name(recipe.task))(recipe.build_config()).eval()

    return built
