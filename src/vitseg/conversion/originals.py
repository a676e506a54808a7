# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a checkpoint is one of: a recipe's, or that of an original configuration, which lies in a file or in itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..recipes import PublishedRecipe
from .base import CONVERTIBLE, Converter, converter_of
from .python_config import parse_python_config, read_python_config
from .reading import Checkpoint


# Task -> what an original's configuration of it holds.
TASK_KEYS = {"segmentation": "decode_head", "classification": "embed_dims", "detection": "bbox_head"}


# Where the record of a checkpoint holds its configuration: that of mmengine, and that of mmcv.
CONFIG_ENTRIES = ("cfg", "config")


@dataclass(frozen=True)
class Original:
    """
    What is known of a checkpoint before its weights are looked at.

    Args:
        method: of `CONVERTIBLE`.
        task: what the model does, of `TASK_KEYS`.
        recipe: the published result that it belongs to, if any.
        config: otherwise the original's model dictionary, empty where none was given.
        whole_config: all that the configuration holds; the model dictionary alone where there is no more.
        source: where it was read from, in words.
    """

    method: str
    task: str
    recipe: PublishedRecipe | None = None
    config: dict[str, Any] = field(default_factory=dict)
    whole_config: dict[str, Any] = field(default_factory=dict)
    source: str = ""

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


def of_config(
    checkpoint: Checkpoint, file: Path | None = None, method: str | None = None, stated_task: str | None = None
) -> Original:
    """
    The original of a configuration, which says method and task where these are not stated.

    Args:
        checkpoint: holds the configuration as text where there is no file, if it is one of mmcv or mmengine.
        file: the configuration, in Python, JSON or YAML: a whole one of mmsegmentation, or a model dictionary.
        method: of `CONVERTIBLE`.
        stated_task: of `TASK_KEYS`.

    Raises:
        ValueError: if there is no configuration and the method needs one, if it cannot be read, its task is not the
            stated one or not one of the method, or nothing here converts its model.
    """
    if file is not None:
        whole, source = _without_scopes(_read_config_file(file)), str(file)
    else:
        whole, source = _without_scopes(_read_config_of(checkpoint)), f"The configuration in {checkpoint.path}"
    needs_config = method is None or converter_of(method).needs_original_config
    if not whole and needs_config:
        raise ValueError(
            f"{checkpoint.path} does not hold the configuration of its model, as files of mmcv and mmengine do. Give "
            "--recipe NAME, or --original-config FILE"
            f"{'' if method else ', and --method METHOD where that is no configuration of mmsegmentation'}."
        )
    config = whole.get("model", whole)
    # One that has a type is named when it is not recognised.
    expected = {"backbone", "embed_dims", *(() if method else ("type",))}
    if not isinstance(config, dict) or (needs_config and not expected & config.keys()):
        raise ValueError(f"{source} holds no model configuration: expected a dictionary with a 'backbone'.")
    method = method or _recognise(config, source)
    task = next((name for name, key in TASK_KEYS.items() if key in config), stated_task or "segmentation")
    task = _check_task(method, task, stated_task, "configuration")
    return Original(method, task, None, config, whole, source)


def _recognise(config: dict[str, Any], source: str) -> str:
    """
    The method of a model, by its backbone and its head.

    Raises:
        ValueError: if nothing here converts it; the message lists what does.
    """
    parts = [config.get("backbone"), config.get("decode_head") or config.get("bbox_head")]
    kinds = [str(part.get("type")) if isinstance(part, Mapping) else None for part in parts]
    for method in CONVERTIBLE:
        for backbone, head in converter_of(method).architectures:
            if kinds[0] in backbone.names and kinds[1] in head.names:
                return method
    of_what = " and ".join(str(kind) for kind in kinds if kind is not None) or "neither backbone nor head"
    raise ValueError(
        f"{source} is for {config.get('type', 'a model')} of {of_what}, which nothing here converts. What does "
        "convert, by backbone and head:\n  "
        + "\n  ".join(f"{method:16} {describe_architectures(method)}" for method in CONVERTIBLE)
    )


def describe_architectures(method: str) -> str:
    """What converts, of mmsegmentation's backbones and heads, as a method or model of `CONVERTIBLE`, and to what."""
    pairs = (
        f"{' or '.join(backbone.names)} and {' or '.join(head.names)}"
        for backbone, head in converter_of(method).architectures
    )
    return f"{'; '.join(pairs)}, to {converter_of(method).result}"


def _check_task(method: str, task: str, stated: str | None, source: str) -> str:
    if stated not in (None, task):
        raise ValueError(f"--task is {stated}, but the {source} is for {task}.")
    if task not in converter_of(method).tasks:
        raise ValueError(f"{method} has no models for {task}.")
    return task


class TupleLoader(yaml.SafeLoader):
    """Reads YAML with Python's tuples, and nothing else that is not plain."""


TupleLoader.add_constructor("tag:yaml.org,2002:python/tuple", TupleLoader.construct_sequence)


def _read_config_file(path: Path) -> dict[str, Any]:
    if path.suffix == ".py":
        return read_python_config(path)
    kind = "YAML" if path.suffix in (".yml", ".yaml") else "JSON"
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, TupleLoader) if kind == "YAML" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not a readable {kind} file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no model configuration: expected a dictionary with a 'backbone'.")
    return content


def _without_scopes(value: Any) -> Any:
    """
    A configuration whose classes have no more than their own names: without that of a registry (`mmseg.FCNHead`), and
    that of a module (`mmseg.models.FCNHead`), which mmengine writes for classes that a configuration imports.
    """
    if isinstance(value, dict):
        return {
            key: item.rpartition(".")[2] if key == "type" and isinstance(item, str) else _without_scopes(item)
            for key, item in value.items()
        }
    return type(value)(map(_without_scopes, value)) if isinstance(value, list | tuple) else value


def _read_config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The configuration that a checkpoint holds as text, empty if it holds none."""
    text = next((text for entry in CONFIG_ENTRIES if isinstance(text := checkpoint.meta.get(entry), str)), "")
    return parse_python_config(text, f"The configuration in {checkpoint.path}")
