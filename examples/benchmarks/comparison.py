# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Two functions that do the same work, timed in turn on one core."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import cv2
import torch

from vitseg.recipes.cards import markdown_table

from .arguments import Row
from .quiet import LISTENER
from .throughput import time_in_turn


@contextmanager
def one_core() -> Iterator[None]:
    """PyTorch and OpenCV use a single thread inside."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def compare(functions: Mapping[str, Callable[[], object]], images: int, repeats: int) -> Row:
    """Prints images/s of one core of two functions, each of which takes so many images in a call, and returns them as
    a row."""
    with one_core():
        seconds = time_in_turn(functions, repeats=repeats)
    rates = {name: [images / second for second in times] for name, times in seconds.items()}
    ours, theirs = seconds.values()
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    lines = [
        (name, *(f"{number:.1f}" for number in (statistics.median(rate), min(rate), max(rate))))
        for name, rate in rates.items()
    ]
    print(markdown_table(("", "images/s per core, median", "smallest", "largest"), lines))
    noise = LISTENER.take()
    print(f"\nvitseg is {ratio:.2f} times as fast (median over the turns){f'; {noise}' if noise else ''}.")
    our_rate, their_rate = map(statistics.median, rates.values())
    return {
        "images_per_second": our_rate,
        "reference": list(functions)[1],
        "reference_images_per_second": their_rate,
        "ratio": ratio,
        "repeats": repeats,
        "noise": noise,
    }
