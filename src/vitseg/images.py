# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoded images, read in one way wherever they come from, a file, a row of a data set or an archive: one function for
pictures, one for label maps."""

import os
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from .models.images import UnsuitableImageError, check_format, exif_orientation, to_ids, to_rgb, to_upright_rgb


Decoded = TypeVar("Decoded")

# Which way pictures stand that have an EXIF orientation: turned as it says, or as they are stored.
Orientation: TypeAlias = Literal["upright", "stored"]

# The environment variable that allows pictures of more pixels than Pillow does.
MAX_PIXELS = "VITSEG_MAX_IMAGE_PIXELS"
_opening = threading.Lock()

# How files begin that may hold bands; see `vitseg.bands`.
NUMPY_START = b"\x93NUMPY"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_picture(
    encoded: bytes | dict[str, Any],
    what: str | None = None,
    orientation: Orientation | None = None,
    label_size: tuple[int, int] | None = None,
) -> Image.Image:
    """
    A picture in 8-bit RGB, on white where it is transparent; see `to_rgb`.

    Args:
        encoded: the content of its file, or a dictionary with the content as `bytes`.
        what: what it is, for messages; by default "the image" with the `path` in the dictionary.
        orientation: which way it stands if it has an EXIF orientation: "upright", as people see it, or as "stored".
            `None` is "upright", unless it has `label_size` as stored alone.
        label_size: width and height of its label map.

    Raises:
        ValueError: naming `what` it is, if it is missing, cannot be decoded, has more pixels than Pillow takes for
            safe (twice `PIL.Image.MAX_IMAGE_PIXELS`, 179 million) and VITSEG_MAX_IMAGE_PIXELS, if set, allows, or if
            its numbers do not say what is black and what is white.
    """

    def convert(image: Image.Image) -> Image.Image:
        if orientation == "stored":
            return to_rgb(image)
        upright = to_upright_rgb(image)
        is_drawn_on_stored = orientation is None and upright.size != label_size == image.size
        return to_rgb(image) if is_drawn_on_stored else upright

    path = encoded.get("path") if isinstance(encoded, dict) else None
    return _decode(encoded, what or (f"the image {path}" if path else "an image"), convert)


def read_label_map(encoded: bytes | dict[str, Any], what: str, is_colored: bool = False) -> np.ndarray:
    """
    What a label map holds, which is never turned; see `to_ids`.

    Args:
        encoded: the content of its file, or a dictionary with the content as `bytes`.
        what: what it is, for messages.
        is_colored: whether its colours count: `0xRRGGBB`.

    Returns:
        `(height, width)`: uint8, or int32 where it holds more than 8 bits.

    Raises:
        ValueError: naming `what` it is, if it is missing, cannot be decoded, is in a lossy format, or does not hold
            one integer (or colour) per pixel that can be told.
    """
    return _decode(encoded, what, _to_colors if is_colored else to_ids)


def stored_size(encoded: Any) -> tuple[int, int] | None:
    """Width and height of an encoded image as it is stored, of which no more than its start is read; `None` for
    anything else."""
    try:
        return open_header(BytesIO(encoded["bytes"] if isinstance(encoded, dict) else encoded)).size
    except Exception:  # whatever it is
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image when it is turned as its EXIF orientation says."""
    width, height = image.size
    return (height, width) if exif_orientation(image) >= 5 else (width, height)


def check_size(size: tuple[int, int]) -> None:
    """
    Raises:
        ValueError: if an image of this width and height has more pixels than are taken for safe; see `read_picture`.
    """
    width, height = size
    safe = Image.MAX_IMAGE_PIXELS and 2 * Image.MAX_IMAGE_PIXELS
    text = os.environ.get(MAX_PIXELS, "")
    if text and not text.isdecimal():
        raise ValueError(f"{MAX_PIXELS} is {text!r}; expected a number of pixels")
    allowed = int(text) if text else safe
    pixels = width * height
    if allowed is not None and pixels > allowed:
        raise ValueError(
            f"its {width} x {height} pixels are more than {allowed}, and might be meant to fill the "
            f"memory; if you trust the file, set the environment variable {MAX_PIXELS}={pixels}"
        )


def _decode(encoded: bytes | dict[str, Any], what: str, convert: Callable[[Image.Image], Decoded]) -> Decoded:
    data = encoded["bytes"] if isinstance(encoded, dict) else encoded
    if data is None:
        path = encoded.get("path") if isinstance(encoded, dict) else None
        hint = (
            f": the data set has the path {path} of its file, and not what is in it. What `datasets` saved with "
            "`save_to_disk` and loaded again, `to_parquet` writes with the files in it."
        )
        raise ValueError(f"{what} is missing{hint if path else '.'}")
    if not data:
        raise ValueError(f"{what} is empty: its file has no content.")
    try:
        image = open_header(BytesIO(data))
        check_size(image.size)
        return convert(image)
    except UnsuitableImageError as error:
        raise ValueError(f"{what} {error}") from error
    except UnidentifiedImageError:
        hint = (
            ". Bands of a TIFF or NumPy file are read by models that were trained on them (vitseg prepare --bands)"
            if data.startswith((NUMPY_START, *TIFF_STARTS))
            else ""
        )
        raise ValueError(f"Cannot decode {what}: not an image of a known format{hint}") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
        raise ValueError(f"Cannot decode {what}: {str(error) or type(error).__name__}") from error


def open_header(file: str | Path | BinaryIO) -> Image.Image:
    """An image of any size, whose header alone is read yet: Pillow's limit is set aside for that moment."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_colors(image: Image.Image) -> np.ndarray:
    check_format(image)
    if image.mode[0] in "IF":
        raise UnsuitableImageError(f"has mode {image.mode!r} and no colours, but the label table names colours.")
    # By way of RGBA, because straight to RGB Pillow warns about palettes with transparency.
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGBA").convert("RGB"), dtype=np.int32), -1, 0)
    return red << 16 | green << 8 | blue
