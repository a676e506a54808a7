# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipes in transformers' Trainer."""

import json
import re
import warnings

import pytest
import train_with_trainer
from transformers import AutoModelForSemanticSegmentation

from vitseg.scenes import write_scenes


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
