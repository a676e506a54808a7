# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label maps as pictures, small enough to work out by hand."""

import sys

import numpy as np
import pytest
from PIL import Image

from vitseg.label_maps import (
    area_shares,
    colorize,
    comparison,
    overlay,
    save_palette_png,
    with_legend,
)


NAMES = ["sky", "road", "tree", "car"]
PALETTE = [(10, 20, 30), (200, 0, 250), (0, 150, 0), (250, 240, 0)]


def colors_of(image: Image.Image) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))


def test_colorize_looks_colors_up():
    label_map = np.array([[0, 1, 255], [3, 2, 0]])
    expected = [[[10, 20, 30], [200, 0, 250], [0, 0, 0]], [[250, 240, 0], [0, 150, 0], [10, 20, 30]]]
    colors = colorize(label_map, PALETTE)
    assert colors.dtype == np.uint8
    assert colors.tolist() == expected


def test_ignored_pixels_are_black_and_of_more_than_255_classes_another_number():
    palette = [(value, 0, 9) for value in range(256)]
    assert colorize(np.array([[255, 1]], np.uint8), palette[:255]).tolist() == [[[0, 0, 0], [1, 0, 9]]]
    assert colorize(np.array([[65535, 255]], np.uint16), palette).tolist() == [[[0, 0, 0], [255, 0, 9]]]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (np.array([[0, 4]]), r"ids \[4\].* 0 to 3"),
        (np.array([[-1, 0]]), r"ids \[-1\]"),
        (np.array([0, 1]), r"shape \(2,\)"),
        (np.array([[0.0, 1.0]]), "float64"),
    ],
)
def test_colorize_refuses_what_is_no_label_map_of_the_palette(label_map, message):
    with pytest.raises(ValueError, match=message):
        colorize(label_map, PALETTE)


def test_pngs_refuse_more_colors_than_they_hold(tmp_path):
    with pytest.raises(ValueError, match="palette has 300 colours, but PNGs hold 255"):
        save_palette_png(np.array([[299]]), [[0, 0, 0]] * 300, tmp_path / "x.png")


def test_overlay_mixes_image_and_color():
    image = Image.new("RGB", (2, 1), (100, 200, 50))
    label_map = np.array([[1, 255]], np.uint8)
    mixed = overlay(image, label_map, PALETTE)
    assert mixed.getpixel((0, 0)) == (150, 100, 150)  # halfway between (100, 200, 50) and (200, 0, 250)
    assert mixed.getpixel((1, 0)) == (100, 200, 50)  # ignored
    assert overlay(image, label_map, PALETTE, opacity=0.25).getpixel((0, 0)) == (125, 150, 100)
    assert overlay(image, label_map, PALETTE, opacity=0.0).getpixel((0, 0)) == (100, 200, 50)
    assert overlay(image, label_map, PALETTE, opacity=1.0).getpixel((0, 0)) == (200, 0, 250)


def test_overlay_draws_a_line_between_classes_and_none_around_ignored_pixels():
    label_map = np.array([[0, 0, 1], [0, 255, 1]], np.uint8)
    drawn = np.asarray(overlay(Image.new("RGB", (3, 2)), label_map, PALETTE, opacity=1.0))
    sky, road, line, black = PALETTE[0], PALETTE[1], (255, 255, 255), (0, 0, 0)
    assert [[tuple(color) for color in row] for row in drawn.tolist()] == [[sky, line, road], [sky, black, road]]
    large = np.repeat([[0] * 1500 + [1] * 1500], 2000, 0)
    drawn = np.asarray(overlay(Image.new("RGB", (3000, 2000)), large, PALETTE, opacity=1.0))
    assert (drawn == 255).all(-1).sum(1).tolist() == [3] * 2000


def test_overlay_takes_grey_images():
    mixed = overlay(Image.new("L", (1, 1), 100), np.array([[1]]), PALETTE)
    assert mixed.getpixel((0, 0)) == (150, 50, 175)


def test_overlay_refuses_another_size_and_a_wild_opacity():
    image = Image.new("RGB", (3, 2))
    with pytest.raises(ValueError, match=r"shape \(3, 2\).* 2 high and 3 wide"):
        overlay(image, np.zeros((3, 2), np.uint8), PALETTE)
    with pytest.raises(ValueError, match=r"opacity is 1.5"):
        overlay(image, np.zeros((2, 3), np.uint8), PALETTE, opacity=1.5)


def test_area_shares_leave_ignored_pixels_out_and_put_the_largest_first():
    label_map = np.array([[2, 2, 2, 255], [0, 1, 1, 255], [1, 1, 255, 255]], np.uint8)
    shares = area_shares(label_map)
    assert list(shares) == [1, 2, 0]
    assert shares == pytest.approx({1: 4 / 8, 2: 3 / 8, 0: 1 / 8})
    assert area_shares(np.full((2, 2), 255)) == {}


def test_legend_keeps_the_picture_and_shows_present_classes_only():
    image = Image.new("RGB", (60, 200), (1, 2, 3))
    result = with_legend(image, NAMES, PALETTE, {1: 0.75, 3: 0.25})
    assert result.height == 200
    assert result.crop((0, 0, 60, 200)).tobytes() == image.tobytes()
    legend = colors_of(result.crop((60, 0, result.width, result.height)))
    assert {PALETTE[1], PALETTE[3]} <= legend
    assert not {PALETTE[0], PALETTE[2]} & legend


def test_legend_lists_in_the_given_order_and_prints_the_shares():
    image = Image.new("RGB", (60, 200))
    result = np.asarray(with_legend(image, NAMES, PALETTE, {3: 0.25, 1: 0.75}))
    rows = {label: np.argwhere((result == PALETTE[label]).all(-1))[:, 0].mean() for label in (1, 3)}
    assert rows[3] < rows[1]
    other = np.asarray(with_legend(image, NAMES, PALETTE, {3: 0.26, 1: 0.75}))
    changed = np.argwhere((result != other).any(-1))
    assert len(changed) > 0
    assert abs(changed[:, 0].mean() - rows[3]) < 5


def test_legend_of_many_classes_goes_on_to_the_right():
    names, palette = [f"class {label}" for label in range(40)], [(6 * value, 100, 50) for value in range(40)]
    result = with_legend(Image.new("RGB", (60, 400)), names, palette, dict.fromkeys(range(40), 0.025))
    assert result.height == 400
    places = [np.argwhere((np.asarray(result) == color).all(-1)).mean(0) for color in palette]
    order = sorted(range(40), key=lambda label: (places[label][1].round(), places[label][0]))
    assert order == list(range(40)), "columns from left to right, each from top to bottom"
    assert len({place[1].round() for place in places}) == 3
    low = with_legend(Image.new("RGB", (60, 60)), names, palette, dict.fromkeys(range(40), 0.025))
    assert {tuple(color) for color in palette} <= colors_of(low)


def test_comparison_shows_image_prediction_and_truth_from_left_to_right():
    image = Image.new("RGB", (4, 2), (100, 200, 50))
    prediction, truth = np.full((2, 4), 1), np.full((2, 4), 3)
    truth[0, 0] = 255
    sheet = np.asarray(comparison(image, prediction, truth, NAMES, PALETTE))

    def columns(color: tuple[int, int, int]) -> np.ndarray:
        return np.argwhere((sheet == color).all(-1))[:, 1]

    predicted, true = columns((150, 100, 150)), columns((175, 220, 25))
    plain = columns((100, 200, 50))
    width = predicted.max() - predicted.min() + 1
    assert len(predicted) * 7 == len(true) * 8  # one pixel in eight is ignored
    assert plain.min() == 0
    assert width <= predicted.min() < predicted.max() < true.min()
    assert true.max() < min(columns(PALETTE[1]).min(), columns(PALETTE[3]).min())  # swatches of both are in the legend
    assert len(columns(PALETTE[2])) == 0


def test_comparison_refuses_maps_of_another_size():
    image, label_map = Image.new("RGB", (4, 2)), np.zeros((2, 4), np.uint8)
    with pytest.raises(ValueError, match="resize the label map"):
        comparison(image, label_map[:, :3], label_map, NAMES, PALETTE)
    with pytest.raises(ValueError, match="resize the label map"):
        comparison(image, label_map, label_map[:1], NAMES, PALETTE)


def test_palette_png_keeps_ids_and_colors(tmp_path):
    path = tmp_path / "masks" / "one.png"
    label_map = np.array([[0, 1, 255], [3, 2, 0]])
    for _ in range(2):  # the second time over the first file
        save_palette_png(label_map, PALETTE, path)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == label_map.tolist()
        assert np.asarray(image.convert("RGB"))[1].tolist() == [[250, 240, 0], [0, 150, 0], [10, 20, 30]]
        assert image.convert("RGB").getpixel((2, 0)) == (0, 0, 0)
    assert [file.name for file in path.parent.iterdir()] == ["one.png"]


def test_palette_png_refuses_unknown_ids_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"ids \[9\]"):
        save_palette_png(np.array([[9]]), PALETTE, tmp_path / "one.png")
    assert list(tmp_path.iterdir()) == []


def test_legend_without_matplotlib(monkeypatch):
    """It brings the typeface where it is installed; segmenting needs no plots."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    image = with_legend(Image.new("RGB", (40, 30)), NAMES, PALETTE, {0: 0.75, 3: 0.25})
    assert {PALETTE[0], PALETTE[3]} <= colors_of(image)
    assert image.width > 120
