# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The files that `vitseg segment` and `vitseg predict` write: what they are called, and which of them are whose."""

import itertools
import json
import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..image_files import printable
from ..label_maps import ORIGIN, origin_of
from ..models.labels import IGNORE_INDEX


# How the files end that `vitseg segment` writes for an image, and where `vitseg predict` writes. The first says that
# vitseg wrote it, and stands for the others: it is the first to be written and the last to be deleted.
IDS = "_ids.png"
OVERLAY = "_overlay.jpg"
PALETTE = "_palette.png"
AREAS = ".json"
RESULTS = (IDS, OVERLAY, PALETTE, AREAS)
# Those of a TIFF file, at a resolution that was asked for.
IDS_TIFF = "_ids.tif"
POLYGONS = "_polygons.geojson"
TIFF_RESULTS = (IDS_TIFF, OVERLAY, POLYGONS, AREAS)
# Maps of confidence, by their format. Each says by itself that vitseg wrote it.
CONFIDENCE = {"png": "_confidence.png", "tiff": "_confidence.tif"}
# Those of a video: the overlay by its container, the label maps, and what is known of the frames.
OVERLAY_VIDEO = {"mp4": "_overlay.mp4", "mov": "_overlay.mov"}
LABEL_VIDEO = "_labels.mov"
LABEL_FRAMES = "_frames"
FRAMES = "_frames.json"
VIDEO_KINDS = {"overlay": tuple(OVERLAY_VIDEO.values()), "labels": (LABEL_VIDEO,), "frames": (LABEL_FRAMES,)}
VIDEO_RESULTS = tuple(itertools.chain.from_iterable(VIDEO_KINDS.values()))
PREDICTIONS = "predictions"


def picture_results(num_labels: int) -> tuple[str, ...]:
    """How the results of a picture end. Of more than 255 classes there is no PNG with a palette, which has no room."""
    return RESULTS if num_labels <= IGNORE_INDEX else tuple(ending for ending in RESULTS if ending != PALETTE)


def is_result(path: Path) -> bool:
    """Whether `vitseg segment` or `vitseg predict` wrote a file."""
    has_own_folder = path.parent.name == PREDICTIONS or path.parent.name.endswith(LABEL_FRAMES)
    speaks_for_itself = has_own_folder or path.name.endswith(tuple(CONFIDENCE.values()))
    if speaks_for_itself and origin_of(path) is not None:
        return True
    if path.name.endswith(VIDEO_RESULTS):
        return is_written_video(path)
    if path.name.endswith(FRAMES):
        stem = path.name.removesuffix(FRAMES)
        return any(is_written_video(path.with_name(stem + ending)) for ending in VIDEO_RESULTS)
    for endings in (RESULTS, TIFF_RESULTS):
        stems = (path.name.removesuffix(ending) for ending in endings if path.name.endswith(ending))
        if any(origin_of(path.with_name(stem + endings[0])) is not None for stem in stems):
            return True
    return False


def is_complete(target: Path, endings: Sequence[str], origin: str) -> bool:
    """Whether there are all results that end so, made of this."""
    files = [Path(f"{target}{ending}") for ending in endings]
    return origin_of(files[0]) == origin and all(map(os.path.exists, files))


def move_results(unfinished: Path, target: Path, endings: Sequence[str]) -> None:
    """
    Give results their names, which begin like `target` and not like `unfinished` any more.

    The first, which stands for all, comes last where it replaces another, so that it is never found beside results
    of something else.
    """
    is_new = origin_of(f"{target}{endings[0]}") is None
    for ending in endings if is_new else (*endings[1:], endings[0]):
        Path(f"{unfinished}{ending}").replace(f"{target}{ending}")


def is_written_video(path: Path) -> bool:
    """Whether `vitseg segment` wrote a video, or a folder of a video's frames."""
    if path.is_dir():
        return origin_of(path / "000000.png") is not None
    if not path.is_file() or find_spec("av") is None:
        return False
    import av

    try:
        with av.open(str(path)) as video:
            return ORIGIN in (value for key, value in video.metadata.items() if key.lower() == "comment")
    except av.error.FFmpegError:
        return False


def remove_results(target: Path, kept: Sequence[str] = ()) -> None:
    """
    Delete the results of an earlier run, perhaps of another picture of this name, but those that are about to be
    replaced, by how their names end. Where the one that stands for others goes, they all do.
    """
    for endings in (*((ending,) for ending in CONFIDENCE.values()), RESULTS, TIFF_RESULTS):
        if origin_of(f"{target}{endings[0]}") is None:
            continue
        staying = kept if endings[0] in kept else ()
        for ending in reversed(endings):
            if ending not in staying:
                Path(f"{target}{ending}").unlink(missing_ok=True)


def read_video_report(target: Path, kind: str, origin: str) -> dict[str, Any] | None:
    """What is known of the frames of a video of which there are all results of a kind, made of this; or `None`."""
    try:
        report = json.loads(Path(f"{target}{FRAMES}").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # There is none, or one of others.
        return None
    is_of_this = isinstance(report, dict) and report.get("origin") == origin
    is_there = any(Path(f"{target}{ending}").exists() for ending in VIDEO_KINDS[kind])
    return report if is_of_this and is_there else None


def remove_video_results(target: Path) -> None:
    """Delete the videos of an earlier run, perhaps of another one of this name, and what was known of their frames."""
    places = (f"{target}{ending}" for ending in (FRAMES, *VIDEO_RESULTS))
    for place in map(Path, filter(os.path.exists, places)):
        if is_result(place):
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def check_replaceable(target: Path, endings: Sequence[str] = RESULTS) -> None:
    """
    Raises:
        ValueError: if results would replace a file that is none, such as an annotation of the same name.
    """
    files = (Path(f"{target}{ending}") for ending in endings)
    others = [file.name for file in files if os.path.lexists(file) and not is_result(file)]
    if others:
        raise ValueError(
            f"{others[0]} in the output folder would be replaced, and is no result: give another --output"
        )


def area_report(path: Path, size: tuple[int, int], pixels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """
    What the file of areas holds.

    Args:
        path: the image.
        size: its width and height.
        pixels: how many pixels each class has, by its id.
        names: the names of the classes.
    """
    order = [int(index) for index in np.argsort(-pixels, kind="stable") if pixels[index]]
    return {
        "image": printable(path),
        "width": size[0],
        "height": size[1],
        "classes": [
            {
                "id": index,
                "name": names[index],
                "pixels": int(pixels[index]),
                "share": float(pixels[index] / pixels.sum()),
            }
            for index in order
        ],
    }
