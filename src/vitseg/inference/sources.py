# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of which parts are read: TIFF files where they lie, other large files once they are unpacked, and others
from memory."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from PIL import Image

from ..images import TIFF_STARTS, open_header
from ..models.images import exif_orientation
from ..progress import progress_bar
from .pictures import read_image
from .rasters import open_raster
from .turning import Turn


# Files of more pixels are unpacked, if they can be read row by row; decoded, a pixel takes 4 bytes of memory.
LARGEST_DECODED = 2**26
# Formats of bytes that can be read row by row, with Pillow's modes of those that rasterio reads as Pillow does.
_MODES = {"JPEG": ("L", "RGB"), "MPO": ("L", "RGB"), "PNG": ("L", "LA", "P", "RGB", "RGBA")}
_ROWS = 64  # that are unpacked at a time


class ImageSource(Protocol):
    """A picture of which parts are read."""

    height: int
    width: int

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        """A part in RGB, uint8 `(3, rows, columns)`."""

    def valid(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Which pixels of a part hold something, bool `(rows, columns)`; `None` if all of the picture do."""

    def overview(self, width: int, height: int) -> Image.Image:
        """The whole in RGB, made smaller."""

    def ground_resolution(self) -> tuple[float, float]:
        """Height and width of a pixel in metres on the ground."""

    @property
    def place(self) -> dict[str, Any]:
        """Where on Earth it lies, as rasterio writes that to a file; empty if it does not say."""


class Placeless:
    """A picture that does not say where on Earth it is."""

    def valid(self, rows: slice, columns: slice) -> None:
        return None

    def ground_resolution(self) -> tuple[float, float]:
        raise ValueError("it does not say where on Earth it is, as a GeoTIFF does: give --scale instead of --gsd")

    @property
    def place(self) -> dict[str, Any]:
        return {}


class DecodedPicture(Placeless):
    """A picture that is held in memory whole."""

    def __init__(self, image: Image.Image):
        self.image = image
        self.width, self.height = image.size

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        part = self.image.crop((columns.start, rows.start, columns.stop, rows.stop))
        return torch.from_numpy(np.array(part)).permute(2, 0, 1)

    def overview(self, width: int, height: int) -> Image.Image:
        return self.image.resize((width, height), Image.Resampling.BOX)


class UnpackedPicture(Placeless):
    """
    A picture that is decoded once, from top to bottom, to a file of its pixels, 3 bytes each. That has no name, and is
    gone with the process.

    Args:
        stored: the picture as it is stored.
        orientation: how it is made upright, see `Turn`.
        file: for the pixels.
        folder: where that will be, which must exist when a part is read.
    """

    def __init__(self, stored: ImageSource, orientation: int, file: IO[bytes], folder: Path):
        self.stored = stored
        self.file = file
        self.folder = folder
        self.is_unpacked = False
        self.turn = Turn(orientation, (stored.height, stored.width))
        self.height, self.width = self.turn.size

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        part = self._stored_part(*self.turn.stored(rows, columns))
        return torch.from_numpy(self.turn.upright(np.moveaxis(part, -1, 0)))

    def overview(self, width: int, height: int) -> Image.Image:
        height, width = Turn(self.turn.orientation, (height, width)).size
        lines = []
        for top in range(height):
            first, last = (line * self.stored.height // height for line in (top, top + 1))
            part = self._stored_part(slice(first, max(last, first + 1)), slice(0, self.stored.width))
            lines.append(np.array(Image.fromarray(part).resize((width, 1), Image.Resampling.BOX)))
        picture = self.turn.upright(np.moveaxis(np.concatenate(lines), -1, 0))
        return Image.fromarray(np.moveaxis(picture, 0, -1))

    def _stored_part(self, rows: slice, columns: slice) -> np.ndarray:
        """A part as it is stored, uint8 `(rows, columns, 3)`."""
        if not self.is_unpacked:
            self._unpack()
            self.is_unpacked = True
        lines = []
        for row in range(rows.start, rows.stop):
            self.file.seek(3 * (row * self.stored.width + columns.start))
            lines.append(self.file.read(3 * (columns.stop - columns.start)))
        return np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), -1, 3)

    def _unpack(self) -> None:
        height, width = self.stored.height, self.stored.width
        size, free = 3 * height * width, shutil.disk_usage(self.folder).free
        if size > free:
            raise ValueError(
                f"its {width} x {height} pixels take {size / 1e6:.3g} MB on the disk while it is segmented, and "
                f"{self.folder} has room for {free / 1e6:.3g} MB"
            )
        for top in progress_bar(range(0, height, _ROWS), desc="unpacking", leave=False):
            rows = self.stored.read(slice(top, min(top + _ROWS, height)), slice(0, width))
            self.file.write(rows.permute(1, 2, 0).numpy().tobytes())


@contextmanager
def open_source(
    path: Path, folder: Path, bands: Sequence[int] | None = None, value_range: tuple[float, float] | None = None
) -> Iterator[ImageSource]:
    """
    A picture of which parts are read: upright, on white where it is transparent, and as `Raster` says.

    Args:
        path: its file.
        folder: where to unpack it, if it has to be.
        bands, value_range: of a TIFF file, see `Raster`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no image, or damaged, or of numbers that do not say what is black and what is white.
        MissingExtraError: if it is a TIFF file, or has to be unpacked, and rasterio is not installed.
    """
    with path.open("rb") as file:
        is_tiff = file.read(4) in TIFF_STARTS
    if is_tiff:
        with open_raster(path, "GTiff", bands, value_range) as raster:
            yield raster
        return
    if bands or value_range:
        raise ValueError("it is no TIFF file: it takes neither --bands nor --value-range")
    header = _large_header(path)
    if header is None:
        yield DecodedPicture(read_image(path))
        return
    driver, orientation = header
    with open_raster(path, driver) as stored, tempfile.SpooledTemporaryFile(max_size=1, dir=str(folder)) as file:
        yield UnpackedPicture(stored, orientation, file, folder)


def _large_header(path: Path) -> tuple[str, int] | None:
    """Format, as GDAL calls it, and orientation of a picture that is to be unpacked; `None` of one that is decoded
    whole."""
    try:
        image = open_header(path)
    except Exception:  # which whoever decodes it names
        return None
    with image, path.open("rb") as file:
        is_png = image.format == "PNG"
        is_large = image.width * image.height > LARGEST_DECODED
        has_passes = image.info.get("progressive") or image.info.get("interlace")
        is_of_bytes = not is_png or file.read(25)[24] == 8
        is_opaque = image.mode == "P" or "transparency" not in image.info
        is_known = image.mode in _MODES.get(str(image.format), ())
        if has_passes or not (is_large and is_of_bytes and is_opaque and is_known):
            return None
        # Of a PNG, Pillow would decode all to look for an orientation behind the pixels.
        orientation = 1 if is_png and "exif" not in image.info else exif_orientation(image)
        return "PNG" if is_png else "JPEG", orientation
