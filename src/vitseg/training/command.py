# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a published recipe, or your own, on one device or many; what is trained for which task, the recipe says:

    accelerate launch -m vitseg train --recipe setr-pup-vit-l-ade20k-512-160k --dataset ade20k --output runs/ade20k

Fine-tune a trained model on your own data:

    accelerate launch -m vitseg train --recipe setr-pup-vit-l-ade20k-512-160k --init MODEL --dataset DATA \\
        --iterations 8000 --output runs/mine

The data set is a folder that `vitseg prepare` wrote, or such a data set on the Hub. Devices, machines, mixed precision
and FSDP are chosen by `accelerate launch` or `accelerate config`; on any number of devices a step takes as many images
as the recipe says. A run that was stopped goes on with the same command and `--resume latest`, as if it had not been.

The output folder gets checkpoints/ to resume from, model/ (the last weights), best/ (the best ones by the validation
split), metrics.jsonl and training.png.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from ..arguments import positive_int
from ..data.sources import add_source_options, source_of
from .checkpoints import CheckpointError, find_checkpoint
from .loop import Training
from .options import TrainingOptions
from .run_folder import CHECKPOINTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    fields = {field.name: field for field in dataclasses.fields(TrainingOptions)}

    def add(group: Any, *names: str) -> None:
        for name in names:
            needed = {"required": True} if fields[name].default is dataclasses.MISSING else {}
            kind = {"action": "store_true"} if fields[name].type is bool else {"metavar": "N", **needed}
            group.add_argument(f"--{name.replace('_', '-')}", **kind | fields[name].metadata)

    what = parser.add_argument_group("what to train")
    add(what, "recipe", "dataset", "output", "backbone", "save_adapter", "init", "policy", "labels", "reduce_labels")
    add_source_options(what)
    add(what, "train_split", "validation_split")
    how = parser.add_argument_group("changes to the recipe")
    how.add_argument("--iterations", type=positive_int, metavar="N", help="optimizer steps")
    how.add_argument("--batch-size", type=positive_int, metavar="N", help="images per step, over all devices")
    how.add_argument("--learning-rate", type=float, metavar="X", help="base learning rate")
    how.add_argument("--freeze", nargs="+", metavar="MODULE", help="modules that do not learn, such as backbone")
    how.add_argument("--lora", type=positive_int, metavar="RANK", help="low-rank adapters in a frozen backbone")
    how.add_argument("--lora-targets", nargs="+", metavar="LAYER", help="layers that get them (all linear ones)")
    how.add_argument("--teacher", metavar="MODEL|none", help="SCTNet's teacher: a model folder or Hub name")
    how.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other: training.power=1.0")
    add(how, "ema", "seed")
    speed = parser.add_argument_group("memory and speed")
    add(speed, "per_device_batch_size", "attention", "gradient_checkpointing", "compile")
    add(speed, "workers", "shuffle_buffer", "cache")
    course = parser.add_argument_group("course of the run")
    add(course, "resume", "validate_every", "validation_limit", "checkpoint_every", "keep", "log_every", "report_to")


def run(args: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(args).items() if value is not None}
    options = {field.name: given[field.name] for field in dataclasses.fields(TrainingOptions) if field.name in given}
    short = ("iterations", "batch_size", "learning_rate", "freeze", "teacher")
    options["dataset"] = source_of(args)
    changes = {f"training.{name}": given[name] for name in short if name in given}
    if args.lora is not None:
        changes["training.lora"] = {"rank": args.lora, "targets": args.lora_targets or []}
    elif args.lora_targets:
        args.usage_error("--lora-targets names layers for adapters; give their rank with --lora.")
    changes |= read_assignments(args.set)
    try:
        return Training(TrainingOptions(**options, changes=changes)).run()
    except CheckpointError:
        raise
    except OSError as error:
        if find_checkpoint(args.output / CHECKPOINTS)[0] is None:
            raise
        raise OSError(f"{error}. Checkpoints are intact: when this is mended, go on with --resume latest.") from error


def read_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """
    Dotted key -> value of texts such as `training.power=1.0`, whose values are JSON or else plain text.

    Raises:
        ValueError: naming a text that has no value.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set {assignment} has no value; expected KEY=VALUE, such as training.power=1.0.")
        try:
            changes[key] = json.loads(text)
        except ValueError:
            changes[key] = text
    return changes
