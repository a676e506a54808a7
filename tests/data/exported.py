# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Exports of labelling tools, written by hand as their tools write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitseg.data.labelling_tools import Options, open_export
from vitseg.data.pairs import Pair, RawDataset


def write_picture(file: Path, width: int = 8, height: int = 6) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "navy").save(file)


def write_text(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def pairs_of(dataset: RawDataset) -> dict[str, Pair]:
    return {pair.name: pair for pairs in dataset.splits.values() for pair in pairs}


def label_map(dataset: RawDataset, name: str) -> np.ndarray:
    annotation = pairs_of(dataset)[name].annotation
    assert annotation is not None
    return dataset.train_ids.of(annotation)


def read(kind: str, source: Path, name: str, **options: Any) -> np.ndarray:
    return label_map(open_export(kind, source, Options(**options)), name)


def drawn(text: str) -> list[list[int]]:
    """A label map as its rows: digits are train ids, "." is 0 and "x" is ignored."""
    return [[255 if char == "x" else int(char.replace(".", "0")) for char in row] for row in text.split()]
