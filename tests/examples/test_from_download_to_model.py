# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Each benchmark from its original download, in miniature, to a trained model that is resumed and measured."""

import json
import signal

import pytest
from accelerate.state import AcceleratorState, PartialState
from data.miniature_downloads import (
    make_ade20k,
    make_cityscapes,
    make_coco_stuff_10k,
    make_coco_stuff_164k,
    make_pascal_context,
)
from training_runs import rows, stop_after
from transformers import AutoModelForSemanticSegmentation

from vitseg.cli import main
from vitseg.recipes import load_label_set


pytestmark = pytest.mark.usefixtures("own_state")


@pytest.mark.parametrize(
    ("name", "make", "label_set"),
    [
        ("ade20k", make_ade20k, "ade20k"),
        ("cityscapes", make_cityscapes, "cityscapes"),
        ("coco-stuff-10k", make_coco_stuff_10k, "coco_stuff10k"),
        ("coco-stuff-164k", make_coco_stuff_164k, "coco_stuff164k"),
        ("pascal-context", make_pascal_context, "pascal_context60"),
    ],
)
def test_prepare_train_resume_and_evaluate(name, make, label_set, tmp_path, tiny_recipe, monkeypatch):
    source, data, output = make(tmp_path / "download", zipped=True).source, tmp_path / "data", tmp_path / "run"
    assert main(["prepare", name, "--source", str(source), "--output", str(data), "--workers", "0"]) == 0

    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(tiny_recipe))
    command = ["--recipe", str(recipe), "--dataset", str(data), "--output", str(output), "--workers", "0"]
    command += ["--iterations", "6", "--log-every", "1", "--validate-every", "3"]
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        assert main(["train", *command]) == 128 + signal.SIGTERM
    AcceleratorState._reset_state()
    PartialState._reset_state()
    assert main(["train", *command, "--resume", "latest"]) == 0
    measurements = rows(output)
    assert [row["step"] for row in measurements if "loss" in row] == list(range(1, 7))

    model = AutoModelForSemanticSegmentation.from_pretrained(output / "model")
    assert list(model.config.id2label.values()) == list(load_label_set(label_set).names)
    AcceleratorState._reset_state()
    PartialState._reset_state()
    measured = tmp_path / "measured"
    arguments = ["--model", str(output / "model"), "--dataset", str(data), "--output", str(measured), "--workers", "0"]
    assert main(["validate", *arguments]) == 0
    results = json.loads((measured / "results.json").read_text())
    assert results["scores"]["mean_iou"] == pytest.approx(measurements[-1]["mean_iou"], abs=1e-6)
