# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The table of formats, and which of them a folder holds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...recipes.lookup import unknown_name
from ..archives import FileTree, is_archive
from ..pairs import RawDataset
from .coco import is_coco, open_coco
from .cvat import is_cvat, open_cvat
from .exports import Export, Options, to_dataset
from .hub import find_shard, open_hub
from .label_studio import is_label_studio, open_label_studio
from .labelme import is_labelme, open_labelme
from .mask_exports import find_table, find_voc, open_masks
from .supervisely import find_meta, open_supervisely
from .yolo import find_table as find_yolo_table
from .yolo import open_yolo


# Of the JSON files in a folder, so many tell what it is.
_SAMPLES = 20


@dataclass(frozen=True)
class Format:
    """
    How one or several tools lay out what they export.

    Args:
        title: the format in words.
        find: says by which file a folder is of this format, or `None`.
        open: finds the images, with what was drawn on them or with their masks.
    """

    title: str
    find: Callable[[FileTree], str | None]
    open: Callable[[FileTree, Options], Export | RawDataset]


def _json_files(test: Callable[[bytes], bool]) -> Callable[[FileTree], str | None]:
    def find(tree: FileTree) -> str | None:
        files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".json")]
        return next((file.name for file in files[:_SAMPLES] if test(file.read())), None)

    return find


def _find_yolo(tree: FileTree) -> str | None:
    table = find_yolo_table(tree)
    lists = sorted(path for path in tree.files if f"/{path}".endswith("/classes.txt"))
    return table.name if table else next(iter(lists), None)


def _find_cvat(tree: FileTree) -> str | None:
    files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".xml")]
    table = find_table(("labelmap.txt",))(tree)
    return table or next((file.name for file in files[:_SAMPLES] if is_cvat(file.read())), None)


def _open_cvat(tree: FileTree, options: Options) -> Export | RawDataset:
    return (open_masks if find_table(("labelmap.txt",))(tree) else open_cvat)(tree, options)


def _find_supervisely(tree: FileTree) -> str | None:
    meta = find_meta(tree)
    return meta.name if meta else None


def _open_roboflow(tree: FileTree, options: Options) -> Export | RawDataset:
    """Roboflow's masks, or its exports in formats of others."""
    if find_table(("_classes.csv",))(tree):
        return open_masks(tree, options)
    return (open_yolo if find_yolo_table(tree) else open_coco)(tree, options)


FORMATS: Mapping[str, Format] = {
    "coco": Format("COCO", _json_files(is_coco), open_coco),
    "cvat": Format("CVAT, for images 1.1 or segmentation masks", _find_cvat, _open_cvat),
    "hub": Format("Parquet files of the Hugging Face Hub", find_shard, open_hub),
    "label-studio": Format("Label Studio", _json_files(is_label_studio), open_label_studio),
    "labelme": Format("LabelMe", _json_files(is_labelme), open_labelme),
    "roboflow": Format("Roboflow's semantic masks", find_table(("_classes.csv",)), _open_roboflow),
    "supervisely": Format("Supervisely", _find_supervisely, open_supervisely),
    "voc": Format("PASCAL VOC", find_voc, open_masks),
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
    opened = FORMATS[name].open(FileTree(source), options)
    return opened if isinstance(opened, RawDataset) else to_dataset(Path(source), opened, options)


def recognize(source: str | Path) -> tuple[str, str]:
    """
    The name of the format that a folder or archive is in, and the file in it that says so.

    Raises:
        ValueError: if it is in none, or in several.
    """
    tree = FileTree(source)
    found = dict(_all_formats(tree))
    if len(found) == 1:
        return next(iter(found.items()))
    listed = ", ".join(f"{name} ({file})" for name, file in found.items())
    say_which = f"vitseg prepare FORMAT --source {source} --output DIR"
    if found:
        raise ValueError(f"{source} may be one of these: {listed}. Say which: {say_which}")
    packed = [path for path, file in tree.files.items() if file.member or file.offset]
    if inner := next((path for path in packed if is_archive(path) or path.endswith(".parquet")), None):
        raise ValueError(f"{source} holds {inner}, which is not read in an archive: unpack {source}.")
    raise ValueError(
        f"{source} is in none of these formats: {', '.join(FORMATS)}. If it is a folder of images and masks, or a "
        f"benchmark's download, say so: {say_which} (folder with --labels FILE)"
    )


def _all_formats(tree: FileTree) -> Iterator[tuple[str, str]]:
    for name, kind in FORMATS.items():
        if file := kind.find(tree):
            yield name, file
