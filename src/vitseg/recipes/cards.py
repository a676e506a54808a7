# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Model cards: one for each family of models and an index, made from the recipes and from `texts/`.

A card states published figures as published; nothing in it is measured.
"""

import functools
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ..replacing import replacing
from .files import RECIPES
from .schema import PretrainedWeights, PublishedRecipe


INDEX = "README.md"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too, but for the last, which may hold long links."""
    table = [tuple(header), *map(tuple, rows)]
    widths = [*(max(map(len, column)) for column in list(zip(*table, strict=True))[:-1]), len(header[-1])]
    table.insert(1, tuple("-" * width for width in widths))
    lines = (" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(f"| {line} |" for line in lines)


def results_table(recipes: Iterable[PublishedRecipe]) -> str:
    """
    What every recipe's source publishes: data set, mIoU at one scale and with multi-scale and flip (of classifiers and
    detectors another figure, which says so), status.
    """
    header = ("recipe", "data set", "mIoU", "ms + flip", "status")
    rows = ((recipe.name, recipe.label_set, *recipe.published.figures, status(recipe)) for recipe in recipes)
    return markdown_table(header, rows)


def status(recipe: PublishedRecipe) -> str:
    """Whether there are weights to convert."""
    return "convertible" if recipe.weights.status == "published" else "weights never released"


@dataclass(frozen=True, kw_only=True)
class FamilyCard:
    """
    The model card of all models of a method.

    Args:
        title: its heading.
        metadata: what the Hub reads of it.
        beginning: Markdown, before the first section.
        sections: heading -> Markdown.
    """

    title: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    beginning: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)

    def to_markdown(self) -> str:
        """The card as it lies in a repository of the Hub."""
        metadata = yaml.safe_dump(dict(self.metadata), sort_keys=False)
        sections = (f"## {heading}\n\n{text}" for heading, text in self.sections.items())
        return "\n\n".join([f"---\n{metadata}---", f"# {self.title}", self.beginning, *sections]) + "\n"


@functools.cache
def family_card(method: str) -> FamilyCard:
    """The card of a method, such as `"setr"`; one that says nothing for a method without published results."""
    if method not in _methods():
        return FamilyCard(title=method)
    recipes = [recipe for recipe in RECIPES.values() if recipe.method == method]
    header = ("recipe", "batch size", "base rate", "mIoU", "ms + flip", "licence", "weights")
    rows = (
        (
            recipe.name,
            str(recipe.training.batch_size),
            str(recipe.training.learning_rate),
            *recipe.published.figures,
            recipe.weights.licence,
            f"[{recipe.weights.status}]({recipe.weights.url})" if recipe.weights.url else recipe.weights.status,
        )
        for recipe in recipes
    )
    pretrained = dict.fromkeys(recipe.training.pretrained for recipe in recipes)
    facts = {
        "results": markdown_table(header, rows),
        "pretrained": "\n".join(_pretrained_item(weights) for weights in pretrained if weights),
    }

    def filled(text: str) -> str:
        return Template(text.strip()).substitute(facts)

    card = yaml.safe_load(_text(f"{method}.yaml"))
    sections = {heading: filled(text) for heading, text in card["sections"].items()}
    return FamilyCard(
        title=card["title"], metadata=card["metadata"], beginning=filled(card["beginning"]), sections=sections
    )


def index_card() -> str:
    """The list of all cards and recipes."""
    cards = ", ".join(f"[{method}]({method}.md)" for method in _methods())
    return Template(_text("index.md")).substitute(cards=cards, results=results_table(RECIPES.values()))


def write_cards(directory: Path) -> list[Path]:
    """Write the index and every family's card to `directory`, which is made if need be; returns their paths."""
    cards = {INDEX: index_card(), **{f"{method}.md": family_card(method).to_markdown() for method in _methods()}}
    for name, text in cards.items():
        with replacing(directory / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="\n")
    return [directory / name for name in cards]


def model_card(text: str, file: Path) -> ModelCard:
    """
    A card of this text, which gets metadata if it has none.

    Raises:
        ValueError: naming the `file` it is from, if its metadata is no YAML.
    """
    try:
        return ModelCard(text if text.startswith("---") else f"---\nlibrary_name: transformers\n---\n\n{text}")
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The metadata of {file}, between its lines of ---, cannot be read: {reason}") from error


def _methods() -> list[str]:
    return list(dict.fromkeys(recipe.method for recipe in RECIPES.values()))


def _text(file: str) -> str:
    return (importlib.resources.files("vitseg.recipes") / "texts" / file).read_text(encoding="utf-8")


def _pretrained_item(weights: PretrainedWeights) -> str:
    if weights.timm_model is None:
        return f"- {weights.note} See <{weights.url}>."
    file_name = weights.url.rpartition("/")[2]
    if weights.recipe is not None:
        return f"- the classifier [{weights.recipe}]({weights.url}). {weights.note}".rstrip()
    return f"- [{file_name}]({weights.url}), in timm `{weights.timm_model}`. {weights.note}".rstrip()
