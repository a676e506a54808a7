# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Boundary IoU and trimap scores are those of their definitions, pixel by pixel and class by class."""

import math

import numpy as np
import pytest

from vitseg.evaluation.boundary import border_distances, boundary_areas, boundary_width


NUM_LABELS = 4
BEYOND = -1  # what a pixel beyond the edge of the image holds


def random_maps(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A reference of patches with ignored pixels and without class 3, and a prediction that is often right."""
    rng = np.random.default_rng(seed)
    patches = rng.choice([0, 1, 2, NUM_LABELS], (-(-height // 9), -(-width // 9)), p=[0.4, 0.3, 0.2, 0.1])
    reference = np.kron(patches, np.ones((9, 9), int))[:height, :width]
    prediction = np.roll(np.where(reference == NUM_LABELS, 0, reference), (1, -2), axis=(0, 1))
    return np.where(rng.random(reference.shape) < 0.02, 3, prediction), reference


def neighbourhood(label_map: np.ndarray, row: int, column: int, distance: int) -> list[int]:
    """All values within a distance of a pixel, with those beyond the edge."""
    rows, columns = (range(center - distance, center + distance + 1) for center in (row, column))
    height, width = label_map.shape
    return [int(label_map[y, x]) if 0 <= y < height and 0 <= x < width else BEYOND for y in rows for x in columns]


def areas_by_definition(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    height, width = reference.shape
    distance = max(1, round(0.02 * math.hypot(height, width)))
    # What nobody knows is in no mask, neither of the reference nor of the prediction.
    prediction = np.where(reference == NUM_LABELS, NUM_LABELS, prediction)
    expected = np.zeros((2, 3, NUM_LABELS), int)
    for row, column in np.ndindex(height, width):
        true_around = neighbourhood(reference, row, column, distance)
        is_around = any(value not in (BEYOND, reference[row, column]) for value in true_around)
        for label in range(NUM_LABELS):
            masks = prediction == label, reference == label
            # A mask, eroded by a square, keeps the pixels around which all belong to it.
            in_boundary = [
                mask[row, column] and not all(value == 1 for value in neighbourhood(mask, row, column, distance))
                for mask in masks
            ]
            in_trimap = [is_around and mask[row, column] for mask in masks]
            for kind, (predicted, true) in enumerate((in_boundary, in_trimap)):
                expected[kind, :, label] += predicted and true, predicted, true
    return expected


@pytest.mark.parametrize(("height", "width"), [(40, 70), (20, 9)])
def test_areas_are_those_of_the_definition(height, width):
    maps = random_maps(height, width, seed=height)
    areas = boundary_areas(*maps, NUM_LABELS)
    np.testing.assert_array_equal(areas, areas_by_definition(*maps))
    assert areas[:, 0].sum() > 0
    assert areas[0].sum() != areas[1].sum()


def test_one_map_of_distances_erodes_the_masks_of_all_classes_by_any_width():
    label_map = random_maps(60, 90, seed=0)[1].astype(np.int16)
    distances = border_distances(label_map)
    for width in (1, 2, 5):
        eroded = np.zeros(label_map.shape, bool)
        for row, column in np.ndindex(label_map.shape):
            around = neighbourhood(label_map, row, column, width)
            eroded[row, column] = set(around) <= {label_map[row, column], BEYOND}
        np.testing.assert_array_equal(distances > width, eroded)
    assert np.isinf(border_distances(np.zeros((5, 6), np.int16))).all()


def test_a_mask_ends_at_the_edge_of_the_image_but_no_border_is_there():
    whole = np.zeros((100, 100), int)
    boundary, trimap = boundary_areas(whole, whole, num_labels=2)
    width = boundary_width(100, 100)
    assert width == 3
    assert boundary[:, 0].tolist() == [100**2 - (100 - 2 * width) ** 2] * 3
    assert trimap.sum() == 0
