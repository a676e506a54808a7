# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets with classes and boxes, and the streams and scores of classifiers and detectors."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import load_dataset
from PIL import Image
from torch.overrides import TorchFunctionMode

from vitseg.data.image_labels import ClassificationStream, load_class_names, mixing, training_transform
from vitseg.data.loading import train_loader
from vitseg.data.objects import DetectionStream, DetectionTransform, collate_objects
from vitseg.evaluation.classification import evaluate_classifier
from vitseg.evaluation.detection import score_detections
from vitseg.models.image_processing_semantic import SemanticImageProcessor
from vitseg.recipes import get_recipe
from vitseg.recipes.schema import ClassificationTraining, DetectionTraining
from vitseg.scenes import SCENE_KINDS, SCENE_THINGS, draw_annotated_scene
from vitseg.scenes import write_annotated_scenes as write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects") / "scenes"
    write(folder, num_train=12, num_validation=3, num_shards=2)
    return folder


def test_the_data_set_loads_with_datasets(folder):
    data = load_dataset(str(folder), split="train")
    assert len(data) == 12
    assert data.features["label"].names == list(SCENE_KINDS)
    row = data[5]
    assert isinstance(row["image"], Image.Image)
    assert len(row["objects"]["bbox"]) == len(row["objects"]["category"]) == len(draw_annotated_scene(10).objects)
    assert load_class_names(folder) == SCENE_KINDS
    assert load_class_names(folder, "objects.category") == SCENE_THINGS
    with pytest.raises(ValueError, match=r"no class names in its column 'image_id'.*--labels"):
        load_class_names(folder, "image_id")


RECIPE = get_recipe("hlg-tiny-imagenet1k-224-300e")
DETECTION = get_recipe("hlg-retinanet-large-coco-800-12e")


def classification_stream(folder, **kwargs) -> ClassificationStream:
    assert isinstance(RECIPE.training, ClassificationTraining)
    transform = training_transform(RECIPE.training, RECIPE.build_image_processor())
    return ClassificationStream(folder, "train", transform, num_labels=3, batch_size=4, **kwargs)


def test_classification_examples_are_the_same_in_every_run(folder):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = list(itertools.islice(classification_stream(folder), 8))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(5)
    again = list(itertools.islice(classification_stream(folder, start=4), 4))
    for one, other in zip(first[4:], again, strict=True):
        assert torch.equal(one["pixel_values"], other["pixel_values"])
        assert one["pixel_values"].shape == (3, 224, 224)
        assert one["labels"] == other["labels"]
    (batch,) = itertools.islice(train_loader(classification_stream(folder), num_workers=0), 1)
    assert torch.equal(batch["labels"], torch.stack([example["labels"] for example in first[:4]]))
    assert mixing(RECIPE.training, 3)(batch["pixel_values"], batch["labels"])[1].sum(dim=1).allclose(torch.ones(4))
    with pytest.raises(ValueError, match="the 1 classes are 0 to 0"):
        list(itertools.islice(ClassificationStream(folder, num_labels=1), 12))


def detection_transform(**kwargs) -> DetectionTransform:
    settings = {"short_sides": (64,), "longest_side": 96, "flip_probability": 0.0, **kwargs}
    processor = SemanticImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    training = dataclasses.replace(DETECTION.training, **settings)
    assert isinstance(training, DetectionTraining)
    return DetectionTransform(training, processor)


def test_boxes_move_with_the_image():
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, 10:20, 8:24] = 255
    boxes = torch.tensor([[8.0, 10, 24, 20], [-8, 0, 40, 40]])
    rng = np.random.default_rng(0)
    pixels, shares = detection_transform()(image, boxes, rng)
    # 64 would make the long side 128: it is 96.
    assert pixels.shape == (3, 48, 96)
    torch.testing.assert_close(shares, torch.tensor([[0.2, 0.375, 0.2, 0.25], [0.25, 0.5, 0.5, 1.0]]))
    flipped, mirrored = detection_transform(flip_probability=1.0)(image, boxes, rng)
    assert torch.equal(flipped, pixels.flip(-1))
    torch.testing.assert_close(mirrored, torch.tensor([[0.8, 0.375, 0.2, 0.25], [0.75, 0.5, 0.5, 1.0]]))
    assert (pixels[:, 14:22, 12:26] > 0.9).all()


def test_short_sides_are_drawn():
    image, boxes = torch.zeros(3, 50, 50, dtype=torch.uint8), torch.zeros(0, 4)
    transform, rng = detection_transform(short_sides=(32, 48, 64)), np.random.default_rng(0)
    assert {transform(image, boxes, rng)[0].shape[-1] for _ in range(30)} == {32, 48, 64}


def test_detection_batches(folder):
    stream = DetectionStream(folder, "train", detection_transform(), num_labels=3, batch_size=4)
    (batch,) = itertools.islice(train_loader(stream, num_workers=0), 1)
    assert batch["pixel_values"].shape[-2:] == batch["pixel_mask"].shape[-2:] == (64, 96)
    assert len(batch["labels"]) == 4
    again = collate_objects(list(itertools.islice(stream, 4)))
    assert torch.equal(batch["pixel_values"], again["pixel_values"])
    assert (batch["pixel_values"] * (1 - batch["pixel_mask"][:, None])).abs().sum() == 0
    for objects in batch["labels"]:
        assert objects["boxes"].shape == (len(objects["class_labels"]), 4)
        assert ((objects["boxes"] >= 0) & (objects["boxes"] <= 1)).all()
    with pytest.raises(ValueError, match="An object has the class 2, but the 2 classes are 0 to 1"):
        list(itertools.islice(DetectionStream(folder, num_labels=2), 12))


def test_average_precision():
    truth = [
        ({"id": 1, "height": 100, "width": 100}, [{"bbox": [10, 10, 40, 40], "category_id": 0}]),
        ({"id": 2, "height": 100, "width": 100}, [{"bbox": [0, 0, 50, 50], "category_id": 1}]),
    ]
    right = [
        {"image_id": 1, "category_id": 0, "bbox": [10, 10, 40, 40], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 50, 50], "score": 0.8},
    ]
    assert score_detections(truth, right, 2)["box_ap"] == pytest.approx(1.0)
    # 50 x 31 of 50 x 50: an IoU of 0.62 counts at three of the ten thresholds.
    half = [right[0], {**right[1], "bbox": [0, 0, 50, 31]}]
    scores = score_detections(truth, half, 2)
    assert scores["box_ap"] == pytest.approx((1 + 0.3) / 2, abs=1e-6)
    assert scores["box_ap50"] == pytest.approx(1.0)
    assert scores["box_ap75"] == pytest.approx(0.5)
    assert score_detections(truth, [], 2)["box_ap"] == 0
    # A crowd is no object that could be missed.
    crowd = [*truth, ({"id": 3, "height": 9, "width": 9}, [{"bbox": [0, 0, 9, 9], "category_id": 0, "iscrowd": 1}])]
    assert score_detections(crowd, right, 2)["box_ap"] == pytest.approx(1.0)


class Guesser(torch.nn.Module):
    """Says the class that the brightness of the image is, and the one after it."""

    def forward(self, pixel_values):
        logits = torch.zeros(len(pixel_values), 10)
        for row, image in zip(logits, pixel_values, strict=True):
            guess = int(image.mean().round())
            row[guess], row[(guess + 1) % 10] = 5.0, 3.0
        return type("Output", (), {"logits": logits})()


class NoDoublePrecision(TorchFunctionMode):
    """As on Apple's processors for graphics: no tensor is float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            raise TypeError("The device has no float64.")
        return result


def test_top_1_and_top_5():
    class Examples(list):
        def __getitem__(self, indices):
            rows = [list.__getitem__(self, index) for index in indices]
            return {key: [row[key] for row in rows] for key in ("image", "label")}

    class Processor:
        def __call__(self, images, return_tensors):
            from transformers import BatchFeature

            return BatchFeature(
                {"pixel_values": torch.stack([torch.full((3, 2, 2), float(image)) for image in images])}
            )

    # Right; second; neither, but among five equals; not among them.
    examples = Examples({"image": image, "label": label} for image, label in [(3, 3), (4, 5), (6, 6), (7, 8)])
    model = Guesser()
    with NoDoublePrecision():
        scores = evaluate_classifier(model, Processor(), examples, Accelerator(cpu=True), batch_size=3)
    assert (scores["top1"], scores["top5"]) == pytest.approx((0.5, 1.0))
    # Entropies of logits of 5, 3 and eight zeros.
    of_all = math.log(math.exp(5) + math.exp(3) + 8)
    assert scores["cross_entropy"] == pytest.approx(of_all - (5 + 3 + 5 + 3) / 4, rel=1e-6)
    limited = evaluate_classifier(model, Processor(), examples, Accelerator(cpu=True), limit=1)
    assert limited["top1"] == 1.0
