# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From a label map to the objects that a person corrects in a labelling tool: polygons and masks."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from . import masks
from .outlines import simplify, trace


# A polygon for each connected part of a class, or a mask for each class.
Shapes: TypeAlias = Literal["polygons", "masks"]


@dataclass(frozen=True)
class RegionOptions:
    """
    What objects are made of a label map.

    Args:
        shapes: "masks", or "polygons" but for parts with holes, or of endless outline, which are masks, too.
        tolerance: by how many pixels polygons may be off.
        min_area: parts and holes of fewer pixels are left out.
    """

    shapes: Shapes = "polygons"
    tolerance: float = 1.0
    min_area: int = 1


@dataclass(frozen=True)
class Region:
    """
    An object.

    Args:
        class_id: its class.
        left: column where it begins.
        top: row where it begins.
        bitmap: its pixels from there, bool (rows, columns), with none but false ones around it left out.
        polygon: its corners in the image, x and y, float64 (corners, 2); `None` if it is a mask.
    """

    class_id: int
    left: int
    top: int
    bitmap: np.ndarray
    polygon: np.ndarray | None = None


def find_regions(label_map: np.ndarray, without: int | None, options: RegionOptions) -> list[Region]:
    """
    The objects in a label map, the largest first: where polygons overlap by a pixel, the smaller object is on top.

    Args:
        label_map: class ids, integers (height, width).
        without: a class of which there are to be none.
        options: what is made.
    """
    regions: list[Region] = []
    for class_id in np.unique(label_map).tolist():
        if class_id != without:
            parts = _parts(label_map == class_id, class_id, options)
            regions += _merged(parts, label_map.shape) if options.shapes == "masks" else parts
    return sorted(regions, key=lambda region: -np.count_nonzero(region.bitmap))


def _parts(bitmap: np.ndarray, class_id: int, options: RegionOptions) -> Iterator[Region]:
    numbers = cv2.connectedComponents(bitmap.view(np.uint8), connectivity=4)[1]
    outlines: dict[int, np.ndarray] = {}
    holes: dict[int, list[np.ndarray]] = defaultdict(list)
    for outline in trace(bitmap):
        x, y = outline[0]
        if bitmap[y, x]:
            outlines[numbers[y, x]] = outline
        else:
            holes[numbers[y - 1, x]].append(outline)
    for number, outline in outlines.items():
        (left, top), (right, bottom) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
        part = numbers[top:bottom, left:right] == number
        if np.count_nonzero(part) < options.min_area:
            continue
        # What is in a hole of fewer pixels is left out, so that it can be filled.
        has_holes = False
        for hole in holes[number]:
            if cv2.contourArea(hole) >= options.min_area:
                has_holes = True
            else:
                part |= _filled(hole - (left, top), part.shape)
        is_polygon = (
            options.shapes == "polygons" and not has_holes and cv2.arcLength(outline, True) <= masks.MAX_LENGTH
        )
        yield Region(class_id, left, top, part, simplify(outline, options.tolerance) if is_polygon else None)


def _filled(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return masks.to_bitmap(masks.from_polygons([outline], *shape))


def _merged(parts: Iterator[Region], shape: tuple[int, ...]) -> Iterator[Region]:
    """All parts of a class as one region, if there are any."""
    canvas = np.zeros(shape, bool)
    class_id = None
    for part in parts:
        class_id = part.class_id
        rows, columns = part.bitmap.shape
        canvas[part.top : part.top + rows, part.left : part.left + columns] |= part.bitmap
    if class_id is not None:
        left, top, columns, rows = cv2.boundingRect(canvas.view(np.uint8))
        yield Region(class_id, left, top, canvas[top : top + rows, left : left + columns])
