# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The counts of single images give the means of the metric, their intervals, and files for comparisons."""

import numpy as np
import pytest
import torch

from vitseg.evaluation import MeanIoU
from vitseg.evaluation.bootstrap import bootstrap_means, spread
from vitseg.evaluation.image_counts import ImageCounts, rows_of_image
from vitseg.evaluation.metric import areas


NAMES = ["a", "b", "c"]


def maps_of(index: int, quality: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Image 3 holds nothing that counts, and class c is nowhere true."""
    rng = np.random.default_rng(index)
    reference = rng.choice([255] if index == 3 else [0, 1, 255], (6, 5 + index))
    return np.where(rng.random(reference.shape) < quality, reference % 255, 2), reference


def counts_of(indices: list[int], quality: float = 0.7) -> ImageCounts:
    rows = []
    for index in indices:
        metric = MeanIoU(3)
        prediction, reference = maps_of(index, quality)
        metric.add(prediction=prediction, reference=reference)
        rows.append(rows_of_image(index, areas(metric.counts)[None]))
    return ImageCounts.of_rows([(index, f"{index}.png") for index in indices], NAMES, torch.cat(rows))


def scores_of(indices: list[int]) -> dict:
    """The metric's own scores of some images, one of which may come several times."""
    predictions, references = zip(*map(maps_of, indices), strict=True)
    return MeanIoU(3).compute(predictions=predictions, references=references)


def test_they_come_in_the_order_of_the_images_and_sum_to_the_metric():
    images = counts_of([4, 0, 3, 2])
    assert images.file_names == ["0.png", "2.png", "3.png", "4.png"]
    np.testing.assert_array_equal(images.counts["pixels"].sum(0)[0], scores_of([0, 2, 3, 4])["area_intersect"])
    means = images.means()
    for name, score in scores_of([0, 2, 3, 4]).items():
        if name.startswith(("mean_", "overall", "frequency", "per_category")):
            np.testing.assert_array_equal(means[name], score)
    own = [scores_of([index])["mean_iou"] for index in (0, 2, 4)]
    np.testing.assert_allclose(images.image_scores, [own[0], own[1], np.nan, own[2]])
    assert means["image_mean_iou"] == pytest.approx(np.mean(own))


def test_each_resample_is_measured_from_its_summed_counts():
    indices = [0, 1, 2, 3, 4]
    images = counts_of(indices)
    means = bootstrap_means(images, num_resamples=60, seed=7)
    rng = np.random.default_rng(7)
    for drawn, mean_iou, image_mean_iou in zip(
        rng.integers(5, size=(50, 5)), means["mean_iou"], means["image_mean_iou"], strict=False
    ):
        assert mean_iou == pytest.approx(scores_of(drawn.tolist())["mean_iou"])
        own = images.image_scores[drawn]
        assert image_mean_iou == pytest.approx(own[~np.isnan(own)].mean())
    assert len(means["mean_iou"]) == 60


def test_two_models_are_compared_on_the_same_resamples():
    better, worse = (bootstrap_means(counts_of(list(range(8)), quality))["mean_iou"] for quality in (0.75, 0.7))
    apart = np.var(better) + np.var(worse)
    assert np.var(better - worse) < apart
    assert (better >= worse).mean() > 0.9


def test_intervals_hold_the_figure_and_are_the_same_every_time():
    images = counts_of([index for index in range(9) if index != 3])
    results = spread(images)
    assert results == spread(images)
    low, high = results["intervals"]["mean_iou"]
    assert low < images.means()["mean_iou"] < high
    assert list(results["image_percentiles"]) == ["5", "25", "50", "75", "95"]
    assert results["image_percentiles"]["50"] == pytest.approx(np.median(images.image_scores))


def test_the_file_holds_them_and_others_are_refused(tmp_path):
    images = counts_of([0, 1])
    images.save(tmp_path / "counts.npz")
    loaded = ImageCounts.load(tmp_path / "counts.npz")
    assert (loaded.file_names, loaded.class_names) == (images.file_names, NAMES)
    np.testing.assert_array_equal(loaded.counts["pixels"], images.counts["pixels"])
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "other.npz", other=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("junk.npz", "other.npz", "array.npy"):
        with pytest.raises(ValueError, match=f"{name} holds no counts of images"):
            ImageCounts.load(tmp_path / name)
