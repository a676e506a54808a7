# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A figure that was measured while the machine was not quiet says so."""

import os
import time

import pytest
from benchmarks import quiet
from benchmarks.arguments import print_rows, print_table
from benchmarks.quiet import Listener, Noise, spread_of


@pytest.fixture
def listener(tmp_path, monkeypatch):
    monkeypatch.setattr(quiet, "LINUX_TIMES", tmp_path / "stat")
    monkeypatch.setattr(quiet, "SHORTEST", 0.0)
    return Listener()


def set_busy(seconds: float) -> None:
    """What all cores have worked so far, half of it stolen by the host."""
    ticks = round(seconds * os.sysconf("SC_CLK_TCK") / 2)
    quiet.LINUX_TIMES.write_text(f"cpu {ticks} 0 0 999 99 0 0 {ticks} 0 0\ncpu0 1 2 3\n")


def test_what_others_do_is_heard(listener):
    set_busy(100)
    with listener.timing():
        time.sleep(0.05)
        set_busy(110)
    load = listener.noise.load
    assert 0 < load <= 10 / 0.05
    assert listener.take() == f"not quiet: others kept {load:.1f} cores busy"
    with listener.timing():
        pass
    assert listener.take() == ""


def test_far_timings_are_heard(listener):
    set_busy(1)
    with listener.timing({"steady": [1.0, 1.01, 1.02], "other": [1.0, 1.25, 1.5]}):
        pass
    assert listener.take() == "not quiet: spread 40%"
    # Of many, the middle half counts.
    assert spread_of([1.0] * 9 + [5.0]) == 0
    assert spread_of([2.0]) == 0


def test_both_are_said():
    assert Noise(load=1.26, spread=0.5).describe() == "not quiet: others kept 1.3 cores busy, spread 50%"
    assert Noise(load=0.1, spread=0.1).describe() == ""


def test_it_stands_beside_the_figure(capsys):
    rows = [{"ms": 1, "noise_fast": "not quiet: spread 40%", "noise_slow": ""}, {"ms": 2, "noise_fast": ""}]
    print_table({"time": "{ms}".format_map}, rows)
    header, _, noisy, silent = capsys.readouterr().out.splitlines()
    assert header == "| time | machine |"
    assert noisy == "| 1    | not quiet: spread 40% |"
    assert "quiet" not in silent
    print_rows(("time",), [("2",)], rows[1:])
    assert "machine" not in capsys.readouterr().out
