# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
All recipes by name, those of published results, and those of policy networks and over DINOv3, of which nothing was
published; and recipes as JSON files: a recipe is printed, edited, and trained with.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import cts_policy, cts_segmenter, dinov3, hlg, sctnet, segvit, setr, structtoken
from .changes import apply_changes
from .lookup import unknown_name
from .pretrained_backbone import put_on_backbone
from .schema import TRAINING_RECIPES, PublishedRecipe, Recipe


RECIPES: Mapping[str, PublishedRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for module in (setr, segvit, structtoken, sctnet, cts_segmenter, hlg)
        for recipe in module.RECIPES
    }
)
POLICY_RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in cts_policy.RECIPES})
DINOV3_RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in dinov3.RECIPES})


def get_recipe(name: str) -> PublishedRecipe:
    """
    The recipe of the published result of this name.

    Raises:
        ValueError: if there is none; the message gives the closest names.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, hint="`python -m vitseg.recipes` lists all.")
    return RECIPES[name]


def recipe_to_json(recipe: Recipe) -> str:
    """What `load_recipe` reads; of a published recipe, all but what it says about the publication."""
    values = dataclasses.asdict(recipe)
    return json.dumps({field.name: values[field.name] for field in dataclasses.fields(Recipe)}, indent=2)


def load_recipe(
    name_or_file: str | Path, changes: Mapping[str, Any] | None = None, backbone: str | None = None
) -> Recipe:
    """
    A recipe by its name or from a file.

    Args:
        name_or_file: name of a published recipe, of one for a policy network or over DINOv3, or a JSON file as
            `recipe_to_json` writes it; keys that have a default may be left out.
        changes: dotted key -> value, such as `{"training.iterations": 1000}`, to replace what the recipe says. With
            `training.crop_size` moves what was as large as the crops, such as test windows, unless it is given, too
            (see [`apply_changes`]).
        backbone: folder or Hub repository of a pretrained backbone to put the decoder over, before the changes; see
            [`put_on_backbone`].

    Raises:
        ValueError: if there is no such recipe, file or backbone, or a key does not exist (the message names the
            closest), is missing, or has a value of the wrong kind.
    """
    if str(name_or_file).endswith(".json"):
        values = _read(Path(name_or_file))
    else:
        recipes: dict[str, Recipe] = {**RECIPES, **POLICY_RECIPES, **DINOV3_RECIPES}
        if (name := str(name_or_file)) not in recipes:
            raise unknown_name("recipe", name, recipes, "`python -m vitseg.recipes` lists all published results.")
        values = json.loads(recipe_to_json(recipes[name]))
    if backbone is not None:
        put_on_backbone(values, backbone)
    apply_changes(values, changes or {})
    recipe: Recipe = _build(Recipe, values, "the recipe")
    return recipe


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"Cannot read the recipe {file}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"The recipe {file} holds {values!r}; expected an object.")
    return {"name": file.stem, **values}


def _build(record: type, values: Any, what: str) -> Any:
    """The dataclass `record` from plain JSON values."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} is {values!r}; expected an object.")
    kinds = typing.get_type_hints(record)
    if record is Recipe:
        # What the training holds depends on the task.
        kinds["training"] = TRAINING_RECIPES.get(values.get("task", "segmentation"), kinds["training"])
    for key in values:
        if key not in kinds:
            is_of_training = any(key in typing.get_type_hints(training) for training in TRAINING_RECIPES.values())
            hint = f"It belongs to 'training', as 'training.{key}'." if record is Recipe and is_of_training else ""
            raise unknown_name(f"key of {what}", key, kinds, hint)
    for field in dataclasses.fields(record):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ValueError(f"{what} has no {field.name!r}.")
    return record(**{key: _convert(kinds[key], value, key) for key, value in values.items()})


def _convert(kind: Any, value: Any, what: str) -> Any:
    """A JSON value as a field of type `kind` holds it."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        if value is None:
            return None
        choices = [choice for choice in typing.get_args(kind) if choice is not types.NoneType]
        # Of a name and something else.
        kind = next((choice for choice in choices if (choice is str) == isinstance(value, str)), choices[0])
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, what)  # type: ignore[arg-type]
    if typing.get_origin(kind) is tuple:
        item_kind, *_ = typing.get_args(kind)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{what} is {value!r}; expected a list.")
        return tuple(_convert(item_kind, item, what) for item in value)
    expected = {float: (int, float), int: int, str: str, bool: bool}.get(kind, Mapping)
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
        raise ValueError(f"{what} is {value!r}; expected {getattr(kind, '__name__', 'an object')}.")
    return value
