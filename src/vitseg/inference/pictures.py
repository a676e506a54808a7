# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures to run a model on: finding them, and reading them as people see them."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..bands import read_band_image
from ..image_files import describe_left_out, is_band_file_name, is_image_name, printable, visible_files
from ..images import read_picture
from .results import is_result


class FoundImages(NamedTuple):
    """
    Images that were found.

    Args:
        paths: the files, each once; there may be millions.
        note: a line on the files that were left out because of their names, or `None`.
    """

    paths: list[str]
    note: str | None


def find_images(arguments: Iterable[Path], is_wanted: Callable[[str], bool] = is_image_name) -> FoundImages:
    """
    The files given, and the images in the folders given and below them, or others whose names are wanted. Hidden files
    and folders are left out, and what an earlier run wrote.

    Raises:
        OSError: if a folder cannot be listed.
        ValueError: if there is none.
    """
    arguments = list(arguments)
    folders = list(filter(os.path.isdir, arguments))  # Path.is_dir raises if a name is too long.
    found: list[str] = []
    left_out: list[str] = []
    for argument in arguments:
        if argument not in folders:
            found.append(str(Path(os.path.realpath(argument.parent), argument.name)))
            continue
        for path in visible_files(os.path.realpath(argument)):
            if is_result(path):
                continue
            if is_wanted(path.name):
                found.append(str(path))
            else:
                left_out.append(path.name)
    if not any(map(os.path.exists, found)):
        note = describe_left_out(left_out)
        given = ", ".join(map(printable, arguments))
        raise ValueError(f"there is no image in {given}." + (f" {note}" if note else ""))
    return FoundImages(list(dict.fromkeys(found)), describe_left_out(left_out))


def read_image(path: str | Path) -> Image.Image:
    """
    An image file as people see it: upright, in 8-bit RGB, on white where it is transparent.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no image, or damaged.
    """
    return read_picture(Path(path).read_bytes(), "the image")


def wanted_by(num_bands: int | None) -> Callable[[str], bool]:
    """Which names are those of images for a model of so many bands, or for one of pictures (`None`)."""
    return is_image_name if num_bands is None else is_band_file_name


def read_model_image(content: bytes, num_bands: int | None) -> Image.Image | np.ndarray:
    """
    The content of an image file as a model takes it: a picture, see `read_image`, or so many bands of a TIFF file or
    NumPy's, `(bands, height, width)`.

    Raises:
        ValueError: if it is no image, or damaged, or has other bands.
        MissingExtraError: if it is a TIFF file of bands, and rasterio is not installed.
    """
    if num_bands is None:
        return read_picture(content, "the image")
    return read_band_image(content, num_bands, "the image")
