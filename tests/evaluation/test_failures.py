# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Failures by size and by distance, by hand."""

import numpy as np
import pytest

from vitseg.evaluation.failures import UNIT, failure_counts, object_scores


def test_what_is_predicted_beyond_objects_counts_against_the_one_that_shares_most():
    true = np.array([[1, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 1]], bool)
    predicted = np.array([[0, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0]], bool)
    areas, ious = object_scores(predicted, true)
    assert areas.tolist() == [4, 1, 1]
    # One part covers 3 pixels of the first, 1 of the second, and 2 of none; nothing covers the third.
    assert ious == pytest.approx([3 / (4 + 2), 1.0, 0.0])


def test_distances_and_sizes_of_a_map():
    reference = np.zeros((8, 8), int)
    reference[:, 4:] = 1
    reference[0, 0] = 2  # of 2 classes: ignored
    prediction = reference.clip(max=1)
    prediction[:, 4] = 0
    counts = failure_counts(prediction, reference, num_labels=2)
    assert counts["by_distance"].sum(dim=0)[2].tolist() == [31, 32]
    # Beside the border between the classes: class 0 is right, class 1 wrong; two and more beside the ignored pixel.
    assert counts["by_distance"][0].tolist() == [[11, 0], [19, 0], [11, 8]]
    assert counts["by_distance"][1:, 0].sum() == counts["by_distance"][1:, 2].sum()
    number, total = counts["by_size"][4] + counts["by_size"][5]
    assert number == 2
    assert total / UNIT == pytest.approx(31 / (31 + 8) + 24 / 32, abs=1e-6)
