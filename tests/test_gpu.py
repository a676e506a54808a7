# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`make gpu` on the CPU, with small models: each part works, and whatever fails costs its own figures alone."""

import json
import re
import time
from importlib.metadata import version

import failing_sections
import pytest
import torch
from gpu import speed, steps
from gpu.__main__ import main
from gpu.report import Goal, Report
from gpu.running import Section, Settings, Tell, run_sections


@pytest.fixture
def settings(tmp_path):
    return Settings(torch.device("cpu"), tmp_path)


@pytest.fixture
def told():
    return {}


@pytest.fixture
def tell(told):
    return Tell(lambda figure: told.__setitem__(figure["key"], figure))


def read(folder):
    content = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    page = (folder / "report.md").read_text(encoding="utf-8")
    return content, {key: goal["verdict"] for key, goal in content["goals"].items()}, page


def test_without_a_gpu_it_says_so_and_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--output", str(tmp_path / "gpu")]) == 2
    assert "no CUDA device here, and nothing was measured" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


@pytest.mark.slow
def test_checks_and_timings_on_the_cpu(processes, tmp_path, capfd):
    only = ["cases of setr", "cases of sctnet", "ranks", "resuming", "windows", "token sharing"]
    assert main(["--device", "cpu", "--output", str(tmp_path), "--only", *only], processes) == 0
    content, verdicts, page = read(tmp_path)
    assert {section["outcome"] for section in content["sections"]} == {"done"}
    for key in ("golden cases of setr", "golden cases of sctnet", "full-size cases of setr", "float16 setr"):
        assert verdicts[key] == "held"
    assert verdicts["ranks"] == verdicts["ranks with token sharing"] == verdicts["resumed run"] == "held"
    assert content["machine"]["torch"] == version("torch")
    assert re.search(r"\| windows of Cityscapes.* \| at least 1.5 +\| .* ms together.* \| (held|missed) \|", page)


@pytest.mark.slow
def test_steps_and_timings_on_the_cpu(settings, told, tell, monkeypatch):
    steps.check_method(settings, tell, "setr")
    # To compile one model shows that it is done.
    monkeypatch.setattr(speed, "compiled", lambda module, device, **settings: module)
    for time_models in (speed.time_large_models, speed.time_encoder, speed.time_sctnets, speed.time_training):
        time_models(settings, tell)
    errors = {key: figure["error"] for key, figure in told.items() if "error" in figure}
    assert errors == {}
    assert {"step setr-pup", "no waiting setr-pup", "compiled step setr-pup", "share setr", "encoder"} < told.keys()
    assert told["compiled step setr-pup"]["value"] == told["step setr-pup"]["value"] == 1.0


def test_what_fails_costs_its_own_figures(processes, settings, tmp_path, capfd):
    sections = [
        Section("failing", failing_sections.fail, 60, goals={key: Goal(key) for key in ("a row", "b row")}),
        Section("hanging", failing_sections.hang, 1, goals={key: Goal(key) for key in ("before", "after")}),
        Section("crashing", failing_sections.crash, 60, goals={"crashed": Goal("crashed")}),
        Section("lacking", failing_sections.lack, 60, goals={"lacks": Goal("lacks")}),
        Section("last", failing_sections.tell_one, 60, (0.5,), {"a figure": Goal("a figure", 1.0, is_speed=True)}),
        Section("too late", failing_sections.hang, 60),
    ]
    goals = {key: goal for section in sections for key, goal in section.goals.items()}
    report = Report(tmp_path / "gpu", {"device": "none"}, goals, [section.name for section in sections])
    run_sections(sections[:-1], settings, report, processes, time.monotonic() + 120, at_a_time=2)
    run_sections(sections[-1:], settings, report, processes, time.monotonic())
    content, verdicts, page = read(tmp_path / "gpu")
    assert verdicts == {
        "a row": "failed",
        "b row": "held",
        "before": "held",
        "after": "not run",
        "crashed": "not run",
        "lacks": "not run",
        "a figure": "missed",
    }
    assert report.failures == ["a row", "after", "crashed"]
    outcomes = {section["section"]: section["outcome"] for section in content["sections"]}
    assert outcomes.pop("hanging") == "stopped after 1 s"
    assert outcomes == {
        "failing": "failed",
        "crashing": "failed",
        "lacking": "done",
        "last": "done",
        "too late": "not run: the time was over",
    }
    for message in ("ArithmeticError: in a row", "RuntimeError: out of cheese", "exit status -6", "vitseg[cheese]"):
        assert message in page


def test_a_run_that_is_cut_off_leaves_what_it_has(tmp_path):
    report = Report(tmp_path, {"device": "none"}, {"first": Goal("first"), "second": Goal("second")}, ["one", "two"])
    report.tell("one", {"key": "first", "value": 1.0, "text": "3 of 3"})
    content, verdicts, page = read(tmp_path)
    assert verdicts == {"first": "held", "second": "not run"}
    assert content["figures"] == [{"section": "one", "key": "first", "value": 1.0, "text": "3 of 3"}]
    assert "Goals: 1 held, 1 not run." in page
