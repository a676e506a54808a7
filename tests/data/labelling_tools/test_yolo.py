# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""YOLO segmentation as Ultralytics documents it, and as Roboflow lays it out."""

import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text
from PIL import Image

from vitseg.data.labelling_tools import open_export
from vitseg.data.pairs import encode_pair


POLYGON = "0.25 0.33333 0.75 0.33333 0.75 0.83333 0.25 0.83333"
SMALL = "0.25 0.33333 0.5 0.33333 0.5 0.5 0.25 0.5"
ROWS = drawn("........ ........ ..1122.. ..2222.. ..2222.. ........")
NAMES = "names:\n  0: car\n  1: road\n"


def write_yolo(folder, labels, table=f"path: ../data\ntrain: images/train\nval: images/val\n{NAMES}"):
    for path, lines in labels.items():
        write_picture(folder / "images" / f"{path}.jpg")
        if lines is not None:
            write_text(folder / "labels" / f"{path}.txt", lines)
    write_text(folder / "data.yaml", table)
    return folder


def test_polygons_in_shares_of_the_image(tmp_path):
    labels = {"train/a": f"0 {SMALL}\n\n1 {POLYGON}\n", "train/b": None, "val/c": "", "val/a": f"1 {POLYGON}"}
    dataset = open_export("yolo", write_yolo(tmp_path, labels))
    assert dataset.labels.names == ("background", "car", "road")
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 2, "validation": 2}
    assert label_map(dataset, "train/a").tolist() == ROWS
    assert not label_map(dataset, "train/b").any()
    assert not label_map(dataset, "val/c").any()
    assert "Without label file, so all background: 1 images (images/train/b.jpg)." in dataset.notes


def test_roboflow_puts_splits_above_and_names_in_a_list(tmp_path):
    table = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['car']\n"
    for split in ("train", "valid", "test"):
        write_picture(tmp_path / split / "images/a.jpg")
        write_text(tmp_path / split / "labels/a.txt", f"0 {POLYGON}")
    write_text(tmp_path / "data.yaml", table)
    dataset = open_export("yolo", tmp_path)
    assert dataset.labels.names == ("background", "car")
    assert [pair.name for pair in dataset.splits["validation"]] == ["valid/images/a"]
    assert list(dataset.splits) == ["train", "validation", "test"]


def test_lists_of_images_make_splits(tmp_path):
    folder = write_yolo(tmp_path, {"a": "", "b": f"0 {POLYGON}", "c": ""}, f"train: train.txt\nval: val.txt\n{NAMES}")
    write_text(folder / "train.txt", "./images/a.jpg\n./images/c.jpg\n")
    write_text(folder / "val.txt", "./images/b.jpg\n")
    assert [pair.name for pair in open_export("yolo", folder).splits["validation"]] == ["b"]


def test_photos_are_as_people_see_them(tmp_path):
    folder = write_yolo(tmp_path, {"a": f"0 {POLYGON}", "b": ""})
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (8, 6)).save(folder / "images/a.jpg", exif=turned)
    assert read("yolo", folder, "a").shape == (8, 6)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"0 {POLYGON}\n0 0.5 0.5 0.2 0.2", "line 2: it is a box"),
        ("0 10 10 20 10 20 20", "no shares"),
        ("0 nan 0.1 0.2 0.1 0.2 0.2", "no shares"),
        ("5 " + POLYGON, "there is no name for class 5"),
        ("car " + POLYGON, "is not the number of a class"),
        ("0 0.1 0.2 0.3 0.4 0.5", "an x and a y"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(tmp_path, lines, message):
    folder = write_yolo(tmp_path, {"a": lines, "b": ""})
    with pytest.raises(ValueError, match=rf"labels/a\.txt.*{message}"):
        read("yolo", folder, "a")


def test_boxes_are_left_out_or_filled_by_choice(tmp_path):
    folder = write_yolo(tmp_path, {"a": "1 0.5 0.5 0.5 0.66667", "b": ""})
    assert not read("yolo", folder, "a", boxes="skip").any()
    assert read("yolo", folder, "a", boxes="fill").tolist() == drawn(f"........ {'..2222.. ' * 4} ........")


def test_label_files_without_images_and_classes_without_names_are_named(tmp_path):
    folder = write_yolo(tmp_path, {"a": "", "b": f"0 {POLYGON}"})
    write_text(folder / "labels/c.txt", f"0 {POLYGON}")
    dataset = open_export("yolo", folder)
    alone = next(pair for pair in pairs_of(dataset).values() if pair.image is None)
    with pytest.raises(ValueError, match=r"labels/c\.txt has no image"):
        encode_pair(alone, dataset.train_ids)
    (folder / "data.yaml").write_text("train: images\n")
    with pytest.raises(ValueError, match="Nothing names the classes"):
        open_export("yolo", folder)
    write_text(folder / "classes.txt", "car\nroad\n")
    assert open_export("yolo", folder).labels.names == ("background", "car", "road")
    (folder / "data.yaml").write_text("names: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ValueError, match="is not YAML"):
        open_export("yolo", folder)


def test_names_may_lie_among_the_label_files_but_must_be_the_same_in_all_folders(tmp_path):
    """As LabelImg and X-AnyLabeling put them."""
    folder = write_yolo(tmp_path, {"train/a": f"0 {POLYGON}", "val/b": f"0 {POLYGON}"}, "train: images/train\n")
    for split in ("train", "val"):
        write_text(folder / f"labels/{split}/classes.txt", "car\nroad\n")
    dataset = open_export("yolo", folder)
    assert sorted(pairs_of(dataset)) == ["train/a", "val/b"]
    assert dataset.labels.names == ("background", "car", "road")
    write_text(folder / "labels/val/classes.txt", "road\ncar\n")
    with pytest.raises(ValueError, match=r"train/classes\.txt and .*val/classes\.txt do not name the same"):
        open_export("yolo", folder)
    (folder / "labels/train/classes.txt").write_bytes("狗\n".encode("gbk"))
    with pytest.raises(ValueError, match=r"Cannot read .*train/classes\.txt: it is not in UTF-8"):
        open_export("yolo", folder)


def test_a_split_that_nobody_has_labelled_is_left_out(tmp_path):
    labels = {"train/a": f"0 {POLYGON}", "train/b": None, "val/c": "", "test/d": None}
    dataset = open_export("yolo", write_yolo(tmp_path, labels))
    assert sorted(pairs_of(dataset)) == ["train/a", "train/b", "val/c"]
    assert any("(images/test/d.jpg)" in note for note in dataset.notes)
    # Nor are pictures of anything else taken for images with nothing on them.
    write_picture(tmp_path / "masks/a.png")
    dataset = open_export("yolo", tmp_path)
    assert sorted(pairs_of(dataset)) == ["train/a", "train/b", "val/c"]
    assert any("(images/test/d.jpg, masks/a.png)" in note for note in dataset.notes)


def test_key_points_and_names_that_yaml_changes_are_refused_and_images_of_one_name_told(tmp_path):
    folder = write_yolo(tmp_path, {"a": "0 .5 .5 .2 .2 .1 .1 1 .2 .3 1", "b": ""}, f"kpt_shape: [2, 3]\n{NAMES}")
    with pytest.raises(ValueError, match=r"data\.yaml is of key points"):
        open_export("yolo", folder)
    write_text(folder / "data.yaml", "names: [yes, no]")
    with pytest.raises(ValueError, match="put it in quotes"):
        open_export("yolo", folder)
    write_text(folder / "data.yaml", NAMES)
    write_picture(folder / "images/a.png")
    with pytest.raises(ValueError, match=r"images/a\.jpg .* and images/a\.png"):
        open_export("yolo", folder)
