# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How many pixels of each class the images of a split show.

Preparation writes the counts beside the label maps. In other data sets they are counted once: `datasets` keeps them in
its cache until the files change.
"""

from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..images import read_label_map
from ..models.image_processing_semantic import reduce_labels
from .shards import COUNT_FEATURES, class_counts
from .sources import DataSource
from .streaming import parquet_files


def class_pixel_counts(
    source: str | Path | DataSource, split: str = "train", *, num_labels: int, do_reduce_labels: bool = False
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
        ValueError: if the split or the column `label` is missing, or a label map cannot be decoded.
    """
    files = parquet_files(source, split)
    table = _read_counts(files)
    if table is None:
        table = _count(files, DataSource.of(source).name_of("label"))
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


def _count(files: list[str], column: str) -> pa.Table:
    """The same, counted from the label maps."""
    try:
        counts = datasets.Dataset.from_generator(
            _count_rows,
            features=datasets.Features(COUNT_FEATURES),
            gen_kwargs={"files": files, "column": column, "stamps": [_stamp(file) for file in files]},
            split=datasets.NamedSplit("class_counts"),
        )
    except datasets.exceptions.DatasetGenerationError as error:
        # It says no more than that there was an error.
        raise error.__cause__ or error from None
    return counts.with_format("arrow")[:]


def _count_rows(files: list[str], column: str, stamps: list[str]) -> Iterator[dict[str, list[int]]]:
    for file in files:
        with pq.ParquetFile(file) as parquet:
            DataSource(name=file, label_column=column).stored(["label"], parquet.schema_arrow, file)
            labels = (label for batch in parquet.iter_batches(100, columns=[column]) for label in batch[column])
            for index, label in enumerate(labels):
                label_map = read_label_map(label.as_py(), f"label map {index} (from 0) of {file}")
                yield class_counts(*np.unique(label_map, return_counts=True))


def _stamp(file: str) -> str:
    """Another text once the file has changed. On the Hub its name has the revision."""
    if file.startswith("hf://"):
        return file
    status = Path(file).stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _flat(table: pa.Table, column: str) -> np.ndarray:
    return table[column].combine_chunks().flatten().to_numpy()
