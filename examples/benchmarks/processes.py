# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Functions in a process of their own, where nothing else holds memory, and nothing is cached or compiled."""

import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

from .throughput import peak_memory, time_in_turn


P = ParamSpec("P")
T = TypeVar("T")


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function`, one of a module, returns; `RuntimeError` or `BrokenProcessPool` if memory runs out."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args, **kwargs).result()


def seconds_and_memory(function: Callable[[], object], repeats: int, device: str) -> dict[str, Any]:
    """Median `seconds` of a call, and `megabytes`, 1e6 bytes by which this process grew in the first of them."""
    before = peak_memory(device)
    function()
    megabytes = (peak_memory(device) - before) / 1e6
    times = time_in_turn({"a call": function}, repeats=repeats, warmup=1, device=device)["a call"]
    return {"seconds": statistics.median(times), "megabytes": megabytes}
