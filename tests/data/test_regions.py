# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Polygons and masks of label maps, filled by pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco

from vitseg.data.regions import Region, RegionOptions, find_regions


def blobs(seed: int, classes: int = 4, height: int = 48, width: int = 60) -> np.ndarray:
    """A label map with large parts, thin ones, holes, and single pixels, also at its borders."""
    rng = np.random.default_rng(seed)
    label_map = np.kron(rng.integers(0, classes, (height // 12, width // 12)), np.ones((12, 12), int))
    rows, columns = np.mgrid[:height, :width]
    for _ in range(6):
        y, x, radius = rng.integers(height), rng.integers(width), rng.integers(2, 15)
        label_map[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = rng.integers(classes)
    is_noise = rng.random((height, width)) < 0.01
    label_map[is_noise] = rng.integers(0, classes, is_noise.sum())
    return label_map.astype(np.uint8)


def filled(region: Region, height: int, width: int) -> dict:
    """The region's mask, as pycocotools makes it of a polygon."""
    if region.polygon is not None:
        return coco.frPyObjects([region.polygon.ravel().astype(float).tolist()], height, width)[0]
    canvas = np.zeros((height, width), np.uint8, order="F")
    rows, columns = region.bitmap.shape
    canvas[region.top : region.top + rows, region.left : region.left + columns] = region.bitmap
    return coco.encode(canvas)


def painted(regions: list[Region], height: int, width: int, background: int = 255) -> np.ndarray:
    label_map = np.full((height, width), background, np.uint8)
    for region in regions:
        label_map[coco.decode(filled(region, height, width)) == 1] = region.class_id
    return label_map


@pytest.mark.parametrize("options", [RegionOptions(tolerance=0), RegionOptions("masks")])
def test_outlines_and_masks_are_exact(options):
    noise = np.random.default_rng(1).integers(0, 2, (9, 14))  # where every part touches others at corners
    for label_map in (*map(blobs, range(5)), noise, np.zeros((1, 1), int), np.eye(5, dtype=int)):
        regions = find_regions(label_map, None, options)
        assert np.array_equal(painted(regions, *label_map.shape), label_map)
        # Every pixel is in one object.
        assert sum(coco.area(filled(region, *label_map.shape)) for region in regions) == label_map.size


def test_polygons_keep_nearly_all_pixels():
    for label_map in map(blobs, range(5)):
        shape = label_map.shape
        exact = find_regions(label_map, None, RegionOptions(tolerance=0))
        regions = find_regions(label_map, None, RegionOptions(tolerance=2))
        assert min(np.count_nonzero(region.bitmap) for region in regions) == 1
        for region, original in zip(regions, exact, strict=True):
            assert coco.iou([filled(region, *shape)], [filled(original, *shape)], [0])[0, 0] >= 0.98


def test_polygons_have_few_corners():
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 90) ** 2 <= 80**2
    exact, simple = (find_regions(disc.astype(int), 0, RegionOptions(tolerance=tolerance))[0] for tolerance in (0, 1))
    assert len(simple.polygon) < len(exact.polygon) / 5


def test_small_parts_and_holes_are_left_out_if_asked():
    label_map = np.zeros((10, 12), np.uint8)
    label_map[1:9, 1:9] = 1
    label_map[3:5, 3:5] = 2  # a hole of four pixels
    label_map[6, 6] = 0  # and one of one
    label_map[0, 11] = 3
    kept = find_regions(label_map, 0, RegionOptions(min_area=4, tolerance=0))
    assert [(region.class_id, region.polygon is None) for region in kept] == [(1, True), (2, False)]
    assert kept[0].bitmap.sum() == 60
    ((only,), whole) = (
        find_regions(label_map, 0, RegionOptions(shapes, min_area=5)) for shapes in ("masks", "polygons")
    )
    assert only.bitmap.all()
    assert sorted(map(tuple, whole[0].polygon.tolist())) == [(1, 1), (1, 9), (9, 1), (9, 9)]
