# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
LabelMe's JSON, one file for each image.

It has `imagePath`, `imageHeight`, `imageWidth`, perhaps the image itself (`imageData`, base64), and `shapes` with a
`label`, a `shape_type` and `points`: a polygon; a rectangle by two corners; an oriented rectangle by four; a circle by
its center and a point on it; lines and points, which LabelMe's own conversion draws 10 pixels wide; or a `mask`, a
PNG in base64 between two corners. Shapes are drawn in the order of the file. X-AnyLabeling writes the same, but all
rectangles (`rectangle`, `rotation`) by four corners.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from ...images import read_label_map
from ...progress import progress_bar
from .. import masks
from ..archives import File, FileTree
from ..texts import decode_text
from .drawing import Boxes, Drawing, Segment, checked_size, size_of, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in


# What LabelMe's conversion to VOC draws.
_LINE_WIDTH = 10
_POINT_RADIUS = 5


@dataclass(frozen=True)
class EmbeddedImage(File):
    """The image in a label file."""

    def __str__(self) -> str:
        return f"the image in {self.container}"

    def open(self) -> BinaryIO:
        return BytesIO(self.read())

    def read(self) -> bytes:
        try:
            return base64.b64decode(json.loads(decode_text(super().read()))["imageData"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Cannot read {self}: {error}") from error


@dataclass(frozen=True)
class LabelMeReader:
    """Reads a label file."""

    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        record = json.loads(decode_text(content))
        sides = record.get("imageHeight"), record.get("imageWidth")
        height, width = size_of(image) if None in sides else checked_size(*sides)
        segments = []
        for number, shape in enumerate(record["shapes"], 1):
            try:
                if shape.get("shape_type") == "rectangle" and not takes_box(self.boxes):
                    continue
                segments.append(Segment(_label(shape), _mask(shape, height, width)))
            except (KeyError, TypeError, ValueError) as error:
                reason = error if isinstance(error, ValueError) else repr(error)
                raise ValueError(f"shape {number}: {reason}") from error
        return Drawing(height, width, segments)


def _label(shape: dict[str, Any]) -> str:
    if not isinstance(label := shape.get("label"), str):
        raise ValueError(f"its label is {label!r}")
    return label


def _mask(shape: dict[str, Any], height: int, width: int) -> masks.Mask:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind in ("polygon", "oriented_rectangle", "rotation") or (kind == "rectangle" and len(points) == 4):
        if len(points) < 3:
            raise ValueError(f"it is a polygon of {len(points)} corners")
        return masks.from_polygons([points], height, width)
    if kind in ("line", "linestrip"):
        return masks.from_line(points, _LINE_WIDTH, height, width)
    if kind == "point":
        return masks.from_ellipse(points[0], (_POINT_RADIUS, _POINT_RADIUS), height, width)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"its type is {kind!r}, which is not known")
    if len(points) != 2:
        raise ValueError(f"it is a {kind} by {len(points)} points; expected 2")
    (x, y), (x2, y2) = points
    if kind == "rectangle":
        return masks.from_box(x, y, x2, y2, height, width)
    if kind == "circle":
        radius = math.dist((x, y), (x2, y2))
        return masks.from_ellipse((x, y), (radius, radius), height, width)
    try:
        bitmap = read_label_map(base64.b64decode(shape["mask"]), "its mask")
    except binascii.Error as error:
        raise ValueError(f"its mask is not base64: {error}") from error
    return masks.from_bitmap(bitmap, height, width, int(x), int(y))


def is_labelme(content: bytes) -> bool:
    """Whether a JSON file is LabelMe's, without understanding it."""
    return b'"shapes"' in content and b'"imagePath"' in content


def open_labelme(tree: FileTree, options: Options) -> Export:
    """
    The label files in a folder, each with its image.

    Raises:
        ValueError: if there are none.
    """
    images = Images(tree)
    labels: set[str] = set()
    entries, others = [], []
    files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".json")]
    for file in progress_bar(files, desc="Looking for labels", unit="file", leave=False):
        entry, own = _look_into(file, images)
        if entry is None:
            others.append(file.name)
        else:
            entries.append(entry)
            labels |= own
    if not labels:
        raise ValueError(f"There is no label file of LabelMe in {tree.source}, JSON with shapes that have labels.")
    notes = []
    if others:
        notes.append(f"Left out: {len(others)} JSON files without shapes ({listed(others)}).")
    if unused := images.without(entries):
        notes.append(f"Left out: {len(unused)} images without label file ({listed(unused)}).")
    return Export(
        names=sorted(labels),
        order="in alphabetical order" + (f", but as {options.labels} has them" if options.labels else ""),
        entries=entries,
        reader=LabelMeReader(options.boxes or "fill"),
        overlaps="order",
        notes=notes,
    )


def _look_into(file: File, images: Images) -> tuple[Entry | None, set[str]]:
    """An entry, and the labels in it; none for JSON of something else. What is broken is told when it is drawn."""
    content = file.read()
    split = split_in(file.name.split("/")[:-1])
    broken = Entry(images.beside(file.name), file, str(file), split, file.name)
    if not is_labelme(content):
        try:
            json.loads(decode_text(content))
        except (ValueError, RecursionError):
            return broken, set()
        return None, set()
    try:
        record = json.loads(decode_text(content))
        reference = str(PurePosixPath(file.name).parent / record["imagePath"].replace("\\", "/"))
        labels = {shape["label"] for shape in record["shapes"] if isinstance(shape["label"], str)}
        image: File | None = images.find(reference, file.name)
        if image is None and record.get("imageData"):
            name = str(PurePosixPath(file.name).with_name(PurePosixPath(reference).name))
            image = EmbeddedImage(file.container, name, file.size, file.member, file.offset, file.version)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return broken, set()
    return Entry(image or broken.image, file, str(file), split, reference), labels
