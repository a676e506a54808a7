# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Transforms of one's own and repeated sampling in a run: what it says, keeps, and how it goes on."""

import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from training_runs import assert_same_run, losses, options_of, stop_after, train

from vitseg.data.class_counts import class_pixel_counts
from vitseg.scenes import SCENE_CLASSES, write_scenes


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
TRANSFORMS = [
    {"name": "RandomRotation", "degrees": 20, "expand": True},
    {"name": "RandomChoice", "transforms": [{"name": "ColorJitter", "contrast": 0.5}, {"name": "GaussianNoise"}]},
    {"name": "RandomCrop", "size": [40, 40]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set (`scenes`) and a recipe (`tiny.json`)."""
    folder = tmp_path_factory.mktemp("training")
    write_scenes(folder / "scenes", num_train=12, num_validation=1)
    training = {**tiny_recipe["training"], "iterations": 6, "augmentation": TRANSFORMS, "rare_class_sampling": 0.5}
    (folder / "tiny.json").write_text(json.dumps({**tiny_recipe, "training": training}))
    return folder


def run(folder: Path, output: Path, *options: str) -> int:
    return train(*options_of(folder, "tiny", output), "--validate-every=6", *options)


def test_a_run_with_both_goes_on_exactly(folder, tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    assert run(folder, tmp_path / "uninterrupted") == 0
    shown = (class_pixel_counts(folder / "scenes", num_labels=len(SCENE_CLASSES)) > 0).sum(axis=0)
    # Classes that at most five of twelve images show are rare.
    rarest = min(count for count in shown if count)
    factor = (0.5 * 12 / rarest) ** 0.5
    assert f"of 12 images are repeated, up to {factor:.1f} times: an epoch has " in capsys.readouterr().out
    settings = json.loads((tmp_path / "uninterrupted" / "settings.json").read_text())
    assert settings["recipe"]["training"]["augmentation"] == TRANSFORMS
    assert settings["recipe"]["training"]["rare_class_sampling"] == 0.5

    with monkeypatch.context() as patch:
        stop_after(3, patch)
        run(folder, tmp_path / "stopped", "--workers=1")
    assert len(losses(tmp_path / "stopped")) == 3
    others = set(multiprocessing.active_children())
    assert run(folder, tmp_path / "stopped", "--resume=latest", "--workers=2") == 0
    # The processes that load its data end with it.
    assert set(multiprocessing.active_children()) <= others
    assert_same_run(tmp_path / "stopped", tmp_path / "uninterrupted")


def test_the_command_line_takes_both_and_refuses_what_is_wrong(folder, tmp_path, capsys):
    options = ["--set", 'training.augmentation=[{"name": "Normalize", "mean": [0.5], "std": [0.5]}]']
    assert run(folder, tmp_path / "refused", *options) == 1
    assert "error: augmentation has Normalize, which cannot be used for segmentation" in capsys.readouterr().err
    assert run(folder, tmp_path / "refused", "--set", "training.rare_class_sampling=5") == 1
    assert "error: rare_class_sampling is 5; expected a share from 0 to 1." in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
