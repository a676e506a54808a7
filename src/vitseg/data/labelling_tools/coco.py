# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
COCO's JSON, as many tools write it, Roboflow among them (`_annotations.coco.json` in a folder of each split).

It has the tables `categories` (`id`, `name`), `images` (`id`, `file_name`, `height`, `width`) and `annotations`
(`image_id`, `category_id`, `segmentation`, `bbox`, `iscrowd`). A `segmentation` is a list of polygons, of which an
object is the union, or run lengths (`size`, `counts`) as numbers or as text. A crowd (`iscrowd`) is of its class like
a single object, and below those.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .. import masks
from ..archives import File, FileTree
from ..texts import decode_text
from .drawing import Boxes, Drawing, Segment, checked_size, compact, size_of, takes_box
from .exports import Entry, Export, Images, Options, listed, split_in, split_of_file


_TABLES = ("categories", "images", "annotations")


@dataclass(frozen=True)
class CocoReader:
    """Reads what `open_coco` keeps of an image."""

    boxes: Boxes

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        record = json.loads(content)
        has_size = record["height"] is not None and record["width"] is not None
        height, width = checked_size(record["height"], record["width"]) if has_size else size_of(image)
        segments = []
        for annotation in record["annotations"]:
            try:
                mask = self._mask(annotation, height, width)
            except ValueError as error:
                raise ValueError(f"annotation {annotation.get('id')}: {error}") from error
            if mask is not None:
                segments.append(Segment(annotation["label"], mask, level=-1 if annotation.get("iscrowd") else 0))
        return Drawing(height, width, segments)

    def _mask(self, annotation: dict[str, Any], height: int, width: int) -> masks.Mask | None:
        segmentation = annotation.get("segmentation")
        if annotation["label"] is None:
            raise ValueError(f"there is no category {annotation.get('category_id')}")
        if isinstance(segmentation, dict):
            size = segmentation.get("size", [height, width])
            if list(size) != [height, width]:
                raise ValueError(f"its mask is of {size} (height, width), and the image of {[height, width]}")
            return masks.from_run_lengths(segmentation["counts"], height, width)
        if segmentation:
            return masks.from_polygons([segmentation] if _is_one(segmentation) else segmentation, height, width)
        if not takes_box(self.boxes):
            return None
        if not annotation.get("bbox"):
            raise ValueError("it has neither a segmentation nor a bbox")
        left, top, box_width, box_height = annotation["bbox"]
        return masks.from_box(left, top, left + box_width, top + box_height, height, width)


def _is_one(segmentation: list[Any]) -> bool:
    """Whether it is the one polygon itself, as numbers or as corners, and not the list of polygons that COCO has."""
    if not isinstance(segmentation[0], list):
        return True
    return len(segmentation) > 2 and all(
        len(part) == 2 and not any(isinstance(number, list) for number in part) for part in segmentation
    )


def is_coco(content: bytes) -> bool:
    """Whether a JSON file has COCO's tables, without understanding it."""
    return all(f'"{table}"'.encode() in content for table in _TABLES)


def open_coco(tree: FileTree, options: Options) -> Export:
    """
    What COCO's JSON files in a folder tell.

    Raises:
        ValueError: if there are none, or one has another form.
    """
    files, notes = _instance_files(tree)
    images = Images(tree)
    names: list[str] = []
    entries: list[Entry] = []
    for file in files:
        try:
            table = json.loads(decode_text(file.read()))
            if not table["annotations"] and len(files) > 1:
                notes.append(f"Left out: {file}, which lists images and no annotations.")
                continue
            categories = _categories(table["categories"], table["annotations"])
            names += [name for name in categories.values() if name not in names]
            own, orphans = _entries(file, table, categories, images)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else repr(error)
            raise ValueError(f"{file} cannot be read as COCO's annotations: {reason}") from error
        entries += own
        if orphans:
            notes.append(f"{file}: {orphans} annotations are of images that it does not list, and are left out.")
    if unused := images.without(entries):
        notes.append(f"Left out: {len(unused)} images that no annotation file lists ({listed(unused)}).")
    return Export(
        names=names,
        order="in the order of their category ids",
        entries=entries,
        reader=CocoReader(options.boxes or "refuse"),
        overlaps="area",
        notes=notes,
    )


def _instance_files(tree: FileTree) -> tuple[list[File], list[str]]:
    """The annotation files; of COCO's own, those of instances, as others tell of the same images."""
    json_files = [file for path, file in sorted(tree.files.items()) if path.lower().endswith(".json")]
    files = [file for file in json_files if is_coco(file.read())]
    if not files:
        raise ValueError(f"There is no JSON file with {', '.join(_TABLES)} in {tree.source}.")
    instances = [file for file in files if PurePosixPath(file.name).name.startswith("instances_")]
    chosen = instances or files
    left_out = [file.name for file in files if file not in chosen]
    return chosen, [f"Left out: {listed(left_out)}, beside {chosen[0].name}."] if left_out else []


def _categories(table: Iterable[dict[str, Any]], annotations: Iterable[dict[str, Any]]) -> dict[Any, str]:
    """Category id -> name, by id, without the one that Roboflow adds above all others and gives to nothing."""
    rows = _by_id(table, "categories")
    if unnamed := [number for number, row in rows.items() if "name" not in row]:
        raise ValueError(f"the category {unnamed[0]!r} has no name")
    above = {row.get("supercategory") for row in rows.values()}
    used = {row.get("category_id") for row in annotations}
    return {
        number: str(row["name"])
        for number, row in sorted(rows.items())
        if number in used or row.get("supercategory") != "none" or row["name"] not in above or len(rows) == 1
    }


def _by_id(table: Iterable[dict[str, Any]], what: str) -> dict[Any, dict[str, Any]]:
    """
    The rows of a table by their ids.

    Raises:
        ValueError: if two have the same, so that nothing tells which one is meant.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for row in table:
        if row["id"] in rows:
            names = [other.get("file_name", other.get("name")) for other in (rows[row["id"]], row)]
            raise ValueError(f"two {what} have the id {row['id']!r}: {names[0]} and {names[1]}")
        rows[row["id"]] = row
    return rows


def _entries(file: File, table: dict[str, Any], categories: dict[Any, str], images: Images) -> tuple[list[Entry], int]:
    """The images of an annotation file, and its number of annotations of others."""
    annotations = defaultdict(list)
    for row in table.pop("annotations"):
        if "segments_info" in row:
            raise ValueError("it is of panoptic masks (segments_info), which are not read; a file of instances is")
        kept = {key: row[key] for key in ("id", "segmentation", "bbox", "iscrowd", "category_id") if key in row}
        annotations[row["image_id"]].append(kept | {"label": categories.get(row["category_id"])})
    split = split_of_file(file.name)
    entries = []
    rows = _by_id(table["images"], "images")
    if annotations and not annotations.keys() & rows.keys():
        raise ValueError(
            "all annotations are of images that it does not list: an image_id is "
            f"{next(iter(annotations))!r}, and the id of an image {next(iter(rows), None)!r}"
        )
    for row in rows.values():
        reference = row["file_name"]
        image = images.find(reference, file.name, split)
        own = annotations.pop(row["id"], [])
        record = {"height": row.get("height"), "width": row.get("width"), "annotations": own}
        found = split or split_in((image.name if image else reference).split("/")[:-1])
        entries.append(Entry(image, compact(record), f"{reference} in {file}", found, reference))
    return entries, sum(map(len, annotations.values()))
