# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A model is measured by a protocol at the size of each image, in several processes, and goes on where it stopped."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from random_examples import Examples
from tiny_setr import tiny_image_processor, tiny_setr

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor
from vitseg.evaluation import MeanIoU, evaluator
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.evaluation.progress import EvaluationProgress
from vitseg.recipes.protocol import Protocol


@pytest.fixture
def model() -> SetrForSemanticSegmentation:
    """A model that sees class 1 everywhere."""
    backbone_config = PlainVitConfig(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=3, intermediate_size=96, image_size=32
    )
    config = SetrConfig(backbone_config=backbone_config, decoder_type="naive", decoder_hidden_size=8, num_labels=3)
    model = SetrForSemanticSegmentation(config)
    with torch.no_grad():
        model.decode_head.classifier.weight.zero_()
        model.decode_head.classifier.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    return model


@pytest.mark.parametrize("ignore_index", [255, -100])
def test_counts_every_pixel_of_every_image_once(model, ignore_index):
    # Label maps hold 255, whatever the model's own losses ignore.
    model.config.semantic_loss_ignore_index = ignore_index
    rng = np.random.default_rng(0)
    examples = []
    for height, width in ((40, 70), (33, 20)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        label_map = rng.choice(np.array([0, 1, 1, 255], np.uint8), (height, width))
        examples.append({"image": image, "label_map": label_map})
    labels = np.concatenate([example["label_map"].ravel() for example in examples])

    image_processor = SetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 128})
    scores = evaluate_model(model.train(), image_processor, examples, Accelerator(cpu=True))

    counted = (labels != 255).sum()
    assert scores["area_label"].sum() == counted
    assert scores["overall_accuracy"] == pytest.approx((labels == 1).sum() / counted)
    # Class 0 is never found, class 1 wherever anything is, class 2 does not occur.
    assert scores["per_category_iou"][:2] == pytest.approx([0.0, (labels == 1).sum() / counted])
    assert np.isnan(scores["per_category_iou"][2])
    assert model.training


NAMES = "abcde"


def measure(examples, accelerator=None, **kwargs) -> np.ndarray:
    accelerator = accelerator or Accelerator(cpu=True)
    scores = evaluate_model(tiny_setr(NAMES), tiny_image_processor(), examples, accelerator, **kwargs)
    return scores["confusion_matrix"]


def labelled_pixels(examples: Examples, indices) -> int:
    return sum(int((examples[index]["label_map"] != 255).sum()) for index in indices)


def test_only_the_first_images():
    examples = Examples(5)
    assert measure(examples, limit=2).sum() == labelled_pixels(examples, range(2))
    assert measure(examples, limit=9).sum() == labelled_pixels(examples, range(5))


def test_worker_processes_change_nothing():
    np.testing.assert_array_equal(measure(Examples(3), num_workers=2), measure(Examples(3)))


def test_the_protocol_and_the_metric_can_be_others():
    examples = Examples(2)
    protocol = Protocol(mode="whole", size={"height": 48, "width": 64}, flip=True)
    other = measure(examples, protocol=protocol)
    assert (other != measure(examples)).any()
    assert other.sum() == labelled_pixels(examples, range(2))
    without_first_class = measure(examples, metric=MeanIoU(5, label_map={0: 255}))
    assert without_first_class[0].sum() == 0
    assert without_first_class[1:].sum() > 0


def test_a_broken_image_stops_it_or_is_left_out():
    examples = Examples(4, broken=(1,))
    with pytest.raises(ValueError, match=r"Cannot decode the image of 1\.jpg.*skip_broken"):
        measure(examples)
    progress = EvaluationProgress()
    assert measure(examples, skip_broken=True, progress=progress).sum() == labelled_pixels(Examples(4), (0, 2, 3))
    assert progress.broken == ["Cannot decode the image of 1.jpg."]
    assert [index for index, _, _ in progress.image_scores] == [0, 2, 3]


def test_unknown_labels_name_the_image():
    with pytest.raises(ValueError, match=r"0\.jpg: a reference holds 3, 4"):
        evaluate_model(tiny_setr("abc"), tiny_image_processor(), Examples(1), Accelerator(cpu=True))


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="image 0 has no label map"):
        measure([{"image": Examples(1)[0]["image"]}])


def test_the_score_of_each_image_is_that_of_the_image_alone():
    examples, progress = Examples(3), EvaluationProgress()
    measure(examples, progress=progress)
    for index, name, score in progress.image_scores:
        alone = evaluate_model(tiny_setr(NAMES), tiny_image_processor(), [examples[index]], Accelerator(cpu=True))
        assert (name, score) == (f"{index}.jpg", pytest.approx(alone["mean_iou"]))


@pytest.mark.parametrize("save_every", [1, 2, 50])
def test_it_goes_on_where_it_stopped(save_every, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluator, "SAVE_EVERY", save_every)
    for broken in (2, 4):
        progress = EvaluationProgress.open(tmp_path, "same")
        with pytest.raises(ValueError, match=f"{broken}.jpg"):
            measure(Examples(6, broken=(broken,)), progress=progress, boundary=True)
    examples, progress = Examples(6), EvaluationProgress.open(tmp_path, "same")
    at_once = EvaluationProgress()
    np.testing.assert_array_equal(
        measure(examples, progress=progress, boundary=True), measure(Examples(6), progress=at_once, boundary=True)
    )
    assert torch.equal(torch.cat(progress.rows), torch.cat(at_once.rows))
    assert examples.read == [4, 5]
    assert [index for index, _, _ in progress.image_scores] == [0, 1, 2, 3, 4, 5]

    nothing_left = Examples(6)
    again = measure(nothing_left, progress=EvaluationProgress.open(tmp_path, "same"))
    assert again.sum() == labelled_pixels(Examples(6), range(6))
    assert nothing_left.read == []


def test_images_without_a_score_survive_the_file(tmp_path):
    progress = EvaluationProgress.open(tmp_path, "same")
    progress.image_scores.append((0, "unlabelled.png", float("nan")))
    progress.save()
    assert np.isnan(EvaluationProgress.open(tmp_path, "same").image_scores[0][2])


def test_progress_of_something_else_is_refused(tmp_path):
    EvaluationProgress.open(tmp_path, "one").save()
    with pytest.raises(ValueError, match="another model, data set or protocol"):
        EvaluationProgress.open(tmp_path, "two")
    with pytest.raises(ValueError, match="another number of processes than 2"):
        EvaluationProgress.open(tmp_path, "one", process=0, num_processes=2)
