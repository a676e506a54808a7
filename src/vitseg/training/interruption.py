# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Stopping a training run in good order when the system asks for it."""

import signal
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator


class StopRequest:
    """
    Takes note of SIGTERM, with which schedulers and shut-downs announce that they will kill a process soon.

    Used as a context manager around the training loop, which looks at it between its steps.
    """

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> "StopRequest":
        self._previous = signal.signal(signal.SIGTERM, self._take_note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def received_by_any(self, accelerator: Accelerator) -> bool:
        """Whether any process received it. All processes call this, after the same step."""
        if accelerator.num_processes == 1:
            return self.received
        return bool(accelerator.reduce(torch.tensor(float(self.received), device=accelerator.device)).item())
