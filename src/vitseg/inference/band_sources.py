# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of bands of which parts are read: TIFF files where they lie, and NumPy's from memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor

from ..bands import as_numbers, picture_of, read_band_image
from ..images import TIFF_STARTS
from .rasters import Raster, open_dataset
from .sources import ImageSource, Placeless


class BandArray(Placeless):
    """
    An image that is held in memory whole.

    Args:
        array: `(bands, height, width)`, bytes or float32.
        image_processor: says how they are shown, see `picture_of`.
    """

    def __init__(self, array: np.ndarray, image_processor: BaseImageProcessor):
        self.array = array
        self.image_processor = image_processor
        self.height, self.width = array.shape[1:]

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.array[:, rows, columns]))

    def overview(self, width: int, height: int) -> Image.Image:
        return picture_of(self.array, self.image_processor).resize((width, height), Image.Resampling.BOX)


class BandRaster(Raster):
    """
    A TIFF file of which parts are read by rasterio, with the numbers that it holds, 0 where it holds none.

    Args:
        dataset: as rasterio opens it.
        bands: which of its bands the model takes, from 1; by default all.
        image_processor: the model's.
    """

    def __init__(self, dataset: Any, bands: Sequence[int] | None, image_processor: BaseImageProcessor):
        self.image_processor = image_processor
        super().__init__(dataset, bands or dataset.indexes)
        if len(self.bands) != image_processor.num_bands:
            raise ValueError(
                f"it has {len(self.bands)} bands, but the model takes {image_processor.num_bands}: choose them with "
                "--bands, in the order of its training"
            )

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        values = self._read_stored(*self.turn.stored(rows, columns))
        valid = self.valid(rows, columns)
        values = self.turn.upright(values)
        if valid is not None:
            values = np.where(valid, values, 0).astype(values.dtype)
        return torch.from_numpy(as_numbers(values))

    def overview(self, width: int, height: int) -> Image.Image:
        return picture_of(as_numbers(self._read_smaller(width, height)), self.image_processor)

    def _check_values(self) -> None:
        self._check_type()


@contextmanager
def open_band_source(
    path: Path, bands: Sequence[int] | None, image_processor: BaseImageProcessor
) -> Iterator[ImageSource]:
    """
    An image of bands of which parts are read, bytes or float32.

    Args:
        path: its file.
        bands: of a TIFF file, see `BandRaster`.
        image_processor: of a model of bands.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no such file, or damaged, or has other bands.
        MissingExtraError: if it is a TIFF file, and rasterio is not installed.
    """
    with path.open("rb") as file:
        is_tiff = file.read(4) in TIFF_STARTS
    if is_tiff:
        with open_dataset(path, "GTiff") as dataset:
            yield BandRaster(dataset, bands, image_processor)
        return
    if bands:
        raise ValueError("it is no TIFF file: it takes no --bands")
    yield BandArray(read_band_image(path.read_bytes(), image_processor.num_bands, "the image"), image_processor)
