# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg predict` writes what test servers want, with a tiny random model."""

import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
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


def predicted(output: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(output / "predictions" / name))


def submitted(output: Path) -> list[str]:
    with zipfile.ZipFile(output / "submission.zip") as archive:
        return sorted(archive.namelist())


def noise(seed: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_what_has_changed_is_predicted_anew(model, tmp_path):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for seed, name in enumerate(("same.bmp", "other.bmp", "larger.png", "gone.png")):
        noise(seed, 80, 40).save(folder / name)
    arguments = ("--model", model, "--images", folder, "--output", output)
    assert run(*arguments) == 0
    kept, stat = (output / "predictions" / "same.png").stat().st_mtime_ns, (folder / "other.bmp").stat()
    noise(7, 80, 40).save(folder / "other.bmp")
    os.utime(folder / "other.bmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    noise(8, 50, 60).save(folder / "larger.png")
    (folder / "gone.png").unlink()
    assert run(*arguments) == 0
    assert submitted(output) == ["larger.png", "other.png", "same.png"]
    assert np.array_equal(predicted(output, "other.png"), expected_ids(folder / "other.bmp"))
    assert predicted(output, "larger.png").shape == (60, 50)
    assert (output / "predictions" / "same.png").stat().st_mtime_ns == kept


def test_of_an_image_that_cannot_be_read_any_more_nothing_is_submitted(model, photos, tmp_path):
    output, arguments = tmp_path / "out", ("--model", model, "--images", photos, "--output", tmp_path / "out")
    first, *others = sorted(photos.rglob("*.png"))
    assert run(*arguments) == 0
    first.write_bytes(b"")
    assert run(*arguments, "--skip-broken") == 1
    assert submitted(output) == [path.name for path in others]


def test_a_run_that_fails_leaves_no_submission_of_outdated_predictions(model, photos, tmp_path):
    output = tmp_path / "out"
    assert run("--model", model, "--images", photos, "--output", output) == 0
    next(photos.rglob("bonn*.png")).write_bytes(b"junk")
    assert run("--model", model, "--images", photos, "--output", output) == 2
    assert not (output / "submission.zip").exists()
    assert run("--model", model, "--images", photos, "--output", output, "--skip-broken") == 1
    assert len(submitted(output)) == 2


def test_a_model_that_has_changed_is_refused_and_its_card_may(photos, tmp_path, capsys):
    folder = save_tiny_setr(tmp_path / "model", CITYSCAPES)
    arguments = ("--model", folder, "--images", photos, "--output", folder / "out")
    assert run(*arguments) == 0
    (folder / "README.md").write_text("a card")
    (folder / ".DS_Store").write_bytes(b"")
    assert run(*arguments) == 0
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(0, 0))
    assert run(*arguments) == 2
    assert "holds predictions of another model" in capsys.readouterr().err


def test_of_a_data_set_that_has_changed(tmp_path):
    scenes, output = tmp_path / "scenes", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=2)
    model = save_tiny_setr(tmp_path / "model", SCENE_CLASSES)
    arguments = ("--model", model, "--dataset", scenes, "--split", "validation", "--output", output)
    assert run(*arguments) == 0
    assert submitted(output) == ["validation_000000.png", "validation_000001.png"]
    content = BytesIO()
    noise(3, 30, 20).save(content, format="PNG")
    image = {"bytes": content.getvalue(), "path": None}
    rows = [{"image": image, "file_name": name} for name in ("validation_000000", "site0.v1", "deep/site0.v2")]
    first, second = sorted(scenes.rglob("validation*.parquet"))
    pq.write_table(pa.Table.from_pylist(rows), first)
    second.unlink()
    assert run(*arguments) == 0
    assert submitted(output) == ["site0.v1.png", "site0.v2.png", "validation_000000.png"]
    assert predicted(output, "validation_000000.png").shape == (20, 30)


def test_an_image_that_a_data_set_lacks_is_left_out(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    content = BytesIO()
    noise(3, 30, 20).save(content, format="PNG")
    images = [{"bytes": content.getvalue(), "path": None}, {"bytes": b"", "path": None}, None]
    table = pa.Table.from_pylist(
        [{"image": image, "file_name": name} for image, name in zip(images, "abc", strict=True)]
    )
    pq.write_table(table, tmp_path / "data" / "test-0.parquet")
    model = save_tiny_setr(tmp_path / "model", CITYSCAPES)
    arguments = ("--dataset", tmp_path / "data", "--output", tmp_path / "out", "--skip-broken")
    assert run("--model", model, *arguments) == 1
    assert submitted(tmp_path / "out") == ["a.png"]
    err = capsys.readouterr().err
    assert "left out: the image of b is empty" in err
    assert "left out: the image of c is missing" in err


def test_rows_without_a_name_have_their_numbers(tmp_path):
    (tmp_path / "data").mkdir()
    content = BytesIO()
    noise(3, 30, 20).save(content, format="PNG")
    image = {"bytes": content.getvalue(), "path": None}
    table = pa.Table.from_pylist([{"image": image, "file_name": name} for name in ("a", None)])
    pq.write_table(table, tmp_path / "data" / "test-0.parquet")
    model = save_tiny_setr(tmp_path / "model", CITYSCAPES)
    assert run("--model", model, "--dataset", tmp_path / "data", "--output", tmp_path / "out") == 0
    assert submitted(tmp_path / "out") == ["1.png", "a.png"]


def test_a_damaged_note_is_named(model, photos, tmp_path, capsys):
    note = tmp_path / "predictions.json"
    for content, message in (("", "is damaged"), ("[]", "was not written by vitseg"), ("{}", "of another model")):
        note.write_text(content)
        assert run("--model", model, "--images", photos, "--output", tmp_path) == 2
        err = capsys.readouterr().err
        assert message in err
        assert str(tmp_path) in err


def test_litter_is_not_submitted_and_dots_belong_to_names(model, tmp_path, capsys):
    folder = tmp_path / "photos"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("site0.v1.jpg", "site0.v2.jpg", "frame.0001.jfif", ".ipynb_checkpoints/site0.v1-checkpoint.jpg"):
        noise(0, 50, 40).save(folder / name, format="JPEG")
    (folder / "._site0.v1.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "x.heic").write_bytes(b"")
    for output in (folder / "out", folder, tmp_path / "out"):
        assert run("--model", model, "--images", folder, "--output", output) == 0
        assert submitted(output) == ["frame.0001.png", "site0.v1.png", "site0.v2.png"]
        assert "1 .heic" in capsys.readouterr().out


def test_images_are_never_replaced_by_predictions(model, tmp_path, capsys):
    folder = tmp_path / "predictions"
    folder.mkdir()
    noise(0, 50, 40).save(folder / "x.png")
    content = (folder / "x.png").read_bytes()
    for images in (folder, tmp_path):
        assert run("--model", model, "--images", images, "--output", tmp_path) == 2
        assert "give another --output" in capsys.readouterr().err
        assert (folder / "x.png").read_bytes() == content


def test_an_annotation_of_others_is_never_replaced(model, photos, capsys):
    (photos / "coco.json").write_text("{}")
    for wanted in ("cvat", "coco"):
        assert run("--model", model, "--images", photos, "--format", wanted, "--output", photos) == 2
        assert "coco.json would be replaced, and is no result" in capsys.readouterr().err
    assert (photos / "coco.json").read_text() == "{}"


def test_a_name_costs_one_image(model, tmp_path, capsys):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    long = "x" * 251
    for name in ("a.jpg", f"{long}.jpg", os.fsdecode(b"caf\xe9.jpg")):
        noise(0, 50, 40).save(folder / name)
    arguments = ("--model", model, "--images", folder, "--output", output)
    assert run(*arguments) == 2
    assert "caf\\xe9.jpg: its name is not UTF-8" in capsys.readouterr().err
    assert run(*arguments, "--skip-broken") == 1
    assert "left out" in capsys.readouterr().err
    assert submitted(output) == ["a.png", f"{long}.png"]


def test_for_a_labelling_tool_all_is_there_once_all_is_predicted(model, photos, tmp_path, capsys):
    output, broken = tmp_path / "out", photos / "bonn" / "broken.png"
    arguments = ("--model", model, "--images", photos, "--output", output)
    assert run(*arguments, "--format", "coco", "--shapes", "masks") == 0
    coco = COCO(output / "coco.json")
    images = {image["file_name"]: image["id"] for image in coco.loadImgs(coco.getImgIds())}
    assert sorted(images) == sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    for name, number in images.items():
        expected = expected_ids(photos / name)
        found = np.full_like(expected, 255)
        for annotation in coco.loadAnns(coco.getAnnIds(number)):
            found[coco.annToMask(annotation) == 1] = annotation["category_id"] - 1
        assert (found != expected).mean() < 1e-3

    # The same predictions for another tool, and of what is outdated there is nothing.
    kept = {path: path.stat().st_mtime_ns for path in (output / "predictions").iterdir()}
    assert run(*arguments, "--format", "labelme") == 0
    assert "3 label maps" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    broken.write_bytes(b"junk")
    assert run(*arguments, "--format", "labelme") == 2
    assert not {"coco.json", "labelme.zip"} & {path.name for path in output.iterdir()}
    assert run(*arguments, "--format", "labelme", "--skip-broken") == 1
    with zipfile.ZipFile(output / "labelme.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"{name.removesuffix('.png')}.json" for name in images)


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
    for wrong, message in (
        (("--dataset", tmp_path, "--format", "cvat"), "is of image files, which the tool shows: give --images"),
        (("--images", photos, "--tolerance", "2"), "--tolerance is for labelling tools: --format coco, cvat"),
        (("--images", photos, "--format", "coco", "--tolerance", "-1"), "-1 is no distance in pixels"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*arguments, *wrong)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
