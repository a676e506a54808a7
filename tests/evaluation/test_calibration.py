# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Calibration is measured, and a temperature fitted, as directly from all the scores at once."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from vitseg.evaluation.calibration import (
    calibration_figures,
    count_calibration,
    count_temperatures,
    fit_temperature,
)
from vitseg.evaluation.inference import Band
from vitseg.evaluation.progress import summed


NUM_LABELS = 5
IGNORED = NUM_LABELS


def image(seed: int, sharpness: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a model that is too sure, and labels with ignored pixels and without class 4."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(NUM_LABELS, 60, 50 + seed, generator=generator)
    logits[4] -= 2
    drawn = torch.distributions.Categorical(logits=logits.flatten(1).T).sample
    torch.manual_seed(seed)
    labels = drawn().view(logits.shape[1:])
    labels[labels == 4] = IGNORED
    return sharpness * logits, labels


def bands(logits: torch.Tensor, labels: torch.Tensor, height: int = 7):
    total, width = labels.shape
    for top in range(0, total, height):
        rows = slice(top, min(top + height, total))
        scores = logits[:, rows]
        yield Band(rows, scores, scores.argmax(dim=0), labels[rows], (total, width))


def every(step: int, seeds) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores and labels of every pixel that counts, of all images at once."""
    pairs = [
        (logits[:, ::step, ::step].flatten(1).T, labels[::step, ::step].flatten())
        for logits, labels in map(image, seeds)
    ]
    scores, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return scores[labels != IGNORED].double(), labels[labels != IGNORED]


def expected_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & ((confidence < low + 1 / 15) | (low == 14 / 15))
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - is_right[inside].mean())
    return error


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_figures_are_those_of_the_definitions(temperature):
    counts = summed(
        count_calibration(band, lambda labels: labels, are_logits=True, temperature=temperature)
        for seed in range(3)
        for band in bands(*image(seed))
    )
    figures = calibration_figures(counts)
    scores, labels = every(4, range(3))
    shares = (scores / temperature).softmax(dim=1).numpy()
    one_hot = np.eye(NUM_LABELS)[labels]
    assert figures["pixels"] == len(labels)
    assert figures["ece"] == pytest.approx(
        expected_error(shares.max(axis=1), shares.argmax(axis=1) == labels.numpy()), abs=1e-6
    )
    classwise = [expected_error(shares[:, label], one_hot[:, label]) for label in range(NUM_LABELS)]
    assert figures["classwise_ece"] == pytest.approx(np.mean(classwise), abs=1e-6)
    assert figures["nll"] == pytest.approx(F.cross_entropy(scores / temperature, labels).item(), abs=1e-6)
    assert figures["brier"] == pytest.approx(((shares - one_hot) ** 2).sum(axis=1).mean(), abs=1e-6)
    assert sum(row["pixels"] for row in figures["bins"]) == len(labels)
    last = shares.max(axis=1) >= 14 / 15
    assert figures["bins"][-1]["confidence"] == pytest.approx(shares.max(axis=1)[last].mean(), abs=1e-6)
    assert figures["bins"][-1]["accuracy"] == pytest.approx((shares.argmax(axis=1) == labels.numpy())[last].mean())
    assert figures["bins"][0] == {"pixels": 0, "confidence": None, "accuracy": None}


def test_shares_are_taken_for_what_they_are():
    logits, labels = image(0)
    figures = [
        calibration_figures(
            summed(count_calibration(band, lambda labels: labels, are_logits) for band in bands(scores, labels))
        )
        for scores, are_logits in ((logits, True), (logits.softmax(dim=0), False))
    ]
    for name in ("ece", "classwise_ece", "nll", "brier"):
        assert figures[0][name] == pytest.approx(figures[1][name], abs=1e-5)


def test_the_temperature_is_that_of_a_direct_minimisation():
    seeds = range(3)
    counts = summed(count_temperatures(band, lambda labels: labels) for seed in seeds for band in bands(*image(seed)))
    fitted = fit_temperature(counts)
    scores, labels = every(2, seeds)  # About a thousand of each.
    assert fitted["pixels"] == len(labels)

    def nll(temperature: float) -> float:
        return F.cross_entropy(scores / temperature, labels).item()

    best = minimize_scalar(nll, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-6})
    assert fitted["temperature"] == pytest.approx(best.x, rel=1e-3)
    assert 2.5 < best.x < 3.5
    assert fitted["nll"]["before"] == pytest.approx(nll(1.0), abs=1e-5)
    assert fitted["nll"]["after"] == pytest.approx(best.fun, abs=1e-5)
    assert fitted["ece"]["after"] < 0.03 < fitted["ece"]["before"]


def test_large_images_give_a_thousand_pixels():
    logits, labels = torch.randn(2, 300, 400), torch.zeros(300, 400).long()
    (band,) = bands(logits, labels, height=300)
    assert 500 < int(count_temperatures(band, lambda labels: labels)["temperature_pixels"]) < 1100


def test_no_best_temperature_is_said():
    logits = 5 * F.one_hot(torch.zeros(20, 20).long(), 3).permute(2, 0, 1).float()
    for label, reason in ((0, "smaller, as where every pixel is right"), (1, "larger, as where scores tell nothing")):
        (band,) = bands(logits, torch.full((20, 20), label), height=20)
        with pytest.raises(ValueError, match=reason):
            fit_temperature(count_temperatures(band, lambda labels: labels))
