# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What labelling tools import of label maps, as pycocotools and the tools' own importers take it, and read back."""

import base64
import json
import zipfile
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from data.exported import label_map, write_picture
from data.labelling_tools.test_label_studio import BRUSH, RING
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from vitseg.data.labelling_tools import Options, open_export
from vitseg.data.labelling_tools.label_studio import decode_brush, encode_brush
from vitseg.data.labelling_tools.pre_annotations import WRITERS, Predictions
from vitseg.data.regions import RegionOptions


NAMES = ("a road", "background", "car & <van>", "pole")
PALETTE = [(128, 64, 128), (0, 0, 0), (0, 0, 142), (153, 153, 153)]
EXACT = {"polygons": RegionOptions(tolerance=0), "masks": RegionOptions("masks")}
# A hole with a car in it, parts that touch at corners, single pixels, and the borders. Then nothing, and one class.
DRAWN = "1111111000 1000011000 1022011003 1022031000 1000000300 1111110000 3111111001 1311111112"
LABEL_MAPS = {
    "berlin/ü 1.png": np.array([[int(char) for char in row] for row in DRAWN.split()], np.uint8),
    "bonn/empty.jpg": np.full((5, 7), 1, np.uint8),
    "bonn/full.jpg": np.full((1, 3), 3, np.uint8),
}


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of images, with their label maps in another one."""
    for name, values in LABEL_MAPS.items():
        write_picture(tmp_path / "my photos" / name, *values.shape[::-1])
        Image.fromarray(values).save(tmp_path / f"{Path(name).stem}.png")
    return tmp_path / "my photos"


def write(kind: str, photos: Path, options: RegionOptions, name: str = "out.json") -> Path:
    path = photos / name
    WRITERS[kind](Predictions([*LABEL_MAPS], photos.name, photos.parent, NAMES, PALETTE, options, 0), path)
    return path


def require_same(kind: str, photos: Path) -> None:
    """What `vitseg prepare` makes of the folder are the label maps."""
    labels = photos.parent / "labels.txt"
    labels.write_text("\n".join(NAMES), encoding="utf-8")
    dataset = open_export(kind, photos, Options(labels=labels))
    assert dataset.labels.names == NAMES
    for name, values in LABEL_MAPS.items():
        assert label_map(dataset, name.rpartition(".")[0]).tolist() == values.tolist()


@pytest.mark.parametrize("shapes", EXACT)
def test_coco(photos, shapes):
    coco = COCO(write("coco", photos, EXACT[shapes]))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(NAMES)
    for image in coco.loadImgs(coco.getImgIds()):
        values = LABEL_MAPS[image["file_name"]]
        assert (image["height"], image["width"]) == values.shape
        found = np.ones_like(values)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(annotation)
            assert annotation["iscrowd"] == 0
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()
            assert (found[mask == 1] == 1).all()
            found[mask == 1] = annotation["category_id"] - 1
        assert found.tolist() == values.tolist()
    kinds = {type(annotation["segmentation"]) for annotation in coco.dataset["annotations"]}
    assert kinds == ({dict} if shapes == "masks" else {dict, list})
    require_same("coco", photos)


@pytest.mark.parametrize("shapes", EXACT)
def test_cvat(photos, shapes):
    root = ElementTree.parse(write("cvat", photos, EXACT[shapes], "out.xml")).getroot()
    assert [image.get("name") for image in root.iter("image")] == list(LABEL_MAPS)
    found = np.ones((8, 10), np.uint8)
    for shape in next(root.iter("image")):
        class_id = NAMES.index(shape.get("label"))
        if shape.tag == "mask":
            left, top, width, height = (int(shape.get(key)) for key in ("left", "top", "width", "height"))
            runs = [int(length) for length in shape.get("rle").split(",")]
            bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
            found[top : top + height, left : left + width][bitmap] = class_id
        else:
            points = [float(number) for pair in shape.get("points").split(";") for number in pair.split(",")]
            found[coco_mask.decode(coco_mask.frPyObjects([points], 8, 10))[..., 0] == 1] = class_id
    assert found.tolist() == LABEL_MAPS["berlin/ü 1.png"].tolist()
    require_same("cvat", photos)
    labels = json.loads((photos / "out.json").read_text())
    assert labels[2] == {"name": "car & <van>", "color": "#00008e", "attributes": []}


@pytest.mark.parametrize("shapes", EXACT)
def test_labelme(photos, shapes):
    with zipfile.ZipFile(write("labelme", photos, EXACT[shapes], "out.zip")) as archive:
        assert archive.namelist() == ["berlin/ü 1.json", "bonn/empty.json", "bonn/full.json"]
        archive.extractall(photos)
    record = json.loads((photos / "berlin/ü 1.json").read_text(encoding="utf-8"))
    assert (record["imagePath"], record["imageHeight"], record["imageWidth"]) == ("ü 1.png", 8, 10)
    for shape in record["shapes"]:
        if shape["shape_type"] == "mask":
            (left, top), (right, bottom) = shape["points"]
            bitmap = np.asarray(Image.open(BytesIO(base64.b64decode(shape["mask"]))))
            assert bitmap.shape == (bottom - top + 1, right - left + 1)  # as LabelMe pastes it
            values = LABEL_MAPS["berlin/ü 1.png"][top : bottom + 1, left : right + 1]
            assert (values[bitmap > 0] == NAMES.index(shape["label"])).all()
    require_same("labelme", photos)


@pytest.mark.parametrize("shapes", EXACT)
def test_label_studio(photos, shapes):
    path = write("label-studio", photos, EXACT[shapes])
    tasks = json.loads(path.read_text(encoding="utf-8"))
    assert tasks[0]["data"] == {"image": "/data/local-files/?d=my%20photos/berlin/%C3%BC%201.png"}
    tags = {tag.get("name") for tag in ElementTree.parse(path.with_suffix(".xml")).getroot()}
    results = [row for task in tasks for row in task["predictions"][0]["result"]]
    assert {row[key] for row in results for key in ("from_name", "to_name")} <= tags
    # A person takes all as it is, and exports it.
    for number, task in enumerate(tasks):
        task |= {"id": number, "annotations": [{"was_cancelled": False, **task.pop("predictions")[0]}]}
    path.write_text(json.dumps(tasks))
    require_same("label-studio", photos)


def test_a_brush_is_encoded_as_label_studio_does():
    ring = np.array([[char == "1" for char in row] for row in RING.split()])
    assert encode_brush(ring) == list(BRUSH)
    long = np.zeros((300, 400), bool)
    long[150:] = True
    assert np.array_equal(decode_brush(encode_brush(long), 300, 400) > 0, long)


def test_what_xml_cannot_hold_is_named(photos):
    Image.new("L", (4, 3)).save(photos.parent / "a\x01.png")
    predictions = Predictions(["a\x01.jpg"], "photos", photos.parent, NAMES, PALETTE, RegionOptions(), 0)
    with pytest.raises(ValueError, match=r"a name has the character '\\x01', which XML cannot hold"):
        WRITERS["cvat"](predictions, photos / "out.xml")
    assert not (photos / "out.xml").exists()
