# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Samples that come several times in an epoch, so that rare classes come more often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


# First word of the seeds of this kind of random generators; other kinds are in streaming.py.
_REPETITION = 2
# Factors are counted in parts of this many to 1: whole numbers have the same sum in any order and on any machine.
STEPS = 2**20


def repeat_factors(pixel_counts: np.ndarray, threshold: float) -> np.ndarray:
    """
    How often each image is to come in an epoch, so that rare classes come more often: repeat-factor sampling (Gupta et
    al., LVIS, 2019, https://arxiv.org/abs/1908.03195).

    A class that a share f of the images show is repeated `max(1, sqrt(threshold / f))` times, and an image as often as
    the class of it that is repeated most.

    Args:
        pixel_counts: `(images, classes)`, see [`class_pixel_counts`].
        threshold: classes in a smaller share of the images are rare.

    Returns:
        float64 `(images,)`, 1 or more.
    """
    is_shown = pixel_counts > 0
    # No image shows a class that is in none, so that any factor will do for it.
    share = is_shown.mean(axis=0).clip(min=1 / len(is_shown))
    return np.where(is_shown, np.sqrt(threshold / share), 1.0).max(axis=1).clip(min=1)


def in_steps(factors: np.ndarray) -> np.ndarray:
    """Factors as int64, in steps of `1 / STEPS`."""
    return np.rint(factors * STEPS).astype(np.int64)


def draw_repetitions(factors: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """
    How often each sample comes in an epoch: its factor rounded up or down at random, as often up as its fraction says.

    The roundings depend on each other so that their sum is that of the factors, rounded up or down, too.

    Args:
        factors: int64 `(samples,)`, see [`in_steps`].
        seed: any non-negative integer.
        epoch: number of the epoch, from 0.

    Returns:
        int64 `(samples,)`.
    """
    rng = np.random.default_rng((_REPETITION, seed, epoch))
    # Laid end to end in random order, a sample comes as often as whole numbers fall on its part of the line.
    order = rng.permutation(len(factors))
    ends = rng.integers(STEPS) + factors[order].cumsum()
    repetitions = np.empty_like(factors)
    repetitions[order] = np.diff(ends // STEPS, prepend=0)
    return repetitions


@dataclass(frozen=True)
class Visits:
    """
    What an epoch reads, before it is shuffled: blocks of samples, one after the other.

    Args:
        blocks: `(visits,)`, which block each visit reads.
        lengths: `(visits,)`, how many samples it takes from there.
        samples: `(sum(lengths),)`, which ones, by their numbers in the data set.
        repetitions: `(sum(lengths),)`, how often each of these came in earlier visits.
    """

    blocks: np.ndarray
    lengths: np.ndarray
    samples: np.ndarray
    repetitions: np.ndarray

    @classmethod
    def once(cls, lengths: Sequence[int]) -> "Visits":
        """Blocks of these lengths, each with all its samples."""
        counts = np.array(lengths)
        samples = np.arange(counts.sum())
        return cls(np.arange(len(counts)), counts, samples, np.zeros_like(samples))

    def repeated(self, times: np.ndarray) -> "Visits":
        """Blocks that are visited once, each visited again for those of its samples that come several times."""
        block_of_sample = np.repeat(self.blocks, self.lengths)
        rounds = [np.flatnonzero(times > repetition) for repetition in range(times.max())]
        counts = [np.bincount(block_of_sample[samples], minlength=len(self.blocks)) for samples in rounds]
        return Visits(
            np.concatenate([np.flatnonzero(count) for count in counts]),
            np.concatenate([count[count > 0] for count in counts]),
            np.concatenate(rounds),
            np.repeat(np.arange(len(rounds)), [len(samples) for samples in rounds]),
        )
