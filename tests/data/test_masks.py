# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks of polygons, run lengths and bitmaps, against drawings and pycocotools."""

import numpy as np
import pytest
from data.exported import drawn
from pycocotools import mask as coco

from vitseg.data import masks


def test_a_square_has_the_pixels_between_its_sides():
    mask = masks.from_polygons([[2, 1, 6, 1, 6, 4, 2, 4]], 5, 8)
    assert masks.to_bitmap(mask).tolist() == drawn("........ ..1111.. ..1111.. ..1111.. ........")
    assert masks.area(mask) == 12


def test_several_polygons_are_one_mask_and_holes_are_taken_out():
    mask = masks.from_polygons([[[0, 0], [3, 0], [3, 3], [0, 3]], [[5, 0], [8, 0], [8, 3], [5, 3]]], 3, 8)
    assert masks.to_bitmap(mask).tolist() == drawn("111..111 111..111 111..111")
    ring = masks.without(mask, masks.from_box(1, 1, 2, 2, 3, 8))
    assert masks.to_bitmap(ring).tolist() == drawn("111..111 1.1..111 111..111")


def test_polygons_may_reach_out_of_the_image_and_be_degenerate():
    mask = masks.from_polygons([[-9, -9, 2, -9, 2, 2, -9, 2], [1, 1, 5, 1], []], 3, 4)
    assert masks.to_bitmap(mask).tolist() == drawn("11.. 11.. ....")


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([0, 0, float("nan"), 0, 4, 4], "not a finite number"),
        ([0, 0, 1e9, 0, 4, 4], "reaches to 1e\\+09"),
        ([0, 0, 4, 0, 4], "an x and a y for each corner"),
        ([[0, 0], "4 0", None], "an x and a y for each corner"),
        ([0, 0, 9, 9] * 300_000, "pixels long"),
    ],
)
def test_what_is_no_outline_in_an_image_is_refused(polygon, message):
    with pytest.raises(ValueError, match=message):
        masks.from_polygons([polygon], 10, 10)


def test_run_lengths_are_read_as_numbers_and_as_text():
    bitmap = np.random.default_rng(0).random((7, 9)) > 0.5
    text = coco.encode(np.asfortranarray(bitmap, np.uint8))["counts"]
    column = bitmap.T.ravel()
    ends = np.flatnonzero(np.diff(column, append=~column[-1])) + 1
    numbers = [*([0] if column[0] else []), *np.diff(ends, prepend=0).tolist()]
    for counts in (text, text.decode(), numbers):
        np.testing.assert_array_equal(masks.to_bitmap(masks.from_run_lengths(counts, 7, 9)), bitmap)


@pytest.mark.parametrize("counts", [[5, 5], [50, 80], [-1, 101], [2**62, 2**62, 100], [1.5, 98.5], [], "a", "\x7f"])
def test_run_lengths_that_do_not_fill_the_mask_are_refused(counts):
    with pytest.raises(ValueError, match="run"):
        masks.from_run_lengths(counts, 10, 10)


def test_bitmaps_lie_where_they_are_put_and_end_with_the_image():
    bitmap = np.array([[1, 0], [1, 1]])
    assert masks.to_bitmap(masks.from_bitmap(bitmap, 3, 4, 1, 1)).tolist() == drawn(".... .1.. .11.")
    assert masks.to_bitmap(masks.from_bitmap(bitmap, 3, 4, -1, 2)).tolist() == drawn(".... .... ....")
    assert masks.to_bitmap(masks.from_bitmap(bitmap, 3, 4, -1, -1)).tolist() == drawn("1... .... ....")
    assert masks.area(masks.from_bitmap(bitmap, 3, 4, 9, 9)) == 0


def test_round_shapes_and_lines_cover_what_geometry_says():
    assert masks.area(masks.from_ellipse((50, 50), (40, 20), 100, 100)) == pytest.approx(np.pi * 800, rel=0.01)
    upright = masks.to_bitmap(masks.from_ellipse((50, 50), (40, 20), 100, 100, degrees=90))
    assert np.flatnonzero(upright.any(1))[[0, -1]].tolist() == [10, 89]
    assert masks.area(masks.from_line([[10, 50], [90, 50]], 10, 100, 100)) == 800
