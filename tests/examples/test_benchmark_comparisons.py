# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Both sides of each comparison do the same work."""

import cv2
import numpy as np
import pytest
import torch
from benchmarks import comparison, data, encoder, masks, metric, opencv_pipeline
from benchmarks.opencv_pipeline import OpenCvPipeline
from benchmarks.throughput import count_multiply_adds

from vitseg.data.augmentation import TrainingTransform, adjust_brightness, adjust_contrast
from vitseg.data.streaming import decode_example
from vitseg.evaluation.metric import MeanIoU
from vitseg.models.image_processing_semantic import reduce_labels
from vitseg.models.score_maps import resized_argmax


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    return data.synthetic_pair(0)


def test_comparisons_use_one_core_and_leave_the_others_as_they_were():
    before, seen = torch.get_num_threads(), []

    def count_threads() -> None:
        seen.append((torch.get_num_threads(), cv2.getNumThreads()))

    comparison.compare({"one": count_threads, "other": count_threads}, images=1, repeats=2)
    assert set(seen) == {(1, 1)}
    assert torch.get_num_threads() == before


def test_synthetic_images_are_like_photographs(pair):
    example = decode_example({"image": pair[0], "label": pair[1], "file_name": "photo.jpg"})
    pixels = np.asarray(example["image"], dtype=np.float32)
    assert pixels.shape == (512, 683, 3)
    assert len(np.unique(example["label_map"])) == 10
    assert example["label_map"].min() == 0
    assert example["label_map"].max() <= 150
    # Neighbours are alike and the ends are not, unlike in white noise and in plain areas.
    assert 1 < np.abs(np.diff(pixels, axis=1)).mean() < 20
    assert pixels.std() > 30


@pytest.mark.parametrize(("crop_size", "ratio"), [((700, 1000), 1.3), ((600, 800), 0.7)])
def test_opencv_and_vitseg_make_the_same_example(pair, crop_size, ratio, monkeypatch):
    monkeypatch.setattr(opencv_pipeline, "distort_photometrically", lambda image, rng: image)
    settings = {"crop_size": crop_size, "ratio_range": (ratio, ratio), "flip_probability": 1}
    theirs = OpenCvPipeline(**settings)(*pair, np.random.default_rng(0))

    example = decode_example({"image": pair[0], "label": pair[1], "file_name": "photo.jpg"})
    image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
    label_map = reduce_labels(torch.from_numpy(example["label_map"]))
    transform = TrainingTransform(**settings, scale=(2048, 512), photometric_distortion=False)
    ours = transform(image, label_map, np.random.default_rng(1))

    assert ours["labels"].equal(theirs["labels"])
    # Two JPEG decoders may differ by a grey level or two in a few pixels, of some 60 to a standard deviation.
    difference = (ours["pixel_values"] - theirs["pixel_values"]).abs()
    assert difference.max() < 3 / 57
    assert difference.mean() < 1e-3


def test_opencv_and_vitseg_change_colours_alike():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for amount in (-31.9, -0.3, 0.0, 17.2):
        expected = opencv_pipeline.multiply_add(image, amount=amount)
        assert np.array_equal(adjust_brightness(image, amount), expected)
    for factor in (0.5, 0.97, 1.0, 1.499):
        expected = opencv_pipeline.multiply_add(image, factor=factor)
        assert np.array_equal(adjust_contrast(image, factor), expected)


def test_histograms_count_what_the_metric_counts():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 150, (40, 50), dtype=np.uint8)
    reference[:5] = 255
    prediction = np.where(rng.random(reference.shape) < 0.5, reference, rng.integers(0, 150, reference.shape))
    prediction[:5] = 7
    mean_iou = MeanIoU(num_labels=150)
    mean_iou.add(prediction=prediction, reference=reference)
    scores = mean_iou.compute()
    areas = metric.histogram_areas(prediction, reference)
    for name, area in zip(("intersect", "pred", "label"), areas, strict=True):
        assert scores[f"area_{name}"].tolist() == area.tolist()


@pytest.mark.parametrize("size", encoder.SIZES)
def test_both_encoders_do_the_same_work(size):
    with torch.device("meta"):
        models = [build(size, 64).eval() for build in (encoder.build_ours, encoder.build_timms)]
        images = torch.empty(1, 3, 64, 64)
        assert models[0](images).feature_maps[0].shape == (1, encoder.SIZES[size][0], 4, 4)
        assert models[1](images).shape == (1, 17, encoder.SIZES[size][0])
        ours, timms = (count_multiply_adds(model, images) for model in models)
    assert ours == timms
    ours, timms = (sum(parameter.numel() for parameter in model.parameters()) for model in models)
    assert ours == timms


def test_masks_of_both_kinds_are_the_same():
    logits = torch.randn(7, 30, 20, generator=torch.Generator().manual_seed(0))
    expected = masks.whole_argmax(logits, (64, 47))
    agreement = (resized_argmax(logits, (64, 47)) == expected).float().mean()
    assert agreement > 0.999
