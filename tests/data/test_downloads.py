# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The five downloads, packed and unpacked: every pair found, in its split, with the right train ids."""

import json
import shutil
from io import BytesIO

import numpy as np
import pytest
from data.miniature_downloads import (
    Miniature,
    make_ade20k,
    make_cityscapes,
    make_coco_stuff_10k,
    make_coco_stuff_164k,
    make_pascal_context,
)
from PIL import Image

from vitseg.data.downloads import DOWNLOADS, open_download
from vitseg.data.pairs import RawDataset, encode_pair


MAKERS = dict(
    zip(
        DOWNLOADS,
        (make_ade20k, make_cityscapes, make_coco_stuff_10k, make_coco_stuff_164k, make_pascal_context),
        strict=True,
    )
)


def assert_holds(dataset: RawDataset, made: Miniature) -> None:
    assert list(dataset.splits) == ["train", "validation"]
    for split, pairs in dataset.splits.items():
        assert [pair.name for pair in pairs] == sorted(made.images[split])
        for pair in pairs:
            row = encode_pair(pair, dataset.train_ids)[0]
            assert row["image"]["bytes"] == made.images[split][pair.name]
            label = Image.open(BytesIO(row["label"]["bytes"]))
            assert (label.format, label.mode) == ("PNG", "L")
            np.testing.assert_array_equal(np.asarray(label), made.label_maps[split][pair.name])


@pytest.mark.parametrize("zipped", [False, True], ids=["unpacked", "packed"])
@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_pair_is_found_and_understood(tmp_path, name, zipped):
    made = MAKERS[name](tmp_path, zipped)
    assert_holds(open_download(name, made.source), made)


@pytest.mark.parametrize(
    ("name", "folder"), [("ade20k", "ADEChallengeData2016"), ("pascal-context", "VOCdevkit/VOC2010")]
)
def test_source_may_be_the_folder_inside_or_one_around(tmp_path, name, folder):
    made = MAKERS[name](tmp_path / "datasets" / "here")
    assert_holds(open_download(name, made.source / folder), made)
    assert_holds(open_download(name, tmp_path), made)


def test_archive_may_be_named_itself(tmp_path):
    made = make_coco_stuff_10k(tmp_path, zipped=True)
    assert made.source.suffix == ".zip"
    assert_holds(open_download("coco-stuff-10k", made.source), made)
    assert_holds(open_download("coco-stuff-10k", tmp_path), made)


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("ade20k", 150, "wall", "flag"),
        ("cityscapes", 19, "road", "bicycle"),
        ("coco-stuff-10k", 171, "person", "wood"),
        ("coco-stuff-164k", 171, "person", "wood"),
        ("pascal-context", 60, "background", "wood"),
    ],
)
def test_classes(tmp_path, name, count, first, last):
    labels = open_download(name, MAKERS[name](tmp_path, num_train=1, num_val=1).source).labels
    assert (len(labels.names), labels.names[0], labels.names[-1]) == (count, first, last)
    assert len(labels.palette) == count


def test_cityscapes_train_ids_are_read_where_there_is_nothing_else(tmp_path):
    made = make_cityscapes(tmp_path, train_ids_only=True)
    assert_holds(open_download("cityscapes", tmp_path), made)


def test_cityscapes_label_ids_come_before_train_ids(tmp_path):
    made = make_cityscapes(tmp_path)
    for file in (tmp_path / "gtFine").rglob("*_labelIds.png"):
        shutil.copy(file, file.with_name(file.name.replace("labelIds", "labelTrainIds")))
    assert_holds(open_download("cityscapes", tmp_path), made)


@pytest.mark.parametrize("form", ["json", "mat"])
@pytest.mark.parametrize("classes", [59, 60])
def test_pascal_context_in_both_forms_with_and_without_background(tmp_path, form, classes):
    made = make_pascal_context(tmp_path, form=form, classes=classes)
    dataset = open_download("pascal-context", tmp_path, classes)
    assert dataset.labels.names[-59:][:3] == ("aeroplane", "bag", "bed")
    assert_holds(dataset, made)


def test_pascal_context_has_lists_of_its_own(tmp_path):
    made = make_pascal_context(tmp_path, form="mat")
    lists = tmp_path / "VOCdevkit/VOC2010/ImageSets"
    shutil.move(lists / "Main", lists / "SegmentationContext")
    (lists / "Main").mkdir()
    (lists / "Main" / "train.txt").write_text("2007_000001\n")
    assert_holds(open_download("pascal-context", tmp_path), made)


def test_masks_converted_for_mmsegmentation_do_no_harm(tmp_path):
    made = make_coco_stuff_164k(tmp_path)
    for file in (tmp_path / "annotations").rglob("*.png"):
        shutil.copy(file, file.with_name(f"{file.stem}_labelTrainIds.png"))
    assert_holds(open_download("coco-stuff-164k", tmp_path), made)


def test_half_pairs_are_told(tmp_path):
    make_ade20k(tmp_path)
    root = tmp_path / "ADEChallengeData2016"
    (root / "annotations/training/ADE_train_00000002.png").unlink()
    (root / "images/training/ADE_train_00000003.jpg").unlink()
    dataset = open_download("ade20k", tmp_path)
    second, third = dataset.splits["train"][1:3]
    with pytest.raises(ValueError, match=r"images/training/ADE_train_00000002\.jpg has no annotation"):
        encode_pair(second, dataset.train_ids)
    with pytest.raises(ValueError, match=r"annotations/training/ADE_train_00000003\.png has no image"):
        encode_pair(third, dataset.train_ids)


def test_listed_images_that_are_nowhere_are_told(tmp_path):
    make_coco_stuff_10k(tmp_path)
    with (tmp_path / "imageLists/train.txt").open("a") as file:
        file.write("COCO_train2014_999999999999\n")
    dataset = open_download("coco-stuff-10k", tmp_path)
    with pytest.raises(ValueError, match="COCO_train2014_999999999999 has no image"):
        encode_pair(dataset.splits["train"][-1], dataset.train_ids)


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("ade20k", "ADEChallengeData2016/annotations/validation", r"annotations/validation/{name}\.png"),
        ("cityscapes", "gtFine", r"gtFine/train/\*/{name}_gtFine_labelIds\.png"),
        ("coco-stuff-10k", "annotations", r"annotations/{name}\.mat"),
        ("coco-stuff-10k", "imageLists/test.txt", r"no test\.txt beside .*imageLists"),
        ("coco-stuff-164k", "images/val2017", r"val2017/{number}\.jpg"),
        (
            "pascal-context",
            "VOCdevkit/VOC2010/trainval_merged.json",
            r"trainval_merged\.json nor trainval/{name}\.mat",
        ),
    ],
)
def test_what_is_missing_is_told(tmp_path, name, missing, message):
    MAKERS[name](tmp_path)
    path = tmp_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=message) as error:
        open_download(name, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_other_json_files_are_refused(tmp_path):
    make_pascal_context(tmp_path)
    detail = tmp_path / "VOCdevkit/VOC2010/trainval_merged.json"
    content = json.loads(detail.read_text())
    for wrong in ([], {"images": content["images"]}, {**content, "annos_segmentation": [{"image_id": 1}]}):
        detail.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"trainval_merged\.json is not the annotation file of PASCAL in Detail"):
            open_download("pascal-context", tmp_path)


def test_unknown_names_and_numbers_of_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ade20k"):
        open_download("ade2k", tmp_path)
    with pytest.raises(ValueError, match="classes is 58"):
        open_download("pascal-context", tmp_path, 58)
