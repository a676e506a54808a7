# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, is complete, and needs nothing from elsewhere."""

import re
import runpy

import pytest
from markdown_blocks import PAGES, ROOT
from mkdocs.commands.build import build
from mkdocs.config import load_config

from vitseg.methods import METHODS
from vitseg.recipes import RECIPES


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, str]:
    """The pages, by name."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build(config)
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}


def test_every_method_has_a_page_with_a_figure_and_its_recipes(site):
    methods = {recipe.method for recipe in RECIPES.values()}
    assert {path.stem for path in (ROOT / "docs/methods").glob("*.md")} == methods
    assert methods <= set(METHODS)
    for recipe in RECIPES.values():
        page = site[f"methods/{recipe.method}.html"]
        assert f"figures/{recipe.method}.svg" in page
        for text in (page, site["recipes.html"]):
            assert f"<td>{recipe.name}</td>" in text
            assert recipe.published.figures[0] in text


def test_all_pages_are_in_the_navigation(site):
    links = set(re.findall(r'class="reference internal" href="([^"#]+)"', site["getting-started.html"]))
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in PAGES}
    assert pages - {"getting-started.html"} <= links


def test_nothing_is_left_to_fill_in(site):
    for name, text in site.items():
        assert not re.search(r"<!-- (card|recipes)|\$results|\$pretrained", text), name


def test_pages_load_nothing_from_elsewhere(site):
    for name, text in site.items():
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']+", text)
        assert loaded == [], name


def test_commands_say_what_else_they_need():
    """Names in capitals stand for a reader's own files, so such commands cannot be run."""
    for page in PAGES:
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            if not block.startswith("# needs "):
                assert not re.search(r"\b(FILE|DIR|FOLDER|NAME|DIR_OR_ID)\b", block), (page.name, block)
                for line in block.splitlines():
                    assert line.split()[0] in ("accelerate", "echo", "python", "vitseg"), (page.name, line)


def test_each_figure_is_drawn_by_the_program(tmp_path):
    runpy.run_path(str(ROOT / "docs/figures/draw.py"))["main"](tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs/figures").glob("*.svg")}
