# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Photos with an EXIF orientation stand as their label maps do, by what the whole data set proves."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vitseg.cli import main
from vitseg.data.own_folder import open_folder
from vitseg.data.preparation import prepare
from vitseg.data.streaming import SegmentationStream, load_examples
from vitseg.inference.predict import DatasetImages


# Height and width as stored. Of these photos each way is told apart by a dark corner.
SIZE = (12, 18)
# What a viewer does for each EXIF orientation, after the EXIF standard.
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.swapaxes(stored, 0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(np.swapaxes(stored, 0, 1), 2),
    8: np.rot90,
}


def write_photo(folder: Path, name: str, orientation: int, drawn_on: str, size: tuple[int, int] = SIZE) -> None:
    """A photo and its mask, which marks the dark corner, drawn on the photo as stored or turned."""
    mask = np.zeros(size, np.uint8)
    mask[:4, :5] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    picture = np.stack([np.where(mask, 20, 220).astype(np.uint8)] * 3, axis=-1)
    Image.fromarray(picture).save(folder / "images" / f"{name}.png", exif=exif)
    mask = TURNED[orientation](mask) if drawn_on == "upright" else mask
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


def prepared(folder: Path, output: Path, **options) -> Path:
    (folder / "labels.json").write_text(json.dumps(["bright", "dark"]))
    prepare(open_folder(folder, folder / "labels.json"), output, **options)
    return output


@pytest.fixture(params=["upright", "stored"])
def drawn_on(request, tmp_path) -> str:
    """A folder of photos in every orientation, a square one among them, whose masks were drawn in one way."""
    for orientation in TURNED:
        write_photo(tmp_path / "mine", f"photo{orientation}", orientation, request.param)
    for number in range(3):
        write_photo(tmp_path / "mine", f"square{number}", 6, request.param, size=(12, 12))
    return request.param


def assert_marked(image: np.ndarray, label_map: np.ndarray) -> None:
    np.testing.assert_array_equal(image[..., 0] == 20, label_map == 1)


def test_every_way_of_reading_a_prepared_data_set_turns_images_as_their_label_maps(drawn_on, tmp_path, capsys):
    output = prepared(tmp_path / "mine", tmp_path / "out")
    assert ("turned so" if drawn_on == "upright" else "as they are stored") in capsys.readouterr().out
    assert json.loads((output / "preparation.json").read_text())["about"]["orientation"] == drawn_on
    masks = {path.stem: Image.open(path) for path in (tmp_path / "mine/masks").iterdir()}
    for split in ("train", "validation"):
        examples, images = load_examples(output, split), DatasetImages(str(output), split)
        for index, example in enumerate(examples):
            assert_marked(np.asarray(example["image"]), example["label_map"])
            assert example["image"].size == masks[example["file_name"]].size
            np.testing.assert_array_equal(images[index]["image"], example["image"])
        for streaming in (True, False):
            stream = iter(SegmentationStream(output, split, num_labels=2, streaming=streaming))
            for _ in range(len(examples)):
                example = next(stream)
                assert_marked(example["pixel_values"].permute(1, 2, 0).numpy(), example["labels"].numpy())


def test_images_are_kept_as_they_are(drawn_on, tmp_path):
    output = prepared(tmp_path / "mine", tmp_path / "out")
    rows = load_examples(output, "train").with_format(None)
    for row in rows:
        assert row["image"]["bytes"] == (tmp_path / f"mine/images/{row['file_name']}.png").read_bytes()


def test_without_orientations_nothing_is_said(tmp_path, capsys):
    for name in "ab":
        write_photo(tmp_path / "mine", name, 1, "stored")
    output = prepared(tmp_path / "mine", tmp_path / "out")
    assert "EXIF" not in capsys.readouterr().out
    assert "orientation" not in json.loads((output / "preparation.json").read_text())["about"]


def test_a_data_set_that_contradicts_itself_is_refused_with_the_way_out(tmp_path):
    write_photo(tmp_path / "mine", "a", 6, "upright")
    write_photo(tmp_path / "mine", "b", 8, "stored")
    with pytest.raises(
        ValueError, match=r"images/a\.png was drawn .* turned .*images/b\.png .* stored .*--orientation"
    ):
        prepared(tmp_path / "mine", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("said", ["upright", "stored"])
def test_what_cannot_be_decided_is_asked_for(said, tmp_path, capsys):
    write_photo(tmp_path / "mine", "a", 3, said)
    write_photo(tmp_path / "mine", "b", 1, "stored")
    (tmp_path / "labels.txt").write_text("bright\ndark\n")
    command = ["prepare", "folder", "--source", str(tmp_path / "mine"), "--labels", str(tmp_path / "labels.txt")]
    command += ["--output", str(tmp_path / "out"), "--workers", "0"]
    assert main(command) == 1
    assert "images/a.png" in (told := capsys.readouterr().err)
    assert "--orientation" in told
    assert not (tmp_path / "out").exists()
    assert main([*command, "--orientation", said]) == 0
    for split in ("train", "validation"):
        for example in load_examples(tmp_path / "out", split):
            assert_marked(np.asarray(example["image"]), example["label_map"])


def test_what_is_said_holds_for_every_pair(tmp_path):
    write_photo(tmp_path / "mine", "a", 6, "upright")
    write_photo(tmp_path / "mine", "b", 6, "upright")
    with pytest.raises(ValueError, match="18 x 12 pixels, its label map 12 x 18"):
        prepared(tmp_path / "mine", tmp_path / "out", orientation="stored")


def test_another_orientation_makes_the_data_set_anew(tmp_path):
    write_photo(tmp_path / "mine", "a", 3, "stored")
    write_photo(tmp_path / "mine", "b", 3, "stored")
    for said in ("upright", "stored"):
        output = prepared(tmp_path / "mine", tmp_path / "out", orientation=said)
    example = load_examples(output, "train")[0]
    assert_marked(np.asarray(example["image"]), example["label_map"])


def test_a_data_set_from_elsewhere_gives_images_of_the_size_of_their_label_maps(tmp_path):
    """Nothing but each pair tells."""
    write_photo(tmp_path / "mine", "a", 6, "stored")
    row = {
        kind: {"bytes": (tmp_path / "mine" / folder / "a.png").read_bytes(), "path": "a.png"}
        for kind, folder in (("image", "images"), ("label", "masks"))
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([row | {"file_name": "a"}]), tmp_path / "data/test-0.parquet")
    assert DatasetImages(str(tmp_path / "data"), "test")[0]["image"].size == SIZE[::-1]
    assert load_examples(tmp_path / "data", "test")[0]["image"].size == SIZE[::-1]


def test_archives_are_looked_into_too(tmp_path):
    for name in "ab":
        write_photo(tmp_path / "mine", name, 6, "stored")
    write_photo(tmp_path / "mine", "c", 3, "stored")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in (tmp_path / "mine").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    (tmp_path / "labels.txt").write_text("bright\ndark\n")
    prepare(open_folder(tmp_path / "mine.zip", tmp_path / "labels.txt"), tmp_path / "out")
    for split in ("train", "validation"):
        for example in load_examples(tmp_path / "out", split):
            assert_marked(np.asarray(example["image"]), example["label_map"])
