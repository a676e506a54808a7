# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Draws the figures of the documentation, one for each method and one of the architecture:

    python docs/figures/draw.py [FOLDER]
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib


matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle


ENCODER, DECODER, LEARNED, DATA, ANSWER = "#d6e4f5", "#e6dcf3", "#fde7c3", "#f1f1f1", "#d8efd9"
INK, SHADED = "#333333", "#9db8d9"


class Figure:
    """A drawing in units of a tenth of an inch, with the origin at the bottom left."""

    def __init__(self, width: float, height: float):
        self.figure, self.axes = plt.subplots(figsize=(width / 10, height / 10))
        self.axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        self.axes.axis("off")
        self.figure.subplots_adjust(left=0, right=1, bottom=0, top=1)

    def box(self, x: float, y: float, width: float, height: float, text: str, color: str, size: float = 9) -> None:
        """A rounded box with its lower left corner at x, y."""
        shape = FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.8", facecolor=color, edgecolor=INK, lw=0.9
        )
        self.axes.add_patch(shape)
        self.text(x + width / 2, y + height / 2, text, size)

    def text(self, x: float, y: float, text: str, size: float = 9, ha: str = "center", **style: Any) -> None:
        self.axes.text(x, y, text, ha=ha, va="center", fontsize=size, color=INK, linespacing=1.25, **style)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through the points, with a head at the last one."""
        line = "dashed" if dashed else "solid"
        xs, ys = zip(*points[:-1], strict=True)
        if len(points) > 2:
            self.axes.plot(xs, ys, color=INK, lw=1, linestyle=line, solid_joinstyle="round")
        style = {"arrowstyle": "-|>", "color": INK, "lw": 1, "shrinkA": 0, "shrinkB": 0, "linestyle": line}
        self.axes.annotate("", points[-1], points[-2], arrowprops={**style, "mutation_scale": 10})

    def grid(
        self, x: float, y: float, cell: float, rows: int, columns: int, shade: Callable[[int, int], str | None]
    ) -> None:
        """Cells with their lower left corner at x, y; `shade` gives the colour of (row from the top, column)."""
        for row in range(rows):
            for column in range(columns):
                corner = (x + column * cell, y + (rows - 1 - row) * cell)
                color = shade(row, column) or "white"
                self.axes.add_patch(Rectangle(corner, cell, cell, facecolor=color, edgecolor=INK, lw=0.6))

    def save(self, file: Path) -> None:
        # Neither dates nor random names: the same drawing is the same file.
        matplotlib.rcParams.update({"svg.hashsalt": "vitseg", "svg.fonttype": "path"})
        self.figure.savefig(file, metadata={"Date": None})
        plt.close(self.figure)


SKY, TREE, ROAD, WALL = "#bcd7ee", "#8fb98f", "#a9a9a9", "#c9a27e"
# 4 x 4 patches, from the top.
SCENE = ((SKY,) * 4, (SKY, TREE, TREE, SKY), (TREE, TREE, TREE, WALL), (ROAD,) * 4)
# Of its four squares of 2 x 2, the two on the left show a single class.
SCENE_IN_SQUARES = ((SKY,) * 4, (SKY, SKY, TREE, SKY), (ROAD, ROAD, TREE, WALL), (ROAD,) * 4)


def image(
    figure: Figure,
    x: float,
    y: float,
    cell: float = 2.2,
    caption: str = "image\nin patches",
    scene: tuple[tuple[str, ...], ...] = SCENE,
) -> None:
    """A picture that is cut into 4 x 4 patches."""
    figure.grid(x, y, cell, 4, 4, lambda row, column: scene[row][column])
    figure.text(x + 2 * cell, y - 0.5 - 1.1 * (1 + caption.count("\n")), caption, 8)


def setr() -> Figure:
    figure = Figure(92, 46)
    image(figure, 1, 18)
    figure.arrow((10.2, 22.4), (13, 22.4))
    for index, (number, height) in enumerate((("1 - 6", 8), ("7 - 12", 8), ("13 - 18", 8), ("19 - 24", 8))):
        figure.box(13.5, 4 + 9.6 * index, 13, height, f"blocks {number}", ENCODER)
        if index:
            figure.arrow((20, 4 + 9.6 * index - 1.6), (20, 4 + 9.6 * index))
    figure.text(20, 44, "ViT-L: every patch attends to every patch", 8.5)
    # Naive and PUP read the last block.
    figure.arrow((26.5, 38.5), (33, 38.5))
    figure.box(33.5, 35.5, 14, 6, "1 x 1 conv,\nclassifier", DECODER)
    figure.box(52, 35.5, 10, 6, "enlarge\nx 16", DATA)
    figure.arrow((47.5, 38.5), (51.5, 38.5))
    figure.arrow((62, 38.5), (76, 38.5))
    figure.text(69, 40.3, "Naive", 9.5, weight="bold")
    figure.arrow((29.8, 38.5), (29.8, 27), (33, 27))
    for index in range(4):
        x = 33.5 + 8.2 * index
        figure.box(x, 24, 6.4, 6, "3 x 3\nx 2", DECODER, 8)
        if index:
            figure.arrow((x - 1.8, 27), (x - 0.2, 27))
    figure.arrow((64.5, 27), (76, 27))
    figure.text(70, 28.8, "PUP", 9.5, weight="bold")
    figure.text(70, 25.4, "classifier", 8)
    # MLA reads all four.
    for index in range(4):
        y = 3 + 4.6 * index
        figure.box(33.5, y, 12, 3.4, "1 x 1 and 3 x 3", DECODER, 8)
        if index < 3:
            bend = 27 + 0.8 * index
            figure.arrow((26.5, 8 + 9.6 * index), (bend, 8 + 9.6 * index), (bend, y + 1.7), (33, y + 1.7))
        else:
            figure.arrow((29.8, 27), (29.8, y + 1.7), (33, y + 1.7))
            continue
        figure.arrow((39.5, y + 4.6), (39.5, y + 3.4))
    for index in range(4):
        figure.arrow((45.5, 4.7 + 4.6 * index), (50, 4.7 + 4.6 * index))
    figure.box(50.5, 3, 11, 17.2, "two 3 x 3,\nx 4;\nside by side,\nclassifier", DECODER, 8.5)
    figure.arrow((61.5, 11.6), (76, 11.6))
    figure.text(68.5, 13.4, "MLA", 9.5, weight="bold")
    figure.text(48, 1, "deeper levels are added to shallower ones", 8)
    figure.box(76.5, 8, 14, 34, "scores of\nthe classes\nat the size\nof the image", ANSWER)
    return figure


def segvit() -> Figure:
    figure = Figure(94, 40)
    image(figure, 1, 17)
    figure.arrow((10.2, 21.4), (12.6, 21.4))
    figure.box(13, 15.5, 14, 12, "plain ViT", ENCODER, 10)
    figure.arrow((27, 21.4), (30.6, 21.4))
    figure.grid(31, 17, 2.2, 4, 4, lambda row, column: ENCODER)
    figure.text(35.4, 14.6, "tokens", 8.5)
    figure.box(29.4, 32, 12, 4.6, "one query\nfor each class", LEARNED, 8.5)
    figure.arrow((39.8, 21.4), (45.6, 21.4))
    figure.arrow((41.4, 34.3), (54, 34.3), (54, 28.6))
    figure.text(42.7, 22.9, "K, V", 8)
    figure.text(52.6, 31, "Q", 8)
    figure.box(46, 14.5, 16, 14, "cross attention\n\nQ Kᵀ / √d", DECODER, 9.5)
    figure.arrow((62, 25.5), (67.6, 25.5))
    figure.arrow((62, 17.5), (67.6, 17.5))
    figure.box(68, 22.6, 12.4, 5.8, "softmax, V:\nnew queries", DECODER, 8.5)
    figure.box(68, 14.6, 12.4, 5.8, "sigmoid:\nthe masks", ANSWER, 8.5)
    figure.arrow((74.2, 28.4), (74.2, 32))
    figure.box(68, 32.2, 12.4, 5, "classifier: is the\nclass here?", DECODER, 8)
    figure.box(84, 20.6, 9, 9.4, "Σ of class\nx mask", ANSWER, 8)
    figure.arrow((80.4, 34.7), (88.5, 34.7), (88.5, 30))
    figure.arrow((80.4, 17.5), (88.5, 17.5), (88.5, 20.6))
    # Shrunk.
    figure.text(2, 9, "Shrunk:", 9.5, "left", weight="bold")
    figure.box(13, 5, 13, 7, "blocks 1 - 8,\nall tokens", ENCODER, 8.5)
    figure.arrow((26, 8.5), (29.6, 8.5))
    figure.grid(30, 5.2, 1.7, 4, 4, lambda row, column: SHADED if row % 2 == column % 2 == 0 else None)
    figure.text(33.4, 2.6, "a quarter goes on", 8)
    figure.arrow((36.8, 8.5), (40.6, 8.5))
    figure.box(41, 5, 13, 7, "blocks 9 - 24,\na quarter", ENCODER, 8.5)
    figure.arrow((54, 8.5), (59.6, 8.5))
    figure.arrow((19.5, 5), (19.5, 0.8), (66, 0.8), (66, 4.8))
    figure.box(60, 5, 13, 7, "one query for\neach patch", LEARNED, 8.5)
    figure.arrow((73, 8.5), (78, 8.5))
    figure.text(85.5, 8.5, "all tokens again,\nthen as above", 8.5)
    return figure


def structtoken() -> Figure:
    figure = Figure(92, 37)
    image(figure, 1, 8)
    figure.arrow((10.2, 12.4), (12.6, 12.4))
    figure.box(13, 7, 13, 11, "plain ViT", ENCODER, 10)
    figure.arrow((26, 12.4), (30.4, 12.4))
    figure.box(31, 7.8, 12, 9.2, "feature maps\n(channels)", ENCODER, 8.5)
    figure.box(31, 25, 12, 9.2, "structure tokens:\na map for\neach class", LEARNED, 8)
    figure.box(50, 5, 19, 30, "", "white")
    figure.text(59.5, 32.8, "decoder layer, x 4", 9)
    figure.box(52, 20.6, 15, 9.6, "extraction:\nCSE, SSE or PWE", DECODER, 8.5)
    figure.box(52, 12.6, 15, 5, "convolutions", DECODER, 8.5)
    figure.arrow((59.5, 20.6), (59.5, 17.8))
    figure.arrow((43, 29.6), (47, 29.6), (47, 27.6), (51.8, 27.6))
    figure.arrow((43, 12.4), (47, 12.4), (47, 23), (51.8, 23))
    figure.text(59.5, 8.7, "maps of classes take from\nmaps of features", 8)
    figure.arrow((67, 15.1), (73, 15.1))
    figure.box(73.4, 11, 8.4, 8.2, "two\nconvs", DECODER, 8.5)
    figure.arrow((81.8, 15.1), (84.4, 15.1))
    figure.box(84.6, 8.4, 6.8, 13.4, "scores", ANSWER, 8.5)
    rows = (
        ("CSE", "tokens attend to channels"),
        ("SSE", "tokens and channels\nattend to each other"),
        ("PWE", "one learned 1 x 1 convolution"),
    )
    figure.text(71.6, 35.2, "each map is one item:", 7.5, "left")
    for index, (name, text) in enumerate(rows):
        y = (32.6, 29.0, 25.4)[index]
        figure.text(71.6, y, name, 8.5, "left", weight="bold")
        figure.text(75.6, y, text, 7.5, "left")
    figure.text(19, 2, "no classifier of pixels: a class is a map that changes", 8.5)
    return figure


def sctnet() -> Figure:
    figure = Figure(94, 40)
    figure.text(1, 37, "at inference", 9.5, "left", weight="bold")
    image(figure, 1, 21, caption="image")
    figure.arrow((10, 25.4), (12.6, 25.4))
    x, tops = 13.0, {}
    for text, width, height, color in (
        ("convs\n1/4", 9, 14, ENCODER),
        ("convs\n1/8", 9, 11.4, ENCODER),
        ("CFBlocks\n1/16", 10, 8.8, ENCODER),
        ("CFBlocks\n1/32", 10, 7, ENCODER),
        ("pyramid\npooling", 9, 7, DECODER),
    ):
        figure.box(x, 25.4 - height / 2, width, height, text, color, 8.5)
        tops[text] = (x + width / 2, 25.4 + height / 2)
        figure.arrow((x + width, 25.4), (x + width + 2.8, 25.4))
        x += width + 3
    figure.box(x, 20.9, 9, 9, "side by\nside, 1/8", DATA, 8.5)
    second = tops["convs\n1/8"]
    figure.arrow(second, (second[0], 34), (x + 4.5, 34), (x + 4.5, 29.9))
    figure.arrow((x + 9, 25.4), (x + 11.8, 25.4))
    figure.box(x + 12, 20.9, 6.6, 9, "head:\n2 convs", DECODER, 8)
    figure.text(x + 15.3, 18.6, "scores", 8.5)
    figure.axes.plot([1, 93], [15.6, 15.6], color=INK, lw=0.6, linestyle="dotted")
    figure.text(7, 13.2, "only in training", 9.5, "left", weight="bold")
    figure.box(13, 2.6, 31, 7.2, "teacher: SegFormer, frozen, sees the same image", LEARNED, 8.5)
    figure.arrow((5.4, 16.8), (5.4, 6.2), (12.8, 6.2), dashed=True)
    figure.box(
        52, 2.6, 24, 7.2, "alignment: features of stages 3 and 4,\nand scores by the teacher's classifier", DATA, 8
    )
    figure.arrow((44, 6.2), (51.8, 6.2), dashed=True)
    figure.arrow((42, 21), (42, 12.4), (58, 12.4), (58, 9.9), dashed=True)
    figure.arrow((55, 21.8), (55, 14), (64, 14), (64, 9.9), dashed=True)
    figure.arrow((x + 4.5, 20.8), (x + 4.5, 12.4), (72, 12.4), (72, 9.9), dashed=True)
    return figure


def cts_segmenter() -> Figure:
    figure = Figure(96, 38)
    image(figure, 1, 14, 2.6, "image in patches", SCENE_IN_SQUARES)
    figure.arrow((11.8, 19.2), (14.6, 19.2))
    figure.grid(15, 14, 2.6, 4, 4, lambda row, column: None)
    figure.text(20.2, 11.6, "some squares of 2 x 2\nshare a token", 8)
    for y in (14, 19.2):
        figure.axes.add_patch(Rectangle((15, y), 5.2, 5.2, facecolor=SHADED, edgecolor=INK, lw=1.4))
    figure.box(1, 29, 24.4, 5.6, "policy network: does a square\nshow a single class?", LEARNED, 8.5)
    figure.arrow((6.2, 24.6), (6.2, 28.8))
    figure.arrow((20.2, 28.8), (20.2, 24.6))
    figure.arrow((25.4, 19.2), (28.4, 19.2))
    for index in range(10):
        shared = index in (0, 5)
        figure.axes.add_patch(
            Rectangle(
                (28.8, 10.6 + 1.75 * index), 2.4, 1.45, facecolor=SHADED if shared else "white", edgecolor=INK, lw=0.8
            )
        )
    figure.text(30, 8.6, "10 tokens\nfor 16", 8)
    figure.arrow((31.6, 19.2), (34.4, 19.2))
    figure.box(34.8, 12.6, 13, 13.2, "plain ViT", ENCODER, 10)
    figure.arrow((47.8, 19.2), (51.2, 19.2))
    figure.box(51.6, 29, 13, 5.6, "one embedding\nfor each class", LEARNED, 8.5)
    figure.arrow((58.1, 28.8), (58.1, 26))
    figure.box(51.6, 12.6, 13, 13.2, "mask\ntransformer:\ntokens and classes\nattend", DECODER, 8)
    figure.arrow((64.6, 22.6), (68.4, 22.6))
    figure.arrow((64.6, 15.8), (68.4, 15.8))
    figure.box(68.8, 12.6, 11.6, 13.2, "tokens\nx classes:\nscores", DECODER, 8.5)
    figure.arrow((80.4, 19.2), (83.4, 19.2))
    image(figure, 84, 14, 2.6, "a shared token\nanswers for all\nits patches", SCENE_IN_SQUARES)
    figure.text(66, 5, "linear decoder: a classifier of tokens in place of the mask transformer", 8.5)
    return figure


def hlg() -> Figure:
    figure = Figure(98, 44)
    image(figure, 1, 27, caption="image")
    figure.arrow((10, 31.4), (12.4, 31.4))
    x, middles = 12.8, []
    stages = (("stem\n1/2", 6.5, 14), ("stage 1\n1/4", 9, 12), ("stage 2\n1/8", 9, 10), ("stage 3\n1/16", 9, 8))
    for text, width, height in (*stages, ("stage 4\n1/32", 9, 6.4)):
        figure.box(x, 31.4 - height / 2, width, height, text, ENCODER, 8.5)
        middles.append((x + width / 2, height / 2))
        if text != "stage 4\n1/32":
            figure.arrow((x + width, 31.4), (x + width + 2.2, 31.4))
        x += width + 2.6
    figure.arrow((x - 2.6, 31.4), (72.8, 31.4))
    figure.box(73.2, 29, 24, 4.8, "mean, classifier: classes of the image", ANSWER, 7.5)
    # What the other tasks read.
    for column, half in middles[1:]:
        figure.axes.plot([column, column], [31.4 + half, 38.8], color=INK, lw=1)
    figure.arrow((middles[1][0], 38.8), (72.8, 38.8))
    figure.box(73.2, 36.4, 24, 4.8, "two more layers: classes of pixels", ANSWER, 7.5)
    for column, half in middles[2:]:
        figure.axes.plot([column, column], [31.4 - half, 24], color=INK, lw=1)
    figure.arrow((middles[2][0], 24), (72.8, 24))
    figure.box(73.2, 21.6, 24, 4.8, "pyramid, RetinaNet: classes and boxes", ANSWER, 7.5)
    # A block of the first three stages.
    figure.text(1, 16.6, "a block of stages 1 to 3", 9.5, "left", weight="bold")
    figure.box(1, 5.4, 13, 6.4, "convolutions", ENCODER, 8.5)
    figure.arrow((14, 8.6), (17.6, 8.6))
    figure.grid(18, 4.2, 2.2, 4, 4, lambda row, column: SHADED if row < 2 and column < 2 else None)
    figure.text(22.4, 2.4, "in windows ...", 8)
    figure.text(29, 8.6, "or", 8.5)
    figure.grid(31.2, 4.2, 2.2, 4, 4, lambda row, column: SHADED if row % 2 == column % 2 == 0 else None)
    figure.text(35.6, 2.4, "... in the next block dilated", 8)
    figure.arrow((40.6, 8.6), (46.4, 8.6))
    figure.grid(46.8, 4.2, 4.4, 2, 2, lambda row, column: LEARNED)
    figure.text(51.2, 2.4, "a mean of each window", 8)
    figure.arrow((56, 8.6), (61.4, 8.6))
    figure.box(61.8, 5.4, 22, 6.4, "every position attends\nto all means", ENCODER, 8.5)
    figure.text(35, 14.6, "local", 8.5)
    figure.text(72.8, 14.6, "global", 8.5)
    return figure


def architecture() -> Figure:
    figure = Figure(104, 62)
    # Rooms: each imports only what stands to its left.
    columns = (
        (1, 14, ENCODER, ("models",)),
        (20, 14, LEARNED, ("recipes",)),
        (39, 16, DECODER, ("conversion", "data", "evaluation")),
        (60, 18, ANSWER, ("training", "inference", "deployment", "publishing", "scenes")),
        (83, 20, DATA, ("vitseg COMMAND", "python -m vitseg", "examples/, conversion/")),
    )
    middle = 46.5
    for x, width, color, rooms in columns:
        top = middle + 2.8 * len(rooms)
        for index, room in enumerate(rooms):
            figure.box(x, top - 5.6 * index - 5.2, width, 4.8, room, color)
        if x > 1:
            figure.arrow((x - 0.6, middle), (x - 4.4, middle))
    figure.text(8, middle - 6.6, "alone: they travel\nwith the weights", 8)
    figure.text(27, middle - 6.6, "a record for each\npublished result", 8)
    figure.text(1, 59, "a room imports what stands to its left", 9.5, "left", weight="bold")
    # What goes through them.
    figure.axes.plot([1, 103], [29.4, 29.4], color=INK, lw=0.6, linestyle="dotted")
    figure.text(1, 26.6, "what goes through them", 9.5, "left", weight="bold")
    for y, source, room, color in (
        (17.6, "published\ncheckpoint", "conversion", DECODER),
        (9.2, "data set", "data", DECODER),
    ):
        figure.box(1, y, 14, 5.6, source, "white", 8.5)
        figure.arrow((15, y + 2.8), (19.4, y + 2.8))
        figure.box(20, y, 14, 5.6, room, color)
    figure.arrow((34, 12), (38.4, 12))
    figure.box(39, 9.2, 14, 5.6, "training", ANSWER)
    figure.arrow((53, 12), (56, 12), (56, 15.2), (58.4, 15.2))
    figure.arrow((34, 20.4), (56, 20.4), (56, 17.2), (58.4, 17.2))
    figure.box(59, 11.6, 14, 9.2, "model folder:\nweights, code,\nprotocol, origin", "white", 8.5)
    for index, (room, color, outcome) in enumerate(
        (
            ("inference", ANSWER, "masks"),
            ("evaluation", DECODER, "figures"),
            ("deployment", ANSWER, "ONNX"),
            ("publishing", ANSWER, "the Hub"),
        )
    ):
        y = 20.4 - 6 * index
        figure.arrow((73, 16.2), (75.4, 16.2), (75.4, y + 2.4), (77.8, y + 2.4))
        figure.box(78.2, y, 12, 4.8, room, color, 8.5)
        figure.arrow((90.2, y + 2.4), (93, y + 2.4))
        figure.text(98, y + 2.4, outcome, 8.5)
    figure.arrow((64, 11.4), (64, 4.6), (46, 4.6), (46, 9))
    figure.text(55, 3, "start weights, teachers", 8)
    return figure


FIGURES = (setr, segvit, structtoken, sctnet, cts_segmenter, hlg, architecture)


def main(folder: Path) -> None:
    for draw in FIGURES:
        draw().save(folder / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
