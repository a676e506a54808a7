# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether loading keeps up with a model: the share of training steps of a given length that waits for data."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vitseg.arguments import positive_int
from vitseg.data.loading import train_loader
from vitseg.recipes.cards import markdown_table
from vitseg.training.state import Stopwatch

from .arguments import Row
from .data import NUM_EXAMPLES, synthetic_pair, vitseg_stream


WARMUP_STEPS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--milliseconds", type=positive_int, default=200, metavar="N", help="that the model takes (200)"
    )
    parser.add_argument("--batch-size", type=positive_int, default=16, metavar="N", help="images in a step (16)")
    parser.add_argument(
        "--workers", type=positive_int, nargs="+", default=[1, 2], metavar="N", help="loading processes"
    )


def run(args: argparse.Namespace) -> list[Row]:
    pairs = [synthetic_pair(seed) for seed in range(NUM_EXAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(pairs, Path(folder), workers, args) for workers in args.workers]
    lines = [(str(row["workers"]), f"{row['share_waiting']:.1%}", f"{row['images_per_second']:.1f}") for row in rows]
    print(markdown_table(("loading processes", "of the time waiting", "images/s"), lines))
    print(
        f"\nInside the timing: {args.repeats} steps after {WARMUP_STEPS}, each of which takes {args.batch_size} "
        f"training crops of 512 x 512 from JPEGs of 683 x 512 and then sleeps {args.milliseconds} ms in place of a "
        "model on an accelerator."
    )
    return rows


def load_step(batches: Iterator[Any], watch: Stopwatch) -> list[Any]:
    """As in training: what it returns is freed when no one is waiting any more."""
    with watch.waiting():
        return list(islice(batches, 1))


def measure(pairs: list[tuple[bytes, bytes]], folder: Path, workers: int, args: argparse.Namespace) -> Row:
    batches = iter(train_loader(vitseg_stream(pairs, folder, args.batch_size), workers))
    watch = Stopwatch(0)
    for step in range(WARMUP_STEPS + args.repeats):
        if step == WARMUP_STEPS:
            watch.restart(0)
        load_step(batches, watch)
        time.sleep(args.milliseconds / 1e3)
    images_per_second, share_waiting = watch.read(args.repeats, args.batch_size)
    return {
        "workers": workers,
        "batch_size": args.batch_size,
        "milliseconds": args.milliseconds,
        "images_per_second": images_per_second,
        "share_waiting": share_waiting,
    }
