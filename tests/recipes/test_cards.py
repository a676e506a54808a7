# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Model cards: those in the repository are the recipes', and state figures as published."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from vitseg.recipes import RECIPES
from vitseg.recipes.cards import family_card, write_cards


CARDS = Path(__file__).parents[2] / "MODEL_CARDS"
METHODS = list(dict.fromkeys(recipe.method for recipe in RECIPES.values()))


def test_committed_cards_are_those_of_the_recipes(tmp_path):
    written = {path.name: path.read_text(encoding="utf-8") for path in write_cards(tmp_path / "cards")}
    assert set(written) == {"README.md", *(f"{method}.md" for method in METHODS)}
    assert {path.name for path in (tmp_path / "cards").iterdir()} == set(written)
    for name, text in written.items():
        assert (CARDS / name).read_text(encoding="utf-8") == text, (
            f"MODEL_CARDS/{name} is out of date: run `python -m vitseg.recipes --write-cards MODEL_CARDS`."
        )


@pytest.mark.parametrize("method", METHODS)
def test_what_a_card_says(method):
    card, recipes = ModelCard.load(CARDS / f"{method}.md"), [r for r in RECIPES.values() if r.method == method]
    assert card.data.to_dict() == family_card(method).metadata
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-segmentation")
    assert "as published, not measured here" in card.text
    rows = [line.strip("|").split("|") for line in card.text.splitlines() if line.startswith("|")]
    cells = {cell[0].strip(): [part.strip() for part in cell] for cell in rows if cell[0].strip() in RECIPES}
    assert list(cells) == [recipe.name for recipe in recipes]
    for recipe in recipes:
        weights = f"[published]({recipe.weights.url})" if recipe.weights.url else recipe.weights.status
        assert cells[recipe.name][3:] == [*recipe.published.figures, recipe.weights.licence, weights]
    snippets = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    assert len(snippets) >= 2
    for snippet in snippets:
        ast.parse(snippet)


@pytest.mark.parametrize(
    ("method", "licence", "text"),
    [
        ("setr", "other", "link empty"),
        ("segvit", "other", "The weights are for academic use"),
        ("structtoken", "apache-2.0", "Apache-2.0"),
        ("sctnet", "mit", "SegFormer's weights are for non-commercial use"),
        ("cts_segmenter", "mit", "No weights of CTS Segmenter"),
        # No reading of its configuration has the published number of parameters.
        ("hlg", "mit", "The number of parameters published for **Medium**, 43 million"),
    ],
)
def test_what_cards_must_not_hide(method, licence, text):
    card = family_card(method)
    assert card.metadata["license"] == licence
    assert text in card.to_markdown()


def test_methods_without_published_results_have_an_empty_card():
    card = family_card("sctnet_teacher")
    assert (card.beginning, card.sections, card.metadata) == ("", {}, {})


def test_command_lists_every_recipe(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vitseg.recipes"])
    runpy.run_module("vitseg.recipes", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(RECIPES)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["setr-pup-vit-l-ade20k-512-160k", "ade20k", "48.62", "50.09", "convertible"] in cells
    assert ["setr-pup-deit-b-cityscapes-768-40k", "cityscapes", "78.79", "", "weights never released"] in cells
