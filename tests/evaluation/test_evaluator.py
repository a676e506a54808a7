# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A model is measured by its own protocol, at the size of each image."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor
from vitseg.evaluation.evaluator import evaluate_model


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


def test_counts_every_pixel_of_every_image_once(model):
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
