# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Outlines of bitmaps, along the edges of their pixels, and polygons with fewer corners.

Corners are whole numbers, those of pixels: that is how polygons are filled by COCO's own tools, so that an outline
gives its bitmap back exactly. (Outlines through the centres of pixels, as OpenCV has them, lose half a pixel all
around, and of one pixel everything.)
"""

from collections.abc import Iterator

import cv2
import numpy as np

from . import masks


# By how much corners may be left out: a polygon covers at least this share of what it and its outline cover together.
LEAST_IOU = 0.98
# With less, hardly a corner would be left out.
_FINEST = 0.25


def trace(bitmap: np.ndarray) -> Iterator[np.ndarray]:
    """
    The outlines of the parts of a bitmap, and of the holes in them.

    The pixels of a part share edges; those that meet at a corner alone are of two parts, or of one hole.

    Args:
        bitmap: bool (height, width).

    Yields:
        The corners, x and y, int32 (corners, 2), clockwise from the one furthest to the left in the uppermost row; the
        pixel below and to the right of it is true if the outline is of a part, and false if it is of a hole.
    """
    inside = np.pad(bitmap, 1)
    northwest, northeast, southwest, southeast = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    touches = (northwest == southeast) & (northeast == southwest) & (northwest != northeast)  # at a corner alone
    turns = northwest ^ northeast ^ southwest ^ southeast
    rows, columns = np.nonzero(turns | touches)
    # Where two pixels touch, two outlines turn, or one does twice: one there from the left, and one to the right.
    index = np.repeat(np.arange(rows.size), 1 + touches[rows, columns])
    is_second = np.zeros(index.size, bool)
    is_second[1:] = index[1:] == index[:-1]
    rows, columns = rows[index], columns[index]
    # The one from the left goes on upwards around the pixel in the northwest, or downwards around the southwestern.
    is_lower = is_second ^ (touches & northeast)[rows, columns]
    # Row by row, each corner is joined to the next or to the one before, in turns. Column by column, too.
    order = np.lexsort((is_lower, rows, columns))
    vertical = np.empty(index.size, np.int64)
    vertical[order[0::2]], vertical[order[1::2]] = order[1::2], order[0::2]
    yield from (np.stack([columns[path], rows[path]], axis=1).astype(np.int32) for path in _cycles(vertical.tolist()))


def _cycles(vertical: list[int]) -> Iterator[list[int]]:
    """Ways from corner to corner, in turns along a row, to the neighbour of even or odd number, and along a column."""
    seen = bytearray(len(vertical))
    for start in range(len(vertical)):
        path, corner = [], start
        while not seen[corner]:
            path += [corner, corner ^ 1]
            seen[corner] = seen[corner ^ 1] = True
            corner = vertical[corner ^ 1]
        if path:
            yield path


def simplify(outline: np.ndarray, tolerance: float) -> np.ndarray:
    """
    A polygon with fewer corners: those of the way from the middle of one pixel's edge to the next, without the ones
    that are no farther than the tolerance from the line past them (Douglas-Peucker). Where that is too much for a
    small or thin part, by `LEAST_IOU`, the tolerance is halved until it is not.

    Args:
        outline: of a part without holes, int32 (corners, 2).
        tolerance: in pixels; 0 keeps the outline.

    Returns:
        float64 (corners, 2).
    """
    left_top = outline.min(axis=0)
    columns, rows = (outline.max(axis=0) - left_top).tolist()
    exact = masks.from_polygons([outline - left_top], rows, columns)
    middles = _middles(outline)
    while tolerance >= _FINEST:
        corners = cv2.approxPolyDP(middles, tolerance, closed=True)[:, 0].astype(np.float64)
        mask = masks.from_polygons([corners - left_top], rows, columns)
        if len(corners) < len(outline) and masks.iou(mask, exact) >= LEAST_IOU:
            return corners
        tolerance /= 2
    return outline.astype(np.float64)


def _middles(outline: np.ndarray) -> np.ndarray:
    """
    The middle of each pixel's edge on an outline, float32 (edges, 2). On a line through these, stairs of pixels lie on
    both sides; on one through corners, on one side.
    """
    steps = np.roll(outline, -1, axis=0) - outline
    lengths = np.abs(steps).sum(axis=1)
    corner = np.repeat(np.arange(len(outline)), lengths)
    along = np.arange(corner.size) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 0.5
    return (outline[corner] + np.sign(steps)[corner] * along[:, None]).astype(np.float32)
