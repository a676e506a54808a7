# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Label maps as labelling tools import them, to be corrected by a person.

Files are written image by image, and hold what the readers of this folder read; how each tool wants them is there. The
background is not drawn: it is what is in no shape.
"""

import base64
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from PIL import Image

from ...image_files import without_image_suffix
from ...images import open_header, read_label_map
from ...label_maps import Palette
from ...overlapping import overlapping
from ...progress import progress_bar
from ...replacing import replacing, write_json
from .. import masks
from ..regions import Region, RegionOptions, find_regions
from .exports import background_of
from .label_studio import encode_brush


# Which LabelMe can read what is written: masks are in it since 5.3.
_LABELME_VERSION = "5.3.0"
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Predictions:
    """
    What is written.

    Args:
        images: their paths in the folder that people load into their tool, with forward slashes.
        folder: what that folder is called.
        label_maps: where the PNGs with their class ids are, named after the images alone.
        names: of the classes.
        palette: their colours.
        options: what is made of a label map.
        threads: that read and trace.
    """

    images: Sequence[str]
    folder: str
    label_maps: Path
    names: Sequence[str]
    palette: Palette
    options: RegionOptions
    threads: int

    def __iter__(self) -> Iterator["Regions"]:
        with progress_bar(total=len(self.images), desc="Drawing", unit="image", leave=False) as bar:
            for regions in overlapping(self._read, self.images, self.threads, waiting=self.threads + 1):
                yield regions
                bar.update()

    def file(self, image: str) -> Path:
        """The label map of an image."""
        return self.label_maps / f"{without_image_suffix(PurePosixPath(image).name)}.png"

    def _read(self, image: str) -> "Regions":
        file = self.file(image)
        label_map = read_label_map(file.read_bytes(), str(file))
        background = background_of(self.names)
        found = find_regions(label_map, None if background is None else self.names.index(background), self.options)
        height, width = label_map.shape
        return Regions(image, height, width, found)


@dataclass(frozen=True)
class Regions:
    """What is drawn on an image: its name, its size, the objects."""

    name: str
    height: int
    width: int
    regions: Sequence[Region]


def write_coco(predictions: Predictions, path: Path) -> None:
    """
    COCO's tables. A category's id is that of its class and 1; a mask is compressed run lengths. No object is a crowd:
    crowds are left out by those who train or measure with such a file.
    """
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        names = enumerate(predictions.names, 1)
        categories = [{"id": number, "name": name, "supercategory": ""} for number, name in names]
        file.write(f'{{"categories": {_json(categories)},\n"images": [')
        _write_items(file, map(partial(_coco_image, predictions), count(1), predictions.images))
        file.write('],\n"annotations": [')
        _write_items(file, _coco_annotations(predictions))
        file.write("]}\n")


def _coco_image(predictions: Predictions, number: int, image: str) -> dict[str, Any]:
    with open_header(predictions.file(image)) as header:
        width, height = header.size
    return {"id": number, "file_name": image, "width": width, "height": height}


def _coco_annotations(predictions: Predictions) -> Iterator[dict[str, Any]]:
    numbers = count(1)
    for image_id, drawn in enumerate(predictions, 1):
        for region in drawn.regions:
            rows, columns = region.bitmap.shape
            yield {
                "id": next(numbers),
                "image_id": image_id,
                "category_id": region.class_id + 1,
                "segmentation": _segmentation(region, drawn),
                "area": int(np.count_nonzero(region.bitmap)),
                "bbox": [region.left, region.top, columns, rows],
                "iscrowd": 0,
            }


def _segmentation(region: Region, drawn: Regions) -> list[list[int]] | dict[str, Any]:
    if region.polygon is not None:
        return [region.polygon.ravel().tolist()]
    mask = masks.from_bitmap(region.bitmap, drawn.height, drawn.width, region.left, region.top)
    return {"size": mask["size"], "counts": mask["counts"].decode()}


def write_cvat(predictions: Predictions, path: Path) -> None:
    """
    CVAT for images 1.1, and beside it, as a JSON file of the same name, the labels that a task has to have before it
    takes them.

    Raises:
        ValueError: if a name has characters that XML cannot hold.
    """
    colors = [_hex(color) for color in predictions.palette]
    classes = zip(predictions.names, colors, strict=True)
    write_json(
        path.with_suffix(".json"), [{"name": name, "color": color, "attributes": []} for name, color in classes]
    )
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        labels = Element("labels")
        for name, color in zip(predictions.names, colors, strict=True):
            label = SubElement(labels, "label")
            SubElement(label, "name").text = name
            SubElement(label, "color").text = color
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(f"<meta><task>{_xml(labels)}</task></meta>\n")
        for number, drawn in enumerate(predictions):
            size = {"width": str(drawn.width), "height": str(drawn.height)}
            image = Element("image", {"id": str(number), "name": drawn.name, **size})
            for region in drawn.regions:
                tag, attributes = _cvat_shape(region)
                common = {"label": predictions.names[region.class_id], "source": "auto", "occluded": "0"}
                SubElement(image, tag, common | attributes | {"z_order": "0"})
            indent(image, space="")
            file.write(f"{_xml(image)}\n")
        file.write("</annotations>\n")


def _cvat_shape(region: Region) -> tuple[str, dict[str, str]]:
    if region.polygon is not None:
        return "polygon", {"points": ";".join(f"{x},{y}" for x, y in region.polygon.tolist())}
    rows, columns = region.bitmap.shape
    lengths = ", ".join(map(str, _alternating(region.bitmap)))
    place = {"left": region.left, "top": region.top, "width": columns, "height": rows}
    return "mask", {"rle": lengths} | {key: str(value) for key, value in place.items()}


def _alternating(bitmap: np.ndarray) -> list[int]:
    """The lengths of runs along the rows, alternately outside and inside."""
    pixels = bitmap.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = [0] if not pixels[0] else [0, 0]  # of those inside first there are none outside before
    return np.diff([*starts, *changes.tolist(), pixels.size]).tolist()


def write_labelme(predictions: Predictions, path: Path) -> None:
    """A zip file with the label file of each image, to be unpacked in the folder of the images."""
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for drawn in predictions:
            record: dict[str, Any] = {
                "version": _LABELME_VERSION,
                "flags": {},
                "shapes": [_labelme_shape(region, predictions.names) for region in drawn.regions],
                "imagePath": PurePosixPath(drawn.name).name,
                "imageData": None,
                "imageHeight": drawn.height,
                "imageWidth": drawn.width,
            }
            archive.writestr(f"{without_image_suffix(drawn.name)}.json", _json(record))


def _labelme_shape(region: Region, names: Sequence[str]) -> dict[str, Any]:
    rows, columns = region.bitmap.shape
    last = [region.left + columns - 1, region.top + rows - 1]  # LabelMe counts it in
    is_mask = region.polygon is None
    shape: dict[str, Any] = {
        "label": names[region.class_id],
        "points": [[region.left, region.top], last] if region.polygon is None else region.polygon.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "mask" if is_mask else "polygon",
        "flags": {},
        "mask": None,
    }
    if is_mask:
        content = BytesIO()
        Image.fromarray(region.bitmap.astype(np.uint8)).save(content, format="PNG")
        shape["mask"] = base64.b64encode(content.getvalue()).decode()
    return shape


def write_label_studio(predictions: Predictions, path: Path) -> None:
    """
    Label Studio's tasks with predictions, and beside them, as an XML file of the same name, the labelling interface
    with the tags that they name.
    """
    with replacing(path.with_suffix(".xml")) as unfinished:
        unfinished.write_text(_labelling_interface(predictions), encoding="utf-8")
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write("[")
        _write_items(file, map(partial(_task, predictions), predictions))
        file.write("]\n")


def _task(predictions: Predictions, drawn: Regions) -> dict[str, Any]:
    address = f"/data/local-files/?d={quote(f'{predictions.folder}/{drawn.name}')}"
    results = [_result(region, drawn, predictions.names) for region in drawn.regions]
    return {"data": {"image": address}, "predictions": [{"model_version": "vitseg", "result": results}]}


def _result(region: Region, drawn: Regions, names: Sequence[str]) -> dict[str, Any]:
    size = (drawn.width, drawn.height)
    if region.polygon is not None:
        kind = "polygon"
        shape: dict[str, Any] = {"points": (region.polygon * 100 / size).tolist(), "closed": True}
    else:
        kind = "brush"
        canvas = np.zeros((drawn.height, drawn.width), bool)
        rows, columns = region.bitmap.shape
        canvas[region.top : region.top + rows, region.left : region.left + columns] = region.bitmap
        shape = {"format": "rle", "rle": encode_brush(canvas)}
    return {
        "id": uuid.uuid4().hex[:10],
        "type": f"{kind}labels",
        "from_name": kind,
        "to_name": "image",
        "original_width": drawn.width,
        "original_height": drawn.height,
        "image_rotation": 0,
        "value": shape | {f"{kind}labels": [names[region.class_id]]},
    }


def _labelling_interface(predictions: Predictions) -> str:
    view = Element("View")
    SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    for kind in ("Polygon", "Brush"):
        labels = SubElement(view, f"{kind}Labels", {"name": kind.lower(), "toName": "image"})
        for name, color in zip(predictions.names, predictions.palette, strict=True):
            SubElement(labels, "Label", {"value": name, "background": _hex(color)})
    indent(view)
    return f"{_xml(view)}\n"


WRITERS: Mapping[str, Callable[[Predictions, Path], None]] = {
    "coco": write_coco,
    "cvat": write_cvat,
    "label-studio": write_label_studio,
    "labelme": write_labelme,
}


def _write_items(file: IO[str], items: Iterable[Any]) -> None:
    """Items of a list in JSON, one a line."""
    separator = "\n"
    for item in items:
        file.write(separator + _json(item))
        separator = ",\n"


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _xml(element: Element) -> str:
    text = tostring(element, encoding="unicode")
    if found := _NOT_IN_XML.search(text):
        context = text[max(found.start() - 30, 0) : found.end() + 30]
        raise ValueError(
            f"a name has the character {found[0]!r}, which XML cannot hold: rename what is in {context!r}"
        )
    return text


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
