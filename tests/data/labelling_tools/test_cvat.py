# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1, written as CVAT documents it."""

from pathlib import Path

import numpy as np
import pytest
from data.exported import drawn, label_map, pairs_of, read, write_picture, write_text

from vitseg.data.labelling_tools import open_export


def write_cvat(folder: Path, images: dict[str, str], head: str = '<?xml version="1.0" encoding="utf-8"?>') -> Path:
    labels = "".join(
        f"<label><name>{name}</name><color>#{index}04040</color><type>any</type><attributes></attributes></label>"
        for index, name in enumerate(("road", "car &amp; van"))
    )
    rows = ""
    for index, (name, shapes) in enumerate(images.items()):
        write_picture(folder / "images" / name.partition('"')[0])
        rows += f'<image id="{index}" name="{name}" width="8" height="6">{shapes}</image>\n'
    meta = f"<meta><task><id>7</id><name>mine</name><labels>{labels}</labels></task></meta>"
    return write_text(
        folder / "annotations.xml", f"{head}\n<annotations><version>1.1</version>{meta}{rows}</annotations>"
    )


def shape(kind: str, attributes: str, label: str = "road", z_order: int = 0) -> str:
    common = f'label="{label}" source="manual" occluded="0" z_order="{z_order}"'
    return f'<{kind} {common} {attributes}><attribute name="name">x</attribute></{kind}>'


SQUARE = 'points="1.00,1.00;4.00,1.00;4.00,4.00;1.00,4.00"'
CAR = "car &amp; van"


def test_shapes_lie_as_their_z_order_says(tmp_path):
    box = 'xtl="0.00" ytl="0.00" xbr="8.00" ybr="3.00"'
    # Two rows of three pixels: .#. and ##., from column 5 and row 3.
    mask = 'rle="1, 1, 1, 2, 1" left="5" top="3" width="3" height="2"'
    shapes = [shape("polygon", SQUARE, CAR, 1), shape("box", box), shape("mask", mask, CAR), shape("points", SQUARE)]
    write_cvat(tmp_path, {"a.png": "".join(shapes), "b.png": '<tag label="road" source="manual"></tag>'})
    dataset = open_export("cvat", tmp_path)
    assert dataset.labels.names == ("background", "road", "car & van")
    assert label_map(dataset, "a").tolist() == drawn("11111111 12221111 12221111 .222..2. .....22. ........")
    assert not label_map(dataset, "b").any()
    assert "Left out, as they have no area: 1 points." in dataset.notes


def test_boxes_and_ellipses_may_be_turned(tmp_path):
    box = 'xtl="1.00" ytl="2.00" xbr="7.00" ybr="4.00" rotation="90.00"'
    write_cvat(tmp_path, {"a.png": shape("box", box), "b.png": shape("polygon", SQUARE)})
    assert read("cvat", tmp_path, "a").tolist() == drawn(" ".join(["...11..."] * 6))
    ellipse = 'cx="4.00" cy="3.00" rx="4.00" ry="1.50" rotation="90.00"'
    write_cvat(tmp_path, {"a.png": shape("ellipse", ellipse), "b.png": ""})
    found = read("cvat", tmp_path, "a")
    assert np.flatnonzero(found.any(0)).tolist() == [3, 4]
    assert found[:, 3].all()


def test_boxes_are_left_out_or_refused_by_choice(tmp_path):
    box = shape("box", 'xtl="0.00" ytl="0.00" xbr="8.00" ybr="3.00"')
    write_cvat(tmp_path, {"a.png": shape("polygon", SQUARE) + box, "b.png": ""})
    assert read("cvat", tmp_path, "a", boxes="skip").sum() == 9
    with pytest.raises(ValueError, match="a box of road: it is a box without outline"):
        read("cvat", tmp_path, "a", boxes="refuse")


def test_subsets_make_splits(tmp_path):
    images = {f'{index}.png" subset="{name}': "" for index, name in enumerate(("Train", "Validation", "Test"))}
    write_cvat(tmp_path, images)
    dataset = open_export("cvat", tmp_path)
    names = {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()}
    assert names == {"train": ["0"], "validation": ["1"], "test": ["2"]}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (shape("polygon", 'points="1,1;nan,1;2,2"'), "a polygon of road: .* not a finite number"),
        (shape("polygon", 'points="1,1;2"'), "an x and a y for each corner"),
        (shape("mask", 'rle="9, 9" left="0" top="0" width="3" height="2"'), "a mask of road: a mask has run lengths"),
        (shape("mask", 'rle="1" left="0" top="0" width="99999" height="99999"'), "might be meant to fill the memory"),
        (shape("polygon", SQUARE, "tree"), "the label 'tree' is not among the classes"),
        ('<polygon label="road"></polygon>', "'points'"),
    ],
)
def test_what_is_wrong_with_an_image_is_named(tmp_path, shapes, message):
    write_cvat(tmp_path, {"a.png": shapes, "b.png": ""})
    with pytest.raises(ValueError, match=rf"a\.png in .*annotations\.xml.*{message}"):
        read("cvat", tmp_path, "a")


def test_entities_and_tracks_and_broken_files_are_refused(tmp_path):
    file = write_cvat(tmp_path, {"a.png": "", "b.png": ""}, '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>')
    with pytest.raises(ValueError, match=r"annotations\.xml .* it has a DOCTYPE"):
        open_export("cvat", tmp_path)
    file.write_text('<annotations><version>1.1</version><track id="0" label="road"></track></annotations>')
    with pytest.raises(ValueError, match="it has tracks, as of a video"):
        open_export("cvat", tmp_path)
    file.write_text('<annotations><version>1.1</version><image name="a.png"></image></annotations>')
    with pytest.raises(ValueError, match=r"an image has no .height"):
        open_export("cvat", tmp_path)
    file.write_text("<annotations><version>1.1</version><image")
    with pytest.raises(ValueError, match=r"annotations\.xml cannot be read"):
        open_export("cvat", tmp_path)


def test_an_image_that_is_not_there_is_named(tmp_path):
    write_cvat(tmp_path, {"a.png": "", "b.png": ""})
    (tmp_path / "images/b.png").unlink()
    assert pairs_of(open_export("cvat", tmp_path))["b"].image is None


def test_images_of_one_name_lie_in_folders_of_their_subsets(tmp_path):
    write_cvat(tmp_path, {"s1/a.png": shape("polygon", SQUARE), "s2/a.png": ""})
    file = tmp_path / "annotations.xml"
    for subset in ("s1", "s2"):
        file.write_text(file.read_text().replace(f'"{subset}/a.png"', f'"a.png" subset="{subset}"'))
    assert read("cvat", tmp_path, "s1/a").any()
    assert not read("cvat", tmp_path, "s2/a").any()
