# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training classifiers and detectors: what a run leaves, that it goes on exactly, and where its encoder comes from."""

import json
import signal

import pytest
from training_runs import options_of, rows, stop_after, train
from transformers import AutoImageProcessor, AutoModelForImageClassification, AutoModelForObjectDetection

from vitseg.scenes import SCENE_KINDS, SCENE_THINGS, write_annotated_scenes


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
MODEL = {
    "hidden_sizes": [16, 16, 32, 32],
    "depths": [2, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "drop_path_rate": 0.1,
    "pyramid_hidden_size": 8,
    "detector_hidden_size": 8,
    "detector_num_layers": 1,
}
TRAINING = {
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "weight_decay": 0.05,
    "warmup_iterations": 2,
    "warmup_ratio": 0.1,
    "iterations": 6,
    "batch_size": 4,
    "max_gradient_norm": 5.0,
}
CLASSIFIER = {
    "method": "hlg",
    "task": "classification",
    "model": MODEL,
    "image_processor": {
        "size": {"shortest_edge": 36},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
    },
    "training": {**TRAINING, "crop_size": [32, 32], "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1},
}
DETECTOR = {
    "method": "hlg",
    "task": "detection",
    "model": MODEL,
    "image_processor": {
        "size": {"shortest_edge": 48, "longest_edge": 96},
        "do_pad": True,
        "size_divisor": 32,
        "return_pixel_mask": True,
    },
    "training": {**TRAINING, "decay_iterations": [4], "short_sides": [40, 48], "longest_side": 96},
}
RECIPES = {"classifier": CLASSIFIER, "detector": DETECTOR}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    write_annotated_scenes(folder / "scenes", num_train=12, num_validation=3)
    for name, recipe in RECIPES.items():
        (folder / f"{name}.json").write_text(json.dumps(recipe))
    return folder


def run(name: str, folder, output, *options: str) -> int:
    return train(*options_of(folder, name, output), "--checkpoint-every=2", "--validate-every=3", *options)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_and_a_stopped_run(name, folder, tmp_path, monkeypatch, capfd):
    output, stopped = tmp_path / "run", tmp_path / "stopped"
    assert run(name, folder, output) == 0
    training = [row for row in rows(output) if "loss" in row]
    assert [row["step"] for row in training] == [1, 2, 3, 4, 5, 6]
    score = "top1" if name == "classifier" else "box_ap"
    validation = [row for row in rows(output) if score in row]
    assert [row["step"] for row in validation] == [3, 6]
    assert all(0 <= row[score] <= 1 for row in validation)
    assert (output / "training.png").exists()
    auto_class = AutoModelForImageClassification if name == "classifier" else AutoModelForObjectDetection
    for kind in ("model", "best"):
        model = auto_class.from_pretrained(output / kind)
        assert tuple(model.config.id2label.values()) == (SCENE_KINDS if name == "classifier" else SCENE_THINGS)
        assert AutoImageProcessor.from_pretrained(output / kind).size.shortest_edge in (36, 48)

    with monkeypatch.context() as patch:
        stop_after(4, patch)
        assert run(name, folder, stopped) == 128 + signal.SIGTERM
    assert run(name, folder, stopped, "--resume=latest") == 0
    assert (stopped / "metrics.jsonl").read_text() == (output / "metrics.jsonl").read_text()
    weights = "model/model.safetensors"
    assert (stopped / weights).read_bytes() == (output / weights).read_bytes()
    assert ("Classes of" if name == "classifier" else "Objects of") in capfd.readouterr().out


def test_learning_rates(folder, tmp_path):
    assert run("detector", folder, tmp_path / "run", "--validation-split=none") == 0
    rates = [row["learning_rate"] for row in rows(tmp_path / "run")]
    assert rates == pytest.approx([0.0002, 0.0011, 0.002, 0.002, 0.0002, 0.0002])


def test_a_detector_starts_from_a_classifier(folder, tmp_path, capfd):
    assert run("classifier", folder, tmp_path / "classifier", "--iterations=1", "--validation-split=none") == 0
    init = f"--init={tmp_path / 'classifier' / 'model'}"
    options = ("--iterations=1", "--validation-split=none", "--learning-rate=1e-12")
    assert run("detector", folder, tmp_path / "detector", init, *options) == 0
    assert "and therefore random: " in capfd.readouterr().out
    classifier = AutoModelForImageClassification.from_pretrained(tmp_path / "classifier" / "model")
    detector = AutoModelForObjectDetection.from_pretrained(tmp_path / "detector" / "model")
    for name, parameter in classifier.backbone.named_parameters():
        assert detector.backbone.get_parameter(name).sub(parameter).abs().max() < 1e-6, name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("classifier", ["--set", "training.crop_sise=1"], "no key of training 'crop_sise'. Did you mean 'crop_size'"),
        ("detector", ["--itertions=3"], "Did you mean '--iterations'"),
    ],
)
def test_wrong_settings_are_refused(name, options, message, folder, tmp_path, capfd):
    try:
        status = run(name, folder, tmp_path / "run", *options)
    except SystemExit as error:
        status = error.code
    assert status
    assert message in capfd.readouterr().err
