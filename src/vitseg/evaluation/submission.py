# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label maps as the test servers of Cityscapes and ADE20K want them, and zip files of them."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..label_maps import Palette, save_palette_png, save_png
from ..recipes.labels import load_label_set
from ..replacing import replacing


# Format -> label set that the model must have, `None` for any.
FORMATS = {"cityscapes": "cityscapes", "ade20k": "ade20k", "ids": None, "palette": None}


def check_classes(output_format: str, num_labels: int) -> None:
    """
    Refuse a model whose classes are not those of the server.

    Args:
        output_format: one of `FORMATS`.
        num_labels: number of classes of the model.

    Raises:
        ValueError: if the server has another number of classes.
    """
    label_set = FORMATS[output_format]
    if label_set is not None and load_label_set(label_set).num_labels != num_labels:
        raise ValueError(
            f"The format {output_format} is for {load_label_set(label_set).num_labels} classes, but the model has "
            f"{num_labels}. The format 'ids' takes any."
        )


def save_label_map(label_map: np.ndarray, output_format: str, palette: Palette, path: Path, origin: str = "") -> None:
    """
    Write a label map as a PNG, complete or not at all.

    Args:
        label_map: train ids `(height, width)`, integers.
        output_format: `"cityscapes"` writes label ids, `"ade20k"` train id + 1 (0 means "no class" there),
            `"ids"` train ids; `"palette"` also, in a PNG with colours.
        palette: the colours of the classes.
        path: the file.
        origin: what it was made of, for `vitseg.label_maps.origin_of`.

    Raises:
        ValueError: if a train id has no value in the format, or no colour.
    """
    if output_format == "palette":
        save_palette_png(label_map, palette, path, origin)
        return
    if output_format == "cityscapes":
        label_ids = load_label_set("cityscapes").train_to_label_id or {}
        table = np.array([label_ids[train_id] for train_id in range(len(label_ids))], np.uint8)
        values = table[label_map]
    else:
        values = label_map.astype(np.uint8) + np.uint8(output_format == "ade20k")
    save_png(Image.fromarray(values), path, origin)


def write_zip(files: Iterable[Path], path: Path) -> None:
    """Put files into a zip file, without their folders, in the given order; PNGs are not compressed a second time."""
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
