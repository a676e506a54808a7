# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Published segmentation models, and what they see in pictures.

    vitseg list                                          the published results, and whether their weights exist
    vitseg describe setr-pup-vit-l-ade20k-512-160k       one of them: figures, weights, licence, protocol, labels
    vitseg describe DIR_OR_ID                            a model folder, or a model on the Hub, likewise
    vitseg segment --model DIR_OR_ID photo.jpg folder/ --output out/

The exit status is 0 if all went well, 1 if the work failed (of it or of a part of it: a file that is no image), and 2
if the command was wrong (an option, or a name that does not exist).
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .recipes import RECIPES
from .recipes.cards import results_table


SEGMENT = """\
Segment images. For image.jpg the output folder gets

  image_overlay.jpg   the image under the colours of its classes, with a legend
  image_palette.png   the label map in these colours: a PNG with a palette, whose pixel values are class ids
  image_ids.png       the same label map as plain bytes, one class id per pixel
  image.json          the area of each class that is present, largest first

Images of the same name keep as many of their folders as tell them apart. A file that is not an image is named and
skipped, and the exit status is 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (those of the process by default); returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        return args.run(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="vitseg", description=__doc__, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"vitseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    text = "list the published results"
    command = commands.add_parser("list", help=text, description=f"{text[0].upper()}{text[1:]}, in percent of mIoU.")
    methods = list(dict.fromkeys(recipe.method for recipe in RECIPES.values()))
    command.add_argument("--method", choices=methods, help="only those of a method")
    command.set_defaults(run=list_recipes)

    text = "tell all about a published result or a model"
    command = commands.add_parser("describe", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("subject", metavar="RECIPE_OR_DIR_OR_ID", help="recipe, model folder, or name on the Hub")
    command.set_defaults(run=describe, usage_error=command.error)

    command = commands.add_parser("segment", help="segment images", description=SEGMENT, formatter_class=raw)
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, or folder of images")
    command.add_argument("--model", required=True, metavar="DIR_OR_ID", help="model folder, or name on the Hub")
    command.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    command.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one size at a time (1)")
    command.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    command.set_defaults(run=segment, usage_error=command.error)
    return parser


def list_recipes(args: argparse.Namespace) -> int:
    print(results_table(recipe for recipe in RECIPES.values() if args.method in (None, recipe.method)))
    return 0


def describe(args: argparse.Namespace) -> int:
    from .description import describe_model, describe_recipe

    if args.subject in RECIPES:
        print(describe_recipe(RECIPES[args.subject]))
    elif Path(args.subject).is_dir() or args.subject.count("/") == 1:
        print(describe_model(args.subject))
    else:
        closest = difflib.get_close_matches(args.subject, RECIPES, n=3)
        args.usage_error(
            f"there is no recipe and no folder {args.subject}. "
            + (f"Did you mean {' or '.join(closest)}?" if closest else "`vitseg list` lists the recipes.")
        )
    return 0


def segment(args: argparse.Namespace) -> int:
    # They load torch, which the other commands can do without.
    import torch

    from .segmentation import choose_device, find_images, is_model_name, load_model, segment_files

    if args.batch_size < 1:
        args.usage_error(f"--batch-size is {args.batch_size}; expected at least 1")
    if args.output.exists() and not args.output.is_dir():
        args.usage_error(f"--output {args.output} is a file; give a folder")
    if not is_model_name(args.model):
        args.usage_error(f"there is no model folder {args.model}")
    try:
        paths = find_images(args.images, args.output)
    except ValueError as error:
        args.usage_error(str(error))
    model, image_processor = load_model(args.model, choose_device(args.device), getattr(torch, args.dtype))
    failures = segment_files(paths, args.output, model, image_processor, args.batch_size)
    for path, reason in failures.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0
