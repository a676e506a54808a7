# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vitseg.recipes`: list the recipes, or write the model cards."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import RECIPES
from .cards import results_table, write_cards


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments` (those of the process by default)."""
    parser = argparse.ArgumentParser(
        prog="python -m vitseg.recipes",
        description="List all recipes, with the published mIoU (in percent) and the state of the weights.",
    )
    parser.add_argument("--write-cards", metavar="DIR", type=Path, help="write the model cards to DIR instead")
    options = parser.parse_args(arguments)
    if options.write_cards is None:
        print(results_table(RECIPES.values()))
        return
    for path in write_cards(options.write_cards):
        print(path)


if __name__ == "__main__":
    main()
