# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON, with masks of pycocotools, and Roboflow's folders of it."""

import json

import numpy as np
import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text
from pycocotools import mask as coco

from vitseg.data.labelling_tools import Options, open_export
from vitseg.data.pairs import encode_pair


CATEGORIES = [{"id": 7, "name": "road"}, {"id": 3, "name": "car"}]


def image(number: int, name: str) -> dict:
    return {"id": number, "file_name": name, "width": 8, "height": 6}


def part(image_id: int | str, category: int, segmentation: object, **more: object) -> dict:
    return {"id": 40, "image_id": image_id, "category_id": category, "segmentation": segmentation, **more}


def box(left: int, top: int, right: int, bottom: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def write_coco(folder, annotations, images=None, name="instances_default.json", categories=CATEGORIES):
    images = images or [image(1, "a.png"), image(2, "b.png")]
    for row in images:
        write_picture(folder / "images" / row["file_name"].replace("\\", "/"))
    table = {"info": {}, "categories": categories, "images": images, "annotations": annotations}
    return write_text(folder / "annotations" / name, table)


def test_polygons_and_run_lengths_small_over_large_and_crowds_below(tmp_path):
    bitmap = np.zeros((6, 8), np.uint8, order="F")
    bitmap[4:, :2] = 1
    text = coco.encode(bitmap)["counts"].decode()
    annotations = [
        part(1, 3, [box(1, 1, 3, 3), box(5, 1, 6, 2)]),
        part(1, 7, [box(0, 0, 8, 4)]),
        part(1, 3, {"size": [6, 8], "counts": text}),
        part(1, 7, {"size": [6, 8], "counts": [4, 2, 42]}, iscrowd=1),
        part(2, 7, {"size": [6, 8], "counts": [0, 6, 42]}, iscrowd=0),
    ]
    write_coco(tmp_path, annotations)
    dataset = open_export("coco", tmp_path)
    # In the order of their ids, whatever that of the file is.
    assert dataset.labels.names == ("background", "car", "road")
    assert label_map(dataset, "a").tolist() == drawn("22222222 21122122 21122222 22222222 11...... 11......")
    assert label_map(dataset, "b").tolist() == drawn(" ".join(["2......."] * 6))
    in_order = read("coco", tmp_path, "a", overlaps="order")
    assert in_order.tolist() == drawn("22222222 22222222 22222222 22222222 11...... 11......")


def test_background_is_named_ignored_or_a_class_of_the_export(tmp_path):
    write_coco(tmp_path, [part(1, 7, [box(0, 0, 8, 5)])])
    assert read("coco", tmp_path, "a", background="ignore").tolist() == drawn(f"{'11111111 ' * 5} xxxxxxxx")
    assert open_export("coco", tmp_path, Options(background="else")).labels.names == ("else", "car", "road")
    assert read("coco", tmp_path, "a", background="car").tolist() == drawn(f"{'11111111 ' * 5} ........")
    assert read("coco", tmp_path, "a", ignore=["road"]).tolist() == drawn(f"{'xxxxxxxx ' * 5} ........")
    with pytest.raises(ValueError, match="no label of the export: roads"):
        open_export("coco", tmp_path, Options(ignore=["roads"]))


def test_the_order_of_classes_may_be_said(tmp_path):
    write_coco(tmp_path, [part(1, 7, [box(0, 0, 8, 6)])])
    labels = write_text(tmp_path.parent / f"{tmp_path.name}.txt", "road\nbackground\ncar\n")
    dataset = open_export("coco", tmp_path, Options(labels=labels))
    assert dataset.labels.names == ("road", "background", "car")
    assert (label_map(dataset, "a") == 0).all()
    assert (label_map(dataset, "b") == 1).all()
    labels.write_text("road\n")
    with pytest.raises(ValueError, match=r"does not: car\. Add or --ignore them"):
        open_export("coco", tmp_path, Options(labels=labels))


def test_roboflow_has_a_file_in_each_split(tmp_path):
    above = {"id": 0, "name": "traffic", "supercategory": "none"}
    categories = [above, {"id": 1, "name": "car", "supercategory": "traffic"}]
    for split in ("train", "valid", "test"):
        write_picture(tmp_path / split / "a_jpg.rf.0f3.jpg")
        table = {
            "categories": categories,
            "images": [image(0, "a_jpg.rf.0f3.jpg")],
            "annotations": [part(0, 1, [box(0, 0, 8, 6)])],
        }
        write_text(tmp_path / split / "_annotations.coco.json", table)
    dataset = open_export("coco", tmp_path)
    assert dataset.labels.names == ("background", "car")
    names = {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()}
    assert names == {
        "train": ["train/a_jpg.rf.0f3"],
        "validation": ["valid/a_jpg.rf.0f3"],
        "test": ["test/a_jpg.rf.0f3"],
    }
    assert "The splits are those of the export." in dataset.notes


def test_of_coco_itself_the_files_of_instances_count(tmp_path):
    for split in ("train2017", "val2017"):
        annotations = [part(1, 3, box(0, 0, 8, 6))]
        file = write_coco(tmp_path, annotations, [image(1, f"{split}/1.jpg")], f"instances_{split}.json")
        write_text(file.with_name(f"person_keypoints_{split}.json"), file.read_text())
    dataset = open_export("coco", tmp_path)
    assert [pair.name for pair in dataset.splits["validation"]] == ["val2017/1"]
    assert "person_keypoints_train2017.json" in dataset.notes[0]


def test_names_of_another_machine_are_found_among_the_images_alone(tmp_path):
    secret = tmp_path / "secret.png"
    write_picture(secret)
    names = ["C:\\jobs\\7\\images\\a.png", "/mnt/jobs/b.png", "../secret.png", str(secret)]
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "export/images" / name)
    rows = [image(number, name) for number, name in enumerate(names[:3])]
    table = {"categories": CATEGORIES, "images": rows, "annotations": []}
    # With a byte-order mark, as Windows' editors write it.
    (tmp_path / "export/a.json").write_text(json.dumps(table), encoding="utf-8-sig")
    pairs = pairs_of(open_export("coco", tmp_path / "export"))
    found = {pair.image.name for pair in pairs.values() if pair.image}
    assert found == {"images/a.png", "images/b.png"}
    missing = next(pair for pair in pairs.values() if pair.image is None)
    with pytest.raises(ValueError, match=r"\.\./secret\.png in .* has no image"):
        encode_pair(missing, open_export("coco", tmp_path / "export").train_ids)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (part(1, 3, [[0, 0, 4, 0, float("nan"), 4]]), "annotation 40: a polygon has a coordinate"),
        (part(1, 3, {"size": [6, 8], "counts": [4, 2]}), "annotation 40: a mask has run lengths"),
        (part(1, 3, {"size": [8, 6], "counts": [48]}), r"its mask is of \[8, 6\]"),
        (part(1, 5, [box(0, 0, 2, 2)]), "there is no category 5"),
        (part(1, 3, [], bbox=[1, 1, 2, 2]), "it is a box without outline"),
        (part(1, 3, 7), "not of the form"),
    ],
)
def test_what_is_wrong_with_an_image_is_named(tmp_path, annotation, message):
    write_coco(tmp_path, [annotation])
    with pytest.raises(ValueError, match=rf"a\.png in .*instances_default\.json.*{message}"):
        read("coco", tmp_path, "a")
    assert (read("coco", tmp_path, "b") == 0).all()


def test_boxes_are_left_out_or_filled_by_choice(tmp_path):
    write_coco(tmp_path, [part(1, 3, [], bbox=[1, 1, 2, 2])])
    assert (read("coco", tmp_path, "a", boxes="skip") == 0).all()
    filled = read("coco", tmp_path, "a", boxes="fill")
    assert filled.tolist() == drawn("........ .11..... .11..... ........ ........ ........")


def test_an_image_must_not_be_there_twice(tmp_path):
    write_coco(tmp_path, [], [image(1, "a.png"), image(2, "a.png")])
    with pytest.raises(ValueError, match="The image a is there twice"):
        open_export("coco", tmp_path)


def test_the_size_of_an_image_is_not_taken_on_trust(tmp_path):
    row = image(1, "a.png") | {"width": 10**6, "height": 10**6}
    write_coco(tmp_path, [part(1, 3, [box(0, 0, 2, 2)])], [row, image(2, "b.png")])
    with pytest.raises(ValueError, match="might be meant to fill the memory"):
        read("coco", tmp_path, "a")
    write_coco(tmp_path, [], [image(1, "a.png") | {"width": 9}, image(2, "b.png")])
    dataset = open_export("coco", tmp_path)
    with pytest.raises(ValueError, match="8 x 6"):
        encode_pair(pairs_of(dataset)["a"], dataset.train_ids)


@pytest.mark.parametrize(
    ("images", "categories", "annotation", "message"),
    [
        (
            [image(1, "a.png"), image(1, "b.png")],
            CATEGORIES,
            part(1, 3, []),
            "two images have the id 1: a.png and b.png",
        ),
        (None, [*CATEGORIES, {"id": 3, "name": "tree"}], part(1, 3, []), "two categories have the id 3: car and tree"),
        (None, [{"id": 3, "supercategory": "car"}], part(1, 3, []), "the category 3 has no name"),
        (None, CATEGORIES, part("1", 3, []), "an image_id is '1', and the id of an image 1"),
        (None, CATEGORIES, {"image_id": 1, "segments_info": []}, "it is of panoptic masks"),
    ],
)
def test_a_file_that_does_not_tell_what_is_of_which_image_is_refused(
    tmp_path, images, categories, annotation, message
):
    """Merged files repeat ids: whose annotations they are cannot be told."""
    write_coco(tmp_path, [annotation], images, categories=categories)
    with pytest.raises(ValueError, match=rf"instances_default\.json .*{message}"):
        open_export("coco", tmp_path)


def test_a_category_above_others_is_a_class_if_something_is_of_it(tmp_path):
    categories = [
        {"id": 0, "name": "vehicle", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "vehicle"},
    ]
    write_coco(tmp_path, [part(1, 0, [box(0, 0, 8, 6)])], categories=categories)
    assert open_export("coco", tmp_path).labels.names == ("background", "vehicle", "car")
    assert (read("coco", tmp_path, "a") == 1).all()


def test_too_few_images_and_no_classes_are_said(tmp_path):
    write_coco(tmp_path, [], [image(1, "a.png")])
    with pytest.raises(ValueError, match=r"no image for training in .*: of its 1, training and validation need one"):
        open_export("coco", tmp_path)
    write_coco(tmp_path, [], categories=[])
    with pytest.raises(ValueError, match="names a class"):
        open_export("coco", tmp_path)


def test_an_outline_may_be_a_list_of_corners(tmp_path):
    """COCO has a list of polygons, each a list of numbers; some write the corners of one."""
    corners = [[1, 1], [4, 1], [4, 4], [1, 4]]
    write_coco(tmp_path, [part(1, 3, corners), part(2, 3, [corners])])
    for name in "ab":
        assert read("coco", tmp_path, name).sum() == 9


def test_a_file_without_annotations_beside_others_is_of_images_that_nobody_labelled(tmp_path):
    write_coco(tmp_path, [part(1, 3, [box(1, 1, 4, 4)])])
    write_coco(tmp_path, [], [image(1, "c.png")], name="instances_test.json")
    dataset = open_export("coco", tmp_path)
    assert sorted(pairs_of(dataset)) == ["a", "b"]
    assert any("instances_test.json, which lists images and no annotations" in note for note in dataset.notes)


def test_a_file_without_its_images_is_said(tmp_path):
    file = write_coco(tmp_path, [part(1, 3, [box(1, 1, 4, 4)])])
    with pytest.raises(ValueError, match=r"None of the 2 images of which .* such as a\.png: put them into one folder"):
        open_export("coco", file)
