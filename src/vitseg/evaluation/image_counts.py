# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Pixels of each class in each image: all that means over a data set are made of, and intervals and comparisons of them.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..replacing import replacing
from .metric import segmentation_scores


# What was counted: all pixels, and with `--boundary` those of boundaries and around true borders.
KINDS = ("pixels", "boundary", "trimap")


@dataclass(frozen=True)
class ImageCounts:
    """
    Pixels of each class in each image that are right, predicted and true.

    Args:
        file_names: of the images.
        class_names: of the classes.
        counts: by what was counted, `KINDS` or the first of them: int32 `(images, 3, classes)`.
    """

    file_names: list[str]
    class_names: list[str]
    counts: dict[str, np.ndarray]

    @classmethod
    def of_rows(
        cls, images: Sequence[tuple[int, str]], class_names: Sequence[str], rows: torch.Tensor
    ) -> "ImageCounts":
        """
        Put the rows of [`rows_of_image`] together, in the order of the images.

        Args:
            images: number and name of each.
            class_names: of the classes.
            rows: of all of them, in any order.
        """
        images = sorted(images)
        place = {index: position for position, (index, _) in enumerate(images)}
        kinds = KINDS[: (rows.shape[1] - 2) // 3]
        dense = np.zeros((len(kinds), len(images), 3, len(class_names)), np.int32)
        positions = [place[index] for index in rows[:, 0].tolist()]
        dense[:, positions, :, rows[:, 1].numpy()] = rows[:, 2:].numpy().reshape(len(rows), len(kinds), 3)
        return cls([name for _, name in images], list(class_names), dict(zip(kinds, dense, strict=True)))

    @property
    def image_scores(self) -> np.ndarray:
        """The mean IoU of each image, over the classes in it; nan where nothing is labelled: float64 `(images,)`."""
        return _scores(self.counts["pixels"])["mean_iou"]

    def means(self) -> dict[str, np.ndarray]:
        """What [`mean_scores`] makes of all images, and `image_mean_iou`, the mean of `image_scores`."""
        scores = self.image_scores
        sums = {kind: counts.sum(axis=0, dtype=np.int64) for kind, counts in self.counts.items()}
        return mean_scores(sums) | {"image_mean_iou": scores[~np.isnan(scores)].mean()}

    def save(self, path: str | Path) -> None:
        """Write a file of NumPy arrays: `file_names`, `class_names`, and the counts by their names."""
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            names = {"file_names": np.array(self.file_names), "class_names": np.array(self.class_names)}
            np.savez_compressed(file, allow_pickle=False, **names, **self.counts)

    @classmethod
    def load(cls, path: str | Path) -> "ImageCounts":
        """
        Read what [`~ImageCounts.save`] wrote. Nothing in the file is executed.

        Raises:
            ValueError: if it is another file, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                counts = {kind: file[kind] for kind in KINDS if kind == "pixels" or kind in file}
                return cls(file["file_names"].tolist(), file["class_names"].tolist(), counts)
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} holds no counts of images, or is damaged: {error}") from error


def rows_of_image(index: int, areas: torch.Tensor) -> torch.Tensor:
    """
    The counts of an image without the classes that do not occur.

    Args:
        index: number of the image.
        areas: pixels that are right, predicted and true, `(kinds, 3, classes)`.

    Returns:
        int32 `(classes that occur, 2 + 3 * kinds)`: number of the image, class id, and the counts.
    """
    (ids,) = areas.any(dim=(0, 1)).nonzero(as_tuple=True)
    by_class = areas[:, :, ids].permute(2, 0, 1).flatten(1)
    return torch.cat((torch.full_like(ids, index)[:, None], ids[:, None], by_class), dim=1).int().cpu()


def mean_scores(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    All means over a data set, or over many.

    Args:
        sums: counts that were summed over images, by their names: `(..., 3, classes)`.

    Returns:
        The means of `MeanIoU.compute`, and where counted `boundary_iou`, `trimap_iou` and `trimap_accuracy`: float64
        `(...)`. `per_category_` before a name is the score of each class, `(..., classes)`.
    """
    scores = _scores(sums["pixels"])
    if "boundary" in sums:
        boundary, trimap = _scores(sums["boundary"]), _scores(sums["trimap"])
        scores |= {
            "boundary_iou": boundary["mean_iou"],
            "trimap_iou": trimap["mean_iou"],
            "trimap_accuracy": trimap["overall_accuracy"],
            "per_category_boundary_iou": boundary["per_category_iou"],
        }
    return scores


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    intersect, pred, label = torch.from_numpy(counts).unbind(-2)
    return {name: score.numpy() for name, score in segmentation_scores(intersect, pred, label).items()}
