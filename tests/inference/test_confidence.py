# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How sure a model is: maps of confidence, abstention, temperature, and the scores of pipelines."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from street_classes import NAMES
from tiny_setr import save_tiny_setr
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline
from transformers.modeling_outputs import SemanticSegmenterOutput

from vitseg import SegVitImageProcessor, SetrImageProcessor
from vitseg.cli import main
from vitseg.models import score_maps


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), NAMES)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    """Blobs of colour, 90 x 60."""
    path = tmp_path_factory.mktemp("pictures") / "x.png"
    blobs = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(blobs).resize((90, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def scores(model, picture) -> np.ndarray:
    """The model's logits at the size of the picture, float64 (classes, height, width)."""
    network = AutoModelForSemanticSegmentation.from_pretrained(model)
    pixel_values = AutoImageProcessor.from_pretrained(model)(Image.open(picture), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = network(pixel_values).logits
    return torch.nn.functional.interpolate(logits, size=(60, 90), mode="bilinear")[0].double().numpy()


def softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores)
    return odds / odds.sum(axis=0)


def run(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments)])


def report(output: Path) -> dict:
    return json.loads((output / "x.json").read_text())


def test_maps_and_means_of_classes(model, picture, scores, tmp_path):
    expected, label_map = softmax(scores).max(axis=0), scores.argmax(axis=0)
    assert run("--model", model, picture, "--output", tmp_path, "--confidence", "tiff") == 0
    with Image.open(tmp_path / "x_confidence.tif") as image:
        np.testing.assert_allclose(np.asarray(image), expected, atol=1e-5)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x_ids.png")), label_map)
    classes = report(tmp_path)["classes"]
    assert len(classes) >= 2, "the model is too dull for this test"
    for entry in classes:
        assert entry["confidence"] == pytest.approx(expected[label_map == entry["id"]].mean(), abs=1e-5)

    # Beside the picture: what was written is no picture. The map in the other format goes.
    (tmp_path / "x.png").write_bytes(picture.read_bytes())
    assert run("--model", model, tmp_path, "--output", tmp_path, "--confidence", "png") == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.png",
        *(f"x{ending}" for ending in ("_ids.png", "_palette.png", "_overlay.jpg", ".json", "_confidence.png")),
    }
    values = np.asarray(Image.open(tmp_path / "x_confidence.png"))
    assert values.dtype == np.uint8
    np.testing.assert_allclose(values, expected * 255, atol=0.51)

    # Without the option all is as before, and nothing stays that is not of this run.
    assert run("--model", model, tmp_path, "--output", tmp_path) == 0
    assert not list(tmp_path.glob("*_confidence*"))
    assert "temperature" not in report(tmp_path)
    assert all(set(entry) == {"id", "name", "pixels", "share"} for entry in report(tmp_path)["classes"])


def test_abstention_is_calibrated(model, picture, scores, tmp_path):
    (model / "calibration.json").write_text('{"temperature": 2.5}')
    expected = softmax(scores / 2.5).max(axis=0)
    least = float(np.median(expected))
    try:
        assert run("--model", model, picture, "--output", tmp_path, "--abstain", least) == 0
        assert run("--model", model, picture, "--output", tmp_path / "none", "--abstain", 1) == 0
    finally:
        (model / "calibration.json").unlink()
    ids = np.asarray(Image.open(tmp_path / "x_ids.png"))
    is_clear = np.abs(expected - least) > 1e-5
    assert np.array_equal(ids[is_clear], np.where(expected < least, 255, scores.argmax(axis=0))[is_clear])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x_palette.png")), ids)
    assert report(tmp_path)["temperature"] == 2.5
    assert sum(entry["pixels"] for entry in report(tmp_path)["classes"]) == (ids != 255).sum()
    for entry in report(tmp_path)["classes"]:
        assert entry["confidence"] == pytest.approx(expected[ids == entry["id"]].mean(), abs=1e-5)
    assert not (tmp_path / "x_confidence.png").exists()
    assert report(tmp_path / "none")["classes"] == []


def test_pipelines_have_scores(model, picture, scores):
    expected, label_map = softmax(scores).max(axis=0), scores.argmax(axis=0)
    segments = pipeline("image-segmentation", model=str(model))(str(picture))
    assert [segment["label"] for segment in segments] == [NAMES[index] for index in np.unique(label_map)]
    for segment in segments:
        is_here = label_map == NAMES.index(segment["label"])
        assert np.array_equal(np.asarray(segment["mask"]), is_here * 255)
        assert segment["score"] == pytest.approx(expected[is_here].mean(), abs=1e-5)


@pytest.mark.parametrize("max_scores", [1, 2**22], ids=["bands", "whole"])
def test_scores_of_segvit_are_shares(max_scores, monkeypatch):
    """At the left pixel 0.6 of 0.6 + 0.1 + 0.1, at the right 0.3 of 0.3 + 0 + 0.3, below nothing of nothing."""
    monkeypatch.setattr(score_maps, "MAX_SCORES", max_scores)
    scores = torch.tensor([[[0.1, 0.3], [0, 0]], [[0.6, 0], [0, 0]], [[0.1, 0.3], [0, 0]]])
    processor = SegVitImageProcessor()
    assert "scores_are_logits" not in processor.to_dict()
    (result,) = processor.post_process_panoptic_segmentation(SemanticSegmenterOutput(logits=scores[None]))
    assert result["segmentation"].tolist() == [[1, 0], [0, 0]]
    assert [segment["id"] for segment in result["segments_info"]] == [0, 1]
    means = [segment["score"] for segment in result["segments_info"]]
    assert means == pytest.approx([(1 / 2 + 1 / 3 + 1 / 3) / 3, 0.75])
    (result,) = SetrImageProcessor().post_process_panoptic_segmentation(SemanticSegmenterOutput(logits=scores[None]))
    assert result["segments_info"][1]["score"] == pytest.approx(1 / (1 + 2 * np.exp(-0.5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--abstain", "1.5"), "1.5 is no confidence: give a number from 0 to 1"),
        (("--abstain", "half"), "half is no confidence"),
        (("--confidence", "jpg"), "invalid choice: 'jpg'"),
    ],
)
def test_wrong_options(model, picture, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        run("--model", model, picture, "--output", tmp_path / "out", *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"temperature": ', "calibration.json is damaged"),
        ('{"temperature": 0}', "calibration.json holds {'temperature': 0}; expected"),
        ('{"temperature": NaN}', "expected"),
        ('{"temperature": 1e-300}', "a number from 0.001 to 1000"),
        (f'{{"temperature": 1{"0" * 400}}}', "a number from 0.001 to 1000"),
        ('{"temperature": "1"}', "expected"),
        ('{"temperature": true}', "expected"),
        ("[1.5]", "calibration.json holds [1.5]; expected"),
    ],
)
def test_wrong_calibration(picture, tmp_path, capsys, content, message):
    (tmp_path / "calibration.json").write_text(content)
    assert run("--model", tmp_path, picture, "--output", tmp_path / "out", "--abstain", "0.5") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
