# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a bar on a terminal and in a notebook, and lines in a log."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import huggingface_hub
import tqdm.auto
import tqdm.std
import transformers


_HUB_VARIABLE = "HF_HUB_DISABLE_PROGRESS_BARS"
_DATASETS_VARIABLE = "HF_DATASETS_DISABLE_PROGRESS_BARS"
_SECONDS_BETWEEN_LINES = 1
_SECONDS_WITHOUT_TOTAL = 60
_LINE = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm.std.tqdm:
    """
    `tqdm` for where its output goes, the standard error.

    In a file, where a bar would leave a copy of itself each time that it is drawn, there is a line at every tenth of
    the way, or one a minute if the number of items is not known, and one at the end.

    Args:
        iterable: as of `tqdm`.
        options: as of `tqdm`.
    """
    draws_widgets = tqdm.auto.tqdm.display is not tqdm.std.tqdm.display
    if draws_widgets or sys.stderr.isatty():
        return tqdm.auto.tqdm(iterable, **options)
    return ProgressLines(iterable, **options)


@contextmanager
def library_bars_hidden() -> Iterator[None]:
    """
    A context without the bars of transformers, which come with every load and save and are over in a moment, and,
    where they would go to a file, without those of downloads from the Hub and of datasets. If environment variables
    say whether there are some, nothing is changed.
    """
    is_terminal = sys.stderr.isatty()
    with ExitStack() as restored:
        if _HUB_VARIABLE not in os.environ:
            _hide_bars_of_transformers(restored, hides_downloads=not is_terminal)
        if _DATASETS_VARIABLE not in os.environ and not is_terminal:
            _hide_bars_of_datasets(restored)
        yield


def _hide_bars_of_transformers(restored: ExitStack, hides_downloads: bool) -> None:
    """Hide them, and those of the Hub with them, which transformers hides and shows along with its own."""
    bars, hub = transformers.utils.logging, huggingface_hub.utils
    if not bars.is_progress_bar_enabled():
        return
    shows_downloads = not hub.are_progress_bars_disabled()
    bars.disable_progress_bar()
    if shows_downloads and not hides_downloads:
        hub.enable_progress_bars()
    if not shows_downloads:
        restored.callback(hub.disable_progress_bars)
    restored.callback(bars.enable_progress_bar)


def _hide_bars_of_datasets(restored: ExitStack) -> None:
    if "datasets" in sys.modules:
        import datasets

        if not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            restored.callback(datasets.enable_progress_bars)
    else:  # It takes a second to import, not all need it, and it reads its environment then.
        os.environ[_DATASETS_VARIABLE] = "1"
        restored.callback(os.environ.pop, _DATASETS_VARIABLE)


class ProgressLines(tqdm.std.tqdm):
    """Progress in lines; `progress_bar` says when."""

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any):
        # While it is made, no line is due.
        self._tenths, self._written, self._due = 10, None, time.monotonic() + _SECONDS_WITHOUT_TOTAL
        options = {"mininterval": _SECONDS_BETWEEN_LINES, "bar_format": _LINE} | options
        super().__init__(iterable, file=sys.stderr, **options)
        self._tenths = self._tenths_now()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line if it is time for one; returns whether it was."""
        is_due = self._tenths_now() > self._tenths if self.total else time.monotonic() >= self._due
        if is_due:
            self._write_line()
        return is_due

    def close(self) -> None:
        """Write the last line."""
        is_worth_it = not self.disable and self.leave is not False and time.time() >= self.start_t + self.delay
        if is_worth_it and self.n != self._written:
            self._write_line()
        self.sp = None  # of the bar that tqdm would clear
        super().close()

    def clear(self, nolock: bool = False) -> None:
        """Lines stay."""

    def _tenths_now(self) -> int:
        return self.n * 10 // self.total if self.total else 0

    def _write_line(self) -> None:
        self._tenths = self._tenths_now()
        self._written, self._due = self.n, time.monotonic() + _SECONDS_WITHOUT_TOTAL
        self.fp.write(f"{self}\n")
        self.fp.flush()
