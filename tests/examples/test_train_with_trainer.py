# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipes in transformers' Trainer."""

import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import train_with_trainer
from transformers import AutoModelForSemanticSegmentation

from vitseg.scenes import write_scenes
from vitseg.training.trainer import share_of_batch


@pytest.mark.usefixtures("own_state")
def test_a_recipe_trains_in_trainer(tmp_path, capfd, tiny_recipe):
    write_scenes(tmp_path / "scenes", num_train=8, num_validation=2)
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(tiny_recipe))
    options = ["--recipe", str(recipe), "--dataset", str(tmp_path / "scenes"), "--iterations", "10"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train_with_trainer.main([*options, "--output", str(tmp_path / "run")]) == 0
    printed = capfd.readouterr().out
    assert 0 <= float(re.search(r"mean IoU ([0-9.]+)", printed)[1]) <= 1
    (log,) = re.findall(r"'loss': '([0-9.]+)'.*'learning_rate': '([0-9.e-]+)'", printed)
    assert 0 < float(log[0]) < 10
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run")
    assert model.config.id2label[0] == "sky"


def program_options(folder: Path, recipe: Path | str, images: int) -> list[str]:
    write_scenes(folder / "scenes", num_train=images, num_validation=1)
    return ["--recipe", str(recipe), "--dataset", str(folder / "scenes"), "--output", str(folder / "run")]


@pytest.mark.usefixtures("own_state")
def test_a_last_batch_of_one_image_is_left_out(tmp_path):
    """One image is too few for the batch norm of SCTNet's pooled features."""
    recipe = json.loads(Path("examples/recipes/scenes-sctnet.json").read_text())
    recipe["training"] |= {"batch_size": 4, "iterations": 3, "crop_size": [64, 64], "teacher": "none"}
    (tmp_path / "sctnet.json").write_text(json.dumps(recipe))
    assert train_with_trainer.main(program_options(tmp_path, tmp_path / "sctnet.json", images=5)) == 0


@pytest.mark.usefixtures("own_state")
def test_what_cannot_work_is_found_before_training(tmp_path, tiny_recipe, monkeypatch):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_recipe))
    monkeypatch.setattr(train_with_trainer, "StepTrainer", None)
    options = program_options(tmp_path, tmp_path / "tiny.json", images=3)
    frozen = tiny_recipe | {"training": tiny_recipe["training"] | {"freeze": ["backbone"]}}
    (tmp_path / "frozen.json").write_text(json.dumps(frozen))
    with pytest.raises(ValueError, match="freezes or adapts the encoder, which this program does not"):
        train_with_trainer.main(["--recipe", str(tmp_path / "frozen.json"), *options[2:]])
    with pytest.raises(ValueError, match="has 3 images, less than a batch of 4"):
        train_with_trainer.main(options)
    for file in ("README.md", "data/validation-00000-of-00001.parquet"):
        (tmp_path / "scenes" / file).unlink()
    with pytest.raises(ValueError, match="has no split 'validation'"):
        train_with_trainer.main(options)


def test_losses_that_it_does_not_know_are_refused(tmp_path, tiny_recipe):
    tiny_recipe = {**tiny_recipe, "training": {**tiny_recipe["training"], "dice": 1.0, "class_weights": "balanced"}}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_recipe))
    with pytest.raises(ValueError, match="has class_weights, dice, which this program does not know"):
        train_with_trainer.main(program_options(tmp_path, tmp_path / "tiny.json", images=4))


@pytest.mark.parametrize(("processes", "gpus", "share"), [(1, 0, 12), (1, 1, 12), (1, 3, 4), (4, 1, 3), (2, 0, 6)])
def test_devices_share_the_batch_of_the_recipe(processes, gpus, share):
    arguments: Any = SimpleNamespace(world_size=processes, n_gpu=gpus)
    assert share_of_batch(12, arguments) == share


def test_a_batch_that_cannot_be_shared():
    arguments: Any = SimpleNamespace(world_size=5, n_gpu=1)
    with pytest.raises(ValueError, match="A batch of 12 images cannot be shared by 5 devices"):
        share_of_batch(12, arguments)
