# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Colours of classes, judged by another simulation of colour blindness than they are chosen with: Vienot, Brettel and
Mollon, "Digital video colourmaps for checking the legibility of displays by dichromats", 1999.
"""

import numpy as np
import pytest

from vitseg.recipes.colors import distinct_palette


STREET = ["sky", "road", "tree", "car", "person", "building", "grass", "dog"]
VOC = ["background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog"]
VOC += ["diningtable", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"]
# What those without the first and the second kind of cone see of linear RGB.
WITHOUT_RED = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
WITHOUT_GREEN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def lightness_and_opponents(color, view=None):
    """CIELAB of an sRGB colour, written out."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255]
    if view is not None:
        linear = np.clip(view @ linear, 0, 1)
    red, green, blue = linear
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def smallest_distance(palette, view=None):
    points = [lightness_and_opponents(color, view) for color in palette]
    return min(np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i])


@pytest.mark.parametrize(
    ("names", "distance", "distance_without_cone"),
    [
        (STREET, 20, 8),
        (VOC, 20, 7),
        ([f"kind {number}" for number in range(5)], 30, 12),
        ([f"kind {number}" for number in range(12)], 28, 10),
        ([f"kind {number}" for number in range(40)], 18, 6),
        ([f"kind {number}" for number in range(150)], 10, 1.5),
    ],
)
def test_colors_can_be_told_apart_and_over_a_photograph(names, distance, distance_without_cone):
    palette = distinct_palette(names)
    assert len(palette) == len(names)
    assert smallest_distance(palette) > distance
    assert smallest_distance(palette, WITHOUT_RED) > distance_without_cone
    assert smallest_distance(palette, WITHOUT_GREEN) > distance_without_cone
    assert min(lightness_and_opponents(color)[0] for color in palette) > 34


def test_known_names_have_their_published_colors_however_they_are_written():
    colors = dict(zip(STREET, distinct_palette(STREET), strict=True))
    ade20k = {"sky": (6, 230, 230), "tree": (4, 200, 3), "car": (0, 102, 200), "building": (180, 120, 120)}
    cityscapes = {"road": (128, 64, 128), "person": (220, 20, 60)}  # ADE20K's are too like a building's, and too dark.
    published = ade20k | cityscapes
    assert {name: colors[name] for name in published} == published
    assert distinct_palette(["Traffic_Light", "Sky "]) == distinct_palette(["traffic light", "sky"])


def test_a_name_has_the_same_color_in_whatever_order_and_company():
    names = ["rust", "dent", "scratch"]
    colors = dict(zip(names, distinct_palette(names), strict=True))
    assert distinct_palette(names[::-1]) == [colors[name] for name in names[::-1]]
    with_others = [distinct_palette(["scratch", other])[0] for other in ("wheel", "bolt", "paint", "road", "glass")]
    assert with_others.count(colors["scratch"]) >= 4


def test_names_may_come_twice_or_be_empty():
    palette = distinct_palette(["", "crack", "crack", "Crack", "\N{SNOWMAN}"])
    assert len(set(palette)) == 5
    assert distinct_palette([]) == []
    assert len(distinct_palette(["a"] * 5000)) == 5000
    assert len(set(distinct_palette([f"{number}" for number in range(255)]))) == 255
