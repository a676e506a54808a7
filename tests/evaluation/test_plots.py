# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Plots carry the values that they show."""

import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from vitseg.evaluation.plots import plot_class_bars, plot_confusion_matrix, plot_training


NAMES = ["sky", "road", "tree", "car"]


def text_of_svg(plot, *arguments) -> list[str]:
    """The texts of a plot in the order in which they are drawn."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot(*arguments)
    path = next(argument for argument in arguments if hasattr(argument, "read_text"))
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text())


def test_class_bars_are_sorted_and_carry_their_values(tmp_path):
    values = [0.5, float("nan"), 0.912, 0.25]
    texts = text_of_svg(plot_class_bars, NAMES, values, tmp_path / "bars.svg", "IoU per class")
    assert [text for text in texts if text in NAMES] == ["tree", "sky", "car", "road"]
    assert [text for text in texts if text in ("91.2", "50.0", "25.0", "absent")] == ["91.2", "50.0", "25.0", "absent"]
    assert "mean 55.4" in texts  # (0.5 + 0.912 + 0.25) / 3
    assert "IoU per class" in texts


def test_class_bars_of_absent_classes_only(tmp_path):
    texts = text_of_svg(plot_class_bars, NAMES[:1], [float("nan")], tmp_path / "bars.svg", "IoU")
    assert "absent" in texts
    assert not any("mean" in text for text in texts)


def test_class_bars_need_one_value_per_class(tmp_path):
    with pytest.raises(ValueError, match="4 class names and 2 values"):
        plot_class_bars(NAMES, [0.5, 0.5], tmp_path / "bars.png", "IoU")
    with pytest.raises(ValueError, match="0 class names and 0 values"):
        plot_class_bars([], [], tmp_path / "bars.png", "IoU")


def test_training_plot_shows_validation_where_there_is_some(tmp_path):
    training = [{"step": step, "loss": 2 / (1 + step), "learning_rate": 1e-3} for step in range(30)]
    texts = text_of_svg(plot_training, training, tmp_path / "plain.svg")
    assert {"Training loss", "Learning rate", "Optimizer step"} <= set(texts)
    assert not any("mean IoU" in text for text in texts)
    validation = [{"step": 10, "mean_iou": 0.4567}, {"step": 20, "mean_iou": 0.81}, {"step": 29, "mean_iou": 0.79}]
    texts = text_of_svg(plot_training, training + validation, tmp_path / "validated.svg")
    assert "Validation mean IoU (%)" in texts
    assert "best 81.0" in texts


def test_training_plot_needs_training_rows(tmp_path):
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_training([{"step": 1, "mean_iou": 0.5}], tmp_path / "plot.png")


def test_confusion_matrix_shows_shares_of_each_true_class(tmp_path):
    matrix = np.array([[750, 250, 0, 0], [0, 0, 0, 0], [1, 0, 999, 0], [0, 30, 0, 70]])
    texts = text_of_svg(plot_confusion_matrix, NAMES, matrix, tmp_path / "confusion.svg", "Confusion")
    assert texts == [*NAMES, "predicted", *NAMES, "true", "75", "25", "100", "30", "70", "Confusion"]


def test_confusion_matrix_of_many_classes_names_them_all(tmp_path):
    names = [f"class {index}" for index in range(40)]
    texts = text_of_svg(plot_confusion_matrix, names, np.eye(40, dtype=int), tmp_path / "confusion.svg", "Confusion")
    assert texts == [*names, "predicted", *names, "true", "Confusion"]


def test_confusion_matrix_must_fit_the_names(tmp_path):
    with pytest.raises(ValueError, match=r"4 class names.*\(3, 3\)"):
        plot_confusion_matrix(NAMES, np.eye(3, dtype=int), tmp_path / "confusion.png", "Confusion")
    assert not list(tmp_path.iterdir())


def test_plots_are_png_files_and_leave_nothing_else(tmp_path):
    plot_training([{"step": 1, "loss": 1.0, "learning_rate": 0.1}], tmp_path / "training.png")
    plot_class_bars(NAMES, [0.1, 0.2, 0.3, 0.4], tmp_path / "bars.png", "IoU")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.png", "training.png"]
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.asarray(image.convert("L")).std() > 5
