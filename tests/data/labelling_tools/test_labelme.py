# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""LabelMe's JSON, every type of shape."""

import base64
from io import BytesIO

import numpy as np
import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text
from PIL import Image

from vitseg.data.labelling_tools import Options, open_export
from vitseg.data.pairs import encode_pair


def shape(label: str, points: list, kind: str = "polygon", mask: str | None = None) -> dict:
    named = {"label": label, "points": points, "shape_type": kind}
    return named | {"group_id": None, "description": "", "flags": {}, "mask": mask}


def write_labelme(folder, name, shapes, path=None, size=(6, 8), data=None, picture=True):
    if picture:
        write_picture(folder / f"{name}.jpg")
    record = {
        "version": "5.7.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": path or f"{name}.jpg",
        "imageData": data,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return write_text(folder / f"{name}.json", record)


SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


def test_shapes_are_drawn_in_their_order(tmp_path):
    write_labelme(tmp_path, "a", [shape("road", [[0, 0], [8, 6]], "rectangle"), shape("car", SQUARE)])
    hole = shape("__ignore__", [[3, 3], [2, 2]], "rectangle")
    write_labelme(tmp_path, "b", [shape("car", SQUARE), hole])
    dataset = open_export("labelme", tmp_path)
    assert dataset.labels.names == ("background", "car", "road")
    assert label_map(dataset, "a").tolist() == drawn("22222222 21112222 21112222 21112222 22222222 22222222")
    assert label_map(dataset, "b").tolist() == drawn("........ .111.... .1x1.... .111.... ........ ........")
    write_labelme(tmp_path, "a", [shape("car", SQUARE), shape("road", [[0, 0], [8, 6]], "rectangle")])
    assert (read("labelme", tmp_path, "a") == 2).all()
    assert (read("labelme", tmp_path, "a", overlaps="area") == 1).sum() == 9
    assert (read("labelme", tmp_path, "a", boxes="skip") == 0).sum() == 39


def test_masks_circles_lines_and_points(tmp_path):
    png = BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], bool)).save(png, "PNG")
    mask = shape("car", [[2.0, 1.0], [3.0, 2.0]], "mask", base64.b64encode(png.getvalue()).decode())
    write_labelme(tmp_path, "a", [mask])
    write_labelme(tmp_path, "b", [shape("car", [[50, 50], [50, 80]], "circle")], size=(100, 100))
    write_labelme(tmp_path, "c", [shape("car", [[10, 20], [90, 20], [90, 80]], "linestrip")], size=(100, 100))
    write_labelme(tmp_path, "d", [shape("car", [[50, 50]], "point")], size=(100, 100))
    write_labelme(tmp_path, "e", [shape("car", SQUARE, "oriented_rectangle")])
    dataset = open_export("labelme", tmp_path)
    assert label_map(dataset, "a").tolist() == drawn("........ ..1..... ..11.... ........ ........ ........")
    assert label_map(dataset, "b").sum() == pytest.approx(np.pi * 30**2, rel=0.01)
    assert label_map(dataset, "c")[15:25, 10:90].all()
    assert label_map(dataset, "c")[20:80, 85:95].all()
    assert label_map(dataset, "d").sum() == pytest.approx(np.pi * 5**2, rel=0.1)
    assert label_map(dataset, "e").sum() == 9


def test_images_are_found_where_windows_left_them_or_in_the_file_itself(tmp_path):
    write_labelme(tmp_path / "labels", "a", [shape("car", SQUARE)], "..\\photos\\a.jpg", picture=False)
    write_picture(tmp_path / "photos/a.jpg")
    photo = BytesIO()
    Image.new("RGB", (8, 6), "red").save(photo, "JPEG")
    data = base64.b64encode(photo.getvalue()).decode()
    write_labelme(tmp_path / "labels", "b", [shape("car", SQUARE)], "b.jpg", data=data, picture=False)
    write_picture(tmp_path / "photos/other.jpg")
    dataset = open_export("labelme", tmp_path)
    pairs = pairs_of(dataset)
    assert encode_pair(pairs["photos/a"], dataset.train_ids)[0]["image"]["path"] == "a.jpg"
    row = encode_pair(pairs["labels/b"], dataset.train_ids).row
    assert row["image"] == {"bytes": photo.getvalue(), "path": "b.jpg"}
    assert "Left out: 1 images without label file (photos/other.jpg)." in dataset.notes


def test_what_is_broken_is_named_when_its_turn_comes(tmp_path):
    write_labelme(tmp_path, "a", [shape("car", SQUARE)])
    write_labelme(tmp_path, "b", [shape("car", SQUARE), shape("car", [[0, 0], [1, 1]])])
    write_labelme(tmp_path, "c", [shape("car", [[0, 0]], "spline")])
    write_labelme(tmp_path, "d", [shape("car", [[1, 1], [3, 3]], "mask", "!")])
    write_picture(tmp_path / "e.jpg")
    write_text(tmp_path / "e.json", '{"shapes": [{"lab')
    write_labelme(tmp_path, "f", [shape("car", SQUARE)], "gone.jpg", picture=False)
    write_text(tmp_path / "settings.json", {"theme": "dark"})
    dataset = open_export("labelme", tmp_path)
    pairs = pairs_of(dataset)
    assert label_map(dataset, "a").sum() == 9
    expected = {"b": "shape 2: it is a polygon of 2", "c": "'spline'", "d": "shape 1: ", "e": "", "gone": "no image"}
    for name, message in expected.items():
        file = "f.json" if name == "gone" else f"{name}.json"
        with pytest.raises(ValueError, match=rf"{file}.*{message}"):
            encode_pair(pairs[name], dataset.train_ids)
    assert "Left out: 1 JSON files without shapes (settings.json)." in dataset.notes


def test_other_classes_make_other_label_maps(tmp_path):
    """What was prepared before is not taken for what it is now."""
    for name in "ab":
        write_labelme(tmp_path, name, [shape("car", SQUARE)])
    before = pairs_of(open_export("labelme", tmp_path))["a"].stamp
    assert pairs_of(open_export("labelme", tmp_path))["a"].stamp == before
    assert pairs_of(open_export("labelme", tmp_path, Options(overlaps="area")))["a"].stamp != before
    write_labelme(tmp_path, "b", [shape("bike", SQUARE)])
    assert pairs_of(open_export("labelme", tmp_path))["a"].stamp != before


def test_rectangles_of_x_anylabeling_have_four_corners(tmp_path):
    write_labelme(tmp_path, "a", [shape("car", SQUARE, "rectangle")])
    write_labelme(tmp_path, "b", [shape("car", [[2, 1], [3, 2], [2, 3], [1, 2]], "rotation")])
    write_labelme(tmp_path, "c", [shape("car", SQUARE, "circle")])
    dataset = open_export("labelme", tmp_path)
    assert label_map(dataset, "a").sum() == 9
    assert 0 < label_map(dataset, "b").sum() < 4
    with pytest.raises(ValueError, match="shape 1: it is a circle by 4 points; expected 2"):
        label_map(dataset, "c")
