# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""List the published results, in percent of mIoU."""

import argparse

from . import RECIPES
from .cards import results_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    methods = list(dict.fromkeys(recipe.method for recipe in RECIPES.values()))
    parser.add_argument("--method", choices=methods, help="only those of a method")


def run(args: argparse.Namespace) -> int:
    print(results_table(recipe for recipe in RECIPES.values() if args.method in (None, recipe.method)))
    return 0
