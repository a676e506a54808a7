# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Plots: training curves, bars of the IoU of each class, and confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from ..replacing import replacing


_INK, _FAINT_INK, _TRACK = "#22262e", "#787e8a", "#eef0f4"
# What a validation measures -> what plots call it.
_SCORES = {"mean_iou": "mean IoU", "top1": "top-1 accuracy", "box_ap": "box AP"}
_LOSS, _SCORE, _RATE = "#2f6fb5", "#d9583b", "#6b8f3c"


def plot_training(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Plots loss, learning rate and, where it was measured, the validation score against the optimizer step.

    Args:
        history: training rows with the keys `step`, `loss` and `learning_rate`, and optionally validation rows with
            the keys `step` and `mean_iou`, `top1` or `box_ap` (0 to 1), in order of their steps.
        path: where to write; the suffix chooses the format (.png, .pdf, .svg), an existing file is replaced.

    Raises:
        ValueError: if the history has no training row.
    """
    training = [row for row in history if "learning_rate" in row]
    score = next((name for name in _SCORES if any(name in row for row in history)), "mean_iou")
    validation = [row for row in history if score in row]
    if not training:
        raise ValueError("The history has no row with a loss and a learning rate: there is nothing to plot yet.")
    steps, losses, rates = (np.array([row[key] for row in training]) for key in ("step", "loss", "learning_rate"))
    heights = [3, 2, 1.2] if validation else [3, 1.2]
    figure = _figure(1 + 1.1 * sum(heights))
    panels = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])

    panels[0].plot(steps, losses, color=_LOSS, linewidth=1, alpha=0.3)
    panels[0].plot(steps, _moving_average(losses), color=_LOSS, linewidth=2)
    _style(panels[0], "Training loss")
    if validation:
        _plot_scores(
            panels[1], [row["step"] for row in validation], [row[score] for row in validation], _SCORES[score]
        )
    panels[-1].plot(steps, rates, color=_RATE, linewidth=2)
    panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    panels[-1].set_ylim(bottom=0)
    _style(panels[-1], "Learning rate")
    panels[-1].set_xlabel("Optimizer step", color=_FAINT_INK)
    _save(figure, path)


def plot_class_bars(names: Sequence[str], values: Sequence[float], path: str | Path, title: str) -> None:
    """Plots one horizontal bar per class, best first, with its value in percent and the mean over the classes.

    Args:
        names: class names.
        values: IoU of each class, 0 to 1; NaN for a class that does not occur, which is listed last as "absent".
        path: where to write; the suffix chooses the format (.png, .pdf, .svg), an existing file is replaced.
        title: stands above the bars.

    Raises:
        ValueError: if there are no values, or not as many as names.
    """
    scores = np.asarray(values, dtype=float)
    if len(scores) == 0 or len(names) != len(scores):
        raise ValueError(
            f"There are {len(names)} class names and {len(scores)} values, but each class needs one value."
        )
    order = np.argsort(-scores, kind="stable")  # NaN sorts last
    rows = range(len(scores))
    figure = _figure(1.3 + 0.3 * len(scores))
    axes = figure.subplots()
    axes.barh(rows, np.ones(len(scores)), height=0.62, color=_TRACK)
    axes.barh(rows, np.nan_to_num(scores[order]), height=0.62, color=_LOSS)
    for row, score in zip(rows, scores[order], strict=True):
        text, color = ("absent", _FAINT_INK) if np.isnan(score) else (f"{100 * score:.1f}", _INK)
        axes.text(1.015, row, text, va="center_baseline", color=color)
    if not np.isnan(scores).all():
        mean = float(np.nanmean(scores))
        axes.axvline(mean, color=_SCORE, linewidth=1.5, linestyle=(0, (4, 3)))
        axes.text(mean, -0.75, f"mean {100 * mean:.1f}", ha="center", va="bottom", color=_SCORE, weight="bold")
    axes.set_yticks(rows, [names[index] for index in order])
    axes.set_xlim(0, 1.1)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, labelcolor=_INK)
    axes.set_title(title, loc="left", color=_INK, weight="bold", pad=26)
    _save(figure, path)


def plot_confusion_matrix(names: Sequence[str], matrix: np.ndarray, path: str | Path, title: str) -> None:
    """Plots how the pixels of each true class (row) are shared among the predicted classes (columns), in percent.

    Args:
        names: class names.
        matrix: pixels by true and predicted class, integers `(classes, classes)`. A class that does not occur has an
            empty row.
        path: where to write; the suffix chooses the format (.png, .pdf, .svg), an existing file is replaced.
        title: stands above the matrix.

    Raises:
        ValueError: if the matrix does not fit the names.
    """
    count = len(names)
    if count == 0 or matrix.shape != (count, count):
        raise ValueError(f"There are {count} class names, but the confusion matrix has the shape {matrix.shape}.")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = _figure(height=2.2 + max(0.34, 4 / count) * min(count, 24) + 0.11 * max(count - 24, 0))
    figure.set_figwidth(figure.get_figheight() + 0.6)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    text_size = 8 if count <= 24 else 6
    axes.set_xticks(range(count), names, rotation=90, size=text_size)
    axes.set_yticks(range(count), names, size=text_size)
    if count <= 24:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                color = "white" if share > 0.5 else _INK
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, size=text_size)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.set_xlabel("predicted", color=_FAINT_INK)
    axes.set_ylabel("true", color=_FAINT_INK)
    axes.set_title(title, loc="left", color=_INK, weight="bold")
    _save(figure, path)


def plot_reliability(bins: Sequence[Mapping[str, float | None]], path: str | Path, title: str) -> None:
    """Plots how often a model is right against how sure it is, and how many pixels that are.

    Args:
        bins: of confidence, from 0 to 1 in equal steps: how many `pixels`, and their `accuracy`, `None` of no pixels.
        path: where to write; the suffix chooses the format (.png, .pdf, .svg), an existing file is replaced.
        title: stands above the plot.
    """
    edges = np.linspace(0, 1, len(bins) + 1)
    accuracies = np.array([np.nan if row["accuracy"] is None else row["accuracy"] for row in bins])
    shares = np.array([row["pixels"] for row in bins], dtype=float)
    shares /= shares.sum()
    figure = _figure(height=7.5)
    panels = list(figure.subplots(2, 1, sharex=True, height_ratios=[3, 1]))
    for panel, heights, color in zip(panels, (accuracies, shares), (_LOSS, _RATE), strict=True):
        panel.bar(edges[:-1], heights, np.diff(edges), align="edge", color=color, edgecolor="white")
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    panels[0].plot([0, 1], [0, 1], color=_SCORE, linewidth=1.5, linestyle=(0, (4, 3)))
    panels[0].set_ylim(0, 1)
    panels[0].set_ylabel("right (%)", color=_FAINT_INK)
    panels[1].set_ylabel("pixels (%)", color=_FAINT_INK)
    panels[1].set_xlabel("confidence", color=_FAINT_INK)
    _style(panels[0], title)
    _style(panels[1], "")
    _save(figure, path)


def _plot_scores(axes: Axes, steps: Sequence[float], scores: Sequence[float], name: str) -> None:
    """A validation score, with its best value written out."""
    axes.plot(steps, scores, color=_SCORE, linewidth=2, marker="o", markersize=4)
    best = int(np.argmax(scores))
    axes.annotate(
        f"best {100 * scores[best]:.1f}",
        (steps[best], scores[best]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="right",
        color=_SCORE,
        weight="bold",
    )
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    _style(axes, f"Validation {name} (%)")


def _moving_average(values: np.ndarray) -> np.ndarray:
    """Centred mean over about a twentieth of the values; at the ends over those that there are."""
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _figure(height: float) -> Figure:
    """An empty figure of the given height in inches, with a margin around it."""
    return Figure(figsize=(8, height), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.18, h_pad=0.14))


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=_INK, fontsize=11, weight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT_INK)
    axes.grid(axis="y", color=_TRACK, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT_INK, length=0)
    axes.margins(x=0.02)


def _save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=Path(path).suffix.removeprefix("."), facecolor="white")
