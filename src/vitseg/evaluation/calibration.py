# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Whether a model is as sure as it is right, and the temperature that makes it so (Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017).

Everything is counted while images go by, as integers, so that sums are the same in whatever order: pixels, those that
are right, and confidences in units of 2^-24.

Counted is every fourth pixel of every fourth row. Its neighbours tell little more: their scores are resized from the
same ones of a map that has a quarter of the image's size or less. For the temperature, one number, it is about a
thousand pixels of each image, with a fixed list of temperatures; the parabola through the best of these and its
neighbours has its lowest point where the negative log-likelihood is least.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .inference import Band


NUM_BINS = 15
STEP = 4
PIXELS_FOR_TEMPERATURE = 1024  # of an image, about
# By steps of a sixteenth of a doubling, from 1/8 to 8.
TEMPERATURES = tuple(2 ** (index / 16) for index in range(-48, 49))
UNIT = 2**24
TINY = torch.finfo(torch.float32).tiny

Counts = dict[str, torch.Tensor]
ClassIds = Callable[[torch.Tensor], torch.Tensor]


def count_calibration(band: Band, class_ids: ClassIds, are_logits: bool, temperature: float = 1.0) -> Counts:
    """
    What the figures of calibration are made of, of a band of an image.

    Args:
        band: scores and labels.
        class_ids: what labels mean: ids, from 0 on, and anything beyond the classes where they are ignored.
        are_logits: whether scores are logits; if not, they are shares, of which the logarithms take their place.
        temperature: what logits are divided by.

    Returns:
        Integers to be summed: by bins of confidence, `(3, 15)`, the number of `top` classes, of those that are right,
        and their confidence; the same of each class (`by_class`, `(num_labels, 3, 15)`), except that pixels whose
        share of it is in the first bin are not among them, but what all pixels have together is (`totals`,
        `(num_labels, 2)`: pixels that are of the class, and its share); `nll` and `brier`; and the number of `pixels`.
    """
    logits, labels, predicted = _sample(band, STEP, class_ids, are_logits)
    logits = logits / temperature
    num_labels, num_pixels = logits.shape
    probabilities = logits.softmax(dim=0)
    confidence = _pick(probabilities, predicted)
    # The logarithm of the largest share is exact; that of a small one might be that of 0.
    nll = _pick(logits, predicted) - _pick(logits, labels) - confidence.log()
    brier = probabilities.square().sum(dim=0) - 2 * _pick(probabilities, labels) + 1

    ids, pixels = torch.where(probabilities * NUM_BINS >= 1)
    shares, is_true = probabilities[ids, pixels], labels[pixels] == ids
    by_class = _bins(shares, is_true, ids, num_labels)
    totals = torch.stack(
        (labels.bincount(minlength=num_labels), (probabilities.sum(dim=1, dtype=torch.float64) * UNIT).round().long())
    )
    return {
        "top": _bins(confidence, predicted == labels, torch.zeros_like(labels), 1)[0],
        "by_class": by_class,
        "totals": totals.T,
        "nll": _in_units(nll).sum(),
        "brier": _in_units(brier).sum(),
        "pixels": torch.tensor(num_pixels),
    }


def count_temperatures(band: Band, class_ids: ClassIds) -> Counts:
    """
    What [`fit_temperature`] needs, of a band of an image whose scores are logits: of each of `TEMPERATURES`,
    `temperature_nll`, `(97,)`, and `temperature_top`, `(97, 3, 15)`, as in [`count_calibration`]; and the number of
    `temperature_pixels`.
    """
    step = max(1, math.ceil(math.sqrt(math.prod(band.size) / PIXELS_FOR_TEMPERATURE)))
    logits, labels, predicted = _sample(band, step, class_ids, are_logits=True)
    below = logits - _pick(logits, predicted)  # the largest is 0, so that exponentials neither overflow nor all vanish
    lacking, is_right = _pick(below, labels), predicted == labels
    one = torch.zeros_like(labels)
    nll, top = [], []
    for temperature in TEMPERATURES:
        total = (below / temperature).exp_().sum(dim=0)
        nll.append(_in_units(total.log() - lacking / temperature).sum())
        top.append(_bins(1 / total, is_right, one, 1)[0])
    return {
        "temperature_nll": torch.stack(nll),
        "temperature_top": torch.stack(top),
        "temperature_pixels": torch.tensor(len(labels)),
    }


def calibration_figures(counts: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """
    The figures, as plain data, from the summed counts of [`count_calibration`].

    Returns:
        `ece`, the expected calibration error over 15 bins, and `classwise_ece`, its mean over the classes, of which
        each pixel has a share in every one (Kull et al., NeurIPS 2019), from 0 to 1; `nll`, the mean negative
        log-likelihood, in nats; `brier`, the mean squared distance from certainty of the truth, from 0 to 2; `pixels`;
        and `bins`, with `pixels`, mean `confidence` and `accuracy`, `None` where there are no pixels.
    """
    pixels = int(counts["pixels"])
    by_class = counts["by_class"].double()
    in_first = counts["totals"].double() - by_class[:, 1:].sum(dim=-1)
    errors = (by_class[:, 1] - by_class[:, 2] / UNIT).abs().sum(dim=-1)
    first = (in_first[:, 0] - in_first[:, 1] / UNIT).abs()
    return {
        "ece": _ece(counts["top"]),
        "classwise_ece": ((errors + first) / pixels).mean().item(),
        "nll": counts["nll"].item() / UNIT / pixels,
        "brier": counts["brier"].item() / UNIT / pixels,
        "pixels": pixels,
        "bins": [
            {
                "pixels": count,
                "confidence": confidence / UNIT / count if count else None,
                "accuracy": right / count if count else None,
            }
            for count, right, confidence in counts["top"].T.tolist()
        ],
    }


def fit_temperature(counts: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """
    The temperature with the least negative log-likelihood, from the summed counts of [`count_temperatures`].

    Returns:
        `temperature`; `nll` and `ece`, each `before` (of temperature 1) and `after`; and the number of `pixels`. The
        error after is that of the nearest of `TEMPERATURES`.

    Raises:
        ValueError: if the best is beyond the list.
    """
    pixels = int(counts["temperature_pixels"])
    nll = (counts["temperature_nll"].double() / UNIT / pixels).tolist()
    best = min(range(len(nll)), key=nll.__getitem__)
    if best in (0, len(nll) - 1):
        raise ValueError(
            f"No temperature from {TEMPERATURES[0]} to {TEMPERATURES[-1]} fits the scores best: it would have to be "
            f"{'smaller, as where every pixel is right' if best == 0 else 'larger, as where scores tell nothing'}."
        )
    low, least, high = nll[best - 1 : best + 2]
    offset = (low - high) / 2 / (low - 2 * least + high)
    one = TEMPERATURES.index(1.0)
    return {
        "temperature": TEMPERATURES[best] * (TEMPERATURES[1] / TEMPERATURES[0]) ** offset,
        "nll": {"before": nll[one], "after": least - (low - high) * offset / 4},
        "ece": {"before": _ece(counts["temperature_top"][one]), "after": _ece(counts["temperature_top"][best])},
        "pixels": pixels,
    }


def _sample(
    band: Band, step: int, class_ids: ClassIds, are_logits: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, true and predicted classes of the labelled pixels whose row and column are multiples of `step`."""
    rows, columns = slice(-band.rows.start % step, None, step), slice(None, None, step)
    scores = band.scores[:, rows, columns]
    labels = class_ids(band.reference[rows, columns]).to(scores.device)
    is_counted = labels < len(scores)
    scores = scores[:, is_counted]
    logits = scores if are_logits else scores.clamp(min=TINY).log()
    return logits, labels[is_counted], band.label_map[rows, columns][is_counted]


def _pick(values: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Of each pixel, that of a class: `(num_labels, pixels)` -> `(pixels,)`."""
    return values.gather(0, ids[None])[0]


def _in_units(values: torch.Tensor) -> torch.Tensor:
    return (values.double() * UNIT).round_().long()


def _bins(confidence: torch.Tensor, is_right: torch.Tensor, ids: torch.Tensor, num_ids: int) -> torch.Tensor:
    """By id and bin of confidence, how many there are, how many are right, and their confidence."""
    index = (confidence * NUM_BINS).long().clamp_(max=NUM_BINS - 1) + NUM_BINS * ids
    size = num_ids * NUM_BINS
    # Integers are exact in float64, and their sums in any order.
    confidences = index.bincount((confidence.double() * UNIT).round_(), minlength=size).long()
    counts = index.bincount(minlength=size), index[is_right].bincount(minlength=size), confidences
    return torch.stack(counts).view(3, num_ids, NUM_BINS).transpose(0, 1)


def _ece(top: torch.Tensor) -> float:
    count, right, confidence = top.double()
    return ((right - confidence / UNIT).abs().sum() / count.sum()).item()
