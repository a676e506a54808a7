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
        adapter = find_adapter(args.model, {})
    except OSError as error:
        raise ValueError(f"{args.model} is no folder with an adapter, nor one on the Hub: {error}") from error
    if adapter is None:
        raise ValueError(f"{args.model} holds no adapter over an encoder. If it is a model, it is whole already.")
    if args.output.exists():
        raise ValueError(f"{args.output} exists already. Give a new folder, or delete it first.")
    model = AutoModelForSemanticSegmentation.from_pretrained(args.model)
    with replacing(args.output) as folder:
        model.save_pretrained(folder)
        AutoImageProcessor.from_pretrained(args.model).save_pretrained(folder)
        if (adapter / TRAINING_FILE).exists():
            shutil.copy(adapter / TRAINING_FILE, folder)
    print(args.output)
    return 0
