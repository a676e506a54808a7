# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes that share the images of a run, as `accelerate launch` or torchrun starts them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..extras import require
from ..workers import PATIENCE
from .loading import choose_device


@dataclass(frozen=True)
class Process:
    """
    One of the processes.

    Args:
        device: where its model runs.
        index: which it is, from 0.
        count: how many there are.
    """

    device: torch.device
    index: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def share(self, total: int) -> range:
        """Which of so many images are its own."""
        return range(self.index, total, self.count)

    def gather(self, value: Any) -> list[Any]:
        """What all processes give, in all of them, once each has come here."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object  # which the core does without

        return gather_object([value])

    def require_same(self, names: Sequence[str]) -> None:
        """
        Wait until all processes have listed the images.

        Raises:
            ValueError: if they found different ones, so that shares would overlap.
        """
        if self.count == 1:
            return
        digest = hashlib.sha256()
        for name in names:
            digest.update(os.fsencode(name) + b"\0")
        if len(set(self.gather(digest.hexdigest()))) > 1:
            raise ValueError("the processes found different images: do all machines see the same folders?")


def join_processes(device: str) -> Process:
    """
    This process, among those that were started with it.

    Args:
        device: "cuda", "cpu" or "auto".

    Raises:
        MissingExtraError: if there are several, and Accelerate is not installed.
        ValueError: if there is no such device.
    """
    chosen = torch.device(choose_device(device))
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Process(chosen)
    require("eval")
    from accelerate import PartialState  # which the core does without

    state = PartialState(cpu=chosen.type == "cpu", timeout=PATIENCE)
    return Process(state.device, state.process_index, state.num_processes)
