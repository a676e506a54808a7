# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A user's own images and masks: every way to name the classes, to pair the files and to split them."""

import json
import os
import unicodedata
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.data.dataset_labels import read_labels
from vitseg.data.own_folder import open_folder
from vitseg.data.pairs import RawDataset, encode_pair


MASK = np.array([[7, 11, 26], [7, 255, 11]], np.uint8)
THREE = {"7": "a", "11": "b", "26": "c"}


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


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_grey_masks_in_colour_are_told_how_to_be_saved(tmp_path, mode):
    make_folder(tmp_path, ["a", "b"], np.asarray(Image.fromarray(MASK).convert(mode)))
    with pytest.raises(ValueError, match=rf"has mode '{mode}'.* channels are equal.*image\.convert\('L'\)"):
        label_map(open_folder(tmp_path, write_labels(tmp_path, THREE)))


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


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (
            "id,name,r,g,b\n0,road,128,64,128\n1,sky,0,0,255\n",
            "classes.csv",
            "would be the name of a class is '0,road'",
        ),
        ("Idx\tRatio\tName\n1\t0.15\twall\n2\t0.10\tsky\n", "objectInfo150.txt", "other columns"),
        ("id,name,kind\n0,road,flat\n1,sky,far\n", "classes.csv", "other columns"),
        ("names: ['road', 'sky']\nnc: 2\n", "data.yaml", "write it as JSON"),
        ('{"0": "road", "0": "sky"}', "labels.json", "'0' stands there twice"),
        ('["road", ""]', "labels.json", "the class 1 is empty"),
    ],
)
def test_tables_of_which_names_would_be_guessed_are_refused(tmp_path, content, name, message):
    make_folder(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=rf"{name} is not a label table.*{message}"):
        open_folder(tmp_path, write_labels(tmp_path, content, name))


def test_other_encodings_are_told(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    (tmp_path / "names.txt").write_text("Gebäude\nStraße\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"names\.txt is not a label table: it is not in UTF-8 .* at byte 3"):
        open_folder(tmp_path, tmp_path / "names.txt")


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


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
        ("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
        ("mine/{split}/Images/{name}.jpg", "mine/{split}/Labels/{name}.png"),
        ("img_dir/{split}/{name}.jpg", "ann_dir/{split}/{name}.png"),
        ("{split}_images/{name}.jpg", "{split}_masks/{name}_mask.png"),
        ("{split}/{name}.jpg", "{split}/{name}_mask.png"),
    ],
)
@pytest.mark.parametrize(
    "splits", [("train", "val", "test"), ("TRAIN", "Valid", "Test"), ("training", "validation", "testing")]
)
def test_splits_are_taken_as_people_lay_them_out(tmp_path, image, mask, splits):
    for split in splits:
        for name in ("1", "2"):
            write_image(tmp_path / image.format(split=split, name=name), np.zeros((*MASK.shape, 3), np.uint8))
            write_image(tmp_path / mask.format(split=split, name=name), MASK)
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    found = names(dataset)
    for split, folder in zip(("train", "validation", "test"), splits, strict=True):
        assert [name.lower() for name in found[split]] == [f"{folder}/{name}".lower() for name in ("1", "2")]
        assert folder.lower() in dataset.notes[0].lower()
    assert all(pair.image and pair.annotation for pairs in dataset.splits.values() for pair in pairs)


def test_images_and_masks_may_spell_a_split_in_two_ways(tmp_path):
    for folder in ("images/Train", "images/val", "masks/train", "masks/validation"):
        write_image(tmp_path / folder / "1.png", MASK)
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    assert names(dataset) == {"train": ["Train/1"], "validation": ["val/1"]}
    np.testing.assert_array_equal(label_map(dataset), [[0, 1, 2], [0, 255, 1]])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train2017", "val2017"), {"train": ["train2017/1"], "validation": ["val2017/1"]}),
        (("Training Set", "Test_Set"), {"train": ["Training Set/2"], "validation": ["Training Set/1"]}),
        (("train_01", "train_02", "val"), {"train": ["train_01/1", "train_02/1"], "validation": ["val/1"]}),
        (("train", "dev"), {"train": ["train/1"], "validation": ["dev/1"]}),
        (("train", "dev", "eval"), {"train": ["train/1"], "validation": ["dev/1", "eval/1"]}),
    ],
)
def test_folders_of_splits_may_be_called_many_things(tmp_path, folders, expected):
    for folder in folders:
        make_folder(tmp_path, [f"{folder}/1", *([f"{folder}/2"] if "test" in str(folders).lower() else [])])
    found = names(open_folder(tmp_path, write_labels(tmp_path, THREE)))
    assert found.pop("test", None) == (["Test_Set/1", "Test_Set/2"] if "Test_Set" in folders else None)
    assert {split: sorted(pairs) for split, pairs in found.items()} == {s: sorted(p) for s, p in expected.items()}


def test_a_folder_for_testing_is_neither_trained_nor_validated_on(tmp_path):
    make_folder(tmp_path, ["1", "2", "3", "test/1"])
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    assert names(dataset)["test"] == ["test/1"]
    assert sorted(names(dataset)["train"] + names(dataset)["validation"]) == ["1", "2", "3"]
    listed = open_folder(tmp_path, write_labels(tmp_path, THREE), write_labels(tmp_path, "1\n", "train.txt"))
    assert names(listed) == {"train": ["1"], "validation": ["2", "3"], "test": ["test/1"]}


def test_images_for_testing_without_masks_are_left_out(tmp_path):
    make_folder(tmp_path, ["train/1", "val/1", "test/1", "test/2"])
    for name in ("1", "2"):
        (tmp_path / f"masks/test/{name}.png").unlink()
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    assert names(dataset) == {"train": ["train/1"], "validation": ["val/1"]}
    assert any("2 images for testing, without masks" in note for note in dataset.notes)


def test_archives_with_the_same_names_are_not_thrown_together(tmp_path):
    for split in ("train", "val"):
        make_folder(tmp_path / split, ["1", split], np.full((2, 2), 7 if split == "train" else 11, np.uint8))
        with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
            for file in sorted((tmp_path / split).rglob("*.*")):
                archive.write(file, file.relative_to(tmp_path / split))
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source.zip").rename(tmp_path / f"source/{split}.zip")
    with pytest.raises(ValueError, match=r"Which is it, .*train\.zip/masks/1\.png or .*val\.zip/masks/1\.png"):
        open_folder(tmp_path / "source", write_labels(tmp_path, THREE))


def test_a_folder_train_alone_is_all_or_no_split(tmp_path):
    make_folder(tmp_path / "one", [f"train/{index}" for index in range(4)])
    assert {
        split: len(found)
        for split, found in names(open_folder(tmp_path / "one", write_labels(tmp_path, THREE))).items()
    } == {
        "train": 3,
        "validation": 1,
    }
    # Pictures of vehicles.
    make_folder(tmp_path / "two", ["car/1", "train/1", "bus/1"])
    dataset = open_folder(tmp_path / "two", write_labels(tmp_path, THREE))
    assert "no folders for splits" in dataset.notes[0]
    assert sum(map(len, dataset.splits.values())) == 3


def test_pairs_in_no_split_are_told(tmp_path):
    make_folder(tmp_path, ["train/2", "train/1", "val/1", "more/1"])
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    assert names(dataset) == {"train": ["train/1", "train/2"], "validation": ["val/1"]}
    assert "Pairs in no split: 1." in dataset.notes


def test_lists_beside_the_images_make_splits(tmp_path):
    for name in ("a", "b", "c", "d"):
        write_image(tmp_path / f"JPEGImages/{name}.jpg", np.zeros((*MASK.shape, 3), np.uint8))
        write_image(tmp_path / f"SegmentationClass/{name}.png", MASK)
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split, listed in (("train", "a\nb\n"), ("val", "c\n"), ("test", "d\n")):
        (lists / f"{split}.txt").write_text(listed)
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE))
    assert names(dataset) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    assert "ImageSets/Segmentation/val.txt" in dataset.notes[0]
    (lists / "val.txt").write_text("nowhere\n")
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/val\.txt lists what is not there: nowhere"):
        open_folder(tmp_path, write_labels(tmp_path, THREE))


def test_accents_are_the_same_however_they_are_written(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zürich é") for form in ("NFC", "NFD"))
    write_image(tmp_path / f"images/{decomposed}.jpg", np.zeros((*MASK.shape, 3), np.uint8))
    write_image(tmp_path / f"masks/{composed}.png", MASK)
    make_folder(tmp_path, ["a"])
    train = write_labels(tmp_path, f"{decomposed}.jpg\n", "mine.txt")
    dataset = open_folder(tmp_path, write_labels(tmp_path, THREE), train)
    assert names(dataset) == {"train": [composed], "validation": ["a"]}
    np.testing.assert_array_equal(label_map(dataset), [[0, 1, 2], [0, 255, 1]])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_names(tmp_path, encoding):
    make_folder(tmp_path, ["a", "b"], np.array([[0, 1]], np.uint8))
    (tmp_path / "names.txt").write_text("zero\none\n", encoding=encoding)
    (tmp_path / "names.json").write_text('["zero", "one"]', encoding=encoding)
    (tmp_path / "mine.txt").write_text("a\n", encoding=encoding)
    for file in ("names.txt", "names.json"):
        dataset = open_folder(tmp_path, tmp_path / file, tmp_path / "mine.txt")
        assert dataset.labels.names == ("zero", "one")
        assert names(dataset) == {"train": ["a"], "validation": ["b"]}
    assert read_labels(tmp_path / "names.json").names == ("zero", "one")


@pytest.mark.parametrize(
    "entry", ["images/c/d.jpg masks/c/d.png", "./images/c/d.jpg", "/home/me/mine/images/c/d.jpg", "c\\d.jpg", "c/d"]
)
def test_lists_may_have_paths_of_any_kind(tmp_path, entry):
    make_folder(tmp_path, ["a", "c/d"])
    train = write_labels(tmp_path, f"{entry}\r\n", "mine.txt")
    assert names(open_folder(tmp_path, write_labels(tmp_path, THREE), train)) == {
        "train": ["c/d"],
        "validation": ["a"],
    }


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("# label:color_rgb:parts:actions\nsky:0,0,255::\nroad:128,64,128::\n", "labelmap.txt"),
        ("name,r,g,b\nsky,0,0,255\nroad,128,64,128\n", "class_dict.csv"),
        ('"name","r","g","b"\n"sky","0","0","255"\n"road","128","64","128"\n', "class_dict.csv"),
        ("r,g,b,name\n0,0,255,sky\n128,64,128,road\n", "colors.csv"),
        ("0 0 255\tsky\n128 64 128\t\troad\n", "label_colors.txt"),
        ("# mine\n#0000ff sky\n#804080 road\n", "colors.txt"),
        ("sky #0000ff\nroad #804080\n", "colors.txt"),
    ],
)
def test_tables_of_colours_as_tools_write_them(tmp_path, content, name):
    mask = np.array([[[128, 64, 128], [0, 0, 255]]], np.uint8)
    make_folder(tmp_path, ["a", "b"], mask)
    dataset = open_folder(tmp_path, write_labels(tmp_path, content, name))
    assert dataset.labels.names == ("sky", "road")
    assert dataset.labels.palette == ((0, 0, 255), (128, 64, 128))
    np.testing.assert_array_equal(label_map(dataset), [[1, 0]])


def test_a_map_of_colours_names_values_where_masks_have_no_colours(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.array([[1, 0, 255]], np.uint8))
    content = "# label:color_rgb:parts:actions\nsky:0,0,255::\nroad:128,64,128::\n"
    dataset = open_folder(tmp_path, write_labels(tmp_path, content, "labelmap.txt"))
    assert dataset.labels.names == ("sky", "road")
    np.testing.assert_array_equal(label_map(dataset), [[1, 0, 255]])
    with pytest.raises(ValueError, match="'road:::' has no name with a colour"):
        open_folder(tmp_path, write_labels(tmp_path, "# label\nsky:0,0,255::\nroad:::\n", "labelmap.txt"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("Pixel Value, Class\n7, sky\n11, road\n", "_classes.csv"),
        ("7: sky\n11: road\n", "names.txt"),
        ("11\troad\n7\tsky\n", "names.txt"),
        ("name,id\nsky,7\nroad,11\n", "names.csv"),
        ('"id","name"\n"7","sky"\n"11","road"\n', "names.csv"),
        ("sky: 7\nroad: 11\n", "names.txt"),
        ('{"7": "sky", "11": "road"}', "names.txt"),
    ],
)
def test_numbered_names_stand_for_their_numbers(tmp_path, content, name):
    make_folder(tmp_path, ["a", "b"], np.array([[7, 11]], np.uint8))
    dataset = open_folder(tmp_path, write_labels(tmp_path, content, name))
    assert dataset.labels.names == ("sky", "road")
    np.testing.assert_array_equal(label_map(dataset), [[0, 1]])


def test_names_may_be_many_things(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.array([[0, 1]], np.uint8))
    for content in ("__ignore__\n_background_\n3 wheeler\n", "# mine\n_background_\n3 wheeler\n"):
        dataset = open_folder(tmp_path, write_labels(tmp_path, content, "labels.txt"))
        assert dataset.labels.names == ("_background_", "3 wheeler")


def test_the_ignored_value_of_a_table_is_ignored(tmp_path):
    make_folder(tmp_path, ["a", "b"], np.array([[0, 1, 100, 255]], np.uint8))
    table = write_labels(tmp_path, {"names": ["zero", "one"], "ignore_index": 100})
    with pytest.raises(ValueError, match="holds the value 255"):
        label_map(open_folder(tmp_path, table))
    dataset = open_folder(tmp_path, table, ignore=["255"])
    np.testing.assert_array_equal(label_map(dataset), [[0, 1, 255, 255]])
    assert json.loads(dataset.labels.to_json())["ignore_index"] == 255
    with pytest.raises(ValueError, match="The ignored value is 1, but that is the class 'one'"):
        open_folder(tmp_path, write_labels(tmp_path, {"names": ["zero", "one"], "ignore_index": 1}, "other.json"))
    with pytest.raises(ValueError, match="says that 100 is ignored, but prepared label maps hold 255"):
        read_labels(table)


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


def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    labels = write_labels(tmp_path, THREE)
    make_folder(tmp_path / "mine", ["a", "b", os.fsdecode(b"caf\xe9")])
    with pytest.raises(ValueError, match=r"The name of the image caf\\xe9 is not UTF-8.*rename it"):
        open_folder(tmp_path / "mine", labels)


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
