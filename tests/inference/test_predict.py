# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg predict` writes what test servers want, with a tiny random model."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_setr import save_tiny_setr, tiny_image_processor, tiny_setr

from vitseg.cli import main
from vitseg.recipes import load_label_set
from vitseg.scenes import SCENE_CLASSES, write_scenes


CITYSCAPES = load_label_set("cityscapes").names


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), CITYSCAPES)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three images in two folders, named as those of Cityscapes."""
    rng = np.random.default_rng(0)
    for index, city in enumerate(("berlin", "berlin", "bonn")):
        (tmp_path / "photos" / city).mkdir(parents=True, exist_ok=True)
        blobs = Image.fromarray(rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)).resize((80, 40 + index))
        blobs.save(tmp_path / "photos" / city / f"{city}_00000{index}_000019_leftImg8bit.png")
    return tmp_path / "photos"


def run(*arguments: str | Path) -> int:
    return main(["predict", *map(str, arguments), "--workers", "0"])


def expected_ids(path: Path) -> np.ndarray:
    image = Image.open(path)
    with torch.no_grad():
        logits = tiny_setr(CITYSCAPES)(**tiny_image_processor()(image, return_tensors="pt")).logits
    scores = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
    return scores[0].argmax(dim=0).numpy()


def test_cityscapes(model, photos, tmp_path):
    output = tmp_path / "out"
    assert run("--model", model, "--images", photos, "--format", "cityscapes", "--output", output) == 0
    label_ids = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])
    paths = sorted(photos.rglob("*.png"))
    for path in paths:
        values = np.asarray(Image.open(output / "predictions" / path.name))
        expected = label_ids[expected_ids(path)]
        assert values.shape == expected.shape
        assert (values != expected).mean() < 1e-3
    with zipfile.ZipFile(output / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(path.name for path in paths)


def test_images_of_a_data_set_by_their_names(tmp_path):
    scenes, output = tmp_path / "scenes", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=2)
    model = save_tiny_setr(tmp_path / "model", SCENE_CLASSES)
    arguments = ("--dataset", scenes, "--split", "validation", "--format", "palette", "--flip")
    assert run("--model", model, *arguments, "--output", output) == 0
    names = [path.name for path in sorted((output / "predictions").iterdir())]
    assert names == ["validation_000000.png", "validation_000001.png"]
    assert Image.open(output / "predictions" / names[0]).mode == "P"


def test_it_goes_on_where_it_stopped(model, photos, tmp_path, capsys):
    output = tmp_path / "out"
    first, second, third = sorted(photos.rglob("*.png"))
    whole = second.read_bytes()
    second.write_bytes(whole[:60])
    arguments = ("--model", model, "--images", photos, "--output", output)
    assert run(*arguments) == 2
    assert str(second) in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in (output / "predictions").iterdir()] == [first.name]
    assert not (output / "submission.zip").exists()
    finished = (output / "predictions" / first.name).stat().st_mtime_ns

    assert run(*arguments, "--skip-broken") == 1
    captured = capsys.readouterr()
    assert "2 label maps" in captured.out
    assert f"left out: {second}" in captured.err

    second.write_bytes(whole)
    assert run(*arguments) == 0
    assert {path.name for path in (output / "predictions").iterdir()} == {first.name, second.name, third.name}
    assert (output / "predictions" / first.name).stat().st_mtime_ns == finished
    with zipfile.ZipFile(output / "submission.zip") as archive:
        assert len(archive.namelist()) == 3

    assert run(*arguments, "--multi-scale") == 2
    assert "holds predictions of another model, protocol or format" in capsys.readouterr().err


def test_refusals(model, photos, tmp_path, capsys):
    arguments = ("--model", model, "--output", tmp_path / "out")
    assert run(*arguments, "--images", photos, "--format", "ade20k") == 2
    assert "for 150 classes, but the model has 19" in capsys.readouterr().err
    assert run(*arguments, "--images", tmp_path / "nowhere") == 2
    assert "there is no image" in capsys.readouterr().err
    same = next((photos / "bonn").iterdir())
    (photos / "berlin" / same.name).write_bytes(same.read_bytes())
    assert run(*arguments, "--images", photos) == 2
    assert f"such as {same.stem}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
