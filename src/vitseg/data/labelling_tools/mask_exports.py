# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Exports whose label maps are images already: folders of images and masks with a table of what the masks' values mean.

CVAT's "Segmentation mask" has `labelmap.txt` (names and colours) beside `JPEGImages` and `SegmentationClass`, and what
LabelMe converts to VOC `class_names.txt`. Roboflow's has `_classes.csv` (values and names), and `a_mask.png` beside
`a.jpg` in each split. PASCAL VOC itself has no table. Lists in `ImageSets/Segmentation` make the splits.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...image_files import is_image_name
from ..annotations import TrainIds
from ..archives import File, FileTree
from ..augmentation import IGNORE_INDEX
from ..dataset_labels import DatasetLabels
from ..own_folder import open_folder
from ..own_labels import parse_lines, read_own_labels
from ..pairs import RawDataset
from ..texts import decode_text
from .exports import Options, check_named


# PASCAL VOC's classes by their value, and the colour of the border around objects, which is 255.
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_BORDER = "224,224,192"
# LabelMe's conversion of older versions has arrays of NumPy in SegmentationClass, and images in SegmentationClassPNG.
_VOC_MASK = re.compile("/SegmentationClass(PNG)?/")


def find_table(names: tuple[str, ...]) -> Callable[[FileTree], str | None]:
    """Says which of several tables a folder has."""

    def find(tree: FileTree) -> str | None:
        return next((path for path in sorted(tree.files) if PurePosixPath(path).name.lower() in names), None)

    return find


def find_voc(tree: FileTree) -> str | None:
    """A mask of PASCAL VOC's layout without a table of CVAT."""
    if find_table(("labelmap.txt",))(tree):
        return None
    return next((path for path in sorted(tree.files) if _VOC_MASK.search(f"/{path}") and is_image_name(path)), None)


def open_masks(tree: FileTree, options: Options) -> RawDataset:
    """
    The images of an export with their masks.

    Raises:
        ValueError: if it is no such folder, tables differ, or options do not fit it.
    """
    if options.overlaps or options.boxes or options.background not in (None, "ignore"):
        raise ValueError(
            f"{tree.source} holds masks: --overlaps, --boxes and a name of the --background are for shapes."
        )
    if options.labels and (not find_table(_TABLES)(tree) or read_own_labels(options.labels)[1].is_colored):
        # There it is the file that says what values or colours mean.
        return open_folder(tree.source, options.labels, ignore=options.ignore)
    table, is_colored = _table(tree)
    is_background = {name for name in table.values() if name.strip("_ ").lower() == "background"}
    ignored = {*options.ignore} | (is_background if options.background == "ignore" else set())
    values = [value for value, name in table.items() if name in ignored]
    # What is no name of a class is a value or a colour.
    ignore = [*(text for text in options.ignore if text not in table.values()), *values]
    border = _BORDER if is_colored else "255"
    if border not in (*table, *ignore) and not find_table(("_classes.csv",))(tree):
        ignore.append(border)
    table = {value: name for value, name in table.items() if value not in values}
    dataset = open_folder(tree.source, table, ignore=ignore)
    return _in_order(dataset, read_own_labels(options.labels)[0], options.labels) if options.labels else dataset


def _in_order(dataset: RawDataset, labels: DatasetLabels, file: str | Path) -> RawDataset:
    """A data set whose masks its own table explains, with its classes in the order of others."""
    check_named(dataset.labels.names, labels.names, file)
    ids = [labels.names.index(name) for name in dataset.labels.names]
    raw_to_train = {
        raw: IGNORE_INDEX if train == IGNORE_INDEX else ids[train]
        for raw, train in dataset.train_ids.raw_to_train.items()
    }
    train_ids = TrainIds(raw_to_train, dataset.train_ids.default, dataset.train_ids.is_colored)
    return replace(dataset, labels=labels, train_ids=train_ids)


def _table(tree: FileTree) -> tuple[dict[str, str], bool]:
    """Value or colour -> name, and whether it is of colours."""
    found = [file for path, file in sorted(tree.files.items()) if PurePosixPath(path).name.lower() in _TABLES]
    tables = {file: _parse(file) for file in found}
    if other := next((file for file in found if tables[file] != tables[found[0]]), None):
        raise ValueError(f"{found[0]} and {other} do not say the same of masks. Prepare their folders one by one.")
    table = tables[found[0]] if found else list(_VOC)
    if isinstance(table, list):
        return {str(value): name for value, name in enumerate(table)}, False
    return table, not all(value.isdecimal() for value in table)


_TABLES = ("labelmap.txt", "class_names.txt", "_classes.csv")


def _parse(file: File) -> list[str] | dict[str, str]:
    try:
        if table := parse_lines(decode_text(file.read())):
            return table
    except ValueError as error:
        raise ValueError(f"{file} is not a label table: {error}") from error
    raise ValueError(f"{file} is not a label table: it is empty.")
