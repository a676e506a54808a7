# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Turn an original checkpoint into a model folder that `from_pretrained` loads, with or without vitseg installed.

    vitseg convert --list [--method setr]
    vitseg convert --recipe setr-pup-vit-l-ade20k-512-160k --checkpoint FILE.pth --output DIR --verify
    vitseg convert --method setr --original-config CONFIG.json --checkpoint FILE.pth --output DIR

A recipe stands for a published result. Any other variant of a method converts with the original's own configuration,
as a JSON file that holds its model dictionary (`backbone`, `decode_head`, `auxiliary_head`, `test_cfg`, ...), or the
variant.yml of Segmenter. What that leaves out has the original's default, and what cannot be carried over is refused
by name and value. HLG has classifiers and detectors too: the configuration, or `--task`, says which. A classifier's
file makes a segmenter or a detector with its encoder and new heads, to start training from. A recipe without a file
says where its file is published.

Besides the model, the folder gets conversion.json, which says what it was made of, and with --verify fingerprint.json,
which tells whether a later load answers as this one does (`python -m vitseg.conversion.fingerprint DIR`).
"""

import argparse
from pathlib import Path

from ..recipes import RECIPES, PublishedRecipe, get_recipe
from .base import CONVERTIBLE, converter_of
from .converting import convert
from .originals import TASK_KEYS, of_config, of_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="list the recipes and where their weights are")
    parser.add_argument("--recipe", metavar="NAME", help="the published result that the checkpoint belongs to")
    parser.add_argument(
        "--method", choices=sorted(CONVERTIBLE), help="the method, for a checkpoint of no recipe; or of the list"
    )
    parser.add_argument(
        "--original-config", type=Path, metavar="FILE", help="with --method: the original's model, as JSON or YAML"
    )
    parser.add_argument(
        "--task", choices=sorted(TASK_KEYS), help="what the model does (default: as its configuration says)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the original file")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the model folder to write")
    parser.add_argument(
        "--verify", action="store_true", help="load the folder again, compare, and leave a fingerprint in it"
    )
    parser.add_argument("--half", action="store_true", help="save the weights in float16: half the size")


def run(args: argparse.Namespace) -> int:
    _check_arguments(args)
    if args.list:
        for recipe in RECIPES.values():
            if args.method in (None, recipe.method):
                print(f"{recipe.name:48} {recipe.weights.describe()}")
        return 0
    if args.recipe and not args.checkpoint:
        print(_describe_source(get_recipe(args.recipe)))
        return 1
    if args.recipe:
        original = of_recipe(get_recipe(args.recipe), args.task)
    else:
        original = of_config(args.method, args.original_config, args.task)
    convert(original, args.checkpoint, args.output, half=args.half, verify=args.verify)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if args.list:
        if args.recipe or args.checkpoint:
            args.usage_error("--list goes with --method alone")
        return
    if bool(args.recipe) == bool(args.method):
        args.usage_error("give one of --list, --recipe and --method")
    if args.method and converter_of(args.method).needs_original_config and not args.original_config:
        args.usage_error("--method needs --original-config")
    if args.original_config and not args.method:
        args.usage_error("--original-config goes with --method")
    if args.method and not args.checkpoint:
        args.usage_error("--method needs --checkpoint")
    if args.checkpoint and not args.output:
        args.usage_error("--checkpoint needs --output")


def _describe_source(recipe: PublishedRecipe) -> str:
    """Where the weights of a recipe were published, under which name and licence, and how to go on."""
    weights = recipe.weights
    lines = [recipe.name, f"  weights  {weights.status}, {weights.host}"]
    if weights.url:
        lines += [f"  link     {weights.url}"]
    if weights.file_name:
        lines += [f"  file     {weights.file_name}"]
    lines += [f"  licence  {weights.licence}"]
    if weights.note:
        lines += [f"  note     {weights.note}"]
    lines.append(
        f"Give the downloaded file:  --recipe {recipe.name} --checkpoint FILE --output DIR --verify"
        if weights.url
        else f"There is no file to convert. Train it:  vitseg train --recipe {recipe.name}"
    )
    return "\n".join(lines)
