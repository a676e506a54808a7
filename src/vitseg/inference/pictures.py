# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image files: finding them, and reading them as people see them."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..images import decode_image, upright
from ..models.images import to_rgb


IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def find_images(arguments: Sequence[Path], output: Path) -> list[Path]:
    """
    The files given, and the images in the folders given and below them, each once.

    Args:
        arguments: files and folders.
        output: the folder for the results. If it lies in a folder given, the images in it are left out.

    Raises:
        ValueError: if there is none.
    """
    output = output.resolve()
    found: list[Path] = []
    for argument in arguments:
        root = argument.resolve()
        if root.is_dir():
            files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            # An output folder inside may hold the results of an earlier run.
            found += [path for path in files if not (root in output.parents and output in path.parents)]
        else:
            found.append(argument.parent.resolve() / argument.name)
    if not any(path.exists() for path in found):
        raise ValueError(f"there is no image in {', '.join(map(str, arguments))}.")
    return list(dict.fromkeys(found))


def read_image(path: Path) -> Image.Image:
    """
    An image file as people see it: upright, in 8-bit RGB, on white where it is transparent.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no image, or damaged.
    """
    return to_rgb(upright(decode_image(path.read_bytes())))
