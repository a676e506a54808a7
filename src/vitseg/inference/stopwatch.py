# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How long the parts of a work take."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stopwatch:
    """For how many seconds each part of the work was busy. Parts may be so at the same time, in different threads."""

    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    start: float = field(default_factory=time.perf_counter)

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Count what the context takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.busy[part] += time.perf_counter() - start

    def each(self, part: str, items: Iterator[Any]) -> Iterator[Any]:
        """The items; counted is what making them takes."""
        while True:
            with self.during(part):
                item = next(items, None)
            if item is None:
                return
            yield item

    def describe(self, num_frames: int) -> str:
        """A line on speed, and on the share of the time in which each part was busy."""
        seconds = time.perf_counter() - self.start
        shares = ", ".join(f"{part} {busy / seconds:.0%}" for part, busy in self.busy.items())
        rate = f"{num_frames / seconds:.1f} frames/s"
        return f"{num_frames} frames in {seconds:.1f} s, {rate}; at the same time: {shares}"
