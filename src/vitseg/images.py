# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoded images, read in one way wherever they come from: a file, a row of a data set, an archive."""

import os
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError


# The environment variable that allows pictures of more pixels than Pillow does.
MAX_PIXELS = "VITSEG_MAX_IMAGE_PIXELS"
_opening = threading.Lock()


def decode_image(encoded: bytes) -> Image.Image:
    """
    The content of an image file as it is stored: in its own mode, not turned.

    Raises:
        ValueError: if there is nothing, it is of no known format, or damaged, or has more pixels than Pillow takes for
            safe (twice `PIL.Image.MAX_IMAGE_PIXELS`, 179 million) and VITSEG_MAX_IMAGE_PIXELS, if set, allows.
    """
    if not encoded:
        raise ValueError("the file is empty")
    try:
        image = open_header(BytesIO(encoded))
        _check_size(image)
        image.load()
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
        raise ValueError(str(error) or type(error).__name__) from error
    return image


def open_header(file: str | Path | BytesIO) -> Image.Image:
    """An image of any size, whose header alone is read yet: Pillow's limit is set aside for that moment."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image) -> None:
    safe = Image.MAX_IMAGE_PIXELS and 2 * Image.MAX_IMAGE_PIXELS
    text = os.environ.get(MAX_PIXELS, "")
    if text and not text.isdecimal():
        raise ValueError(f"{MAX_PIXELS} is {text!r}; expected a number of pixels")
    allowed = int(text) if text else safe
    pixels = image.width * image.height
    if allowed is not None and pixels > allowed:
        raise ValueError(
            f"its {image.width} x {image.height} pixels are more than {allowed}, and might be meant to fill the "
            f"memory; if you trust the file, set the environment variable {MAX_PIXELS}={pixels}"
        )


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, or as it is where its EXIF data are damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever such data lead Pillow to
        return image


def open_image(encoded: bytes | dict[str, Any], what: str) -> Image.Image:
    """
    An image of a data set, as it is stored.

    Args:
        encoded: the content of its file, or a dictionary with the content as `bytes`.
        what: what it is, for the message.

    Raises:
        ValueError: naming `what` it is, if it is missing or cannot be decoded.
    """
    data = encoded["bytes"] if isinstance(encoded, dict) else encoded
    if not data:
        raise ValueError(f"{what} is missing.")
    try:
        return decode_image(data)
    except ValueError as error:
        raise ValueError(f"Cannot decode {what}: {error}") from error
