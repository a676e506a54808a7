# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What mkdocs does beside rendering: the navigation lists the pages of methods that there are, and tables come from the
recipes, so that nothing is typed twice. In a page,

    <!-- recipes -->             becomes the table of all recipes,
    <!-- card: Results -->       the section `Results` of the model card of the method that the page is named after,
    <!-- card: beginning -->     what comes before its first section.
"""

import re
from pathlib import Path
from typing import Any

from vitseg.recipes import RECIPES
from vitseg.recipes.cards import family_card, results_table


BEFORE_METHODS = ["index.md", "getting-started.md"]
AFTER_METHODS = [
    "data.md",
    "labelling-tools.md",
    "training.md",
    "fine-tuning.md",
    "own-classes.md",
    "any-picture.md",
    "evaluation.md",
    "mmsegmentation.md",
    "conversion.md",
    "deployment.md",
    "performance.md",
    "recipes.md",
    "architecture.md",
]


def on_config(config: Any) -> Any:
    methods = sorted(f"methods/{path.name}" for path in (Path(config.docs_dir) / "methods").glob("*.md"))
    config.nav = [*BEFORE_METHODS, {"Methods": methods}, *AFTER_METHODS]
    return config


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    def section(match: re.Match[str]) -> str:
        card = family_card(Path(page.file.src_path).stem)
        sections = {"beginning": card.beginning, **card.sections}
        if match[1] not in sections:
            raise ValueError(
                f"{page.file.src_path}: the model card has no section {match[1]!r}, but {list(sections)}."
            )
        return sections[match[1]]

    markdown = markdown.replace("<!-- recipes -->", results_table(RECIPES.values()))
    return re.sub(r"<!-- card: (.+?) -->", section, markdown)
