# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON, with a brush that its own converter encoded."""

import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text

from vitseg.data.labelling_tools import Options, open_export


# A ring of 8 x 6 pixels, by `encode_rle` of label_studio_sdk.converter.brush (2.1.2).
BRUSH = (
    *(0, 0, 0, 192, 57, 27, 254, 39, 0, 194, 127, 246, 192, 35, 255, 156, 2, 127, 251, 96, 17, 255, 206, 1, 63, 253),
    *(176, 12, 39, 255, 136, 192, 0),
)
RING = "........ ..11111. ..1..11. ..1..11. ..11111. ........"
SIZE = {"original_width": 8, "original_height": 6, "image_rotation": 0}


def region(kind: str, label: str, **value: object) -> dict:
    names = {f"{kind}labels": [label]}
    return {"id": "x1", "type": f"{kind}labels", "from_name": "a", "to_name": "image", "value": value | names, **SIZE}


def task(number: int, image: str | list[str], result: list | None, **more: object) -> dict:
    annotations = [] if result is None else [{"id": 9, "was_cancelled": False, "result": result, **more}]
    return {"id": number, "data": {"image": image}, "annotations": annotations, "predictions": []}


def write_tasks(folder, results, names=("a", "b")):
    for name in names:
        write_picture(folder / f"images/{name}.jpg")
    tasks = [
        task(i, f"/data/upload/1/0a1b2c3d-{n}.jpg", r) for i, (n, r) in enumerate(zip(names, results, strict=True))
    ]
    write_text(folder / "project-1-at-2026.json", tasks)
    return folder


# From 2 to 6 of 8 columns and from 1 to 3 of 6 rows, in percent.
POLYGON = [[25, 100 / 6], [75, 100 / 6], [75, 50], [25, 50]]


def test_polygons_and_brushes_in_the_order_in_which_they_were_drawn(tmp_path):
    brush = region("brush", "ring", format="rle", rle=list(BRUSH))
    polygon = region("polygon", "car", points=POLYGON, closed=True)
    write_tasks(tmp_path, [[brush], [brush, polygon, {"id": "y", "type": "choices", "value": {"choices": ["ok"]}}]])
    dataset = open_export("label-studio", tmp_path)
    assert dataset.labels.names == ("background", "car", "ring")
    assert label_map(dataset, "a").tolist() == drawn(RING.replace("1", "2"))
    assert label_map(dataset, "b").tolist() == drawn("........ ..11112. ..11112. ..2..22. ..22222. ........")
    assert "Left out: 1 results that are no polygon, rectangle, ellipse or brush with a label." in dataset.notes


def test_rectangles_and_ellipses_may_be_turned(tmp_path):
    # Around its upper left corner, which is at 6, 1: four wide and two high become two wide and four high.
    turned = region("rectangle", "car", x=75, y=100 / 6, width=50, height=100 / 3, rotation=90)
    ellipse = region("ellipse", "car", x=50, y=50, radiusX=50, radiusY=25, rotation=0)
    write_tasks(tmp_path, [[turned], [ellipse]])
    assert read("label-studio", tmp_path, "a").tolist() == drawn(f"........ {'....11.. ' * 4} ........")
    found = read("label-studio", tmp_path, "b")
    assert found.any(1).tolist() == [False, False, True, True, False, False]


def test_labels_may_be_results_of_their_own(tmp_path):
    labels = {"id": "x1", "type": "labels", "value": {"points": POLYGON, "labels": ["car"]}, **SIZE}
    bare = {"id": "x1", "type": "polygon", "value": {"points": POLYGON}, **SIZE}
    dataset = open_export("label-studio", write_tasks(tmp_path, [[bare, labels], []]))
    assert label_map(dataset, "a").sum() == 8
    assert len(dataset.notes) == 2


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=photos/my%20a.jpg",
        "/data/upload/3/0a1b2c3d-my a.jpg",
        "s3://bucket/photos/my%20a.jpg?X-Amz-Signature=1",
        "C:\\photos\\my a.jpg",
        "https://example.org/my%20a.jpg",
    ],
)
def test_images_are_found_by_every_address(tmp_path, address):
    write_picture(tmp_path / "photos/my a.jpg")
    write_picture(tmp_path / "photos/b.jpg")
    write_text(tmp_path / "tasks.json", [task(1, address, []), task(2, "b.jpg", []), task(3, "c.jpg", None)])
    dataset = open_export("label-studio", tmp_path, Options(labels=write_text(tmp_path.parent / "l.txt", "car\n")))
    assert {pair.image.name for pair in pairs_of(dataset).values() if pair.image} == {
        "photos/my a.jpg",
        "photos/b.jpg",
    }
    assert "Left out: 1 tasks without annotation (task 3)." in dataset.notes


def test_the_ground_truth_counts_and_what_was_cancelled_does_not(tmp_path):
    write_tasks(tmp_path, [[], []])
    first = task(1, "a.jpg", [region("polygon", "car", points=POLYGON)], was_cancelled=True)
    second = [{"result": []}, {"result": [region("brush", "ring", rle=list(BRUSH))], "ground_truth": True}]
    write_text(tmp_path / "project-1-at-2026.json", [first, {**task(2, "b.jpg", []), "annotations": second}])
    write_picture(tmp_path / "images/c.jpg")
    write_text(tmp_path / "more.json", [task(3, "c.jpg", [])])
    dataset = open_export("label-studio", tmp_path)
    assert dataset.labels.names == ("background", "ring")
    assert sorted(pairs_of(dataset)) == ["b", "c"]
    assert label_map(dataset, "b").tolist() == drawn(RING)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (region("brush", "car", format="rle", rle=list(BRUSH[:-4])), "region x1: its brush ends too early"),
        (region("brush", "car", format="rle", rle=[0, 0, 1, *BRUSH[3:]]), "its brush has 448 values"),
        (region("brush", "car", format="rle", rle=[300]), "not a list of bytes"),
        (region("polygon", "car", points=[[1, 2], [3, float("nan")], [1, 1]]), "not a finite number"),
        (region("polygon", "car", points=POLYGON) | {"image_rotation": 90}, "turned in Label Studio"),
        (region("polygon", "car", points=POLYGON) | {"original_width": 10**6}, "regions are of images of|memory"),
        (region("rectangle", "car", x=1), "region x1: KeyError"),
    ],
)
def test_what_is_wrong_with_a_region_is_named(tmp_path, broken, message):
    write_tasks(tmp_path, [[broken, region("polygon", "car", points=POLYGON)], []])
    with pytest.raises(ValueError, match=rf"task 0 in .*project-1-at-2026\.json.*({message})"):
        read("label-studio", tmp_path, "a")


def test_what_has_an_area_is_not_left_out_in_silence(tmp_path):
    bare = {"id": "x1", "type": "polygon", "value": {"points": POLYGON}, **SIZE}
    bitmask = region("bitmask", "car", imageDataURL="data:image/png;base64,iVBOR")
    dataset = open_export("label-studio", write_tasks(tmp_path, [[bare], [bitmask]]))
    assert "Left out: 1 results that are no polygon, rectangle, ellipse or brush with a label." in dataset.notes
    with pytest.raises(ValueError, match="region x1: it is a bitmask, which is not read"):
        label_map(dataset, "b")


def test_tasks_with_predictions_alone_are_said(tmp_path):
    with pytest.raises(
        ValueError, match=r"no image with annotations in .*2 tasks without annotation \(task 0, task 1\)"
    ):
        open_export("label-studio", write_tasks(tmp_path, [None, None]))


def test_a_task_of_several_images_is_named(tmp_path):
    tasks = [task(1, "a.jpg", []), task(7, ["a.jpg", "b.jpg"], [])]
    write_text(tmp_path / "tasks.json", tasks)
    with pytest.raises(ValueError, match=r"tasks\.json .*the image of task 7 is not one address but \['a\.jpg'"):
        open_export("label-studio", tmp_path)
