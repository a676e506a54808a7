# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Make an ordinary model folder of one that was trained with --save-adapter, which needs neither its encoder nor PEFT:

    vitseg merge --model runs/mine/best --output runs/mine/merged
"""

import argparse
import shutil
from pathlib import Path

from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
from transformers.utils import cached_file

from ..conversion.provenance import TRAINING_FILE
from ..models.adapters import find_adapter
from ..replacing import replacing, standing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, type=standing, metavar="DIR_OR_ID", help="folder with an adapter, or one on the Hub"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")


def run(args: argparse.Namespace) -> int:
    try:
        is_adapter = find_adapter(args.model, {}) is not None
    except OSError as error:
        raise ValueError(f"{args.model} is no folder with an adapter, nor one on the Hub: {error}") from error
    if not is_adapter:
        raise ValueError(f"{args.model} holds no adapter over an encoder. If it is a model, it is whole already.")
    if args.output.exists():
        raise ValueError(f"{args.output} exists already. Give a new folder, or delete it first.")
    model = AutoModelForSemanticSegmentation.from_pretrained(args.model)
    record = _record_of_training(args.model)
    with replacing(args.output) as folder:
        model.save_pretrained(folder)
        AutoImageProcessor.from_pretrained(args.model).save_pretrained(folder)
        if record is not None:
            shutil.copy(record, folder)
    print(args.output)
    return 0


def _record_of_training(model: str) -> str | None:
    """The file that says how a model was trained, if there is one: in its folder, or downloaded from the Hub."""
    try:
        return cached_file(model, TRAINING_FILE)
    except OSError:
        return None
