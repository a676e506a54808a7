# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Label Studio's JSON export, a list of tasks.

A task has its image in `data`, and `annotations`, of which the ground truth counts, or else the first one that was not
cancelled. Its `result` lists regions with `original_width` and `original_height` and a `value` in percent of these: a
polygon (`points`), a rectangle or an ellipse, both perhaps turned, or a brush (`rle`). The names of the labels are in
the list that is called like the type, such as `polygonlabels`, or in that of another region of the same `id`.

A brush is the image's red, green, blue and opacity, pixel by pixel, in runs. After the number of values, their bits
less one and four sizes in bits less one, a run is a bit (whether one value is repeated), two bits (which of the sizes
its length has), its length less one, and its value or its values.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from .. import masks
from ..archives import File, FileTree
from ..texts import decode_text
from .drawing import Boxes, Drawing, Segment, checked_size, compact, size_of, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in


_TYPES = ("polygon", "rectangle", "ellipse", "brush", "bitmask")
# Before the name of an uploaded file, Label Studio puts eight digits and a hyphen.
_PREFIX = 9
_CHANNELS = 4
# Bits of a value, and those that the length of a run may have, as Label Studio's own converter chooses them.
_WORD = 8
_RUN_SIZES = (3, 4, 8, 16)
_LONGEST_RUN = 2 ** _RUN_SIZES[-1]


@dataclass(frozen=True)
class LabelStudioReader:
    """Reads what `open_label_studio` keeps of a task."""

    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        regions = json.loads(content)
        sizes = {(region.get("original_height"), region.get("original_width")) for region in regions} - {(None, None)}
        if len(sizes) > 1:
            raise ValueError(f"its regions are of images of {sorted(sizes)} pixels (height, width)")
        height, width = checked_size(*sizes.pop()) if sizes else size_of(image)
        segments = []
        for region in regions:
            try:
                if _kind(region) == "rectangle" and not takes_box(self.boxes):
                    continue
                mask = _mask(region, height, width)
                segments += [Segment(label, mask) for label in _labels(region)]
            except (KeyError, TypeError, ValueError) as error:
                reason = error if isinstance(error, ValueError) else repr(error)
                raise ValueError(f"region {region.get('id')}: {reason}") from error
        return Drawing(height, width, segments)


def _labels(region: Mapping[str, Any]) -> list[str]:
    names = [name for key, value in region["value"].items() if key.endswith("labels") for name in value]
    if not names:
        raise ValueError("it has no label")
    return names


def _mask(region: Mapping[str, Any], height: int, width: int) -> masks.Mask:
    value, kind = region["value"], _kind(region)
    if region.get("image_rotation"):
        raise ValueError("it was drawn on the image turned in Label Studio, which is not read")
    if kind == "bitmask":
        raise ValueError("it is a bitmask, which is not read: draw with BrushLabels, or export masks as PNG")
    if kind == "brush":
        if value.get("format", "rle") != "rle":
            raise ValueError(f"its brush has the format {value['format']!r}; expected 'rle'")
        return masks.from_bitmap(decode_brush(value["rle"], height, width), height, width)
    if kind == "polygon":
        return masks.from_polygons(
            [np.array(value["points"], np.float64) * [width / 100, height / 100]], height, width
        )
    x, y = value["x"] * width / 100, value["y"] * height / 100
    degrees = value.get("rotation") or 0
    if kind == "ellipse":
        radii = value["radiusX"] * width / 100, value["radiusY"] * height / 100
        return masks.from_ellipse((x, y), radii, height, width, degrees)
    right, bottom = x + value["width"] * width / 100, y + value["height"] * height / 100
    corners = np.array([[x, y], [right, y], [right, bottom], [x, bottom]])
    return masks.from_polygons([masks.turned(corners, degrees, around=corners[0])], height, width)


def _kind(region: Mapping[str, Any]) -> str | None:
    """The type of a region that has an area."""
    name = str(region.get("type", "")).lower()
    value = region.get("value")
    # A region of the type "labels" has the same value as its shape.
    by_keys = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "width": "rectangle"}
    if name == "labels" and isinstance(value, Mapping):
        return next((kind for key, kind in by_keys.items() if key in value), None)
    return next((kind for kind in _TYPES if name == f"{kind}labels"), None)


def decode_brush(encoded: Iterable[int], height: int, width: int) -> np.ndarray:
    """
    What a brush painted.

    Args:
        encoded: the bytes of its code.
        height: of the image.
        width: of the image.

    Returns:
        uint8 (height, width), not zero where it did.

    Raises:
        ValueError: if it is no such code, or not of an image of this size.
    """
    try:
        packed = np.array(encoded, np.uint8).ravel()
    except (OverflowError, TypeError, ValueError):
        raise ValueError("its brush is not a list of bytes") from None
    bits = np.unpackbits(packed)
    text, position = (bits + ord("0")).tobytes().decode(), 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        if position > bits.size:
            raise ValueError("its brush ends too early")
        return int(text[position - count : position], 2)

    total, word = read(32), read(5) + 1
    if total != height * width * _CHANNELS or word != _WORD:
        raise ValueError(f"its brush has {total} values of {word} bits, and the image {width} x {height} pixels")
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    start = 0
    while start < total:
        is_repeated = read(1)
        end = start + 1 + read(sizes[read(2)])
        if end > total:
            raise ValueError("its brush is longer than the image")
        count = 1 if is_repeated else end - start
        position += _WORD * count
        if position > bits.size:
            raise ValueError("its brush ends too early")
        values[start:end] = np.packbits(bits[position - _WORD * count : position])
        start = end
    return values[_CHANNELS - 1 :: _CHANNELS].reshape(height, width)


def encode_brush(bitmap: np.ndarray) -> list[int]:
    """
    The code of what a brush painted.

    Args:
        bitmap: bool (height, width).

    Returns:
        Its bytes.
    """
    values = np.repeat(bitmap.ravel(), _CHANNELS)
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    bits = [f"{values.size:032b}{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_SIZES)]
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), values.size], strict=True):
        value = f"{255 * values[start]:0{_WORD}b}"
        for left in range(end - start, 0, -_LONGEST_RUN):
            last = min(left, _LONGEST_RUN) - 1
            chosen, size = next((index, size) for index, size in enumerate(_RUN_SIZES) if last < 2**size)
            bits.append(f"1{chosen:02b}{last:0{size}b}{value}")
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tolist()


def is_label_studio(content: bytes) -> bool:
    """Whether a JSON file is Label Studio's, without understanding it."""
    return (
        content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
        and b'"annotations"' in content
        and b'"data"' in content
    )


def open_label_studio(tree: FileTree, options: Options) -> Export:
    """
    The tasks in the JSON files of a folder, each with its image.

    Raises:
        ValueError: if there are none, or a file has another form.
    """
    json_files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".json")]
    files = [file for file in json_files if is_label_studio(file.read())]
    if not files:
        raise ValueError(f"There is no JSON export of Label Studio in {tree.source} (JSON, not JSON-MIN).")
    images = Images(tree)
    names: set[str] = set()
    entries: list[Entry] = []
    unlabelled, left_out = [], 0
    for file in files:
        try:
            for task in json.loads(decode_text(file.read())):
                regions, others = _regions(task)
                if regions is None:
                    unlabelled.append(f"task {task.get('id')}")
                    continue
                left_out += others
                entries.append(_entry(file, task, regions, images))
                names |= {name for region in regions for name in _labels_if_any(region)}
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else repr(error)
            raise ValueError(f"{file} cannot be read as Label Studio's tasks: {reason}") from error
    notes = [f"Left out: {len(unlabelled)} tasks without annotation ({listed(unlabelled)})."] if unlabelled else []
    if left_out:
        notes.append(f"Left out: {left_out} results that are no polygon, rectangle, ellipse or brush with a label.")
    return Export(
        names=sorted(names),
        order="in alphabetical order" + (f", but as {options.labels} has them" if options.labels else ""),
        entries=entries,
        reader=LabelStudioReader(options.boxes or "fill"),
        overlaps="order",
        notes=notes,
    )


def _regions(task: Mapping[str, Any]) -> tuple[list[dict[str, Any]] | None, int]:
    """The regions of a task that have an area, and how many results do not; `None` if it has no annotation."""
    annotations = [row for row in task["annotations"] if not row.get("was_cancelled")]
    if not annotations:
        return None, 0
    results = next((row for row in annotations if row.get("ground_truth")), annotations[0])["result"]
    regions = [row for row in results if _kind(row)]
    # Shapes whose labels are results of their own have the type of the shape, and are the same regions once more.
    known = {row.get("id") for row in regions}
    others = [
        row for row in results if not _kind(row) and (row.get("type") not in _TYPES or row.get("id") not in known)
    ]
    keys = ("id", "type", "value", "original_width", "original_height", "image_rotation")
    return [{key: row[key] for key in keys if key in row} for row in regions], len(others)


def _labels_if_any(region: Mapping[str, Any]) -> list[str]:
    try:
        return _labels(region)
    except (KeyError, TypeError, ValueError):
        return []


def _entry(file: File, task: Mapping[str, Any], regions: list[dict[str, Any]], images: Images) -> Entry:
    texts = [value for value in task["data"].values() if isinstance(value, str)]
    address = task["data"].get("image") or (texts[0] if texts else "")
    if not isinstance(address, str):
        raise ValueError(f"the image of task {task.get('id')} is not one address but {str(address)[:60]}")
    references = [*_references(address), *_references(str(task.get("file_upload") or ""))]
    found = next((image for reference in references if (image := images.find(reference, file.name))), None)
    reference = references[0] if references else str(task.get("id"))
    split = split_in((found.name if found else reference).split("/")[:-1])
    return Entry(found, compact(regions), f"task {task.get('id')} in {file}", split, reference)


def _references(address: str) -> list[str]:
    """What a file may be called that an address of Label Studio leads to."""
    if not address:
        return []
    parts = urlsplit(address.replace("\\", "/"))
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    name = PurePosixPath(path).name
    return [path, name[_PREFIX:]] if name[_PREFIX - 1 : _PREFIX] == "-" and name[_PREFIX:] else [path]
