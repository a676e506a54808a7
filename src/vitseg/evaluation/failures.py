# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Where a model fails: by the size of what is to be found, and by the distance to a border.

An object is a connected part of a class in the reference. What is predicted falls into connected parts as well; the
pixels of a part that are not of the class count against the object with which it shares most.
"""

import math

import cv2
import numpy as np
import torch

from .boundary import areas_of, border_distances


# Upper ends of the distances to the nearest true border, in pixels.
DISTANCES = (1, 2, 4, 8, 16, 32, 64, math.inf)
SIZES = 32  # doublings of the area
UNIT = 2**24


def failure_counts(prediction: np.ndarray, reference: np.ndarray, num_labels: int) -> dict[str, torch.Tensor]:
    """
    What tables of failures are made of, of one image.

    Args:
        prediction: class ids, `(height, width)`.
        reference: likewise, and `num_labels` where pixels are ignored.
        num_labels: number of classes.

    Returns:
        Integers to be summed: `by_distance`, `(8, 3, num_labels)`, pixels that are right, predicted and true, at
        distances up to each of `DISTANCES` and beyond the one before; `by_size`, `(32, 2)`, by doublings of the area,
        the number of objects, and the sum of their IoU in units of 2^-24.
    """
    is_counted = reference != num_labels
    rings = np.searchsorted(DISTANCES, border_distances(reference.astype(np.int16)))
    by_distance = []
    for ring in range(len(DISTANCES)):
        inside = (rings == ring) & is_counted
        predicted, true = (np.where(inside, labels, num_labels) for labels in (prediction, reference))
        by_distance.append(areas_of(predicted, true, num_labels))
    by_size = np.zeros((SIZES, 2), np.int64)
    for label in np.unique(reference[is_counted]).tolist():
        areas, ious = object_scores((prediction == label) & is_counted, reference == label)
        bins = np.log2(areas).astype(int)
        np.add.at(by_size, (bins, 0), 1)
        np.add.at(by_size, (bins, 1), (ious * UNIT).round().astype(np.int64))
    return {"by_distance": torch.from_numpy(np.stack(by_distance)), "by_size": torch.from_numpy(by_size)}


def object_scores(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area and IoU of each connected part of a true mask: `(objects,)`; masks are `(height, width)`, bool."""
    num_true, true_parts = cv2.connectedComponents(true.view(np.uint8), connectivity=8)
    num_predicted, predicted_parts = cv2.connectedComponents(predicted.view(np.uint8), connectivity=8)
    shared = np.bincount((true_parts * num_predicted + predicted_parts).ravel(), minlength=num_true * num_predicted)
    shared = shared.reshape(num_true, num_predicted)
    areas, right = shared[1:].sum(axis=1), shared[1:, 1:].sum(axis=1)
    owners = shared[1:, 1:].argmax(axis=0)
    beyond = np.where(shared[1:, 1:].any(axis=0), shared[0, 1:], 0)
    unions = areas + np.bincount(owners, weights=beyond, minlength=num_true - 1)
    return areas, right / unions
