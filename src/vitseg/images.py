# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoded images, read in one way wherever they come from: a file, a row of a data set, an archive."""

from io import BytesIO
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError


def decode_image(encoded: bytes) -> Image.Image:
    """
    The content of an image file as it is stored: in its own mode, not turned.

    Raises:
        ValueError: if there is nothing, it is of no known format, or damaged.
    """
    if not encoded:
        raise ValueError("the file is empty")
    try:
        image = Image.open(BytesIO(encoded))
        image.load()
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
        raise ValueError(str(error) or type(error).__name__) from error
    return image


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
