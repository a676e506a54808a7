# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
YOLO segmentation, as Ultralytics reads it and Roboflow, CVAT and Label Studio write it.

Beside each image, or in a folder `labels` where that is in `images`, lies a text file of its name. A line is the
number of a class and the corners of a polygon, x y x y ..., in shares of the width and height of the image as people
see it. Images without a file have nothing on them. `data.yaml` names the classes, and the folders (or lists of
images) of the splits; `classes.txt` names the classes where there is none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml

from ...image_files import without_image_suffix
from .. import masks
from ..archives import File, FileTree
from ..layouts import SPLITS
from ..own_labels import read_own_labels
from ..texts import decode_text
from .drawing import Boxes, Drawing, Segment, size_of, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in


# Tools round, so that shares may be a little below 0 or above 1.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class YoloReader:
    """Reads the lines of an image."""

    names: tuple[tuple[int, str], ...]
    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        height, width = size_of(image)
        names = dict(self.names)
        segments = []
        for number, line in enumerate(decode_text(content).splitlines(), 1):
            if not line.strip():
                continue
            try:
                label, shares = _parse_line(line)
                if label not in names:
                    raise ValueError(f"there is no name for class {label}")
                mask = self._mask(shares * [width, height], height, width)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if mask is not None:
                segments.append(Segment(names[label], mask))
        return Drawing(height, width, segments)

    def _mask(self, corners: np.ndarray, height: int, width: int) -> masks.Mask | None:
        if len(corners) > 2:
            return masks.from_polygons([corners], height, width)
        if not takes_box(self.boxes):
            return None
        (x, y), (box_width, box_height) = corners
        left, top = x - box_width / 2, y - box_height / 2
        return masks.from_box(left, top, left + box_width, top + box_height, height, width)


def _parse_line(line: str) -> tuple[int, np.ndarray]:
    """Number of the class, and shares (corners, 2); of a box its center and size."""
    first, *rest = line.split()
    try:
        label, numbers = float(first), [float(text) for text in rest]
    except ValueError:
        raise ValueError(f"{line[:40]!r} is not the number of a class and those of corners") from None
    if not label.is_integer() or len(numbers) % 2 or len(numbers) < 4:
        raise ValueError(f"{line[:40]!r} is not the number of a class and an x and a y for each of three corners")
    if not all(-_TOLERANCE <= number <= 1 + _TOLERANCE for number in numbers):
        raise ValueError(f"{line[:40]!r} has coordinates that are no shares, from 0 to 1, of the image's size")
    return int(label), np.array(numbers).reshape(-1, 2)


def open_yolo(tree: FileTree, options: Options) -> Export:
    """
    The images of a YOLO data set with their label files.

    Raises:
        ValueError: if there are none, or nothing names the classes.
    """
    table = _read_table(tree)
    names = _names(tree, table, options)
    images = Images(tree)
    labels = {path: _label_file(tree, path) for path in images.files}
    if not any(labels.values()):
        raise ValueError(f"No image in {tree.source} has a label file of its name (.txt), beside it or in labels/.")
    splits = _splits(tree, table, images)
    left_out = _left_out(labels, splits)
    for path in left_out:
        del labels[path]
    entries = []
    for path, label in labels.items():
        image = images.files[path]
        entries.append(Entry(image, label or b"", str(label or f"{image} without label file"), splits[path], path))
    empty = [path for path, label in labels.items() if label is None]
    used = {file.name for file in labels.values() if file} | {file.name for file in _lists_of_names(tree)}
    alone = [path for path in tree.files if "labels/" in path and path.endswith(".txt") and path not in used]
    # Without its image there is no telling its size; the preparation says that it is missing.
    entries += [
        Entry(None, tree.files[path], str(tree.files[path]), split_in(path.split("/")[:-1]), path) for path in alone
    ]
    notes = [f"Without label file, so all background: {len(empty)} images ({listed(empty)})."] if empty else []
    if left_out:
        notes.append(
            f"Left out: {len(left_out)} images in splits without label files or outside images/ ({listed(left_out)})."
        )
    return Export(
        names=[names[index] for index in sorted(names)],
        order="in the order of their numbers",
        entries=entries,
        reader=YoloReader(tuple(sorted(names.items())), options.boxes or "refuse"),
        overlaps="area",
        notes=notes,
    )


def _left_out(labels: Mapping[str, File | None], splits: Mapping[str, str | None]) -> list[str]:
    """
    The images without label file that are not for that reason images with nothing on them: of a split of which
    nothing is labelled, often that for testing; and those beside folders called images, such as masks.
    """
    labelled = {splits[path] for path, label in labels.items() if label}
    outside = [path for path in labels if "/images/" not in f"/{path}"]
    others = set(outside) if len(outside) < len(labels) else set()
    return [path for path, label in labels.items() if not label and (splits[path] not in labelled or path in others)]


def find_table(tree: FileTree) -> File | None:
    """The `data.yaml` of a YOLO data set, or a file of another name with the same in it."""
    yamls = [file for path, file in sorted(tree.files.items()) if path.lower().endswith((".yaml", ".yml"))]
    named = [file for file in yamls if PurePosixPath(file.name).stem.lower() in ("data", "dataset")]
    return next((file for file in (*named, *yamls) if b"names" in file.read()), None)


def _read_table(tree: FileTree) -> dict[str, Any]:
    file = find_table(tree)
    try:
        table = yaml.safe_load(decode_text(file.read())) if file else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(table, Mapping):
        raise ValueError(f"{file} is not a table with names, train and val.")
    if "kpt_shape" in table:
        raise ValueError(f"{file} is of key points (kpt_shape), and its label files have no outlines.")
    return dict(table)


def _names(tree: FileTree, table: Mapping[str, Any], options: Options) -> dict[int, str]:
    """Number of a class -> its name."""
    names = table.get("names")
    if names is None and (lists := _lists_of_names(tree)):
        found = {file: [line.strip() for line in _read(file).splitlines() if line.strip()] for file in lists}
        names = found[lists[0]]
        if other := next((file for file in lists if found[file] != names), None):
            raise ValueError(f"{lists[0]} and {other} do not name the same classes. Prepare their folders one by one.")
    if names is None and options.labels:
        names = list(read_own_labels(options.labels)[0].names)
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping) or not all(str(index).isdecimal() for index in names):
        raise ValueError(
            f"Nothing names the classes of {tree.source}: neither names in data.yaml nor classes.txt. "
            "Name them in a file of --labels, by their numbers."
        )
    if any(isinstance(name, bool) for name in names.values()):
        raise ValueError(
            "A name in data.yaml is yes, no, on or off, which mean true and false in YAML: put it in quotes."
        )
    return {int(index): str(name) for index, name in names.items()}


def _lists_of_names(tree: FileTree) -> list[File]:
    return [file for path, file in sorted(tree.files.items()) if path.endswith("classes.txt")]


def _read(file: File) -> str:
    try:
        return decode_text(file.read())
    except ValueError as error:
        raise ValueError(f"Cannot read {file}: {error}") from error


def _label_file(tree: FileTree, image: str) -> File | None:
    """The label file of an image: in `labels` instead of the last `images`, or beside it."""
    stem = f"{without_image_suffix(image)}.txt"
    before, images, after = f"/{stem}".rpartition("/images/")
    moved = f"{before}/labels/{after}".removeprefix("/") if images else stem
    return tree.files.get(moved) or tree.files.get(stem)


def _splits(tree: FileTree, table: Mapping[str, Any], images: Images) -> dict[str, str | None]:
    """The split of each image: as `data.yaml` says, or its folders."""
    splits = {path: split_in(path.split("/")[:-1]) for path in images.files}
    for key in ("train", "val", "valid", "validation", "test"):
        entries = table.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, str):
                splits |= dict.fromkeys(_images_of(tree, entry, images), SPLITS[key])
    return splits


def _images_of(tree: FileTree, entry: str, images: Images) -> Iterable[str]:
    """The images that a line of `data.yaml` means: a folder, or a list of images."""
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    path = "/".join(parts)
    if path.endswith(".txt"):
        lists = [file for name, file in tree.files.items() if f"/{name}".endswith(f"/{path}")]
        lines = _read(lists[0]).splitlines() if lists else []
        found = [images.find(line.strip(), lists[0].name) for line in lines if line.strip()]
        return [file.name for file in found if file]
    return [name for name in images.files if parts and f"/{path}/" in f"/{name}"]
