# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is one of: a recipe's, or that of an original configuration."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..recipes import PublishedRecipe
from .base import Converter, converter_of


# Task -> what an original's configuration of it holds.
TASK_KEYS = {"segmentation": "decode_head", "classification": "embed_dims", "detection": "bbox_head"}


@dataclass(frozen=True)
class Original:
    """
    What is known of a checkpoint before it is read.

    Args:
        method: of `CONVERTIBLE`.
        task: what the model does, of `TASK_KEYS`.
        recipe: the published result that it belongs to, if any.
        config: otherwise the original's model dictionary, empty where none was given.
        config_file: where that was read from.
    """

    method: str
    task: str
    recipe: PublishedRecipe | None = None
    config: dict[str, Any] = field(default_factory=dict)
    config_file: Path | None = None

    @property
    def converter(self) -> type[Converter]:
        return converter_of(self.method)


def of_recipe(recipe: PublishedRecipe, stated_task: str | None = None) -> Original:
    """
    A recipe's original.

    Raises:
        ValueError: if the stated task is not the recipe's.
    """
    return Original(recipe.method, _check_task(recipe.method, recipe.task, stated_task, "recipe"), recipe)


def of_config(method: str, file: Path | None, stated_task: str | None = None) -> Original:
    """
    The original of a configuration: its model dictionary in a JSON or YAML file, on its own or under the key `model`.

    The configuration says the task, or `stated_task` where there is none.

    Raises:
        ValueError: if the file holds none, or its task is not the stated one, or not one of the method.
    """
    config = _read_config_file(method, file) if file else {}
    task = next((name for name, key in TASK_KEYS.items() if key in config), stated_task or "segmentation")
    task = _check_task(method, task, stated_task, "configuration")
    return Original(method, task, config=config, config_file=file)


def _check_task(method: str, task: str, stated: str | None, source: str) -> str:
    if stated not in (None, task):
        raise ValueError(f"--task is {stated}, but the {source} is for {task}.")
    if task not in converter_of(method).tasks:
        raise ValueError(f"{method} has no models for {task}.")
    return task


class TupleLoader(yaml.SafeLoader):
    """Reads YAML with Python's tuples, and nothing else that is not plain."""


TupleLoader.add_constructor("tag:yaml.org,2002:python/tuple", TupleLoader.construct_sequence)


def _read_config_file(method: str, path: Path) -> dict[str, Any]:
    kind = "YAML" if path.suffix in (".yml", ".yaml") else "JSON"
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, TupleLoader) if kind == "YAML" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not a readable {kind} file: {error}") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    is_model = isinstance(content, dict) and {"backbone", "embed_dims"} & content.keys()
    if not isinstance(content, dict) or (converter_of(method).needs_original_config and not is_model):
        raise ValueError(f"{path} holds no model configuration: expected a dictionary with a 'backbone'.")
    return content
