# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Sections in processes of their own, each with its own limit: one that fails, hangs or crashes costs its figures alone.
"""

import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch

from vitseg.extras import MissingExtraError

from .report import Goal, Report


T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """
    Where the sections run.

    Args:
        device: a CUDA device; or the CPU, where all is small and tests the program alone.
        folder: for what the sections write.
    """

    device: torch.device
    folder: Path

    @property
    def is_small(self) -> bool:
        return self.device.type == "cpu"

    def few(self, things: Iterable[T]) -> list[T]:
        """All of them on a GPU, and on a CPU the first."""
        return [*things][: 1 if self.is_small else None]


class Tell:
    """What a section calls with each figure as soon as it has it."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send

    def __call__(self, key: str, value: float, text: str, **details: Any) -> None:
        """
        Args:
            key: of the goal.
            value: what is compared with the goal: the figure, or 1 where it is held, and 0.
            text: the figure in words.
            details: what else is known, plain data.
        """
        if math.isfinite(value):
            self._send({"key": key, "value": float(value), "text": text, **details})
        else:
            self._send({"key": key, "error": f"{value}: {text}"})

    @contextmanager
    def failures(self, key: str) -> Iterator[None]:
        """Inside, an error is the figure, and the section goes on with the next."""
        try:
            yield
        except Exception:
            self._send({"key": key, "error": traceback.format_exc()})


@dataclass(frozen=True)
class Section:
    """
    A part of the run.

    Args:
        name: in the report.
        function: of a module, called as `function(settings, tell, *arguments)`.
        limit: in seconds.
        arguments: plain data.
        goals: by the keys that the section tells.
    """

    name: str
    function: Callable[..., None]
    limit: float
    arguments: tuple[Any, ...] = ()
    goals: Mapping[str, Goal] = field(default_factory=dict)


@dataclass
class _Running:
    section: Section
    process: BaseProcess
    receiver: Connection
    deadline: float
    error: str = ""
    started: float = field(default_factory=time.monotonic)


def run_sections(
    sections: Sequence[Section],
    settings: Settings,
    report: Report,
    context: BaseContext,
    deadline: float,
    at_a_time: int = 1,
) -> None:
    """
    Run sections in their order, so many at a time, until all are done or the time is over.

    Args:
        sections: what to run.
        settings: where.
        report: gets their figures, one by one.
        context: makes their processes.
        deadline: by `time.monotonic()`, when what still runs is stopped, and what waits is left out.
        at_a_time: of those that time nothing.
    """
    waiting, running = list(sections), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                section = waiting.pop(0)
                if time.monotonic() < deadline:
                    running.append(_start(section, settings, context, deadline))
                else:
                    report.close(section.name, "not run: the time was over")
            running = _attend(running, report)
    finally:
        for each in running:
            _stop(each)


def _start(section: Section, settings: Settings, context: BaseContext, deadline: float) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_here, args=(section, settings, sender), name=section.name)  # type: ignore[attr-defined]
    process.start()
    # The only one that is left is the section's own: its end is the end of the section.
    sender.close()
    print(f"{section.name} ...", flush=True)
    return _Running(section, process, receiver, min(time.monotonic() + section.limit, deadline))


def _attend(running: list[_Running], report: Report) -> list[_Running]:
    """Wait until something happens, and take note of it; returns what still runs."""
    if not running:
        return []
    patience = max(min(each.deadline for each in running) - time.monotonic(), 0)
    ready = wait([each.receiver for each in running], patience)
    going = []
    for each in running:
        if each.receiver in ready:
            try:
                figure = each.receiver.recv()
                if "missing" in figure:
                    report.leave_out(each.section.goals, figure["missing"])
                elif "crash" in figure:
                    each.error = figure["crash"]
                else:
                    report.tell(each.section.name, figure)
                going.append(each)
            except EOFError:
                each.process.join(10)
                _stop(each)
                error = each.error or (f"exit status {each.process.exitcode}" if each.process.exitcode else "")
                _close(each, "failed" if error else "done", report, error)
        elif time.monotonic() >= each.deadline:
            _stop(each)
            _close(each, f"stopped after {time.monotonic() - each.started:.0f} s", report)
        else:
            going.append(each)
    return going


def _close(each: _Running, outcome: str, report: Report, error: str = "") -> None:
    seconds = time.monotonic() - each.started
    print(f"{each.section.name}: {outcome}, {seconds:.0f} s", flush=True)
    report.close(each.section.name, outcome, seconds, error)


def _stop(each: _Running) -> None:
    """End a section and all processes that it started, such as those that compile."""
    assert each.process.pid
    try:
        os.killpg(each.process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet, or nothing is left of it
        each.process.kill()
    each.process.join()


def _run_here(section: Section, settings: Settings, sender: Connection) -> None:
    os.setpgid(0, 0)
    try:
        torch.manual_seed(0)
        section.function(settings, Tell(sender.send), *section.arguments)
    except MissingExtraError as error:
        sender.send({"missing": str(error)})
    except Exception:
        sender.send({"crash": traceback.format_exc()})
    sender.close()
