# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg validate --report`: a page that shows where a model fails, with its pictures in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ..evaluation.failures import DISTANCES, UNIT
from ..evaluation.image_counts import ImageCounts, mean_scores
from ..evaluation.results import Record
from ..label_maps import Palette, overlay
from ..models.images import to_rgb
from ..models.labels import IGNORE_INDEX
from ..pages import data_address, render
from ..replacing import replacing


NUM_WORST = 5
NUM_PAIRS = 8
CROP = 160  # pixels around an example, at least
WRONG = (214, 40, 40)
WIDEST = 1200  # pixels of a picture

Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # header and rows


class Report:
    """
    The pictures of a page, taken as predictions come, and the page.

    Args:
        images: the counts of each image, in the order of `indices`.
        indices: numbers of the images.
        matrix: pixels by true and predicted class.
    """

    def __init__(self, images: ImageCounts, indices: Sequence[int], matrix: np.ndarray):
        self.names = images.class_names
        scores = images.image_scores
        worst = np.argsort(scores, kind="stable")[: min(NUM_WORST, int((~np.isnan(scores)).sum()))]
        self.worst = {indices[position]: float(scores[position]) for position in worst}
        wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
        largest = np.argsort(-wrong, axis=None, kind="stable")[:NUM_PAIRS]
        self.pairs = [divmod(int(flat), len(matrix)) for flat in largest if wrong.flat[flat]]
        self.shares = {(true, taken): wrong[true, taken] / matrix[true].sum() for true, taken in self.pairs}
        # Where most of the one class is missed and of the other wrongly found, there is most of the confusion.
        right, predicted, labelled = images.counts["pixels"].transpose(1, 0, 2)
        missed, invented = labelled - right, predicted - right
        self.examples = {
            pair: indices[int(np.minimum(missed[:, pair[0]], invented[:, pair[1]]).argmax())] for pair in self.pairs
        }
        self.pictures: dict[int | tuple[int, int], Image.Image] = {}

    @property
    def indices(self) -> list[int]:
        """The images that it wants to see."""
        return sorted({*self.worst, *self.examples.values()})

    def add(self, index: int, image: Image.Image, prediction: np.ndarray, truth: np.ndarray, palette: Palette) -> None:
        """Take the pictures of an image: class ids are uint8 `(height, width)`, 255 where the truth is ignored."""
        sheet = side_by_side(image, prediction, truth, palette)
        if index in self.worst:
            self.pictures[index] = join(sheet)
        for pair, example in self.examples.items():
            box = box_of((truth == pair[0]) & (prediction == pair[1])) if example == index else None
            if box is not None:
                self.pictures[pair] = join([panel.crop(box) for panel in sheet])

    def save(self, path: Path, record: Record, sums: Mapping[str, torch.Tensor]) -> None:
        """Write the page, complete or not at all."""
        worst = [self.figure(index, f"mean IoU {100 * score:.1f}") for index, score in self.worst.items()]
        confusions = [
            self.figure(pair, f"{self.names[pair[0]]} taken for {self.names[pair[1]]}: {100 * share:.1f}% of it")
            for pair, share in self.shares.items()
        ]
        page = render(
            "failures.html",
            model=str(record["model"]),
            summary=f"{record['dataset']}, {record['split']}, {record['images']} images; "
            f"{record['protocol_in_words']}",
            pictures=[
                ("Worst images", "Image, truth, prediction, and in red what is wrong; white is ignored.", worst),
                ("Largest confusions", "With an example of each.", confusions),
            ],
            tables=[
                (
                    "By distance to a border",
                    "Of the pixels so far from the nearest true border.",
                    *distance_table(sums["by_distance"].numpy()),
                ),
                (
                    "By size of an object",
                    "Objects are connected parts of a class; mean of their own IoU.",
                    *size_table(sums["by_size"].numpy()),
                ),
            ],
        )
        with replacing(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8")

    def figure(self, key: int | tuple[int, int], caption: str) -> dict[str, str | None]:
        """A picture with its caption; without one, the caption alone."""
        picture = self.pictures.get(key)
        if picture is not None:
            picture.thumbnail((WIDEST, WIDEST))
        return {"caption": caption, "source": None if picture is None else data_address(picture)}


def side_by_side(image: Image.Image, prediction: np.ndarray, truth: np.ndarray, palette: Palette) -> list[Image.Image]:
    """The image, the truth and the prediction over it, and what is wrong."""
    image = to_rgb(image)
    difference = np.asarray(image.convert("L").convert("RGB")) // 2 + 64
    difference[(prediction != truth) & (truth != IGNORE_INDEX)] = WRONG
    difference[truth == IGNORE_INDEX] = 255
    return [
        image,
        overlay(image, truth, palette),
        overlay(image, prediction, palette),
        Image.fromarray(difference.astype(np.uint8)),
    ]


def join(panels: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size beside each other; small ones are enlarged by a whole factor."""
    width, height = panels[0].size
    factor = max(1, WIDEST // (len(panels) * (width + 4)))
    sheet = Image.new("RGB", (len(panels) * (width + 4) * factor, height * factor), "white")
    for position, panel in enumerate(panels):
        enlarged = panel.resize((width * factor, height * factor), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (position * (width + 4) * factor, 0))
    return sheet


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the surroundings of the largest connected part of a mask, if there is any."""
    _, _, parts, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if len(parts) == 1:
        return None
    left, top, width, height, _ = parts[1 + parts[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    margin = max(8, (CROP - max(width, height)) // 2)
    rows, columns = mask.shape
    return (
        max(left - margin, 0),
        max(top - margin, 0),
        min(left + width + margin, columns),
        min(top + height + margin, rows),
    )


def distance_table(by_distance: np.ndarray) -> Table:
    """Mean IoU and accuracy of the pixels at each distance."""
    rows, last = [], 0.0
    for distance, counts in zip(DISTANCES, by_distance, strict=True):
        name = f"over {last:g}" if distance == DISTANCES[-1] else f"up to {distance:g}"
        if pixels := int(counts[2].sum()):
            scores = mean_scores({"pixels": counts})
            rows.append((name, f"{pixels:,}", percent(scores["mean_iou"]), percent(scores["overall_accuracy"])))
        last = distance
    return ("distance in pixels", "pixels", "mean IoU", "accuracy"), rows


def size_table(by_size: np.ndarray) -> Table:
    """Mean IoU of the objects of each size."""
    rows = [
        (f"{2**size:,} to {2 ** (size + 1) - 1:,}", f"{count:,}", percent(total / UNIT / count))
        for size, (count, total) in enumerate(by_size.tolist())
        if count
    ]
    return ("area in pixels", "objects", "mean IoU"), rows


def percent(share: float | np.ndarray) -> str:
    return f"{100 * float(share):.1f}"
