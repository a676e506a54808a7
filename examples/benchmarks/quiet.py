# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether the machine was quiet while something was timed: a figure from one that was not says so."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


LINUX_TIMES = Path("/proc/stat")
# Of a core, and of the median.
LARGEST_LOAD, LARGEST_SPREAD = 0.1, 0.1
# Shorter ones end before the operating system has counted much.
SHORTEST = 0.2  # seconds


def spread_of(seconds: Sequence[float]) -> float:
    """How far timings of the same call lie apart: the middle half of them, or of few all, as a share of the median."""
    if len(seconds) < 2:
        return 0.0
    low, *_, high = statistics.quantiles(seconds, n=4) if len(seconds) > 4 else sorted(seconds)
    return (high - low) / statistics.median(seconds)


@dataclass
class Noise:
    """
    The worst of all timings so far.

    Args:
        load: cores that were busy with something else, or that the host of a virtual machine took.
        spread: see `spread_of`.
    """

    load: float = 0.0
    spread: float = 0.0

    def describe(self) -> str:
        """What was not quiet, in words; empty if the machine was quiet."""
        load = [f"others kept {self.load:.1f} cores busy"] if self.load > LARGEST_LOAD else []
        spread = [f"spread {self.spread:.0%}"] if self.spread > LARGEST_SPREAD else []
        return "not quiet: " + ", ".join(load + spread) if load or spread else ""


@dataclass
class Listener:
    """What listens while this process times something."""

    noise: Noise = field(default_factory=Noise)

    @contextmanager
    def timing(self, seconds: Mapping[str, Sequence[float]] | None = None) -> Iterator[None]:
        """Around a timing; `seconds` are those of each call, by name, once it is over."""
        started, busy, own = time.perf_counter(), _busy_seconds(), sum(os.times()[:4])
        yield
        elapsed = time.perf_counter() - started
        if elapsed >= SHORTEST:
            others = _busy_seconds() - busy - (sum(os.times()[:4]) - own)
            self.noise.load = max(self.noise.load, others / elapsed)
        self.noise.spread = max(self.noise.spread, *map(spread_of, (seconds or {}).values()), 0.0)

    def take(self) -> str:
        """What was heard since this was last asked for, in words."""
        noise, self.noise = self.noise, Noise()
        return noise.describe()


def _busy_seconds() -> float:
    """Of all cores together, since the machine started; 0 where the operating system does not tell."""
    if not LINUX_TIMES.exists():
        return 0.0
    user, nice, system, _, _, *interrupts_and_stolen = map(
        int, LINUX_TIMES.read_text(encoding="ascii").partition("\n")[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")


# The one of this process.
LISTENER = Listener()
