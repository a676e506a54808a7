# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A user's own images and masks: every way to name the classes, to pair the files and to split them."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.data.own_folder import open_folder
from vitseg.data.pairs import RawDataset, encode_pair


MASK = np.array([[7, 11, 26], [7, 255, 11]], np.uint8)


def write_image(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def make_folder(folder: Path, names: list[str], mask: np.ndarray = MASK, image_suffix: str = ".jpg") -> Path:
    for index, name in enumerate(names):
        picture = np.full((*mask.shape[:2], 3), index, np.uint8)
        write_image(folder / "images" / f"{name}{image_suffix}", picture)
        write_image(folder / "masks" / f"{name}.png", mask)
    return folder


def write_labels(folder: Path, content: object, name: str = "labels.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def label_map(dataset: RawDataset, split: str = "train", index: int = 0) -> np.ndarray:
    row = encode_pair(dataset.splits[split][index], dataset.train_ids)[0]
    return np.asarray(Image.open(BytesIO(row["label"]["bytes"])))


def names(dataset: RawDataset) -> dict[str, list[str]]:
    return {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()}


def test_values_get_train_ids_in_ascending_order(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    # As text "11" comes before "7".
    labels = write_labels(tmp_path, {"26": "sky", "11": "building", "7": "road"})
    dataset = open_folder(tmp_path, labels)
    assert dataset.labels.names == ("road", "building", "sky")
    np.testing.assert_array_equal(label_map(dataset), [[0, 1, 2], [0, 255, 1]])


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (["zero", "one", "two"], "labels.json"),
        ({"names": ["zero", "one", "two"], "palette": [[1, 2, 3]] * 3, "ignore_index": 255}, "labels.json"),
        ("zero\none\n\n two \r\n", "classes.txt"),
    ],
)
def test_names_stand_for_their_positions(tmp_path, content, name):
    mask = np.array([[2, 0], [255, 1]], np.uint8)
    make_folder(tmp_path, ["a", "b"], mask)
    dataset = open_folder(tmp_path, write_labels(tmp_path, content, name))
    assert dataset.labels.names == ("zero", "one", "two")
    np.testing.assert_array_equal(label_map(dataset), mask)


def test_255_may_be_a_class(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.array([[0, 255]], np.uint8))
    dataset = open_folder(tmp_path, write_labels(tmp_path, {"0": "background", "255": "road"}))
    np.testing.assert_array_equal(label_map(dataset), [[0, 1]])


def test_sixteen_bits(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.array([[1000, 65535, 3]], np.uint16))
    dataset = open_folder(tmp_path, write_labels(tmp_path, {"1000": "a", "65535": "b", "3": "c"}))
    np.testing.assert_array_equal(label_map(dataset), [[1, 2, 0]])


def test_other_values_are_errors_unless_ignored(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    labels = write_labels(tmp_path, {"7": "road", "11": "building"})
    dataset = open_folder(tmp_path, labels)
    with pytest.raises(ValueError, match=r"masks/[ab]\.png holds the value 26, not in the label table"):
        label_map(dataset)
    np.testing.assert_array_equal(label_map(open_folder(tmp_path, labels, ignore=["26"])), [[0, 1, 255], [0, 255, 1]])
    with pytest.raises(ValueError, match="7 is to be ignored, but it is a class"):
        open_folder(tmp_path, labels, ignore=["7"])


def test_colours_stand_for_classes_in_the_order_of_the_file(tmp_path):
    colors = np.array([[[128, 64, 128], [0, 0, 0]], [[70, 70, 70], [128, 64, 128]]], np.uint8)
    make_folder(tmp_path, ["a", "b"], colors)
    labels = write_labels(tmp_path, {"#804080": "road", "70, 70,70": "building"})
    dataset = open_folder(tmp_path, labels, ignore=["#000000"])
    assert dataset.labels.names == ("road", "building")
    assert dataset.labels.palette == ((128, 64, 128), (70, 70, 70))
    np.testing.assert_array_equal(label_map(dataset), [[0, 255], [1, 0]])
    with pytest.raises(ValueError, match=r"\.png holds the colour #000000"):
        label_map(open_folder(tmp_path, labels))


def test_colour_masks_need_a_table_of_colours(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="label table must name colours"):
        label_map(open_folder(tmp_path, write_labels(tmp_path, ["road"])))


def test_palette_masks_hold_positions(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    mask = Image.new("P", (3, 2))
    mask.putpalette([200, 0, 0, 0, 200, 0])
    mask.putpixel((2, 1), 1)
    for name in "ab":
        mask.save(tmp_path / "masks" / f"{name}.png")
    dataset = open_folder(tmp_path, write_labels(tmp_path, ["road", "car"]))
    np.testing.assert_array_equal(label_map(dataset), [[0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seven": "road"}, "'seven' is neither a value"),
        ({"99999": "road"}, "'99999' is neither a value from 0 to 65535"),
        ({"300,0,0": "road"}, "'300,0,0' is neither"),
        ({"7": "road", "#ff0000": "car"}, "either values or colours"),
        ({}, "at least one"),
        ({"7": "road", "11": "road"}, "must differ"),
        ({"#ff0000": "road", "255,0,0": "car"}, "stands there twice"),
        ({"7": 3}, "expected a name"),
        ("{", r"labels\.json is not a label table"),
        ("3", r"labels\.json is not a label table"),
    ],
)
def test_unusable_label_files_are_refused(tmp_path, content, message):
    make_folder(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=message) as error:
        open_folder(tmp_path, write_labels(tmp_path, content))
    assert "labels.json" in str(error.value)


def test_missing_label_file_is_told(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"nowhere\.json is not a label table: .*No such file"):
        open_folder(tmp_path, tmp_path / "nowhere.json")


def test_nested_folders_and_any_suffixes_make_pairs(tmp_path):
    make_folder(tmp_path, ["x/1", "y/1", "top.v2"], image_suffix=".PNG")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "masks" / "images").mkdir()
    dataset = open_folder(tmp_path, write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"}))
    found = names(dataset)
    assert sorted(found["train"] + found["validation"]) == ["top.v2", "x/1", "y/1"]


def test_archive_with_a_folder_around(tmp_path):
    make_folder(tmp_path / "mine", ["a", "images/b"])
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in sorted((tmp_path / "mine").rglob("*.*")):
            archive.write(file, file.relative_to(tmp_path))
    dataset = open_folder(tmp_path / "mine.zip", write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"}))
    assert {name for listed in names(dataset).values() for name in listed} == {"a", "images/b"}
    assert dataset.title == "mine"


def test_folders_for_splits(tmp_path):
    make_folder(tmp_path, ["training/2", "training/1", "validation/1", "test/1"])
    dataset = open_folder(tmp_path, write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"}))
    assert names(dataset) == {"train": ["training/1", "training/2"], "validation": ["validation/1"]}
    assert "Pairs in neither split: 1." in dataset.notes


def test_without_lists_a_tenth_validates_always_the_same(tmp_path):
    make_folder(tmp_path, [f"{index:02d}" for index in range(30)])
    labels = write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"})
    found = names(open_folder(tmp_path, labels))
    assert {split: len(listed) for split, listed in found.items()} == {"train": 27, "validation": 3}
    assert sorted(found["train"] + found["validation"]) == [f"{index:02d}" for index in range(30)]
    assert all(listed == sorted(listed) for listed in found.values())
    assert names(open_folder(tmp_path, labels)) == found
    assert "3 pairs drawn at random validate" in " ".join(open_folder(tmp_path, labels).notes)


def test_lists_make_splits(tmp_path):
    make_folder(tmp_path, ["a", "b.1", "c/d", "e"])
    labels = write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"})
    train = write_labels(tmp_path, "c/d.jpg\n\na\n", "train.txt")
    validation = write_labels(tmp_path, "b.1\n", "val.txt")
    assert names(open_folder(tmp_path, labels, train, validation)) == {"train": ["a", "c/d"], "validation": ["b.1"]}
    assert names(open_folder(tmp_path, labels, train)) == {"train": ["a", "c/d"], "validation": ["b.1", "e"]}
    assert names(open_folder(tmp_path, labels, None, validation)) == {
        "train": ["a", "c/d", "e"],
        "validation": ["b.1"],
    }


def test_unusable_lists_are_refused(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    labels = write_labels(tmp_path, {"7": "a", "11": "b", "26": "c"})
    first = write_labels(tmp_path, "a\n", "first.txt")
    both = write_labels(tmp_path, "a\nb\n", "both.txt")
    with pytest.raises(ValueError, match="Images in both lists: 1, for example a"):
        open_folder(tmp_path, labels, both, first)
    with pytest.raises(ValueError, match="no pair for validation"):
        open_folder(tmp_path, labels, both)
    wrong = write_labels(tmp_path, "a\nnowhere.jpg\n", "wrong.txt")
    with pytest.raises(ValueError, match=r"wrong\.txt lists what is not there: nowhere"):
        open_folder(tmp_path, labels, wrong)
    with pytest.raises(ValueError, match=r"Cannot read the list .*none\.txt"):
        open_folder(tmp_path, labels, tmp_path / "none.txt")


def test_half_pairs_are_told(tmp_path):
    make_folder(tmp_path, ["a", "b", "c"])
    (tmp_path / "masks" / "b.png").unlink()
    train = write_labels(tmp_path, "b\n", "train.txt")
    dataset = open_folder(tmp_path, write_labels(tmp_path, ["a"]), train)
    with pytest.raises(ValueError, match=r"images/b\.jpg has no annotation"):
        label_map(dataset)


def test_unusable_folders_are_refused(tmp_path):
    labels = write_labels(tmp_path, ["a"])
    with pytest.raises(ValueError, match="no folder 'images' with image files"):
        open_folder(tmp_path, labels)
    make_folder(tmp_path, ["a"])
    with pytest.raises(ValueError, match="no pair for training"):
        open_folder(tmp_path, labels)
    write_image(tmp_path / "images" / "a.png", MASK)
    with pytest.raises(ValueError, match=r"a\.jpg or .*a\.png"):
        open_folder(tmp_path, labels)
