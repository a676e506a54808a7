# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How well borders are found: boundary IoU, and the scores of the pixels around true borders (trimap).

Boundary IoU (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021) is the
IoU of what is left of two masks when their insides are taken away: of a mask, the pixels that have one outside it, or
beyond the edge of the image, within 2% of the image's diagonal. Distances are those of a king on a chessboard, as in
the authors' own code, which erodes by a square. Here the pixels are summed over all images for each class.

A mask is eroded to the pixels around which all have its class, so that one map of distances to the nearest pixel of
another class erodes the masks of all classes, by any width.
"""

import math

import cv2
import numpy as np


DILATION_RATIO = 0.02


def boundary_width(height: int, width: int) -> int:
    """How many pixels wide the boundary of a mask is in an image of this size."""
    return max(1, round(DILATION_RATIO * math.hypot(height, width)))


def border_distances(label_map: np.ndarray) -> np.ndarray:
    """
    Distance of each pixel to the nearest one of another value, in steps of a king on a chessboard.

    Args:
        label_map: int16 `(height, width)`.

    Returns:
        float32 `(height, width)`, 1 beside a border; the edge of the image is none. Infinity if there is no border.
    """
    square = np.ones((3, 3), np.uint8)
    is_inside = cv2.erode(label_map, square) == cv2.dilate(label_map, square)
    if is_inside.all():
        return np.full(label_map.shape, np.inf, np.float32)
    # Exact: the king goes through pixels of one value until he stands beside another.
    return cv2.distanceTransform(is_inside.view(np.uint8), cv2.DIST_C, 3) + 1


def boundary_areas(prediction: np.ndarray, reference: np.ndarray, num_labels: int) -> np.ndarray:
    """
    Pixels of each class that are right, predicted and true, in boundaries and around borders.

    What is ignored in the reference is taken out of both maps, and is like what lies beyond the edge of the image: a
    mask ends there.

    Args:
        prediction: class ids, `(height, width)`, of 0..num_labels-1.
        reference: likewise, and `num_labels` where pixels are ignored.
        num_labels: number of classes, up to 32767.

    Returns:
        int64 `(2, 3, num_labels)`: first of the boundaries of the masks, then of the pixels, in the reference and the
        prediction alike, that lie within the same distance of a true border. There, ignored pixels make a border, and
        the edge of the image none.
    """
    width = boundary_width(*reference.shape)
    reference = reference.astype(np.int16)
    is_counted = reference != num_labels
    prediction = np.where(is_counted, prediction, num_labels).astype(np.int16)
    around = border_distances(reference) <= width
    predicted_boundary = _with_edge(border_distances(prediction) <= width, width)
    true_boundary = _with_edge(around.copy(), width)
    pairs = ((predicted_boundary, true_boundary), (around, around))
    return np.stack(
        [
            areas_of(np.where(predicted, prediction, num_labels), np.where(true, reference, num_labels), num_labels)
            for predicted, true in pairs
        ]
    )


def _with_edge(mask: np.ndarray, width: int) -> np.ndarray:
    """Adds the pixels that have the edge of the image within a distance."""
    mask[:width] = mask[-width:] = mask[:, :width] = mask[:, -width:] = True
    return mask


def areas_of(prediction: np.ndarray, reference: np.ndarray, num_labels: int) -> np.ndarray:
    """Pixels of each class that are right, predicted and true; `num_labels` is no class, int64 `(3, num_labels)`."""
    size = num_labels + 1
    pairs = reference.astype(np.int32) * size + prediction
    table = np.bincount(pairs.ravel(), minlength=size * size).reshape(size, size)
    return np.stack((table.diagonal(), table.sum(0), table.sum(1)))[:, :num_labels]
