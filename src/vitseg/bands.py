# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Images of any number of bands, whose numbers are what was measured: from TIFF files and from NumPy's.

In memory such an image is an array `(bands, height, width)` of bytes or float32. In a data set it is stored as a
`.npy` file in which bands come first too, with the numbers of its file, so that whoever reads it needs NumPy alone.
"""

import math
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import IO, Any

import numpy as np
from PIL import Image

from .extras import require
from .images import NUMPY_START, TIFF_STARTS, Orientation, check_size, read_picture


_ZIP_START = b"PK"
# Stored as they are; other numbers become float32.
_STORED = ("uint8", "uint16", "int16", "float32")
# No compression makes more numbers of a byte; a file that claims more holds nothing, or means harm.
_MOST_NUMBERS_PER_BYTE = 1024
# Which bands a picture of an image shows as red, green and blue, and how many standard deviations from their mean to
# black and to white.
_SHOWN = 3
_CONTRAST = 2.0


def read_bands(content: bytes, what: str) -> np.ndarray:
    """
    What a file holds, with its axes and numbers as they are.

    Args:
        content: of a TIFF file, whose bands come first, or of a file of NumPy: `.npy`, or `.npz` with one array.
        what: what it is, for messages.

    Returns:
        An array of two or three dimensions. Of a TIFF file, pixels without data are 0 in all bands.

    Raises:
        ValueError: naming `what` it is, if it is no such file, damaged, of no real numbers, or claims to be larger
            than is taken for safe; or if it holds NaN.
        MissingExtraError: if it is a TIFF file, and rasterio is not installed.
    """
    try:
        if content.startswith(NUMPY_START):
            array = _read_npy(BytesIO(content), len(content), len(content))
        elif content.startswith(_ZIP_START):
            array = _read_npz(content)
        elif content.startswith(TIFF_STARTS):
            array = _read_tiff(content)
        else:
            raise ValueError("it is neither a TIFF file nor one of NumPy (.npy, .npz), which are read for their bands")
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"Cannot read the bands of {what}: {error}") from error
    if array.dtype.kind not in "uif":
        raise ValueError(f"{what} holds numbers of type {array.dtype}; expected integers or floating-point numbers.")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{what} has the shape {array.shape}; expected height and width, and bands first or last.")
    if array.dtype.kind == "f" and not np.abs(array).max() <= np.finfo(np.float32).max:
        raise ValueError(f"{what} holds NaN or infinite numbers: fill them, as with the mean of their band.")
    return array


def bands_first(array: np.ndarray, num_bands: int, what: str) -> np.ndarray:
    """
    An array that `read_bands` gave as `(bands, height, width)`.

    Args:
        array: bands may be its last axis or its first, in this order if either could be; of one band there may be no
            axis.
        num_bands: how many.
        what: what it is, for messages.

    Raises:
        ValueError: if it has another number of bands.
    """
    if array.ndim == 2:
        array = array[None]
    elif array.shape[-1] == num_bands:
        array = np.moveaxis(array, -1, 0)
    if array.shape[0] != num_bands:
        raise ValueError(f"{what} has the shape {array.shape}, but {num_bands} bands are expected, first or last.")
    return array


def as_numbers(array: np.ndarray) -> np.ndarray:
    """Bytes as they are, and any other numbers as float32."""
    return np.ascontiguousarray(array, np.uint8 if array.dtype == np.uint8 else np.float32)


def read_band_image(content: bytes, num_bands: int, what: str) -> np.ndarray:
    """
    A file as an image of so many bands: `(bands, height, width)`, bytes or float32.

    Raises:
        ValueError, MissingExtraError: as `read_bands` and `bands_first` do.
    """
    return as_numbers(bands_first(read_bands(content, what), num_bands, what))


def encode_bands(array: np.ndarray) -> bytes:
    """An image `(bands, height, width)` of any numbers as it is stored in a data set."""
    stored = array if array.dtype.name in _STORED else array.astype(np.float32)
    content = BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("<"))), (1, 0))
    return content.getvalue()


def read_image(
    encoded: bytes | dict[str, Any],
    what: str | None = None,
    orientation: Orientation | None = None,
    label_size: tuple[int, int] | None = None,
) -> Image.Image | np.ndarray:
    """
    An image as a data set stores it: a picture, see `read_picture`, or one of bands, which `encode_bands` wrote:
    `(bands, height, width)`, bytes or float32.

    Raises:
        ValueError: as `read_picture` and `read_bands` do.
    """
    content = encoded["bytes"] if isinstance(encoded, dict) else encoded
    if content is None or not content.startswith(NUMPY_START):
        return read_picture(encoded, what, orientation, label_size)
    array = read_bands(content, what or "an image")
    return as_numbers(array if array.ndim == 3 else array[None])


def size_of(image: Image.Image | np.ndarray) -> tuple[int, int]:
    """Height and width of a picture, or of an image of bands."""
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


def picture_of(image: Image.Image | np.ndarray, statistics: Any) -> Image.Image:
    """
    What people are shown of an image: a picture as it is; of bands the first three as red, green and blue, or the
    first one in grey, from black to white around their means.

    Args:
        image: as `read_image` gives it.
        statistics: what has `image_mean` and `image_std` of the bands, an image processor or `BandStatistics`.
    """
    if isinstance(image, Image.Image):
        return image
    shown = image[:_SHOWN] if len(image) >= _SHOWN else image[:1]
    mean, std = (
        np.asarray(values[: len(shown)], np.float32)[:, None, None]
        for values in (statistics.image_mean, statistics.image_std)
    )
    scaled = 127.5 * (1 + (shown - mean) / (_CONTRAST * std))
    colors = np.broadcast_to(scaled.clip(0, 255).astype(np.uint8), (_SHOWN, *image.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(colors, 0, -1)))


def describe_shown(num_bands: int) -> str:
    """Which bands `picture_of` shows, in a sentence."""
    shown = "the bands 1, 2 and 3 as red, green and blue" if num_bands >= _SHOWN else "band 1 in grey"
    return f"Pictures of the {num_bands} bands show {shown}."


def bands_of(image_processor: Any) -> int | None:
    """How many bands the images have that a model takes; `None` if it takes pictures."""
    return getattr(image_processor, "num_bands", None)


def check_bands(image: Image.Image | np.ndarray, image_processor: Any, what: str) -> None:
    """
    Raises:
        ValueError: if a model takes images of another number of bands, or pictures.
    """
    expected, found = bands_of(image_processor), None if isinstance(image, Image.Image) else len(image)
    if expected != found:
        given, taken = ("in RGB" if number is None else f"of {number} bands" for number in (found, expected))
        raise ValueError(
            f"{what} is an image {given}, but the model takes images {taken}: give it such, or train one on images "
            "like this."
        )


def _check_shape(shape: Sequence[int], num_bytes: int) -> None:
    """Refuse more numbers than are taken for safe, see `check_size`, if a file has too few bytes to hold them."""
    if math.prod(shape) > _MOST_NUMBERS_PER_BYTE * num_bytes:
        check_size((max(shape), math.prod(shape) // max(shape)))


def _read_npy(file: IO[bytes], length: int, num_bytes: int) -> np.ndarray:
    """An array from a `.npy` file of a length, stored in so many bytes, whose header does not claim more."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if math.prod(shape) * dtype.itemsize > length:
        raise ValueError(f"it is cut off: an array of the shape {shape} takes more than its {length} bytes")
    _check_shape(shape, num_bytes)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(content: bytes) -> np.ndarray:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1:
            names = ", ".join(member.filename.removesuffix(".npy") for member in members[:5])
            raise ValueError(f"it holds {len(members)} arrays ({names}); expected one, the image")
        with archive.open(members[0]) as file:
            return _read_npy(file, members[0].file_size, len(content))


def _read_tiff(content: bytes) -> np.ndarray:
    require("geo")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings(), rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.MemoryFile(content) as file, file.open(driver="GTiff") as dataset:
                _check_shape((dataset.count, dataset.height, dataset.width), len(content))
                values = dataset.read()
                if any(value is not None for value in dataset.nodatavals):
                    values[:, dataset.dataset_mask() == 0] = 0
                return values
        except RasterioError as error:
            raise ValueError(str(error.__cause__ or error)) from error
