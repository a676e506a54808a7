# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Progress on a terminal and in a log."""

import io
import re
import sys

import datasets
import huggingface_hub
import pytest
import transformers

from vitseg import progress
from vitseg.progress import library_bars_hidden, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where lines may follow each other at once."""
    output = io.StringIO()
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(sys, "stderr", output)
    return output


def test_a_log_has_a_line_at_every_tenth(monkeypatch):
    log = open_log(monkeypatch)
    assert list(progress_bar(range(2000), desc="Working", unit="step")) == list(range(2000))
    lines = log.getvalue().splitlines()
    assert [line.split("|")[0] for line in lines] == [f"Working: {10 * tenth:3d}%" for tenth in range(1, 11)]
    assert re.fullmatch(r"Working:  30%\| 600/2000 \[.*step/s\]", lines[2])
    assert "\r" not in log.getvalue()


def test_what_is_over_in_a_moment_has_one_line_of_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(total=30, desc="Evaluating") as bar:
        for _ in range(30):
            bar.update()
            bar.set_postfix_str("loss 0.5", refresh=False)
    assert re.fullmatch(r"Evaluating: 100%\| 30/30 \[.*, loss 0.5\]\n", sys.stderr.getvalue())


def test_work_that_goes_on_starts_with_the_next_tenth(monkeypatch):
    log = open_log(monkeypatch)
    with progress_bar(total=20, initial=11) as bar:
        bar.update(1)
        bar.update(2)
    assert [line.strip().split("%")[0] for line in log.getvalue().splitlines()] == ["60", "70"]


def test_an_unknown_number_of_items_has_a_line_a_minute_and_one_at_the_end(monkeypatch):
    log = open_log(monkeypatch)
    seconds = iter(range(0, 4000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    list(progress_bar(iter("abcdefghij"), unit="file"))
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert "10/?" in lines[-1]


@pytest.mark.parametrize("options", [{"leave": False}, {"disable": True}, {"delay": 100}])
def test_nothing_is_written_where_a_bar_would_not_stay(options, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    list(progress_bar(range(5), **options))
    assert sys.stderr.getvalue() == ""


def test_a_command_leaves_the_bars_of_libraries_as_they_were(monkeypatch):
    monkeypatch.delenv("HF_DATASETS_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    def shown() -> list[bool]:
        hidden = [datasets.are_progress_bars_disabled(), huggingface_hub.utils.are_progress_bars_disabled()]
        return [transformers.utils.logging.is_progress_bar_enabled(), *(not is_hidden for is_hidden in hidden)]

    before = shown()
    with library_bars_hidden():
        assert shown() == [False] * 3
    assert shown() == before
    monkeypatch.setattr(sys, "stderr", Terminal())
    with library_bars_hidden():
        assert shown() == [False, *before[1:]]
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with library_bars_hidden():
        assert shown() == [before[0], False, before[2]]


def test_a_terminal_has_a_bar_that_is_drawn_in_place(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(progress_bar(range(5), desc="Working"))
    drawn = sys.stderr.getvalue()
    assert drawn.startswith("\rWorking:   0%|")
    assert drawn.endswith("\n")
    assert drawn.count("\n") == 1
