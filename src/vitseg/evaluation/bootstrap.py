# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How far a figure would move on other images of the same kind: the bootstrap (Efron, 1979).

As many images as there are, are drawn with replacement, and the figure is computed again from the summed counts of
those; what lies between the 2.5th and the 97.5th percentile of many such figures is the 95% interval.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .image_counts import ImageCounts, mean_scores
from .results import MEANS


NUM_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
IMAGE_PERCENTILES = (5, 25, 50, 75, 95)
_AT_A_TIME = 50  # resamples whose weights are held, a number for each image


def bootstrap_means(images: ImageCounts, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """
    The means of images that are drawn with replacement.

    With the same seed and number of images, the same are drawn: so the differences between what two models give for
    the same images, in the same order, are those of a paired bootstrap.

    Returns:
        What [`mean_scores`] returns of each resample, without scores of classes, and `image_mean_iou`, the mean over
        the images of their own mean IoU: float64 `(num_resamples,)`.
    """
    scores = images.image_scores
    is_scored = ~np.isnan(scores)
    parts = []
    for weights in _resamples(len(scores), num_resamples, seed):
        sums = {
            kind: (weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:])
            for kind, counts in images.counts.items()
        }
        means = {name: mean for name, mean in mean_scores(sums).items() if mean.ndim == 1}
        with np.errstate(invalid="ignore"):  # of a resample without a scored image
            means["image_mean_iou"] = weights @ np.nan_to_num(scores) / (weights @ is_scored)
        parts.append(means)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread(images: ImageCounts) -> dict[str, Any]:
    """
    How far the figures of an evaluation scatter, as plain data.

    Returns:
        `intervals`, of each of `MEANS` that was measured the lower and the upper end, or `None` where it is nowhere
        defined; and `image_percentiles` of the mean IoU of an image.
    """
    means = bootstrap_means(images)
    scores = images.image_scores
    percentiles = np.percentile(scores[~np.isnan(scores)], IMAGE_PERCENTILES).tolist()
    return {
        "intervals": {name: interval(means[name]) for name in MEANS if name in means},
        "image_percentiles": dict(zip(map(str, IMAGE_PERCENTILES), percentiles, strict=True)),
    }


def interval(values: np.ndarray) -> list[float] | list[None]:
    """The ends of the 95% interval of a figure, of each draw: `None` where it is nowhere defined."""
    defined = values[~np.isnan(values)]
    return np.percentile(defined, INTERVAL).tolist() if len(defined) else [None, None]


def _resamples(num_images: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, float64 `(resamples, images)`: products of these are exact, and fast."""
    rng = np.random.default_rng(seed)
    for first in range(0, num_resamples, _AT_A_TIME):
        count = min(_AT_A_TIME, num_resamples - first)
        drawn = rng.integers(num_images, size=(count, num_images))
        yield np.stack([np.bincount(images, minlength=num_images) for images in drawn]).astype(np.float64)
