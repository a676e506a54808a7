# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vitseg.recipes`: list the recipes, print one as a file to edit, or write the model cards."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import RECIPES, get_recipe, recipe_to_json
from .cards import results_table, write_cards


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments` (those of the process by default)."""
    parser = argparse.ArgumentParser(
        prog="python -m vitseg.recipes",
        description="List all recipes, with the published mIoU (in percent) and the state of the weights.",
    )
    parser.add_argument("name", nargs="?", help="print this recipe instead, as JSON for a file to edit and train with")
    parser.add_argument("--write-cards", metavar="DIR", type=Path, help="write the model cards to DIR instead")
    options = parser.parse_args(arguments)
    if options.name is not None:
        try:
            print(recipe_to_json(get_recipe(options.name)))
        except ValueError as error:
            parser.error(str(error))
    elif options.write_cards is not None:
        for path in write_cards(options.write_cards):
            print(path)
    else:
        print(results_table(RECIPES.values()))


if __name__ == "__main__":
    main()
