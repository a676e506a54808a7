# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image and video files by their names: which there are below a folder, which are read, and what they are called."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath


# In lower case. Names without one of these endings are not taken for images, unless a person gives the very file.
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
# Likewise of arrays of NumPy, which are images where bands are asked for, as TIFF files are.
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
# Likewise of videos.
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"}
    | {".webm", ".wmv", ".y4m"}
)
# What systems and programs leave beside a person's files, in lower case. The folders may hold pictures: thumbnails.
_LITTER = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini"}
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no person's own: hidden, or left there by a system or program."""
    return name.startswith(".") or name.lower() in _LITTER


def visible_files(folder: str | Path) -> Iterator[Path]:
    """
    The files below a folder, in order of their names, folder by folder; links are followed. What is hidden is left
    out, such as `._photo.jpg` and all of `.ipynb_checkpoints`; the folder itself may be.

    Raises:
        OSError: if a folder cannot be listed, rather than leaving it out.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        # Links may lead in circles, or twice to the same folder.
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_hidden(name))
        if real not in seen:
            seen.add(real)
            yield from (Path(parent, name) for name in sorted(names) if not is_hidden(name))


def is_image_name(name: str) -> bool:
    """Whether a file's name, or path, ends with the suffix of an image, in whatever case."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_array_name(name: str) -> bool:
    """Whether a file's name, or path, ends with the suffix of an array of NumPy, in whatever case."""
    return PurePosixPath(name).suffix.lower() in ARRAY_SUFFIXES


def is_band_file_name(name: str) -> bool:
    """Whether a file's name, or path, is one of a file whose bands are read: of NumPy, or a TIFF."""
    return is_array_name(name) or PurePosixPath(name).suffix.lower() in TIFF_SUFFIXES


def is_video_name(name: str) -> bool:
    """Whether a file's name, or path, ends with the suffix of a video, in whatever case."""
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def without_image_suffix(name: str) -> str:
    """A name or path without the suffix of an image; any other dot belongs to it: `site0.v1.jpg` is `site0.v1`."""
    is_image = is_image_name(name) or is_array_name(name)
    return name.removesuffix(PurePosixPath(name).suffix) if is_image else name


def without_media_suffix(name: str) -> str:
    """A name or path without the suffix of an image or a video; see `without_image_suffix`."""
    return name.removesuffix(PurePosixPath(name).suffix) if is_video_name(name) else without_image_suffix(name)


def describe_left_out(names: Iterable[str]) -> str | None:
    """One line on the files among these that are not taken for images, with their suffixes; `None` if all are."""
    suffixes = Counter(PurePosixPath(name).suffix.lower() for name in names if not is_image_name(name))
    if not suffixes:
        return None
    kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(suffixes.items()))
    return f"{suffixes.total()} files are left out, as their names are not those of images that are read: {kinds}."


def printable(path: str | Path) -> str:
    """A path as text that can be written anywhere: bytes of its name that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _raise(error: OSError) -> None:
    raise error
