# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Published segmentation models, from the data to the mask.

    vitseg list                                          the published results, and whether their weights exist
    vitseg describe setr-pup-vit-l-ade20k-512-160k       one of them: figures, weights, licence, protocol, labels
    vitseg describe DIR_OR_ID                            a model folder, or a model on the Hub, likewise
    vitseg convert --recipe NAME --checkpoint FILE --output DIR
    vitseg segment --model DIR_OR_ID photo.jpg folder/ --output out/
    accelerate launch -m vitseg train --recipe NAME_OR_FILE --dataset DIR_OR_ID --output runs/mine
    vitseg validate --model DIR_OR_ID --dataset DIR_OR_ID --output out/
    vitseg predict --model DIR_OR_ID --images folder/ --format cityscapes --output out/
    vitseg prepare ade20k --source FILE --output DIR     a data set for training and evaluation, from its download
    vitseg inspect DIR_OR_ID --output DIR                a page with pictures of what is in a data set
    vitseg merge --model DIR_OR_ID --output DIR          an ordinary model folder of an adapter over its encoder
    vitseg export --model DIR_OR_ID --output DIR         a program for ONNX Runtime
    vitseg publish --model DIR --repo ORG/NAME           a model folder on the Hub, with its card

The exit status is 0 if all went well, 1 if the work failed (of it or of a part of it: a file that is no image), 2
if the command was wrong (an option, or a name that does not exist), and 130 after Ctrl-C.
"""

import argparse
import importlib
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub.errors import StrictDataclassError

from . import __version__
from .extras import is_of_extra, require
from .progress import library_bars_hidden
from .recipes.lookup import unknown_name


class Command(NamedTuple):
    """
    A command: the module of vitseg that does it, and what it does in a few words.

    The module's docstring describes the command, its `add_arguments(parser)` adds the options to a parser, and its
    `run(args)` does the work and returns the exit status. A ValueError or an OSError from there says why the work
    failed; for a wrong command there is `args.usage_error(message)`. Where the module cannot be imported without an
    extra (and its room does not say so itself), the extra is named here.
    """

    module: str
    summary: str
    extra: str | None = None


COMMANDS: Mapping[str, Command] = {
    "list": Command("recipes.listing", "list the published results"),
    "describe": Command("publishing.description", "tell all about a published result or a model"),
    "convert": Command("conversion.command", "turn an original checkpoint into a model folder"),
    "segment": Command("inference.segment", "segment images"),
    "train": Command("training.command", "train a model"),
    "predict": Command("inference.predict", "predict label maps for a test server or a labelling tool", "eval"),
    "validate": Command("inference.validate", "measure a model on a labelled data set", "eval"),
    "compare": Command("inference.compare", "compare models on the same images", "eval"),
    "leaderboard": Command("inference.leaderboard", "make one table of many evaluations", "eval"),
    "prepare": Command("data.prepare", "prepare a data set for training and evaluation"),
    "inspect": Command("data.inspecting", "look at a data set before training"),
    "merge": Command("deployment.merge", "make an ordinary model folder of an adapter", "adapters"),
    "export": Command("deployment.export", "export a model to another runtime"),
    "publish": Command("publishing.publish", "publish a model folder on the Hub"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (those of the process by default); returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        with library_bars_hidden():
            args, unknown = build_parser(chosen).parse_known_args(arguments)
            if unknown:
                args.usage_error(_unknown_argument(unknown[0], args.options))
            return args.run(args)
    except (ImportError, OSError, StrictDataclassError, ValueError) as error:
        if isinstance(error, ImportError) and not is_of_extra(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser for the `chosen` command; of the others, which are not loaded, it knows the names."""
    layout: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = argparse.ArgumentParser(prog="vitseg", description=__doc__, **layout)
    parser.add_argument("--version", action="version", version=f"vitseg {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, **layout)
        if name == chosen:
            if command.extra:
                require(command.extra)
            module = importlib.import_module(f"{__package__}.{command.module}")
            subparser.description = module.__doc__
            module.add_arguments(subparser)
            options = re.findall(r"--[\w-]+", subparser.format_usage())
            subparser.set_defaults(run=module.run, usage_error=subparser.error, options=options)
    return parser


def _unknown_argument(argument: str, options: Sequence[str]) -> str:
    if not argument.startswith("-"):
        return f"unrecognized argument: {argument}"
    return str(unknown_name("option", argument, options))
