# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
CVAT's XML, "CVAT for images 1.1".

An `image` has a `name`, a `width` and a `height`, perhaps a `subset`, and shapes with a `label` and a `z_order`: a
`polygon`; a `box` and an `ellipse`, both perhaps turned (`rotation`, clockwise); and a `mask`, whose run lengths go
along the rows of a rectangle, first those outside. Of a higher `z_order` is what lies on top.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import ParseError, XMLParser

import numpy as np

from .. import masks
from ..archives import File, FileTree
from ..layouts import split_of
from .drawing import Boxes, Drawing, Segment, checked_size, compact, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in


_SHAPES = ("polygon", "box", "ellipse", "mask")
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")


@dataclass(frozen=True)
class CvatReader:
    """Reads what `open_cvat` keeps of an image."""

    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        record = json.loads(content)
        height, width = checked_size(float(record["height"]), float(record["width"]))
        segments = []
        for shape in record["shapes"]:
            try:
                if shape["kind"] == "box" and not takes_box(self.boxes):
                    continue
                mask = _mask(shape, height, width)
            except ValueError as error:
                raise ValueError(f"a {shape['kind']} of {shape.get('label')}: {error}") from error
            segments.append(Segment(shape["label"], mask, int(shape.get("z_order", 0))))
        return Drawing(height, width, segments)


def _mask(shape: dict[str, Any], height: int, width: int) -> masks.Mask:
    if shape["kind"] == "polygon":
        return masks.from_polygons([[pair.split(",") for pair in shape["points"].split(";")]], height, width)
    if shape["kind"] == "box":
        left, top, right, bottom = (float(shape[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return masks.from_polygons([masks.turned(corners, float(shape.get("rotation", 0)))], height, width)
    if shape["kind"] == "ellipse":
        x, y, x_radius, y_radius = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
        return masks.from_ellipse((x, y), (x_radius, y_radius), height, width, float(shape.get("rotation", 0)))
    left, top, columns, rows = (int(float(shape[key])) for key in ("left", "top", "width", "height"))
    checked_size(rows, columns)
    # Along rows, which are the columns of the transposed mask.
    runs = [int(length) for length in shape["rle"].split(",")]
    bitmap = masks.to_bitmap(masks.from_run_lengths(runs, columns, rows)).T
    return masks.from_bitmap(bitmap, height, width, left, top)


@dataclass
class _Collector:
    """Takes what matters from the XML as it is parsed, so that no tree of it is held."""

    names: list[str] = field(default_factory=list)
    images: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    without_area: Counter[str] = field(default_factory=Counter)
    _open: list[str] = field(default_factory=list)
    _image: dict[str, str] | None = None
    _shapes: list[dict[str, str]] = field(default_factory=list)
    _text: str = ""

    def doctype(self, name: str, public_id: str, system: str) -> None:
        # Entities are declared there, which may be made to fill the memory. CVAT writes none.
        raise ValueError("it has a DOCTYPE, which CVAT does not write. Do not trust it")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = ""
        if tag == "track":
            raise ValueError("it has tracks, as of a video: export it as CVAT for images 1.1")
        if tag == "image":
            self._image, self._shapes = attributes, []
        elif self._image is not None and tag in _SHAPES and attributes.get("outside") != "1":
            self._shapes.append({"kind": tag, **attributes})
        elif self._image is not None and tag in _WITHOUT_AREA:
            self.without_area[tag] += 1

    def data(self, text: str) -> None:
        self._text += text

    def end(self, tag: str) -> None:
        self._open.pop()
        if tag == "name" and self._open[-2:] == ["labels", "label"]:
            self.names.append(self._text.strip())
        elif tag == "image" and self._image is not None:
            size = {side: self._image[side] for side in ("height", "width")}
            self.images.append((self._image, compact({**size, "shapes": self._shapes})))
            self._image = None

    def close(self) -> None:
        """Nothing is left to do."""


def is_cvat(content: bytes) -> bool:
    """Whether an XML file is CVAT's, without understanding it."""
    return b"<annotations>" in content and b"<version>" in content


def open_cvat(tree: FileTree, options: Options) -> Export:
    """
    What CVAT's XML files in a folder tell.

    Raises:
        ValueError: if there are none, or one has another form.
    """
    files = [
        file for path, file in sorted(tree.files.items()) if path.lower().endswith(".xml") and is_cvat(file.read())
    ]
    if not files:
        raise ValueError(f"There is no XML file of CVAT in {tree.source}.")
    images = Images(tree)
    names: list[str] = []
    entries: list[Entry] = []
    left_out: Counter[str] = Counter()
    for file in files:
        collector = _Collector()
        try:
            parser = XMLParser(target=collector)
            parser.feed(file.read())
            parser.close()
            entries += [_entry(file, image, content, images) for image, content in collector.images]
        except (ParseError, KeyError, ValueError) as error:
            reason = f"an image has no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{file} cannot be read as CVAT's annotations: {reason}") from error
        names += [name for name in collector.names if name not in names]
        left_out += collector.without_area
    notes = []
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        notes.append(f"Left out, as they have no area: {kinds}.")
    if unused := images.without(entries):
        notes.append(f"Left out: {len(unused)} images that no annotation file lists ({listed(unused)}).")
    return Export(
        names=names,
        order="in the order of the task's labels",
        entries=entries,
        reader=CvatReader(options.boxes or "fill"),
        overlaps="order",
        notes=notes,
    )


def _entry(file: File, image: dict[str, str], content: bytes, images: Images) -> Entry:
    reference = image["name"]
    subset = image.get("subset", "")
    split = split_of(subset)
    # Images of one name in several subsets lie in folders of these.
    found = images.find(f"{subset}/{reference}", file.name, split)
    split = split or split_in((found.name if found else reference).split("/")[:-1])
    return Entry(found, content, f"{reference} in {file}", split, reference)
