# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: coloured label maps, overlays with a legend, training curves and bars of per-class IoU.

A label map is an integer array (height, width) of train ids; 255 marks ignored pixels. A palette is a sequence of RGB
colours (0 to 255), one per train id.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw, ImageFont

from ..replacing import replacing


Palette = Sequence[Sequence[int]]

_IGNORE_INDEX = 255
_LEGIBLE_HEIGHT = 320  # pixels; a smaller picture cannot carry a title and a legend
_PAPER = (255, 255, 255)
_INK = (34, 38, 46)
_FAINT_INK = (120, 126, 138)

_PLOT_INK, _PLOT_FAINT_INK, _PLOT_TRACK = "#22262e", "#787e8a", "#eef0f4"
# What a validation measures -> what plots call it.
_SCORES = {"mean_iou": "mean IoU", "top1": "top-1 accuracy", "box_ap": "box AP"}
_PLOT_LOSS, _PLOT_SCORE, _PLOT_RATE = "#2f6fb5", "#d9583b", "#6b8f3c"


def default_palette(num_labels: int) -> list[list[int]]:
    """The PASCAL VOC colours: the bits of an id are dealt in turn to red, green and blue, highest bit first.

    Args:
        num_labels: number of colours, 1 to 256; they all differ.

    Raises:
        ValueError: if `num_labels` is out of range.
    """
    if not 1 <= num_labels <= 256:
        raise ValueError(f"num_labels is {num_labels}, but the palette has 1 to 256 colours.")

    def channel(label: int, offset: int) -> int:
        return sum((label >> (3 * bit + offset) & 1) << (7 - bit) for bit in range(3))

    return [[channel(label, offset) for offset in range(3)] for label in range(num_labels)]


def colorize(label_map: np.ndarray, palette: Palette) -> np.ndarray:
    """Colours a label map.

    Args:
        label_map: train ids (height, width); 255 is ignored, and black.
        palette: RGB colour of each train id.

    Returns:
        RGB picture (height, width, 3), uint8.

    Raises:
        ValueError: if the label map is not an integer array (height, width), or the palette lacks one of its ids.
    """
    label_map = _checked(label_map, len(palette))
    return _lookup_table(palette)[label_map]


def overlay(image: Image.Image, label_map: np.ndarray, palette: Palette, opacity: float = 0.5) -> Image.Image:
    """Lays the colours of a label map over the picture it describes; ignored pixels show the picture alone.

    Args:
        image: any mode Pillow converts to RGB.
        label_map: train ids (height, width) of the same size as the image.
        palette: RGB colour of each train id.
        opacity: 0 shows the picture, 1 the colours.

    Raises:
        ValueError: if sizes differ, the opacity is not in [0, 1], or the palette lacks an id.
    """
    label_map = np.asarray(label_map)
    if label_map.shape != (image.height, image.width):
        raise ValueError(
            f"The label map has shape {label_map.shape}, but the image is {image.height} high and {image.width} wide: "
            "resize the label map to the image (nearest) first."
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, but must be between 0 and 1.")
    image = image.convert("RGB")
    mixed = Image.blend(image, Image.fromarray(colorize(label_map, palette)), opacity)
    return Image.composite(image, mixed, Image.fromarray(label_map == _IGNORE_INDEX))


def area_shares(label_map: np.ndarray) -> dict[int, float]:
    """Share of each id that occurs in a label map among its pixels that are not ignored, in [0, 1]; largest first."""
    label_map = np.asarray(label_map)
    ids, counts = np.unique(label_map[label_map != _IGNORE_INDEX], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(ids[index]): float(counts[index] / counts.sum()) for index in order}


def with_legend(
    image: Image.Image, names: Sequence[str], palette: Palette, present_ids: Mapping[int, float]
) -> Image.Image:
    """Adds a legend to the right of a picture: swatch, name and area of each class that is present.

    Args:
        image: the picture; it is kept as it is, in the upper left corner.
        names: name of each train id.
        palette: RGB colour of each train id.
        present_ids: the ids to list, in this order, each with its share of the area in [0, 1]; see `area_shares`.
    """
    return _attach_legend(image, names, palette, {"area": present_ids})


def comparison(
    image: Image.Image, prediction: np.ndarray, truth: np.ndarray, names: Sequence[str], palette: Palette
) -> Image.Image:
    """A picture, the prediction over it and the truth over it, side by side, with one legend.

    The legend lists every class of either label map with its share of the area in both, largest in the truth first.
    Pictures that are too small to carry a title are enlarged by a whole factor.

    Args:
        image: the picture.
        prediction: predicted train ids (height, width).
        truth: true train ids (height, width), 255 ignored.
        names: name of each train id.
        palette: RGB colour of each train id.

    Raises:
        ValueError: if sizes differ or the palette lacks an id.
    """
    predicted, true = area_shares(prediction), area_shares(truth)
    factor = -(-_LEGIBLE_HEIGHT // image.height)
    panels = {"image": image.convert("RGB")}
    panels |= {"prediction": overlay(image, prediction, palette), "truth": overlay(image, truth, palette)}
    width, height = image.width * factor, image.height * factor
    font = _font(height)
    gap = int(font.size)
    sheet = Image.new("RGB", (3 * width + 2 * gap, height + 2 * gap), _PAPER)
    brush = ImageDraw.Draw(sheet)
    for index, (title, panel) in enumerate(panels.items()):
        left = index * (width + gap)
        brush.text((left + width // 2, gap), title, fill=_INK, font=font, anchor="mm")
        sheet.paste(panel.resize((width, height), Image.Resampling.NEAREST), (left, 2 * gap))
    ids = list(true) + [label for label in predicted if label not in true]
    columns = {
        "prediction": {label: predicted.get(label, 0.0) for label in ids},
        "truth": {label: true.get(label, 0.0) for label in ids},
    }
    return _attach_legend(sheet, names, palette, columns)


def save_palette_png(label_map: np.ndarray, palette: Palette, path: str | Path) -> None:
    """Saves a label map as a PNG whose pixel values are the train ids and whose palette shows their colours.

    Args:
        label_map: train ids (height, width); 255 is ignored, and black.
        palette: RGB colour of each train id.
        path: where to write; an existing file is replaced.

    Raises:
        ValueError: if the label map is not an integer array (height, width), or the palette lacks one of its ids.
    """
    image = Image.fromarray(_checked(label_map, len(palette)).astype(np.uint8))
    image.putpalette(_lookup_table(palette).tobytes())
    with replacing(path) as unfinished:
        image.save(unfinished, format="PNG")


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

    panels[0].plot(steps, losses, color=_PLOT_LOSS, linewidth=1, alpha=0.3)
    panels[0].plot(steps, _moving_average(losses), color=_PLOT_LOSS, linewidth=2)
    _style(panels[0], "Training loss")
    if validation:
        _plot_scores(
            panels[1], [row["step"] for row in validation], [row[score] for row in validation], _SCORES[score]
        )
    panels[-1].plot(steps, rates, color=_PLOT_RATE, linewidth=2)
    panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    panels[-1].set_ylim(bottom=0)
    _style(panels[-1], "Learning rate")
    panels[-1].set_xlabel("Optimizer step", color=_PLOT_FAINT_INK)
    _save_figure(figure, path)


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
    axes.barh(rows, np.ones(len(scores)), height=0.62, color=_PLOT_TRACK)
    axes.barh(rows, np.nan_to_num(scores[order]), height=0.62, color=_PLOT_LOSS)
    for row, score in zip(rows, scores[order], strict=True):
        text, color = ("absent", _PLOT_FAINT_INK) if np.isnan(score) else (f"{100 * score:.1f}", _PLOT_INK)
        axes.text(1.015, row, text, va="center_baseline", color=color)
    if not np.isnan(scores).all():
        mean = float(np.nanmean(scores))
        axes.axvline(mean, color=_PLOT_SCORE, linewidth=1.5, linestyle=(0, (4, 3)))
        axes.text(mean, -0.75, f"mean {100 * mean:.1f}", ha="center", va="bottom", color=_PLOT_SCORE, weight="bold")
    axes.set_yticks(rows, [names[index] for index in order])
    axes.set_xlim(0, 1.1)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, labelcolor=_PLOT_INK)
    axes.set_title(title, loc="left", color=_PLOT_INK, weight="bold", pad=26)
    _save_figure(figure, path)


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
                color = "white" if share > 0.5 else _PLOT_INK
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, size=text_size)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_PLOT_INK)
    axes.set_xlabel("predicted", color=_PLOT_FAINT_INK)
    axes.set_ylabel("true", color=_PLOT_FAINT_INK)
    axes.set_title(title, loc="left", color=_PLOT_INK, weight="bold")
    _save_figure(figure, path)


def _plot_scores(axes: Axes, steps: Sequence[float], scores: Sequence[float], name: str) -> None:
    """A validation score, with its best value written out."""
    axes.plot(steps, scores, color=_PLOT_SCORE, linewidth=2, marker="o", markersize=4)
    best = int(np.argmax(scores))
    axes.annotate(
        f"best {100 * scores[best]:.1f}",
        (steps[best], scores[best]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="right",
        color=_PLOT_SCORE,
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
    axes.set_title(title, loc="left", color=_PLOT_INK, fontsize=11, weight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_PLOT_FAINT_INK)
    axes.grid(axis="y", color=_PLOT_TRACK, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_PLOT_FAINT_INK, length=0)
    axes.margins(x=0.02)


def _save_figure(figure: Figure, path: str | Path) -> None:
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=Path(path).suffix.removeprefix("."), facecolor="white")


def _checked(label_map: np.ndarray, num_colors: int) -> np.ndarray:
    """The label map as an array, once it is known that every id has a colour."""
    label_map = np.asarray(label_map)
    if label_map.ndim != 2 or not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(
            f"A label map is an integer array (height, width), but this one has shape {label_map.shape} and type "
            f"{label_map.dtype}."
        )
    ids = np.unique(label_map)
    unknown = ids[((ids < 0) | (ids >= num_colors)) & (ids != _IGNORE_INDEX)].tolist()
    if unknown:
        raise ValueError(
            f"The label map has ids {unknown}, but the palette has colours for 0 to {num_colors - 1} only."
        )
    return label_map


def _lookup_table(palette: Palette) -> np.ndarray:
    """Colours of all 256 ids (256, 3), uint8: black where the palette has none, and for ignored pixels."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[_IGNORE_INDEX] = 0
    return table


def _font(height: int) -> ImageFont.FreeTypeFont:
    """The typeface of the plots in a size that suits a picture of this height."""
    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), min(max(height // 28, 12), 40))


def _attach_legend(
    image: Image.Image, names: Sequence[str], palette: Palette, columns: Mapping[str, Mapping[int, float]]
) -> Image.Image:
    """Adds a legend with one row per id and one column of area shares per title to the right of a picture."""
    font = _font(image.height)
    em = font.size
    row_height = 1.6 * em
    ids = list(next(iter(columns.values())))
    name_width = max((font.getlength(names[label]) for label in ids), default=0)
    column_widths = [max(font.getlength(title), font.getlength("100.0%")) + 1.2 * em for title in columns]
    name_left = image.width + 2.6 * em
    width = int(name_left + name_width + sum(column_widths) + em)
    height = max(image.height, int(row_height * (len(ids) + 1) + em))
    sheet = Image.new("RGB", (width, height), _PAPER)
    sheet.paste(image, (0, 0))
    brush = ImageDraw.Draw(sheet)
    baseline = 0.5 * em + 0.5 * row_height
    for row, label in enumerate(ids, start=1):
        y = baseline + row * row_height
        swatch = (image.width + em, y - 0.5 * em, image.width + 2 * em, y + 0.5 * em)
        brush.rectangle(swatch, fill=tuple(palette[label]))
        brush.text((name_left, y), names[label], fill=_INK, font=font, anchor="lm")
    right = name_left + name_width
    for (title, shares), column_width in zip(columns.items(), column_widths, strict=True):
        right += column_width
        brush.text((right, baseline), title, fill=_FAINT_INK, font=font, anchor="rm")
        for row, label in enumerate(ids, start=1):
            text = f"{100 * shares[label]:.1f}%"
            brush.text((right, baseline + row * row_height), text, fill=_INK, font=font, anchor="rm")
    return sheet
