# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The same random decisions for two pipelines that draw them from different generators of NumPy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np


class Draws:
    """
    What mmsegmentation draws from NumPy's global functions while it is recorded; afterwards a generator that gives it
    to ours, which asks for the same decisions in the same order.

    Raises:
        ValueError: if ours asks for another kind of decision.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._drawn: list[tuple[str, Any]] = []

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """The functions of `numpy.random` that mmsegmentation's transforms call are recorded meanwhile."""

        def randint(low: int, high: int | None = None) -> int:
            value = int(self._random.randint(low, high))
            self._drawn.append(("coin" if (low, high) == (2, None) else "integer", value))
            return value

        def choice(options: Sequence[Any], p: Sequence[float]) -> Any:
            index = self._random.choice(len(options), p=p)
            self._drawn.append(("coin", options[index] is not None))
            return options[index]

        def random_sample() -> float:
            self._drawn.append(("share", self._random.random_sample()))
            return self._drawn[-1][1]

        def uniform(low: float, high: float) -> float:
            self._drawn.append(("number", self._random.uniform(low, high)))
            return self._drawn[-1][1]

        functions: dict[str, Any] = {"randint": randint, "choice": choice}
        functions |= {"random_sample": random_sample, "uniform": uniform}
        with mock.patch.multiple(np.random, **functions):
            yield

    @property
    def are_used_up(self) -> bool:
        return not self._drawn

    def random(self) -> float:
        """Below any probability or above it, as a coin fell."""
        return 0.0 if self._next("coin") else 1.0

    def uniform(self, low: float, high: float) -> float:
        if self._drawn and self._drawn[0][0] == "share":
            return self._next("share") * (high - low) + low
        return self._next("number")

    def integers(self, low: Any, high: int | None = None, endpoint: bool = False) -> Any:
        return np.array([self._next("integer") for _ in low]) if high is None else self._next("integer")

    def _next(self, kind: str) -> Any:
        drawn, value = self._drawn.pop(0) if self._drawn else ("nothing", None)
        if drawn != kind:
            raise ValueError(f"Ours draws a {kind} where mmsegmentation draws a {drawn}.")
        return value
