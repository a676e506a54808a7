# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where it is taken down what becomes of images: the progress bar, the screen, the manifest."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..extras import require
from ..image_files import printable
from ..progress import progress_bar
from ..stamps import identity, model_stamp
from .outcomes import Outcome
from .processes import Process


if TYPE_CHECKING:  # The core does without it.
    from .manifest import Manifest


def add_ledger_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for a manifest."""
    parser.add_argument("--manifest", type=Path, metavar="DIR", help="write what becomes of each image, as Parquet")


def open_ledger(args: argparse.Namespace, images: Sequence[str], process: Process, failure: str) -> "Ledger":
    """
    The ledger of a process, once all processes have listed the images.

    Args:
        args: `manifest` and `model`.
        images: all of them.
        process: this one.
        failure: see [`Ledger`].

    Raises:
        MissingExtraError: if a manifest is wanted, and what writes it is not installed.
        ValueError: if processes found different images, or the manifest would replace files of others.
    """
    manifest = None
    if args.manifest is not None:
        require("data")
        from .manifest import Manifest, clear_manifest

        if process.is_main:
            clear_manifest(args.manifest)
        manifest = Manifest(args.manifest, identity(model=model_stamp(args.model)), process.index)
    process.require_same(images)
    return Ledger(len(process.share(len(images))), process, failure, manifest)


class Ledger:
    """
    Takes down what becomes of the images of a process, as a context manager: what it was told is kept if the run ends.

    Args:
        total: how many there are.
        process: one of those that share all images; the bar is that of the first.
        failure: a line for an image that failed, with `{image}` and `{reason}`.
        manifest: where all is kept, if anywhere.
    """

    def __init__(
        self,
        total: int,
        process: Process,
        failure: str,
        manifest: "Manifest | None" = None,
    ):
        self.process = process
        self.failure = failure
        self.manifest = manifest
        self.counts = {"done": 0, "kept": 0, "failed": 0}
        self.model_seconds = 0.0
        self.started = time.monotonic()
        self.bar = progress_bar(total=total, unit="image", disable=not process.is_main)

    def add(self, outcome: Outcome) -> None:
        """Take down one."""
        self.bar.update()
        self.counts[outcome.status] += 1
        self.model_seconds += outcome.seconds or 0.0
        if outcome.status == "failed":
            tqdm.write(self.failure.format(image=printable(outcome.image), reason=outcome.reason), file=sys.stderr)
        if self.manifest is not None:
            self.manifest.add(outcome)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        if self.manifest is not None:
            self.manifest.close()

    def sum_up(self) -> int:
        """
        Once all processes are done, say how fast they were.

        Returns:
            How many images failed, in all processes.
        """
        seconds = time.monotonic() - self.started
        others = self.process.gather((self.counts, self.model_seconds, seconds))
        done, kept, failed = (sum(counts[status] for counts, *_ in others) for status in ("done", "kept", "failed"))
        if self.process.is_main and done + kept > 1:
            longest = max(seconds for *_, seconds in others)
            share = sum(model for _, model, _ in others) / sum(seconds for *_, seconds in others)
            there = f", {kept} were there" if kept else ""
            speed = f" in {longest:.1f} s: {done / longest:.2f} a second, {share:.0%} of the time in the model"
            print(f"{done} images{speed if done else ' to do'}{there}", file=sys.stderr)
        return failed
