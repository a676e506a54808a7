# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How a prepared data set lies on disk: Parquet shards of encoded images and label maps, and a data set card."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value

from ..images import Orientation
from .augmentation import IGNORE_INDEX
from .bands import BANDS_FILE
from .dataset_labels import LABELS_FILE, DatasetLabels


# Readers hold several row groups at a time, so these bounds are what a stream needs of memory.
GROUP_ROWS = 100
GROUP_BYTES = 8 * 1024**2

# The classes that a label map shows, and their numbers of pixels.
COUNT_FEATURES = {"class_ids": List(Value("int32")), "class_pixels": List(Value("int64"))}
FEATURES = Features({"image": Image(), "label": Image(), "file_name": Value("string"), **COUNT_FEATURES})
# As it is of data sets of bands, which `datasets` gives as they are stored.
_BANDS = {"bytes": Value("binary"), "path": Value("string")}

# In the footers: which way images stand that have an EXIF orientation.
_ORIENTATION = b"vitseg.orientation"

Row = Mapping[str, Any]


def class_counts(ids: np.ndarray, pixels: np.ndarray) -> dict[str, list[int]]:
    """The columns of `COUNT_FEATURES` from the values of a label map and how often each occurs."""
    is_class = (pixels > 0) & (ids != IGNORE_INDEX)
    return {"class_ids": ids[is_class].tolist(), "class_pixels": pixels[is_class].tolist()}


def shard_name(split: str, index: int, count: int) -> str:
    """File name of a shard, for example `train-00003-of-00012.parquet`."""
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def write_shard(
    rows: Iterable[Row],
    file: Path,
    group_rows: int = GROUP_ROWS,
    orientation: Orientation | None = None,
    has_bands: bool = False,
) -> None:
    """
    Write a Parquet file; the same rows always give the same bytes.

    Args:
        rows: each with `image` and `label` (a dictionary of `bytes`, an encoded image, and `path`, its file name) and
            `file_name`, and perhaps the columns of `class_counts`. They are written as they come, a row group at a
            time.
        file: where to.
        group_rows: rows in a row group at most; fewer where encoded images and label maps pass `GROUP_BYTES`.
        orientation: which way images stand that have an EXIF orientation, which the footer says; `None` if there are
            none.
        has_bands: whether images are of bands, as `encode_bands` stores them, and no pictures.
    """
    schema = Features({**FEATURES, "image": _BANDS} if has_bands else FEATURES).arrow_schema
    if orientation is not None:
        schema = schema.with_metadata({**schema.metadata, _ORIENTATION: orientation.encode()})
    with pq.ParquetWriter(file, schema) as writer:
        group: list[Row] = []
        group_bytes = 0
        for row in rows:
            row_bytes = len(row["image"]["bytes"]) + len(row["label"]["bytes"])
            if group and (len(group) == group_rows or group_bytes + row_bytes > GROUP_BYTES):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group, group_bytes = [], 0
            group.append(row)
            group_bytes += row_bytes
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def read_orientation(metadata: pq.FileMetaData) -> Orientation | None:
    """What the footer of a Parquet file says of images that have an EXIF orientation; `None` if it says nothing."""
    value = (metadata.metadata or {}).get(_ORIENTATION)
    return cast(Orientation, value.decode()) if value in (b"upright", b"stored") else None


def dataset_card(
    title: str,
    description: str,
    labels: DatasetLabels,
    splits: Sequence[str],
    bands: Sequence[int] = (),
    license: str = "unknown",
) -> str:
    """
    The `README.md` of a data set: what `datasets` reads to load it, and what people read.

    Args:
        title: the data set in a few words.
        description: a paragraph of Markdown.
        labels: its classes.
        splits: names of the splits; the shards of each are `data/SPLIT-*.parquet`.
        bands: which bands of their files the images hold, from 1; none if they are pictures.
        license: an identifier that the Hub knows.
    """
    image = "the picture, an encoded image file"
    if bands:
        numbers = ", ".join(map(str, bands))
        image = f"the bands {numbers} of the image, a `.npy` file `(bands, height, width)`; see `{BANDS_FILE}`"
    data_files = "\n".join(f"  - split: {split}\n    path: data/{split}-*.parquet" for split in splits)
    classes = ", ".join(f"{index} {name}" for index, name in labels.id2label.items())
    # JSON strings are YAML strings, whatever they hold.
    return f"""---
license: {license}
task_categories:
- image-segmentation
pretty_name: {json.dumps(title, ensure_ascii=False)}
configs:
- config_name: default
  data_files:
{data_files}
---

# {title}

{description}

| column | holds |
| --- | --- |
| `image` | {image} |
| `label` | the label map, PNG: one train id per pixel, {IGNORE_INDEX} is ignored |
| `file_name` | a name for the picture |
| `class_ids`, `class_pixels` | the train ids in the label map, and how many pixels are of each |

Classes, by train id: {classes}.
Names and colours are in `{LABELS_FILE}`.
"""
