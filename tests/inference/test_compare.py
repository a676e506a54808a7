# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg compare` and `vitseg leaderboard` on drawn scenes, with tiny random models."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_setr import save_tiny_setr, tiny_image_processor, tiny_setr

from vitseg.cli import main
from vitseg.scenes import SCENE_CLASSES, write_scenes


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A data set, a model that was measured, and another one that was not."""
    place = tmp_path_factory.mktemp("place")
    write_scenes(place / "scenes", num_train=1, num_validation=5)
    save_tiny_setr(place / "first", SCENE_CLASSES)
    model = tiny_setr(SCENE_CLASSES)
    model.decode_head.classifier.weight.data.neg_()
    model.save_pretrained(place / "second")
    tiny_image_processor().save_pretrained(place / "second")
    options = ["--dataset", str(place / "scenes"), "--workers", "0"]
    assert main(["validate", "--model", str(place / "first"), *options, "--output", str(place / "measured")]) == 0
    return place


def mean_iou(counts: np.ndarray) -> float:
    right, predicted, true = counts
    union = predicted + true - right
    return float((right[union > 0] / union[union > 0]).mean())


def test_differences_are_those_of_the_same_draws(place, tmp_path, capsys):
    output = tmp_path / "out"
    compared = ["compare", str(place / "measured"), str(place / "second"), "--output", str(output), "--images", "2"]
    options = ["--dataset", str(place / "scenes"), "--workers", "0", "--flip"]
    assert main([*compared, *options]) == 0
    printed = capsys.readouterr().out
    assert "warning: the protocols differ: measured: short side 32" in printed

    counts = [
        np.load(folder / "image_counts.npz")["pixels"].astype(int)
        for folder in (place / "measured", output / "second")
    ]
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.integers(5, size=(50, 5)) for _ in range(20)])
    first, second = ([mean_iou(each[draw].sum(axis=0)) for draw in draws] for each in counts)
    expected = np.percentile(np.array(second) - np.array(first), (2.5, 97.5))
    comparison = json.loads((output / "comparison.json").read_text())
    models = {model["name"]: model for model in comparison["models"]}
    assert models["second"]["difference_intervals"]["mean_iou"] == pytest.approx(expected)
    difference = mean_iou(counts[1].sum(axis=0)) - mean_iou(counts[0].sum(axis=0))
    assert models["second"]["differences"]["mean_iou"] == pytest.approx(difference)
    scores = [model["scores"]["mean_iou"] for model in comparison["models"]]
    assert scores == sorted(scores, reverse=True)
    table = (output / "comparison.md").read_text()
    assert f"{100 * difference:+.2f}" in table
    assert f"{100 * expected[0]:+.2f} to {100 * expected[1]:+.2f}" in table

    apart = [abs(mean_iou(one) - mean_iou(other)) for one, other in zip(*counts, strict=True)]
    names = np.load(output / "second" / "image_counts.npz")["file_names"]
    assert [image["file_name"] for image in comparison["images"][:2]] == names[np.argsort(apart)[::-1][:2]].tolist()
    page = (output / "comparison.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 4
    assert "second: mean IoU" in page


def test_what_cannot_be_compared(place, tmp_path, capsys):
    measured, output = str(place / "measured"), ["--output", str(tmp_path / "out")]
    options = ["--model", str(place / "first"), "--dataset", str(place / "scenes"), "--workers", "0", "--limit", "3"]
    assert main(["validate", *options, "--output", str(tmp_path / "fewer")]) == 0
    capsys.readouterr()
    assert main(["compare", measured, str(tmp_path / "fewer"), *output]) == 2
    assert "measured and fewer were measured on other images (2 are in one alone, such as" in capsys.readouterr().err
    for arguments, message in (
        ([measured], "give two to compare"),
        ([measured, str(place / "second")], "holds no results.json: give --dataset"),
    ):
        with pytest.raises(SystemExit):
            main(["compare", *arguments, *output])
        assert message in capsys.readouterr().err
    assert main(["compare", measured, measured, *output]) == 2
    assert "is given twice" in capsys.readouterr().err

    page = tmp_path / "leaderboard.html"
    assert main(["leaderboard", f"{measured}/results.json", str(tmp_path / "fewer"), "--output", str(page)]) == 0
    printed = capsys.readouterr()
    rows = printed.out.splitlines()[2:]
    figures = [float(row.split("|")[3]) for row in rows]
    assert len(rows) == 2
    assert figures == sorted(figures, reverse=True)
    assert "the numbers of images differ: measured: 5; fewer: 3" in printed.err
    assert "the numbers of images differ" in page.read_text()
    assert main(["leaderboard", str(place / "scenes")]) == 1
    assert "results.json" in capsys.readouterr().err
