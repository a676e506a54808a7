# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Stopping a training run in good order when the system or a person asks for it."""

import signal
import time
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator


SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Launchers pass a Ctrl-C on to processes that got it already. One that comes later is a person's, who will not wait.
REPEATS_WITHIN = 1.0  # seconds


class StopRequest:
    """
    Takes note of SIGTERM, with which schedulers and shut-downs announce that they will kill a process soon, and of
    Ctrl-C. A second Ctrl-C interrupts at once.

    Used as a context manager around the training loop, which looks at it between its steps.
    """

    def __init__(self) -> None:
        # The number of the signal, 0 as long as there was none.
        self.received = 0
        self._received_at = 0.0

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._take_note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._received_at = number, now
        elif number == signal.SIGINT and now - self._received_at > REPEATS_WITHIN:
            raise KeyboardInterrupt

    def agree(self, accelerator: Accelerator) -> bool:
        """Whether any process received one, which then counts as received by all. All processes call this, after the
        same step."""
        if accelerator.num_processes > 1:
            mine = torch.tensor([self.received], device=accelerator.device)
            self.received = int(accelerator.gather(mine).max())
        return self.received > 0
