# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""List the published results, in percent of mIoU, and the recipes that nothing was published of."""

import argparse

from . import DINOV3_RECIPES, POLICY_RECIPES, RECIPES
from .cards import results_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    methods = list(dict.fromkeys(recipe.method for recipe in RECIPES.values()))
    parser.add_argument("--method", choices=methods, help="only those of a method")


def run(args: argparse.Namespace) -> int:
    print(results_table(recipe for recipe in RECIPES.values() if args.method in (None, recipe.method)))
    others = [*DINOV3_RECIPES.values(), *POLICY_RECIPES.values()]
    names = [recipe.name for recipe in others if args.method in (None, recipe.method)]
    if names:
        print(f"\nWithout published results: {', '.join(names)}")
    return 0
