# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: complete or absent, verified before they are used."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from vitseg.training.checkpoints import (
    CheckpointError,
    all_finite,
    find_checkpoint,
    find_damage,
    load_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def run(tmp_path):
    """An accelerator with a model, and a folder that holds its checkpoints of the steps 1 to 3; the weights are the
    steps' numbers."""
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(torch.nn.Linear(3, 2))
    for step in (1, 2, 3):
        torch.nn.init.constant_(model.weight, step)
        save_checkpoint(tmp_path, step, accelerator, keep=2)
    return accelerator, model, tmp_path


def test_the_newest_are_kept_and_the_newest_is_found(run):
    accelerator, model, folder = run
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    path, problems = find_checkpoint(folder)
    assert (path.name, problems) == ("step-00000003", [])
    load_checkpoint(folder / "step-00000002", accelerator)
    assert model.weight.eq(2).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b""), "model.safetensors changed"),
        (lambda path: (path / "notes.txt").write_text("mine"), "notes.txt should not be there"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json"),
        (lambda path: (path / "manifest.json").write_text('{"model'), "is damaged"),
    ],
)
def test_damage_is_named(run, damage, message):
    accelerator, _, folder = run
    newest = folder / "step-00000003"
    damage(newest)
    assert message in find_damage(newest)
    path, (problem,) = find_checkpoint(folder)
    assert path.name == "step-00000002"
    assert f"{newest} is damaged" in problem
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(newest, accelerator)


def test_what_a_killed_process_left_is_no_checkpoint_and_goes_away(run):
    accelerator, _, folder = run
    (folder / ".step-00000004").mkdir()
    (folder / ".step-00000004" / "model.safetensors").write_bytes(b"half")
    assert find_checkpoint(folder)[0].name == "step-00000003"
    save_checkpoint(folder, 5, accelerator, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000003", "step-00000005"]


def test_one_of_the_same_step_stays_until_the_new_one_stands(run, monkeypatch):
    accelerator, model, folder = run
    torch.nn.init.constant_(model.weight, 7)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda path, target: (_ for _ in ()).throw(PermissionError(13, "denied")))
        with pytest.raises(CheckpointError, match="could not be written"):
            save_checkpoint(folder, 3, accelerator, keep=2)
    assert find_checkpoint(folder)[0].name == "step-00000003"
    save_checkpoint(folder, 3, accelerator, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    load_checkpoint(folder / "step-00000003", accelerator)
    assert model.weight.eq(7).all()


def test_another_model_is_refused(run):
    _, _, folder = run
    accelerator = Accelerator(cpu=True)
    accelerator.free_memory()
    accelerator.prepare(torch.nn.Linear(4, 2))
    with pytest.raises(CheckpointError, match="step-00000003 does not fit this run"):
        load_checkpoint(folder / "step-00000003", accelerator)


@pytest.mark.parametrize(("value", "expected"), [(1.0, True), (float("nan"), False), (float("-inf"), False)])
def test_weights_that_are_not_finite_are_noticed(value, expected):
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[1] = value
    assert all_finite(model) is expected
