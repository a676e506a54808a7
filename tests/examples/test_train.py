# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The training scripts as a user starts them; what a run is, tests/training tells."""

import json
from pathlib import Path

import pytest
from programs import EXAMPLES, printed_by, run_here, start_two
from training_runs import losses, options_of
from transformers import AutoModelForSemanticSegmentation

from vitseg.scenes import write_scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set (`scenes`) and a recipe (`tiny.json`)."""
    folder = tmp_path_factory.mktemp("training")
    write_scenes(folder / "scenes", num_train=8, num_validation=2)
    (folder / "tiny.json").write_text(json.dumps(tiny_recipe))
    return folder


@pytest.mark.slow
def test_the_script_in_two_processes(processes, folder, tmp_path):
    log = tmp_path / "log.txt"
    options = [*options_of(folder, "tiny", tmp_path / "run"), "--iterations=2", "--set=training.warmup_iterations=0"]
    printed = printed_by(*start_two(processes, run_here, EXAMPLES / "train.py", *options, log=log), log=log)
    assert "2 process(es) on cpu, 2 images at a time" in printed
    assert "warn" not in printed.lower()
    assert len(losses(tmp_path / "run")) == 2
    AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run" / "best")


@pytest.mark.parametrize("name", ["train", "train_classifier", "train_detector", "train_policy"])
def test_a_script_is_the_command(name, tmp_path, capsys):
    program = EXAMPLES / f"{name}.py"
    what = ["--recipe", "nowhere.json", "--dataset", "nowhere", "--output", str(tmp_path / "run")]
    assert run_here(program, *what) == 1
    assert capsys.readouterr().err.startswith("error: Cannot read the recipe nowhere.json")
    assert f"accelerate launch examples/{name}.py" in program.read_text()
