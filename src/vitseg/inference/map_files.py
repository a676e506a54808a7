# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of label maps and of confidence which no memory holds: written in bands, from top to bottom."""

import errno
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require
from ..label_maps import ORIGIN, Palette, lookup_table
from .rasters import without_georeference_warnings


# Yields a whole map in bands of rows, `(rows, width)`; those of PNG files are uint8 or uint16.
Bands = Callable[[], Iterator[np.ndarray]]

# How TIFF files are stored.
BLOCK = 512
STORAGE = {
    "driver": "GTiff",
    "count": 1,
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "compress": "deflate",
    "bigtiff": "if_safer",
}
PNG_START = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3  # colour types of PNG


def save_png(
    path: str | Path, size: tuple[int, int], bands: Bands, palette: Palette | None = None, note: str = ""
) -> None:
    """
    Write a map as a PNG, which `origin_of` knows. Pillow would need all of it at once.

    Args:
        path: where to write.
        size: height and width.
        bands: the map.
        palette: RGB colours of its numbers, of bytes; without, they are grey.
        note: what the map was made of, for `origin_of`.

    Raises:
        OSError: if it cannot be written.
    """
    height, width = size
    compressor = zlib.compressobj()
    with Path(path).open("wb") as file:

        def write(kind: bytes, data: bytes) -> None:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

        file.write(PNG_START)
        for index, band in enumerate(bands()):
            if index == 0:
                kind = GREY if palette is None else PALETTE
                write(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * band.itemsize, kind, 0, 0, 0))
                if palette is not None:
                    write(b"PLTE", lookup_table(palette).tobytes())
                write(b"tEXt", ORIGIN.encode() + b"\0" + note.encode("latin-1"))
            numbers = band.astype(band.dtype.newbyteorder(">")).view(np.uint8).reshape(len(band), -1)
            # Each row begins with the number of its filter: none.
            write(b"IDAT", compressor.compress(np.pad(numbers, ((0, 0), (1, 0))).tobytes()))
        write(b"IDAT", compressor.flush())
        write(b"IEND", b"")


def save_tiff(
    path: str,
    size: tuple[int, int],
    bands: Bands,
    place: dict[str, Any],
    dtype: str,
    nodata: float,
    note: str,
    palette: Palette | None = None,
) -> None:
    """
    Write a map as a tiled and compressed TIFF with overviews, which `origin_of` knows.

    Args:
        path: where to write.
        size: height and width.
        bands: the map.
        place: where it lies on Earth, see `ImageSource.place`.
        dtype: of its numbers.
        nodata: the number of pixels that hold nothing.
        note: what the map was made of, for `origin_of`.
        palette: RGB colours of its numbers, of bytes.

    Raises:
        OSError: if it cannot be written.
        MissingExtraError: if rasterio is not installed.
    """
    require("geo")
    import rasterio
    from rasterio.enums import Resampling

    height, width = size
    profile = {"height": height, "width": width, "dtype": dtype, "nodata": nodata, **STORAGE, **place}
    with without_georeference_warnings(), rasterio.open(path, "w", **profile) as file:
        file.update_tags(TIFFTAG_SOFTWARE=ORIGIN, TIFFTAG_IMAGEDESCRIPTION=note)
        if palette is not None:
            file.write_colormap(1, dict(enumerate(map(tuple, lookup_table(palette).tolist()))))
        for window, band in _placed(bands, width):
            file.write(band, 1, window=window)
        factors = [2**level for level in range(1, 32) if max(size) > BLOCK * 2 ** (level - 1)]
        if factors:
            file.build_overviews(factors, Resampling.average if dtype == "float32" else Resampling.nearest)
    if not _is_written(path, bands, width):
        raise OSError(errno.EIO, "what was written cannot be read again: is the disk full?", path)


def _is_written(path: str, bands: Bands, width: int) -> bool:
    """GDAL does not say of all that it could not write."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with without_georeference_warnings(), rasterio.open(path) as file:
            return all(
                np.array_equal(file.read(1, window=window), band, equal_nan=True)
                for window, band in _placed(bands, width)
            )
    except RasterioError:
        return False


def _placed(bands: Bands, width: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Each band with its window, as rasterio has it."""
    from rasterio.windows import Window

    top = 0
    for band in bands():
        yield Window(0, top, width, len(band)), band
        top += len(band)
