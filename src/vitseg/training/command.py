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
from pathlib import Path
from typing import Any

from ..arguments import positive_int
from .checkpoints import CheckpointError
from .loop import Training
from .options import TrainingOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = TrainingOptions
    what = parser.add_argument_group("what to train")
    what.add_argument("--recipe", required=True, metavar="NAME_OR_FILE", help="see `vitseg list`")
    what.add_argument("--dataset", required=True, metavar="DIR_OR_ID", help="prepared folder, or data set on the Hub")
    what.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of this run")
    what.add_argument("--init", metavar="timm|none|FILE|MODEL", help="weights at the start (default: the recipe's)")
    what.add_argument("--policy", metavar="MODEL", help="trained policy network, for a model that shares tokens")
    what.add_argument("--labels", type=Path, metavar="FILE", help="class names, if the data set does not bring them")
    what.add_argument("--reduce-labels", action="store_true", help="0 means 'no class' in the data set's label maps")
    what.add_argument("--train-split", metavar="NAME", help=f"({default.train_split})")
    what.add_argument("--validation-split", metavar="NAME", help=f"'none' to do without ({default.validation_split})")

    how = parser.add_argument_group("changes to the recipe")
    how.add_argument("--iterations", type=positive_int, metavar="N", help="optimizer steps")
    how.add_argument("--batch-size", type=positive_int, metavar="N", help="images per step, over all devices")
    how.add_argument("--learning-rate", type=float, metavar="X", help="base learning rate")
    how.add_argument("--teacher", metavar="MODEL|none", help="SCTNet's teacher: a model folder or Hub name")
    how.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other: training.power=1.0")
    how.add_argument("--ema", type=float, metavar="DECAY", help="validate and save a moving average of the weights")
    how.add_argument("--seed", type=int, metavar="N", help=f"({default.seed})")

    speed = parser.add_argument_group("memory and speed")
    speed.add_argument("--per-device-batch-size", type=positive_int, metavar="N", help="images at a time on a device")
    speed.add_argument("--gradient-checkpointing", action="store_true", help="recompute activations to save memory")
    speed.add_argument("--compile", action="store_true", help="compile the model with torch.compile")
    speed.add_argument("--workers", type=int, metavar="N", help="loading processes of each device (default: up to 4)")
    speed.add_argument("--shuffle-buffer", type=positive_int, metavar="N", help=f"samples ({default.shuffle_buffer})")
    speed.add_argument(
        "--cache", action="store_true", help="copy the data set to the local cache and shuffle it fully"
    )

    course = parser.add_argument_group("course of the run")
    course.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="latest|DIR",
        help="go on from the newest checkpoint, or from this one",
    )
    course.add_argument("--validate-every", type=positive_int, metavar="N", help="steps (default: ten times in all)")
    course.add_argument("--validation-limit", type=positive_int, metavar="N", help="images to validate on (all)")
    course.add_argument(
        "--checkpoint-every", type=positive_int, metavar="N", help=f"steps ({default.checkpoint_every})"
    )
    course.add_argument("--keep", type=positive_int, metavar="N", help=f"how many checkpoints remain ({default.keep})")
    course.add_argument("--log-every", type=positive_int, metavar="N", help=f"steps ({default.log_every})")
    course.add_argument("--report-to", nargs="*", metavar="NAME", help="trackers of Accelerate, such as tensorboard")


def run(args: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(args).items() if value is not None}
    names = {field.name for field in dataclasses.fields(TrainingOptions)} & given.keys()
    short = ("iterations", "batch_size", "learning_rate", "teacher")
    changes = {f"training.{name}": given[name] for name in short if name in given}
    changes |= read_assignments(args.set)
    try:
        return Training(TrainingOptions(**{name: given[name] for name in names}, changes=changes)).run()
    except CheckpointError:
        raise
    except OSError as error:
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
