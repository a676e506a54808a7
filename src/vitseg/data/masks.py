# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Masks of single segments, whatever they are given as: polygons, run lengths or bitmaps.

A mask is kept as pycocotools keeps it, a dictionary with its `size` (height, width) and its compressed run lengths,
`counts`: a few hundred bytes where a bitmap takes megabytes. Polygons cover the pixels that COCO's own tools say they
do: a square from 2 to 6 has 4 x 4 of them. (Fills of OpenCV and Pillow add the outline, and make it 5 x 5.)
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from pycocotools import mask as coco

from .annotations import decode_run_lengths, run_lengths


Mask: TypeAlias = dict[str, Any]

# Polygons are walked pixel by pixel: what is longer than these is no outline in an image, and would fill the memory.
_MAX_REACH = 10
MAX_LENGTH = 4_000_000
# Corners of the polygon that stands for an ellipse: on one of 1000 pixels it is off by less than a fifth of one.
_CORNERS = 120


def from_polygons(polygons: Iterable[Any], height: int, width: int) -> Mask:
    """
    The mask of all that is in one of several polygons.

    Args:
        polygons: the corners of each, as x, y, x, y, ... or (corners, 2), in pixels from the upper left corner of the
            image. Of those with less than three nothing is inside. They may reach out of the image.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: if corners are no numbers, or farther away than an outline in such an image can be.
    """
    flat = [corners.ravel().tolist() for corners in (_corners(polygon, height, width) for polygon in polygons)]
    # Of four numbers pycocotools would make a box.
    parts = [coco.frPyObjects([numbers], height, width)[0] for numbers in flat if len(numbers) >= 6]
    return coco.merge(parts) if parts else from_bitmap(np.zeros((0, 0), bool), height, width)


def from_box(left: float, top: float, right: float, bottom: float, height: int, width: int) -> Mask:
    """The mask of a rectangle, of which any two opposite corners are given; raises as `from_polygons`."""
    return from_polygons([[left, top, right, top, right, bottom, left, bottom]], height, width)


def from_ellipse(center: Sequence[float], radii: Sequence[float], height: int, width: int, degrees: float = 0) -> Mask:
    """The mask of an ellipse, by its center and radii (x, y), turned clockwise; raises as `from_polygons`."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + np.asarray(center, np.float64)
    return from_polygons([turned(corners, degrees, around=np.asarray(center))], height, width)


def turned(corners: np.ndarray, degrees: float, around: np.ndarray | None = None) -> np.ndarray:
    """Corners (corners, 2) turned clockwise around a point, by default the middle of them all."""
    middle = corners.mean(axis=0) if around is None else around
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (corners - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle


def from_line(corners: Any, thickness: float, height: int, width: int) -> Mask:
    """The mask of a line through corners (corners, 2); raises as `from_polygons`."""
    points = _corners(corners, height, width)
    starts, ends = points[:-1], points[1:]
    along = ends - starts
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across *= thickness / 2 / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    return from_polygons(np.stack([starts + across, ends + across, ends - across, starts - across], 1), height, width)


def from_run_lengths(counts: Any, height: int, width: int) -> Mask:
    """
    The mask of COCO's run lengths.

    Args:
        counts: the lengths of runs down the columns, alternately outside and inside, as numbers or as COCO's text.
        height: of the mask.
        width: of the mask.

    Raises:
        ValueError: if they are no run lengths, or do not fill the mask. (pycocotools takes them all the same, and
            gives back pixels of the memory behind them.)
    """
    is_text = isinstance(counts, str | bytes)
    lengths = run_lengths(counts if isinstance(counts, str) else counts.decode("ascii")) if is_text else counts
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError("a mask has run lengths that are not whole numbers")
    pixels = height * width
    if lengths.size == 0 or lengths.min() < 0 or lengths.max() > pixels or lengths.sum() != pixels:
        raise ValueError(f"a mask has run lengths that are not those of {width} x {height} pixels")
    return coco.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)


def from_bitmap(bitmap: np.ndarray, height: int, width: int, left: int = 0, top: int = 0) -> Mask:
    """
    The mask of a bitmap somewhere on an image, of which what is outside is left out.

    Args:
        bitmap: (rows, columns), true or not zero where something is.
        height: of the image.
        width: of the image.
        left: column of the image where it begins.
        top: row of the image where it begins.
    """
    canvas = np.zeros((height, width), np.uint8, order="F")
    rows = slice(max(top, 0), max(min(top + bitmap.shape[0], height), 0))
    columns = slice(max(left, 0), max(min(left + bitmap.shape[1], width), 0))
    inside = bitmap[max(-top, 0) :, max(-left, 0) :]
    target = canvas[rows, columns]
    target[...] = inside[: target.shape[0], : target.shape[1]] != 0
    return coco.encode(canvas)


def without(mask: Mask, hole: Mask) -> Mask:
    """What is in a mask and not in the other, of the same size."""
    return coco.encode(np.asfortranarray(to_bitmap(mask) & ~to_bitmap(hole)))


def area(mask: Mask) -> int:
    """The number of pixels in a mask."""
    return int(coco.area(mask))


def iou(mask: Mask, other: Mask) -> float:
    """Intersection over union of two masks of the same size."""
    return float(coco.iou([mask], [other], [0])[0, 0])


def to_bitmap(mask: Mask) -> np.ndarray:
    """bool (height, width)."""
    height, width = mask["size"]
    return decode_run_lengths(mask["counts"].decode(), height, width)


def _corners(polygon: Any, height: int, width: int) -> np.ndarray:
    """float64 (corners, 2)."""
    try:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError("a polygon is not a list of an x and a y for each corner") from None
    if not np.isfinite(corners).all():
        raise ValueError("a polygon has a coordinate that is not a finite number")
    farthest = np.abs(corners).max(initial=0)
    length = np.abs(np.diff(corners, axis=0, append=corners[:1])).max(axis=1, initial=0).sum()
    if farthest > _MAX_REACH * max(height, width) or length > MAX_LENGTH:
        raise ValueError(
            f"a polygon reaches to {farthest:g} and is {length:g} pixels long, which is no outline in an image of "
            f"{width} x {height}"
        )
    return corners
