# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Mean IoU: images/s of one core, beside NumPy histograms as mmsegmentation has them."""

import argparse

import numpy as np

from vitseg.evaluation.metric import MeanIoU

from .arguments import Row
from .comparison import compare


HEIGHT, WIDTH, NUM_LABELS, IGNORE_INDEX = 512, 683, 150, 255


def run(args: argparse.Namespace) -> list[Row]:
    rng = np.random.default_rng(0)
    reference = rng.integers(0, NUM_LABELS, (HEIGHT, WIDTH), dtype=np.uint8)
    reference[rng.random(reference.shape) < 0.1] = IGNORE_INDEX
    wrong = rng.random(reference.shape) < 0.2
    prediction = np.where(wrong, rng.integers(0, NUM_LABELS, reference.shape), reference)
    metric = MeanIoU(num_labels=NUM_LABELS, ignore_index=IGNORE_INDEX)
    functions = {
        "vitseg": lambda: metric.add(prediction=prediction, reference=reference),
        "NumPy histograms": lambda: histogram_areas(prediction, reference),
    }
    row = compare(functions, 1, args.repeats)
    print(
        f"\nInside the timing: count the int64 prediction (NumPy) of one image of {WIDTH} x {HEIGHT} and {NUM_LABELS} "
        f"classes against its uint8 annotation. One core, {args.repeats} turns."
    )
    return [row]


def histogram_areas(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pixels per class of intersection, prediction and annotation, as mmsegmentation counts them."""
    counted = reference != IGNORE_INDEX
    prediction, reference = prediction[counted], reference[counted]
    bins = np.arange(NUM_LABELS + 1)
    return tuple(
        np.histogram(values, bins=bins)[0] for values in (prediction[prediction == reference], prediction, reference)
    )
