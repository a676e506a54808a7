# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Mean IoU: the published definition, every kind of input, refusals, several processes, and nothing left on disk."""

import runpy
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from vitseg.evaluation.metric import MeanIoU, evaluate, mean_iou


GOLDEN = Path(__file__).parents[1] / "golden"
FILL = runpy.run_path(str(GOLDEN / "fill.py"))

GOLDEN_NAMES = {
    "mIoU": "mean_iou",
    "mAcc": "mean_accuracy",
    "mDice": "mean_dice",
    "mFscore": "mean_fscore",
    "mPrecision": "mean_precision",
    "mRecall": "mean_recall",
    "aAcc": "overall_accuracy",
    "IoU": "per_category_iou",
    "Acc": "per_category_accuracy",
    "Dice": "per_category_dice",
    "Fscore": "per_category_fscore",
    "Precision": "per_category_precision",
    "Recall": "per_category_recall",
    "area_intersect": "area_intersect",
    "area_union": "area_union",
    "area_pred": "area_pred",
    "area_label": "area_label",
}


def golden_images(case: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predictions and raw references of a case, as its `input` describes them."""
    inputs, num_classes = case["input"], case["config"]["num_classes"]
    if "gt" in inputs and "pred" in inputs:
        return [(np.array(inputs["pred"]), np.array(inputs["gt"]))]
    images = []
    for image in inputs["images"]:
        raw = FILL["labels"](image["gt_seed"], (1, *image["shape"]), inputs["num_raw_labels"])[0]
        random = np.random.RandomState(image["pred_seed"])
        prediction = random.randint(0, num_classes, raw.shape)
        same = random.random_sample(raw.shape) < 0.6
        true = raw - inputs["offset"]
        same &= (true >= 0) & (true < num_classes)
        prediction[same] = true[same]
        images.append((prediction, raw.astype(np.uint8)))
    return images


@pytest.mark.parametrize("name", ["basic", "absent", "reduce_zero", "label_map", "by_hand"])
def test_scores_are_those_of_the_original(name):
    folder = GOLDEN / "evaluation" / f"metrics_{name}"
    case = FILL["load_case"](folder)
    config = case["config"]
    metric = MeanIoU(
        num_labels=config["num_classes"],
        ignore_index=config["ignore_index"],
        reduce_labels=config.get("reduce_zero_label", False),
        label_map={int(old): new for old, new in config.get("label_map", {}).items()},
    )
    for prediction, reference in golden_images(case):
        metric.add(prediction=prediction, reference=reference)
    result = metric.compute()

    expected = load_file(folder / "expected.safetensors")
    assert expected.keys() <= GOLDEN_NAMES.keys()
    for key, value in expected.items():
        actual = np.nan_to_num(np.atleast_1d(result[GOLDEN_NAMES[key]]), nan=-1)
        np.testing.assert_allclose(actual, value, rtol=case["rtol"], atol=case["atol"], err_msg=key)


# Class 3 is predicted but nowhere true, class 4 occurs nowhere, 9 is no class, and the last column is ignored.
PREDICTION = [[0, 0, 1, 4], [1, 1, 9, 0], [2, 3, 2, 2]]
REFERENCE = [[0, 0, 0, 255], [1, 1, 1, 255], [2, 2, 2, 255]]


def test_scores_by_hand():
    result = MeanIoU(num_labels=5).compute(predictions=[PREDICTION], references=[REFERENCE])

    nan = float("nan")
    expected = {
        "area_intersect": [2, 2, 2, 0, 0],
        "area_pred": [2, 3, 2, 1, 0],
        "area_label": [3, 3, 3, 0, 0],
        "area_union": [3, 4, 3, 1, 0],
        "per_category_iou": [2 / 3, 2 / 4, 2 / 3, 0, nan],
        "per_category_accuracy": [2 / 3, 2 / 3, 2 / 3, nan, nan],
        "per_category_recall": [2 / 3, 2 / 3, 2 / 3, nan, nan],
        "per_category_precision": [1, 2 / 3, 1, 0, nan],
        "per_category_dice": [4 / 5, 4 / 6, 4 / 5, 0, nan],
        "per_category_fscore": [4 / 5, 2 / 3, 4 / 5, nan, nan],
        "mean_iou": (2 / 3 + 2 / 4 + 2 / 3 + 0) / 4,
        "mean_accuracy": 2 / 3,
        "mean_recall": 2 / 3,
        "mean_precision": (1 + 2 / 3 + 1 + 0) / 4,
        "mean_dice": (4 / 5 + 4 / 6 + 4 / 5 + 0) / 4,
        "mean_fscore": (4 / 5 + 2 / 3 + 4 / 5) / 3,
        "overall_accuracy": 6 / 9,
        "frequency_weighted_iou": (3 * 2 / 3 + 3 * 2 / 4 + 3 * 2 / 3) / 9,
        "confusion_matrix": [[2, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    }
    assert result.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(result[key], value, rtol=1e-12, err_msg=key)
        assert isinstance(result[key], np.ndarray if isinstance(value, list) else float)


def test_nan_to_num_counts_in_the_means():
    result = MeanIoU(num_labels=5, nan_to_num=0.0).compute(predictions=[PREDICTION], references=[REFERENCE])
    np.testing.assert_allclose(result["per_category_fscore"], [4 / 5, 2 / 3, 4 / 5, 0, 0])
    assert result["mean_fscore"] == pytest.approx((4 / 5 + 2 / 3 + 4 / 5) / 5)


def test_everything_ignored_is_undefined_without_a_warning():
    ignored = np.full((2, 3), 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = MeanIoU(num_labels=2).compute(predictions=[np.zeros((2, 3), int)], references=[ignored])
    assert np.isnan(result["mean_iou"])
    assert np.isnan(result["overall_accuracy"])


def test_beta_weighs_recall():
    result = MeanIoU(num_labels=5, beta=2.0).compute(predictions=[PREDICTION], references=[REFERENCE])
    assert result["per_category_fscore"][0] == pytest.approx(5 * 1 * (2 / 3) / (4 * 1 + 2 / 3))


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({"label_map": {0: 1, 1: 2, 2: 0}}, [[1, 2, 0], [255, 1, 2]]),
        ({"reduce_labels": True}, [[255, 0, 1], [255, 255, 0]]),
        ({"label_map": {0: 1, 1: 2, 2: 0}, "reduce_labels": True}, [[0, 1, 255], [255, 0, 1]]),
        ({"label_map": {255: 0}}, [[0, 1, 2], [0, 0, 1]]),
        ({"ignore_index": 0, "label_map": {255: 0}}, [[255, 1, 2], [255, 255, 1]]),
    ],
)
def test_references_are_mapped_at_once_and_then_reduced(options, classes):
    raw = [[0, 1, 2], [255, 0, 1]]
    result = MeanIoU(num_labels=3, **options).compute(predictions=[np.zeros((2, 3), int)], references=[raw])
    np.testing.assert_array_equal(result["area_label"], [np.sum(np.array(classes) == c) for c in range(3)])


def test_large_and_negative_reference_values():
    metric = MeanIoU(num_labels=2, ignore_index=-1, label_map={26001: 1})
    result = metric.compute(predictions=[[[0, 1, 0, -7]]], references=[[[-1, 26001, 0, 1]]])
    np.testing.assert_array_equal(result["area_label"], [1, 2])
    np.testing.assert_array_equal(result["area_pred"], [1, 1])


def flipped_view(values: list[list[int]]) -> np.ndarray:
    return np.fliplr(np.fliplr(np.array(values)).copy())


@pytest.mark.parametrize(
    "convert",
    [
        torch.tensor,
        lambda values: torch.tensor(values, dtype=torch.uint8),
        np.array,
        lambda values: np.array(values, dtype=np.int16),
        lambda values: np.array(values, dtype=np.uint16),
        flipped_view,
        lambda values: Image.fromarray(np.array(values, dtype=np.uint8)),
    ],
    ids=["tensor", "uint8 tensor", "array", "int16 array", "uint16 array", "flipped array", "image"],
)
def test_every_kind_of_map_counts_the_same(convert):
    expected = MeanIoU(num_labels=5).compute(predictions=[PREDICTION], references=[REFERENCE])
    metric = MeanIoU(num_labels=5)
    prediction, reference = convert(PREDICTION), convert(REFERENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.add(prediction=prediction, reference=reference)
    np.testing.assert_array_equal(metric.compute()["confusion_matrix"], expected["confusion_matrix"])
    np.testing.assert_array_equal(np.asarray(prediction), PREDICTION)
    np.testing.assert_array_equal(np.asarray(reference), REFERENCE)


def random_images(sizes: list[tuple[int, int]], num_labels: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    predictions = [torch.randint(num_labels, size, generator=generator) for size in sizes]
    references = [torch.randint(num_labels, size, generator=generator) for size in sizes]
    return predictions, references


def test_batches_count_like_single_images():
    predictions, references = random_images([(5, 7), (5, 7), (9, 4)], num_labels=4)
    single, mixed, stacked = MeanIoU(num_labels=4), MeanIoU(num_labels=4), MeanIoU(num_labels=4)
    for prediction, reference in zip(predictions, references, strict=True):
        single.add(prediction=prediction, reference=reference)
    mixed.add_batch(predictions=predictions, references=references)
    stacked.add_batch(predictions=torch.stack(predictions[:2]), references=torch.stack(references[:2]).numpy())
    stacked.add_batch(predictions=predictions[2:], references=references[2:])

    expected = np.zeros((4, 4))
    for prediction, reference in zip(predictions, references, strict=True):
        np.add.at(expected, (reference.numpy(), prediction.numpy()), 1)
    for metric in (single, mixed, stacked):
        np.testing.assert_array_equal(metric.compute()["confusion_matrix"], expected)


def test_compute_starts_afresh():
    metric = MeanIoU(num_labels=2)
    metric.add(prediction=[[0, 1]], reference=[[0, 1]])
    assert metric.compute()["mean_iou"] == 1
    assert metric.compute(predictions=[[[0, 1]]], references=[[[1, 0]]])["mean_iou"] == 0
    with pytest.raises(ValueError, match="call `add` or `add_batch` first"):
        metric.compute()


def test_counts_of_an_earlier_run_are_continued():
    earlier = MeanIoU(num_labels=2)
    earlier.add(prediction=[[0, 1]], reference=[[0, 0]])
    metric = MeanIoU(num_labels=2)
    metric.counts = earlier.counts
    assert mean_iou(metric.counts).item() == pytest.approx((1 / 2 + 0) / 2)
    metric.add(prediction=[[0, 1]], reference=[[0, 1]])
    assert metric.compute()["confusion_matrix"].tolist() == [[2, 1], [0, 1]]
    with pytest.raises(ValueError, match="those of 3 classes are int64"):
        MeanIoU(num_labels=3).counts = earlier.counts


def test_combines_with_other_metrics():
    combined = evaluate.combine({"coarse": MeanIoU(num_labels=2), "fine": MeanIoU(num_labels=5)})
    combined.add(prediction=[[0, 1]], reference=[[0, 0]])
    combined.add_batch(predictions=[[[0, 1]]], references=[[[0, 1]]])
    assert combined.compute()["coarse_overall_accuracy"] == 0.75


@pytest.mark.parametrize(
    ("prediction", "reference", "error", "message"),
    [
        (torch.zeros(3, 4, 5), torch.zeros(4, 5).long(), TypeError, r"float32 of shape \(3, 4, 5\).*argmax"),
        (np.zeros((4, 5)), np.zeros((4, 5), int), TypeError, r"prediction must hold.*float64 of shape \(4, 5\)"),
        (np.zeros((4, 5), int), np.zeros((4, 5)), TypeError, r"reference must hold.*float64 of shape \(4, 5\)"),
        (torch.zeros(1, 4, 5).long(), torch.zeros(1, 4, 5).long(), ValueError, r"\(1, 4, 5\).*add_batch"),
        (Image.new("L", (5, 4)), Image.new("RGB", (5, 4)), ValueError, r"reference.*got \(4, 5, 3\)"),
        (np.zeros((4, 5), int), np.zeros((8, 10), int), ValueError, r"\(4, 5\).*\(8, 10\).*resize"),
        (np.zeros((4, 5), int), None, ValueError, "give both"),
    ],
)
def test_wrong_maps_are_refused(prediction, reference, error, message):
    with pytest.raises(error, match=message):
        MeanIoU(num_labels=3).add(prediction=prediction, reference=reference)


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        ({}, [0, 150], "holds 150, but the 150 classes are 0..149 and ignore_index is 255. reduce_labels=False"),
        ({}, [-1, 70000, 2**32 + 3], "holds -1, 70000, 4294967299, but"),
        ({}, list(range(200, 220)), "208, 209, ..., but"),
        ({"reduce_labels": True}, [0, 151], r"holds 151, but the 150 classes are 1..150 .*reduce_labels=True"),
        ({"ignore_index": 200}, [255, 200], "holds 255, but"),
    ],
)
def test_unknown_reference_values_are_named(options, values, message):
    metric = MeanIoU(num_labels=150, **options)
    with pytest.raises(ValueError, match=message):
        metric.add(prediction=np.zeros((1, len(values)), int), reference=[values])


def test_wide_predictions_do_not_wrap_around():
    result = MeanIoU(num_labels=2).compute(predictions=[[[2**32 + 1, -(2**40), 1]]], references=[[[1, 1, 1]]])
    np.testing.assert_array_equal(result["area_pred"], [0, 1])
    np.testing.assert_array_equal(result["area_label"], [0, 3])


def test_a_refused_batch_leaves_the_counts_alone():
    metric = MeanIoU(num_labels=2)
    metric.add(prediction=[[0, 1]], reference=[[0, 1]])
    with pytest.raises(ValueError, match="holds 7"):
        metric.add_batch(predictions=[[[0]], [[0]]], references=[[[1]], [[7]]])
    with pytest.raises(ValueError, match="2 predictions but 1 references"):
        metric.add_batch(predictions=[[[0]], [[0]]], references=[[[1]]])
    assert metric.compute()["confusion_matrix"].sum() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_labels": 3, "label_map": {4: 3}}, r"turns 4 into 3, which is neither in 0\.\.2 nor ignore_index=255"),
        ({"num_labels": 3, "label_map": {4: 4}, "reduce_labels": True}, r"turns 4 into 4, .* 0\.\.3"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MeanIoU(**options)


def test_no_map_is_kept():
    metric = MeanIoU(num_labels=2)
    prediction, reference = torch.zeros(8, 8).long(), torch.zeros(8, 8).long()
    metric.add(prediction=prediction, reference=reference)
    references = weakref.ref(prediction), weakref.ref(reference)
    del prediction, reference
    assert [kept() for kept in references] == [None, None]


def test_nothing_is_written_or_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = MeanIoU(num_labels=5)
        metric.add(prediction=PREDICTION, reference=REFERENCE)
        metric.compute()
    assert list(tmp_path.iterdir()) == []
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("settings", [{"num_labels": 256}, {"num_labels": 255, "reduce_labels": True}])
def test_a_class_is_not_ignored_by_default(settings):
    with pytest.raises(ValueError, match=r"255 is one, and would be ignored by default: give ignore_index, -100"):
        MeanIoU(**settings)
    metric = MeanIoU(**settings, ignore_index=-100)
    metric.add(prediction=[[254, 0, 0]], reference=[[254 + settings.get("reduce_labels", False), -100, -100]])
    assert metric.compute()["overall_accuracy"] == 1
    # Said in so many words, it is.
    metric = MeanIoU(**settings, ignore_index=255)
    metric.add(prediction=[[0, 1]], reference=[[255, 1 + settings.get("reduce_labels", False)]])
    assert metric.compute()["area_label"].sum() == 1
