# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Work that goes on in threads beside a model: reading what comes next, and writing what it has answered."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch


Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapping(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, waiting: int
) -> Generator[Result, None, None]:
    """
    `function` of each item, in their order, computed in threads while whoever asks does something else.

    Of what it returns, or is about to, no more than `waiting + 1` are held. Items are taken in the thread that asks;
    if that fails, what was begun is finished first. What `function` raises is raised when its result is due.

    Args:
        function: reads, writes or computes on one thread.
        items: taken one by one, as there is room.
        threads: how many; 0 does everything when it is asked for.
        waiting: how many results may wait, at least 1.
    """
    if threads == 0:
        yield from map(function, items)
        return
    threads_of_torch = torch.get_num_threads()
    pending: deque[Future[Result]] = deque()
    try:
        # PyTorch counts threads for each thread that computes: the others keep theirs.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                pending.append(pool.submit(function, item))
                del item  # which would be held while the next one is made
                if len(pending) > waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        torch.set_num_threads(threads_of_torch)  # of threads that are yet to come
