# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The table of formats, and which of them a folder holds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...recipes.lookup import unknown_name
from ..archives import FileTree
from ..pairs import RawDataset
from .coco import is_coco, open_coco
from .exports import Export, Options, to_dataset
from .labelme import is_labelme, open_labelme
from .yolo import find_table, open_yolo


# Of the JSON files in a folder, so many tell what it is.
_SAMPLES = 20


@dataclass(frozen=True)
class Format:
    """
    How one or several tools lay out what they export.

    Args:
        title: the format in words.
        find: says by which file a folder is of this format, or `None`.
        open: reads it.
    """

    title: str
    find: Callable[[FileTree], str | None]
    open: Callable[[FileTree, Options], Export]


def _json_files(test: Callable[[bytes], bool]) -> Callable[[FileTree], str | None]:
    def find(tree: FileTree) -> str | None:
        files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".json")]
        return next((file.name for file in files[:_SAMPLES] if test(file.read())), None)

    return find


def _find_yolo(tree: FileTree) -> str | None:
    table = find_table(tree)
    lists = sorted(path for path in tree.files if f"/{path}".endswith("/classes.txt"))
    return table.name if table else next(iter(lists), None)


FORMATS: Mapping[str, Format] = {
    "coco": Format("COCO", _json_files(is_coco), open_coco),
    "labelme": Format("LabelMe", _json_files(is_labelme), open_labelme),
    "yolo": Format("YOLO segmentation", _find_yolo, open_yolo),
}


def open_export(name: str, source: str | Path, options: Options | None = None) -> RawDataset:
    """
    Find the images in an export of a labelling tool, with what was drawn on them.

    Args:
        name: one of `FORMATS`.
        source: a folder, or an archive.
        options: what a person decides.

    Raises:
        ValueError: if the name is unknown, the source is no such export, or the options do not fit it.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    options = options or Options()
    return to_dataset(Path(source), FORMATS[name].open(FileTree(source), options), options)


def recognize(source: str | Path) -> tuple[str, str]:
    """
    The name of the format that a folder or archive is in, and the file in it that says so.

    Raises:
        ValueError: if it is in none, or in several.
    """
    found = dict(_all_formats(FileTree(source)))
    if len(found) == 1:
        return next(iter(found.items()))
    listed = ", ".join(f"{name} ({file})" for name, file in found.items())
    what = f"may be one of these: {listed}" if found else f"is in none of these formats: {', '.join(FORMATS)}"
    raise ValueError(f"{source} {what}. Say which: vitseg prepare FORMAT --source {source} --output DIR")


def _all_formats(tree: FileTree) -> Iterator[tuple[str, str]]:
    for name, kind in FORMATS.items():
        if file := kind.find(tree):
            yield name, file
