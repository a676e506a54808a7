# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Turn an original checkpoint into a model folder that `from_pretrained` loads, with or without vitseg installed.

    vitseg convert --checkpoint FILE.pth --output DIR --verify
    vitseg convert --original-config CONFIG.py --checkpoint FILE.pth --output DIR
    vitseg convert --list [--method setr]
    vitseg convert --recipe setr-pup-vit-l-ade20k-512-160k --checkpoint FILE.pth --output DIR --verify
    vitseg convert --method cts_segmenter --original-config variant.yml --checkpoint FILE.pth --output DIR

Checkpoints of mmsegmentation hold the configuration that they were trained with. It says the method, the network, the
test protocol, how images are prepared, and the classes. Where a file holds none, give the configuration: a `.py` file
of mmsegmentation with its `_base_` files, which is read without being run; a JSON file that holds the same, or the
model dictionary alone (`backbone`, `decode_head`, `auxiliary_head`, `test_cfg`, ...); or with its method, the
variant.yml of Segmenter and whatever else is not mmsegmentation's. What a configuration leaves out has the original's
default, and what cannot be carried over is refused by name and value.

A file may hold several weights. mmengine's moving average is under `state_dict`, and the weights that were trained
under `ema_state_dict`; mmcv's is among the others, under names that begin with `ema_`. `--weights` chooses.

mmsegmentation's models that transformers has itself (`--list` has them at its end) become folders of transformers' own
classes, in which nothing is vitseg's. What such a class does otherwise is printed, and noted in the folder.

A recipe stands for a published result; one without a file says where its file is published. HLG has classifiers and
detectors too: the configuration, or `--task`, says which. A classifier's file makes a segmenter or a detector with its
encoder and new heads, to start training from.

Besides the model, the folder gets conversion.json, which says what it was made of, and with --verify fingerprint.json,
which tells whether a later load answers as this one does (`python -m vitseg.conversion.fingerprint DIR`).
"""

import argparse
from pathlib import Path

from ..recipes import RECIPES, PublishedRecipe, get_recipe
from .base import CONVERTIBLE, TRANSFORMERS_MODELS
from .converting import check_is_new, convert
from .originals import TASK_KEYS, describe_architectures, of_config, of_recipe
from .reading import read_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--list", action="store_true", help="list the recipes and where their weights are, and what else converts"
    )
    parser.add_argument("--recipe", metavar="NAME", help="the published result that the checkpoint belongs to")
    parser.add_argument(
        "--method",
        choices=sorted(CONVERTIBLE),
        metavar="METHOD",
        help=f"the method, where no configuration says it; or of the list: {', '.join(sorted(CONVERTIBLE))}",
    )
    parser.add_argument(
        "--original-config",
        type=Path,
        metavar="FILE",
        help="the original's configuration, as Python, JSON or YAML (default: the one in the checkpoint)",
    )
    parser.add_argument(
        "--task", choices=sorted(TASK_KEYS), help="what the model does (default: as its configuration says)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the original file")
    parser.add_argument(
        "--weights",
        metavar="ENTRY",
        help="which weights of a file that holds several, such as ema_state_dict or ema_ (the command says which)",
    )
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
        for model in TRANSFORMERS_MODELS:
            if args.method in (None, model):
                print(f"{model:48} mmsegmentation's {describe_architectures(model)}")
        return 0
    published = get_recipe(args.recipe) if args.recipe else None
    if published and not args.checkpoint:
        print(_describe_source(published))
        return 1
    check_is_new(args.output)
    checkpoint = read_checkpoint(args.checkpoint, args.weights)
    if published:
        original = of_recipe(published, args.task)
    else:
        original = of_config(checkpoint, args.original_config, args.method, args.task)
    convert(original, checkpoint, args.output, half=args.half, verify=args.verify)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if args.list:
        if args.recipe or args.checkpoint:
            args.usage_error("--list goes with --method alone")
        return
    if args.recipe and (args.method or args.original_config):
        args.usage_error("--recipe goes without --method and --original-config")
    if not args.recipe and not args.checkpoint:
        args.usage_error("give --checkpoint, --recipe or --list")
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
