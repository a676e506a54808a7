# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Exports of masks: CVAT's with labelmap.txt, PASCAL VOC's, and Roboflow's with _classes.csv."""

import numpy as np
import pytest
from data.exported import drawn, label_map, write_picture, write_text
from PIL import Image

from vitseg.data.labelling_tools import Options, open_export, recognize


LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,0,0::\ncar:0,128,0::\n"
COLORS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]], np.uint8)


def write_voc(folder, rows, as_palette, lists=None):
    for name, values in rows.items():
        values = np.array(values, np.uint8)
        write_picture(folder / f"JPEGImages/{name}.jpg", values.shape[1], values.shape[0])
        for kind in ("SegmentationClass", "SegmentationObject"):
            file = folder / kind / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            if as_palette:
                mask = Image.fromarray(values)
                palette = np.zeros((256, 3), np.uint8)
                palette[:3], palette[255] = COLORS[:3], COLORS[3]
                mask.putpalette(palette.tobytes())
            else:
                mask = Image.fromarray(COLORS[np.minimum(values, 3)])
            mask.save(file)
    for split, names in (lists or {}).items():
        write_text(folder / f"ImageSets/Segmentation/{split}.txt", "\n".join(names) + "\n")
    return folder


ROWS = {"a": [[0, 1, 2], [255, 1, 2]], "b": [[0, 0, 0], [0, 0, 0]], "c": [[1, 1, 1], [1, 1, 1]]}


@pytest.mark.parametrize("as_palette", [True, False])
def test_cvat_names_colours_and_the_border_is_ignored(tmp_path, as_palette):
    write_voc(tmp_path, ROWS, as_palette, {"default": ["a", "b", "c"]})
    write_text(tmp_path / "labelmap.txt", LABELMAP)
    assert recognize(tmp_path) == ("cvat", "labelmap.txt")
    dataset = open_export("cvat", tmp_path)
    assert dataset.labels.names == ("background", "road", "car")
    assert label_map(dataset, "a").tolist() == drawn(".12 x12")
    ignoring = open_export("cvat", tmp_path, Options(background="ignore"))
    assert ignoring.labels.names == ("road", "car")
    assert label_map(ignoring, "a").tolist() == drawn("x.1 x.1")
    ignoring = open_export("cvat", tmp_path, Options(ignore=["road"]))
    assert ignoring.labels.names == ("background", "car")
    assert label_map(ignoring, "a").tolist() == drawn(".x1 xx1")
    with pytest.raises(ValueError, match="are for shapes"):
        open_export("cvat", tmp_path, Options(overlaps="area"))


def test_pascal_voc_has_its_own_classes_and_lists(tmp_path):
    write_voc(tmp_path / "VOC2012", ROWS, True, {"train": ["a"], "val": ["b"]})
    assert recognize(tmp_path) == ("voc", "VOC2012/SegmentationClass/a.png")
    dataset = open_export("voc", tmp_path)
    assert dataset.labels.names[:3] == ("background", "aeroplane", "bicycle")
    assert len(dataset.labels.names) == 21
    assert [pair.name for pair in dataset.splits["validation"]] == ["b"]
    assert label_map(dataset, "a").tolist() == drawn(".12 x12")


def test_labelme_names_the_values_of_what_it_converts_to_voc(tmp_path):
    write_voc(tmp_path, ROWS, True)
    write_text(tmp_path / "class_names.txt", "_background_\nroad\ncar")
    assert recognize(tmp_path) == ("voc", "SegmentationClass/a.png")
    dataset = open_export("voc", tmp_path)
    assert dataset.labels.names == ("_background_", "road", "car")
    assert label_map(dataset, "a").tolist() == drawn(".12 x12")
    # Nothing to warn of: it is what LabelMe calls __ignore__.
    assert not dataset.unnamed
    # As older versions lay it out.
    (tmp_path / "SegmentationClass").rename(tmp_path / "SegmentationClassPNG")
    write_text(tmp_path / "SegmentationClass/a.npy", "")
    assert recognize(tmp_path) == ("voc", "SegmentationClassPNG/a.png")
    assert label_map(open_export("voc", tmp_path), "a").tolist() == drawn(".12 x12")


def test_roboflow_has_a_table_in_each_split(tmp_path):
    for split in ("train", "valid"):
        write_picture(tmp_path / split / "a_jpg.rf.5d.jpg", 3, 2)
        Image.fromarray(np.array(ROWS["a"], np.uint8)).save(tmp_path / split / "a_jpg.rf.5d_mask.png")
        write_text(tmp_path / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, car\n")
    assert recognize(tmp_path)[0] == "roboflow"
    dataset = open_export("roboflow", tmp_path)
    assert dataset.labels.names == ("background", "road", "car")
    assert [pair.name for pair in dataset.splits["validation"]] == ["valid/a_jpg.rf.5d"]
    assert label_map(dataset, "train/a_jpg.rf.5d").tolist() == drawn(".12 x12")
    write_text(tmp_path / "valid/_classes.csv", "Pixel Value, Class\n0, background\n1, car\n")
    with pytest.raises(ValueError, match="do not say the same of masks"):
        open_export("roboflow", tmp_path)


def test_an_empty_table_is_named(tmp_path):
    write_voc(tmp_path, ROWS, True)
    write_text(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\n")
    with pytest.raises(ValueError, match=r"labelmap\.txt is not a label table: it is empty"):
        open_export("cvat", tmp_path)


@pytest.mark.parametrize("table", [("labelmap.txt", LABELMAP), ("class_names.txt", "background\nroad\ncar\n")])
def test_the_order_of_classes_may_be_said_but_not_what_values_mean(tmp_path, table):
    """As of other exports: names in another order are other ids, and not other classes."""
    write_voc(tmp_path, ROWS, True)
    write_text(tmp_path / table[0], table[1])
    order = write_text(tmp_path.parent / "order.txt", "car\ntree\nroad\nbackground\n")
    dataset = open_export("voc", tmp_path, Options(labels=order))
    assert dataset.labels.names == ("car", "tree", "road", "background")
    assert label_map(dataset, "a").tolist() == drawn("32. x2.")
    with pytest.raises(ValueError, match=r"labels that .*few\.txt does not: road"):
        open_export("voc", tmp_path, Options(labels=write_text(tmp_path.parent / "few.txt", "car\nbackground\n")))
