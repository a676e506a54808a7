# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Data sets of the Hugging Face Hub, by name or as they were downloaded: Parquet files of any columns.

Of the columns, one holds the images, and one the masks (`annotation`, `label`, `mask`, `segmentation`), or what was
drawn: `objects`, a list or a table with `segmentation` (polygons or run lengths, as in COCO's files), `bbox` and
`category` (names, or numbers whose names the data set has, or a file of labels).
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, snapshot_download

from ...image_files import without_image_suffix
from ..annotations import MaskFile
from ..archives import File, FileTree
from ..own_labels import read_own_labels
from ..pairs import Pair, RawDataset
from .coco import CocoReader
from .drawing import compact
from .exports import Entry, Export, Options, split_of_file, split_up


_IMAGES = ("image", "img", "picture", "pixel_values", "jpg", "png")
_MASKS = ("annotation", "label", "mask", "segmentation", "labels", "masks", "seg", "segmentation_mask", "label_map")
_OBJECTS = ("objects", "annotations")
_CATEGORIES = ("category", "label", "category_id", "categories", "labels", "class")
_SEGMENTATIONS = ("segmentation", "segmentations", "polygons", "polygon", "mask")
# Where the Hub puts the Parquet files that it makes of other data sets.
_CONVERTED = "refs/convert/parquet"
# Where a data set may name its classes.
_TABLES = ("labels.json", "id2label.json")


@dataclass(frozen=True)
class Cell(File):
    """
    An encoded image in a Parquet file.

    Args:
        group: row group.
        row: row of that.
        column: name of its column.
    """

    group: int = 0
    row: int = 0
    column: str = ""

    def __str__(self) -> str:
        return f"{self.column} of row {self.row} in row group {self.group} of {self.container}"

    @property
    def stamp(self) -> str:
        return f"{super().stamp} {self.column}"

    def open(self) -> BinaryIO:
        return BytesIO(self.read())

    def read(self) -> bytes:
        try:
            value = _column(self.container, self.version, self.group, self.column)[self.row].as_py()
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"Cannot read {self}: {error}") from error
        if not value or not value["bytes"]:
            raise ValueError(f"{self} is missing, or is not in the file.")
        return value["bytes"]


@functools.lru_cache(maxsize=2)
def _column(path: Path, version: int | str, group: int, column: str) -> pa.ChunkedArray:
    """A column of the row group that is read, of which one after the other has its turn."""
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)


def download(name: str) -> Path:
    """
    Download a data set of the Hub into its cache, which is there once for all programs.

    Args:
        name: of the repository. If it holds no Parquet files, those that the Hub converted it to are taken.

    Returns:
        The folder.

    Raises:
        OSError: if it cannot be had, saying why.
    """
    files = HfApi().list_repo_files(name, repo_type="dataset")
    revision = None if any(file.endswith(".parquet") for file in files) else _CONVERTED
    patterns = ["*.parquet", *_TABLES]
    return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns))


def find_shard(tree: FileTree) -> str | None:
    """A Parquet file with images."""
    files = (file for path, file in sorted(tree.files.items()) if path.endswith(".parquet") and file.member is None)
    return next((file.name for file in files if _image_column(_schema(file), _IMAGES)), None)


def open_hub(tree: FileTree, options: Options) -> Export | RawDataset:
    """
    The rows of the Parquet files in a folder.

    Raises:
        ValueError: if there are none, their columns are not understood, or nothing names the classes.
    """
    files = [file for path, file in sorted(tree.files.items()) if path.endswith(".parquet") and file.member is None]
    if not files:
        raise ValueError(
            f"There is no Parquet file in {tree.source}. A data set of the Hub is had by its name: --source ORG/NAME"
        )
    schema = _schema(files[0])
    image, mask = _image_column(schema, _IMAGES), _image_column(schema, _MASKS)
    objects = next((name for name in _OBJECTS if name in schema.names), None)
    if image is None or not (mask or objects):
        raise ValueError(
            f"{files[0]} has the columns {', '.join(schema.names)}; expected one of images ({', '.join(_IMAGES)}) and "
            f"one of masks ({', '.join(_MASKS)}) or of what was drawn ({', '.join(_OBJECTS)})."
        )
    for file in files:
        names = _schema(file).names
        if missing := {image, mask or objects} - {*names}:
            raise ValueError(
                f"{file} has the columns {', '.join(names)}, without {missing.pop()}, which {files[0]} has. "
                "Prepare files of different columns one by one."
            )
    return _masks(tree, files, image, mask, options) if mask else _objects(tree, files, image, str(objects), options)


def _masks(tree: FileTree, files: Sequence[File], image: str, mask: str, options: Options) -> RawDataset:
    table = options.labels or next((tree.files[name].container for name in _TABLES if name in tree.files), None)
    if table is None:
        raise ValueError(f"Nothing names the classes in the column {mask!r}: name a file of --labels.")
    labels, train_ids, unnamed = read_own_labels(table, options.ignore)
    pairs = [
        (Pair(cell.name, cell, MaskFile(replace(cell, column=mask), train_ids.is_colored)), split_of_file(file.name))
        for file in files
        for cell in _cells(file, image)
    ]
    splits, note = split_up(pairs, tree.source)
    notes = (f"Images are in the column {image!r}, masks in {mask!r}.", note)
    title = tree.source.resolve().stem
    return RawDataset(title=title, labels=labels, train_ids=train_ids, splits=splits, notes=notes, unnamed=unnamed)


def _objects(tree: FileTree, files: Sequence[File], image: str, objects: str, options: Options) -> Export:
    known = list(read_own_labels(options.labels)[0].names) if options.labels else _class_names(files[0], objects)
    entries: list[Entry] = []
    found: set[str] = set()
    for file in files:
        split = split_of_file(file.name)
        for cell, row in zip(_cells(file, image), _rows(file, objects), strict=True):
            annotations = [_annotation(part, known) for part in _parts(row)]
            found |= {str(part["label"]) for part in annotations if part["label"] is not None}
            try:
                content = compact({"height": None, "width": None, "annotations": annotations})
            except TypeError as error:
                raise ValueError(f"{objects} of {cell} holds neither polygons nor run lengths: {error}") from error
            entries.append(Entry(cell, content, f"{objects} of {cell}", split, cell.name))
    return Export(
        names=known or sorted(found),
        order="in the order of the data set" if known else "in alphabetical order",
        entries=entries,
        reader=CocoReader(options.boxes or "refuse"),
        overlaps="area",
        notes=[f"Images are in the column {image!r}, what was drawn in {objects!r}."],
    )


def _parts(row: Any) -> list[dict[str, Any]]:
    """The objects of a row, which `datasets` turns into a table of columns in some of its versions."""
    if isinstance(row, Mapping):
        columns = {key: value for key, value in row.items() if isinstance(value, list)}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [part for part in row or [] if part]


def _annotation(part: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """An object as a row of COCO's annotations."""
    category = next((part[key] for key in _CATEGORIES if key in part), None)
    label = category
    if isinstance(category, int):
        label = names[category] if 0 <= category < len(names) else None
    segmentation = next((part[key] for key in _SEGMENTATIONS if part.get(key)), None)
    if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), bytes):
        segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii", "replace")}
    kept = {"id": part.get("id"), "bbox": part.get("bbox"), "iscrowd": part.get("iscrowd"), "category_id": category}
    return kept | {"segmentation": segmentation, "label": label}


def _cells(file: File, column: str) -> Iterator[Cell]:
    stem = without_image_suffix(file.name.removesuffix(".parquet"))
    with pq.ParquetFile(file.container) as parquet:
        groups = [parquet.metadata.row_group(index) for index in range(parquet.num_row_groups)]
    number = 0
    for group, metadata in enumerate(groups):
        size = metadata.total_byte_size // max(metadata.num_rows, 1)
        for row in range(metadata.num_rows):
            name = f"{stem}/{number:07}"
            yield Cell(file.container, name, size, version=file.version, group=group, row=row, column=column)
            number += 1


def _rows(file: File, column: str) -> Iterator[Any]:
    with pq.ParquetFile(file.container) as parquet:
        for batch in parquet.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()


def _schema(file: File) -> pa.Schema:
    try:
        return pq.read_schema(file.container)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file} is not a complete Parquet file: {error}") from error


def _image_column(schema: pa.Schema, names: Sequence[str]) -> str | None:
    """The first of several columns that holds encoded images."""

    def holds_images(name: str) -> bool:
        kind = schema.field(name).type
        return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0

    return next((name for name in names if name in schema.names and holds_images(name)), None)


def _class_names(file: File, column: str) -> list[str]:
    """The names that `datasets` keeps of the numbers in a column; none if they are names already."""
    try:
        metadata = json.loads((_schema(file).metadata or {})[b"huggingface"])
        features = metadata["info"]["features"][column]
    except (KeyError, TypeError, ValueError):
        return []
    for table in (features, features.get("feature")) if isinstance(features, Mapping) else (features[0],):
        for name in _CATEGORIES:
            feature = table.get(name) if isinstance(table, Mapping) else None
            feature = feature.get("feature", feature) if isinstance(feature, Mapping) else feature
            if isinstance(feature, Mapping) and feature.get("names"):
                return [str(text) for text in feature["names"]]
    return []
