# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Supervisely's projects, with a bitmap of its documentation."""

import base64
import zlib

import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text

from vitseg.data.labelling_tools import open_export
from vitseg.data.pairs import encode_pair


# A ring of 3 x 3 pixels: what `supervisely.Bitmap.data_2_base64` is documented to write.
RING = (
    "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44sKHhISMDuxpTYrr03F6g"
    "DIOnq5/LOqeEJgDM5ht6"
)


def write_project(folder, labels, tags=None):
    classes = [{"title": "road", "shape": "any", "color": "#00FF00"}, {"title": "car", "shape": "bitmap"}]
    write_text(folder / "meta.json", {"classes": classes, "tags": [], "projectType": "images"})
    for path, objects in labels.items():
        dataset, name = path.split("/")
        write_picture(folder / dataset / "img" / name)
        record = {"description": "", "tags": (tags or {}).get(path, []), "size": {"height": 6, "width": 8}}
        write_text(folder / dataset / "ann" / f"{name}.json", record | {"objects": objects})
    return folder


def polygon(label, exterior, interior=()):
    return {"classTitle": label, "geometryType": "polygon", "points": {"exterior": exterior, "interior": [*interior]}}


def bitmap(label, data, origin):
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}, "points": {}}


def test_polygons_with_holes_and_bitmaps_at_their_origin(tmp_path):
    hole = [[2, 2], [4, 2], [4, 3], [2, 3]]
    objects = [polygon("road", [[1, 1], [7, 1], [7, 4], [1, 4]], [hole]), bitmap("car", RING, [5, 2])]
    corners = {
        "classTitle": "car",
        "geometryType": "rectangle",
        "points": {"exterior": [[0, 0], [8, 2]], "interior": []},
    }
    dataset = open_export("supervisely", write_project(tmp_path, {"ds/a.jpg": objects, "ds/b.png": [corners]}))
    assert dataset.labels.names == ("background", "road", "car")
    assert label_map(dataset, "a").tolist() == drawn("........ .111111. .1..1222 .1111212 .....222 ........")
    assert label_map(dataset, "b").tolist() == drawn(f"22222222 22222222 {'........ ' * 4}")


def test_folders_or_tags_make_splits(tmp_path):
    labels = {"train/a.jpg": [], "train/b.jpg": [], "val/a.jpg": []}
    dataset = open_export("supervisely", write_project(tmp_path / "folders", labels))
    assert [pair.name for pair in dataset.splits["validation"]] == ["val/img/a"]
    tags = {"train/b.jpg": [{"name": "test", "value": None}]}
    dataset = open_export("supervisely", write_project(tmp_path / "tags", labels, tags))
    assert [pair.name for pair in dataset.splits["test"]] == ["train/img/b"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            bitmap("car", base64.b64encode(zlib.compress(b"no image")).decode(), [0, 0]),
            "object 1: its bitmap cannot be",
        ),
        (bitmap("car", "!", [0, 0]), "object 1: "),
        (bitmap("car", base64.b64encode(b"no zlib").decode(), [0, 0]), "object 1: .*incorrect header"),
        (polygon("car", [[0, 0], ["x", 2], [3, 3]]), "object 1: a polygon is not"),
        (
            {"classTitle": "car", "geometryType": "line", "points": {"exterior": [[0, 0], [1, 1]]}},
            "'line', which has no",
        ),
        ({"geometryType": "polygon"}, "object 1: KeyError"),
    ],
)
def test_what_is_wrong_with_an_object_is_named(tmp_path, part, message):
    write_project(tmp_path, {"ds/a.jpg": [part], "ds/b.jpg": []})
    with pytest.raises(ValueError, match=rf"ann/a\.jpg\.json.*{message}"):
        read("supervisely", tmp_path, "a")


def test_a_bitmap_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("vitseg.data.labelling_tools.supervisely._MAX_BYTES", 1000)
    data = base64.b64encode(zlib.compress(bytes(5000))).decode()
    write_project(tmp_path, {"ds/a.jpg": [bitmap("car", data, [0, 0])], "ds/b.jpg": []})
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        read("supervisely", tmp_path, "a")


def test_label_files_without_image_are_named(tmp_path):
    folder = write_project(tmp_path, {"ds/a.jpg": [], "ds/b.jpg": []})
    (folder / "ds/img/b.jpg").unlink()
    dataset = open_export("supervisely", folder)
    with pytest.raises(ValueError, match=r"b\.jpg\.json has no image"):
        encode_pair(pairs_of(dataset)["b"], dataset.train_ids)


def test_label_files_of_older_exports_lack_the_suffix_of_the_image(tmp_path):
    folder = write_project(tmp_path, {"ds/a.jpg": [polygon("car", [[1, 1], [3, 1], [3, 3], [1, 3]])], "ds/b.jpg": []})
    (folder / "ds/ann/a.jpg.json").rename(folder / "ds/ann/a.json")
    dataset = open_export("supervisely", folder)
    assert encode_pair(pairs_of(dataset)["a"], dataset.train_ids).row["image"]["path"] == "a.jpg"
