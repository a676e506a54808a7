# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How many pixels of each class the images of a split show.

Preparation writes the counts beside the label maps. Those of other data sets are counted from their label maps, once:
`datasets` keeps the result in its cache until the files change.
"""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..images import read_label_map
from ..models.image_processing_semantic import reduce_labels
from .shards import COUNT_FEATURES, class_counts
from .streaming import parquet_files


def class_pixel_counts(
    source: str | Path, split: str = "train", *, num_labels: int, do_reduce_labels: bool = False
) -> np.ndarray:
    """
    The pixels of each class in each image of a split.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub.
        split: name of the split.
        num_labels: number of classes.
        do_reduce_labels: whether stored labels count from 1 and 0 means "no class", as in ADE20K's own files.

    Returns:
        int64 `(images, num_labels)`, the images in the order of the files. Pixels that are ignored count for nothing,
        and neither do labels that are no class: it is when an image is used that they are refused.

    Raises:
        ValueError: if the split is missing, or a label map cannot be decoded.
    """
    files = parquet_files(source, split)
    table = _read_counts(files)
    if table is None:
        table = _count(files, split)
    ids = reduce_labels(_flat(table, "class_ids")) if do_reduce_labels else _flat(table, "class_ids")
    images = np.repeat(np.arange(len(table)), pc.list_value_length(table["class_ids"]).to_numpy())
    is_class = ids < num_labels
    counts = np.zeros((len(table), num_labels), np.int64)
    counts[images[is_class], ids[is_class]] = _flat(table, "class_pixels")[is_class]
    return counts


def _read_counts(files: list[str]) -> pa.Table | None:
    """The counts that preparation wrote into the files, `None` if it did not."""
    columns, tables = list(COUNT_FEATURES), []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            if not set(columns) <= set(parquet.schema_arrow.names):
                return None
            tables.append(parquet.read(columns=columns))
    table = pa.concat_tables(tables)
    return None if any(table[column].null_count for column in columns) else table


def _count(files: list[str], split: str) -> pa.Table:
    """The same, counted from the label maps."""
    labels = datasets.load_dataset("parquet", data_files={split: files}, split=split, columns=["label"])
    counts = labels.cast_column("label", datasets.Image(decode=False)).map(
        _count_row,
        with_indices=True,
        remove_columns=["label"],
        features=datasets.Features(COUNT_FEATURES),
        desc="Counting the pixels of each class",
    )
    return counts.with_format("arrow")[:]


def _count_row(row: dict[str, Any], index: int) -> dict[str, list[int]]:
    label_map = read_label_map(row["label"], f"label map {index} (from 0) of the split")
    return class_counts(*np.unique(label_map, return_counts=True))


def _flat(table: pa.Table, column: str) -> np.ndarray:
    return table[column].combine_chunks().flatten().to_numpy()
