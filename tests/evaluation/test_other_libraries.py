# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The metric gives what torchmetrics and scikit-learn give, on random maps with ignored pixels and absent classes.

They differ where a score is 0/0: the accuracy (recall) of a class that is nowhere true, or the precision of one that
is nowhere predicted, is undefined here, and 0 there. So each score is compared for the classes where it is defined,
and the means over the same classes.
"""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics import functional as torchmetrics

from vitseg.evaluation import MeanIoU


NUM_LABELS = 6


@pytest.fixture(scope="module", params=[0, 1])
def maps(request) -> tuple[np.ndarray, np.ndarray]:
    """Class 4 is predicted but nowhere true, class 5 true but nowhere predicted, class 3 neither."""
    rng = np.random.default_rng(request.param)
    reference = rng.choice([0, 1, 2, 5, 255], (3, 40, 31), p=[0.5, 0.2, 0.15, 0.05, 0.1])
    guess = rng.choice([0, 1, 2, 4], reference.shape)
    is_right = (rng.random(reference.shape) < 0.7) & np.isin(reference, [0, 1, 2])
    return np.where(is_right, reference, guess), reference


@pytest.fixture
def scores(maps) -> dict:
    return MeanIoU(NUM_LABELS).compute(predictions=maps[0], references=maps[1])


def test_torchmetrics(maps, scores):
    prediction, reference = map(torch.from_numpy, maps)
    options = {"num_classes": NUM_LABELS, "ignore_index": 255, "average": "none"}
    present = scores["area_label"] > 0
    occurs = scores["area_union"] > 0
    iou = torchmetrics.jaccard_index(prediction, reference, task="multiclass", **options).numpy()
    np.testing.assert_allclose(scores["per_category_iou"][occurs], iou[occurs], rtol=1e-6)
    assert scores["mean_iou"] == pytest.approx(iou[occurs].mean())
    for name, function in (
        ("accuracy", torchmetrics.accuracy),
        ("precision", torchmetrics.precision),
        ("fscore", torchmetrics.f1_score),
    ):
        theirs = function(prediction, reference, task="multiclass", **options).numpy()
        defined = present & ~np.isnan(scores[f"per_category_{name}"])
        assert defined.sum() >= 3
        np.testing.assert_allclose(scores[f"per_category_{name}"][defined], theirs[defined], rtol=1e-6)
    # "none" would be the recall of each class.
    overall = torchmetrics.accuracy(prediction, reference, task="multiclass", **{**options, "average": "micro"})
    assert scores["overall_accuracy"] == pytest.approx(overall.item())
    confusion = torchmetrics.confusion_matrix(
        prediction, reference, task="multiclass", num_classes=NUM_LABELS, ignore_index=255
    )
    np.testing.assert_array_equal(scores["confusion_matrix"], confusion)
    weighted = torchmetrics.jaccard_index(
        prediction, reference, task="multiclass", **{**options, "average": "weighted"}
    )
    assert scores["frequency_weighted_iou"] == pytest.approx(weighted.item())


def test_scikit_learn(maps, scores):
    is_counted = maps[1] != 255
    prediction, reference = (labels[is_counted] for labels in maps)
    ids = list(range(NUM_LABELS))
    confusion = sklearn_metrics.confusion_matrix(reference, prediction, labels=ids)
    np.testing.assert_array_equal(scores["confusion_matrix"], confusion)
    occurs = scores["area_union"] > 0
    iou = sklearn_metrics.jaccard_score(reference, prediction, labels=ids, average=None, zero_division=0)
    np.testing.assert_allclose(scores["per_category_iou"][occurs], iou[occurs])
    assert scores["mean_iou"] == pytest.approx(iou[occurs].mean())
    weighted = sklearn_metrics.jaccard_score(reference, prediction, average="weighted", zero_division=0)
    assert scores["frequency_weighted_iou"] == pytest.approx(weighted)
    assert scores["overall_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(reference, prediction))
    # Over the classes that are true, which are those whose accuracy is defined.
    assert scores["mean_accuracy"] == pytest.approx(
        sklearn_metrics.recall_score(
            reference, prediction, labels=np.unique(reference), average="macro", zero_division=0
        )
    )
