# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How far a training run has come and what it has measured: losses, speed, and the rows of `metrics.jsonl`."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..replacing import replacing


class RunningLosses:
    """Means of the named losses since they were last read. Adding waits for no device."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Count one batch; `losses` are scalars by name, the same names each time."""
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss.detach().float()
        self._count += 1

    def synchronize(self, accelerator: Accelerator) -> None:
        """Make the sums those of all processes together, divided by their number. All processes call this."""
        self._sums = {name: accelerator.reduce(value, "mean") for name, value in self._sums.items()}

    def means(self) -> dict[str, float]:
        """The means so far, of the batches of this process alone unless the sums are synchronized."""
        return {name: value.item() / self._count for name, value in self._sums.items()}

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over all batches of all processes, which are then forgotten. All processes call this."""
        self.synchronize(accelerator)
        means = self.means()
        self._sums, self._count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._count = state["count"]


class Progress:
    """What a checkpoint holds besides weights, optimizer, schedule and random states. `device` is where losses are."""

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self.best_score = -1.0
        self.losses = RunningLosses()
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "best_score": self.best_score, "losses": self.losses.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step, self.best_score = state["step"], state["best_score"]
        self.losses.load_state_dict(state["losses"], self._device)


class Stopwatch:
    """Images per second, and the share of the time that the training waits for data."""

    def __init__(self, step: int) -> None:
        self.restart(step)

    def restart(self, step: int) -> None:
        """Forget the time so far; `step` is the number of steps made."""
        self._step, self._started, self._waited = step, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    def read(self, step: int, batch_size: int) -> tuple[float, float]:
        """Images per second and the share of waiting since the last reading, at the end of `step`."""
        seconds = time.perf_counter() - self._started
        speed, share = (step - self._step) * batch_size / seconds, self._waited / seconds
        self.restart(step)
        return speed, share


class MetricsFile:
    """
    A file of JSON rows, each with the key `step`, in order of their steps.

    It holds nothing that differs between two runs of the same training, such as times, so that a run that was stopped
    and resumed leaves the same file as one that was not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, to be read by others at once."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All rows. One that a killed process did not finish is left out."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def rewind(self, step: int) -> None:
        """Forget the rows after a step, which will be made again."""
        kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
        with replacing(self.path) as unfinished:
            unfinished.write_text("".join(kept), encoding="utf-8")
