# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a run: a folder of Parquet files that is a data set with a row for each image."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..image_files import printable
from ..replacing import replacing
from .outcomes import Outcome


# Rows of a file. Those of a file that is not complete yet are lost when a process is killed, with no result.
ROWS = 1000
# What says in a file that vitseg wrote it.
KEY, MARK = b"vitseg", b"manifest"
SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "status": pa.string(),
        "reason": pa.string(),
        "result": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "classes": pa.list_(pa.struct({"id": pa.int32(), "name": pa.string(), "share": pa.float64()})),
        "seconds": pa.float64(),
        "model": pa.string(),
        "process": pa.int32(),
    },
    metadata={KEY: MARK},
)


def clear_manifest(folder: Path) -> None:
    """
    Delete the manifest of an earlier run: that of this one has all images again.

    Raises:
        ValueError: if it is no folder, or holds Parquet files of others.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--manifest {folder} is a file: give a folder, for Parquet files of 1000 images each")
    parts = sorted(folder.glob("*.parquet"))
    for part in parts:
        if not _is_manifest(part):
            raise ValueError(f"--manifest {folder} holds {part.name}, which is no manifest: give another folder")
    for part in parts:
        part.unlink()


def _is_manifest(part: Path) -> bool:
    try:
        return (pq.read_schema(part).metadata or {}).get(KEY) == MARK
    except pa.ArrowInvalid:  # It is no Parquet file.
        return False


class Manifest:
    """
    The rows of one process, in files that are complete or absent.

    Args:
        folder: that of all processes.
        model: what tells the model from others.
        process: which process this is.
    """

    def __init__(self, folder: Path, model: str, process: int):
        self.folder = folder
        self.model = model
        self.process = process
        self.rows: list[dict] = []
        self.num_parts = 0

    def add(self, outcome: Outcome) -> None:
        """Add a row."""
        report = outcome.report or {}
        self.rows.append(
            {
                "image": printable(outcome.image),
                "status": outcome.status,
                "reason": outcome.reason,
                "result": printable(outcome.result),
                "width": report.get("width"),
                "height": report.get("height"),
                "classes": report.get("classes"),
                "seconds": outcome.seconds,
                "model": self.model,
                "process": self.process,
            }
        )
        if len(self.rows) == ROWS:
            self._write()

    def close(self) -> None:
        """Write what is left."""
        if self.rows:
            self._write()

    def _write(self) -> None:
        with replacing(self.folder / f"{self.process:05d}-{self.num_parts:06d}.parquet") as unfinished:
            pq.write_table(pa.Table.from_pylist(self.rows, schema=SCHEMA), unfinished)
        self.rows.clear()
        self.num_parts += 1
