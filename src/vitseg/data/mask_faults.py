# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What makes a label map look wrong, although it can be read."""

import itertools
from collections.abc import Mapping

import cv2
import numpy as np

from .augmentation import IGNORE_INDEX


# Of the pixels at borders, how many are noise where a mask is called noisy, and how many noisy pixels that takes.
# Masks that people drew have 0 to 6%, those that were interpolated or compressed with loss 13 to 70%.
MAX_NOISE, _FEW = 0.1, 10
_SQUARE = np.ones((3, 3), np.uint8)
_REACH = 2  # pixels that a seam is wide at most
_BESIDE = [place for place in itertools.product((-1, 0, 1), repeat=2) if any(place)]


def mask_faults(label_map: np.ndarray, pixels: Mapping[int, int], num_labels: int) -> dict[str, str]:
    """
    What looks wrong in a label map.

    Args:
        label_map: integers `(height, width)`, 255 ignored.
        pixels: the values in it, and how many pixels have each.
        num_labels: number of classes.

    Returns:
        Kind -> what it is here. Kinds are `ignored` (no pixel counts), `single` (all that count are of one class),
        `unknown` (values that are no class) and `noise` (see `edge_noise`).
    """
    counts = {value: count for value, count in pixels.items() if value != IGNORE_INDEX}
    if not counts:
        return {"ignored": f"all {label_map.size:,} pixels are {IGNORE_INDEX}"}
    faults = {}
    if len(counts) == 1:
        faults["single"] = f"{sum(counts.values()) / label_map.size:.1%} of the pixels are {next(iter(counts))}"
        faults["single"] += ", the others ignored" if IGNORE_INDEX in pixels else ""
    if unknown := sorted(value for value in counts if not 0 <= value < num_labels):
        values = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        faults["unknown"] = f"{values} in {sum(counts[value] for value in unknown):,} pixels"
    if len(counts) > 1:
        noise, borders = edge_noise(label_map)
        num_noisy, num_borders = int(noise.sum()), int(borders.sum())
        if num_noisy >= max(_FEW, MAX_NOISE * num_borders):
            faults["noise"] = f"{num_noisy:,} pixels, {num_noisy / num_borders:.0%} of those at borders"
    return faults


def edge_noise(label_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Pixels as they come of resizing a mask with interpolation, or of compressing it with loss: a seam one or two pixels
    wide between two other classes, or a pixel that is alone in its class. Where a square of 3 x 3 pixels is of one
    class there is none.

    Args:
        label_map: integers `(height, width)`, 255 ignored.

    Returns:
        Two arrays, bool `(height, width)`: noise, and the pixels that have another value beside them. Ignored pixels
        are neither.
    """
    values = label_map if label_map.dtype == np.uint8 else label_map.astype(np.float32)
    is_inside = cv2.erode(values, _SQUARE) == cv2.dilate(values, _SQUARE)
    is_thick = cv2.dilate(is_inside.view(np.uint8), _SQUARE).view(bool)
    height, width = values.shape
    framed = np.pad(values, _REACH, constant_values=IGNORE_INDEX)

    def beside(down: int, right: int) -> np.ndarray:
        """What stands so many pixels away from each."""
        return framed[_REACH + down : _REACH + down + height, _REACH + right : _REACH + right + width]

    is_seam = np.zeros_like(is_inside)
    for before, after in (1, 1), (1, 2), (2, 1):
        for down, right in (0, 1), (1, 0):
            one, other = beside(-before * down, -before * right), beside(after * down, after * right)
            differ = (one != values) & (other != values) & (one != other)
            is_seam |= differ & (one != IGNORE_INDEX) & (other != IGNORE_INDEX)
    is_alone = np.logical_and.reduce([beside(*place) != values for place in _BESIDE])
    counts = label_map != IGNORE_INDEX
    return ~is_thick & (is_seam | is_alone) & counts, ~is_inside & counts
