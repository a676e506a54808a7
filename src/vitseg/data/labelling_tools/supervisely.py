# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Supervisely's projects: `meta.json`, and in the folder of each data set `img/a.jpg` with `ann/a.jpg.json`.

`meta.json` has the `classes` with their `title`. A label file has the `size` of the image and `objects` with a
`classTitle` and a `geometryType`: a polygon (`points` with an `exterior` and holes, `interior`), a rectangle by two
corners, or a bitmap (`data`, a PNG packed with zlib in base64, and its `origin`). A tag `train`, `val` or `test` of
an image names its split, or else the folder of its data set.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ...images import check_size, open_header
from .. import masks
from ..archives import File, FileTree
from ..layouts import split_of
from ..texts import decode_text
from .drawing import Boxes, Drawing, Segment, checked_size, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in


# Of a bitmap's file when it is unpacked.
_MAX_BYTES = 256 * 1024**2
_BITMAPS = ("bitmap", "alpha_mask")


@dataclass(frozen=True)
class SuperviselyReader:
    """Reads a label file."""

    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        record = json.loads(decode_text(content))
        height, width = checked_size(record["size"]["height"], record["size"]["width"])
        segments = []
        for number, part in enumerate(record["objects"], 1):
            try:
                if part.get("geometryType") == "rectangle" and not takes_box(self.boxes):
                    continue
                segments.append(Segment(part["classTitle"], _mask(part, height, width)))
            except (KeyError, TypeError, ValueError, zlib.error) as error:
                reason = error if isinstance(error, ValueError) else repr(error)
                raise ValueError(f"object {number}: {reason}") from error
        return Drawing(height, width, segments)


def _mask(part: Mapping[str, Any], height: int, width: int) -> masks.Mask:
    # Label files of older versions do not name the type.
    kind = part.get("geometryType") or ("bitmap" if part.get("bitmap") else "polygon")
    if kind in _BITMAPS:
        left, top = part[kind]["origin"]
        return masks.from_bitmap(_bitmap(part[kind]["data"]), height, width, int(left), int(top))
    if kind == "rectangle":
        (left, top), (right, bottom) = part["points"]["exterior"]
        return masks.from_box(left, top, right, bottom, height, width)
    if kind == "polygon":
        outline = masks.from_polygons([part["points"]["exterior"]], height, width)
        holes = part["points"].get("interior")
        return masks.without(outline, masks.from_polygons(holes, height, width)) if holes else outline
    raise ValueError(f"its type is {kind!r}, which has no area: leave such classes out of the export")


def _bitmap(data: str) -> np.ndarray:
    """What is opaque in the PNG, or is not black if it has no transparency: (rows, columns)."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(base64.b64decode(data), _MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"its bitmap has more than {_MAX_BYTES} bytes, and might be meant to fill the memory")
    try:
        with open_header(BytesIO(content)) as image:
            check_size(image.size)
            has_alpha = "A" in image.mode or "transparency" in image.info
            return np.asarray(image.convert("RGBA").getchannel("A") if has_alpha else image.convert("L"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"its bitmap cannot be decoded: {error}") from error


def find_meta(tree: FileTree) -> File | None:
    """The `meta.json` of a project with label files."""
    has_labels = any("/ann/" in f"/{path}" and path.endswith(".json") for path in tree.files)
    metas = [file for path, file in sorted(tree.files.items()) if f"/{path}".endswith("/meta.json")]
    return metas[0] if metas and has_labels else None


def open_supervisely(tree: FileTree, options: Options) -> Export:
    """
    The label files of a project, each with its image.

    Raises:
        ValueError: if there are none, or `meta.json` names no classes.
    """
    meta = find_meta(tree)
    if meta is None:
        raise ValueError(
            f"There is no project of Supervisely in {tree.source}, a meta.json and folders with img and ann."
        )
    try:
        names = [row["title"] for row in json.loads(decode_text(meta.read()))["classes"]]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{meta} names no classes: {error!r}") from error
    images = Images(tree)
    entries = []
    for path, file in sorted(tree.files.items()):
        folder, ann, name = f"/{path}".rpartition("/ann/")
        if ann and "/" not in name and name.endswith(".json"):
            reference = f"{folder}/img/{name.removesuffix('.json')}".removeprefix("/")
            split = _tagged_split(file) or split_in(PurePosixPath(path).parts[:-2])
            # Older exports call the label file of `a.jpg` `a.json`.
            image = images.files.get(reference) or images.beside(f"{reference}.json")
            entries.append(Entry(image, file, str(file), split, reference))
    unused = images.without(entries)
    return Export(
        names=names,
        order="in the order of meta.json",
        entries=entries,
        reader=SuperviselyReader(options.boxes or "fill"),
        overlaps="order",
        notes=[f"Left out: {len(unused)} images without label file ({listed(unused)})."] if unused else [],
    )


def _tagged_split(file: File) -> str | None:
    """The split that a tag of an image names. What is broken is told when it is drawn."""
    try:
        names = [tag["name"] for tag in json.loads(decode_text(file.read()))["tags"]]
        return next((split for name in names if (split := split_of(name))), None)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
