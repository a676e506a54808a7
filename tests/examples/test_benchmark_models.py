# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models by their names: peers of the published size and cost, at any size of the image."""

import pytest
import torch
from benchmarks import named_models
from benchmarks.throughput import count_multiply_adds


# 1e9 multiply-adds at the side of the training crop, as SegFormer's paper and mmsegmentation's model zoo publish them.
@pytest.mark.parametrize(
    ("name", "side", "gflops"),
    [
        ("segformer-b0", 512, 8.4),
        ("segformer-b1", 512, 15.9),
        ("segformer-b2", 512, 62.4),
        ("segformer-b3", 512, 79.0),
        ("segformer-b4", 512, 95.7),
        ("segformer-b5", 640, 183.3),
        ("upernet-swin-tiny", 512, 236),
    ],
)
def test_peers_have_the_published_cost(name, side, gflops):
    with torch.device("meta"):
        model = named_models.build_model(name, (side, side)).eval()
        counted = count_multiply_adds(model, torch.empty(1, 3, side, side))
    assert counted / 1e9 == pytest.approx(gflops, rel=0.01)


# Millions, of the checkpoints for ADE20K that the Hub has.
@pytest.mark.parametrize(("size", "parameters"), [("tiny", 47.4), ("small", 68.8), ("base", 106.9), ("large", 215.5)])
def test_mask2formers_have_the_published_size(size, parameters):
    with torch.device("meta"):
        model = named_models.build_model(f"mask2former-swin-{size}", (512, 512))
    assert model.num_parameters() / 1e6 == pytest.approx(parameters, abs=0.05)


def test_models_whose_course_depends_on_numbers_can_be_counted():
    model = named_models.build_model("mask2former-swin-tiny", (64, 64)).eval()
    small, large = (count_multiply_adds(model, torch.zeros(1, 3, side, side)) for side in (64, 128))
    # Four times the pixels; what the queries do among themselves stays as it is.
    assert 2 * small < large < 4 * small


def test_eomt_has_no_masks_in_its_attention():
    model = named_models.build_model("eomt-small", (64, 64)).eval()
    attention_masks = []
    model.layers[-1].register_forward_pre_hook(lambda module, arguments: attention_masks.append(arguments[1:]))
    with torch.no_grad():
        output = model(torch.zeros(1, 3, 64, 64))
    assert attention_masks == [(None,)]
    assert output.class_queries_logits.shape == (1, 100, 151)
    with pytest.raises(ValueError, match="EoMT takes square images; --input-size is 64 x 32"):
        named_models.build_model("eomt-small", (64, 32))


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_larger_peers_run(size):
    named_models.check_name(f"upernet-swin-{size}")
    with torch.device("meta"):
        model = named_models.build_model(f"upernet-swin-{size}", (64, 64)).eval()
        assert model(torch.empty(1, 3, 64, 64)).logits.shape == (1, 150, 64, 64)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:resnet18"])
def test_encoders_of_timm_take_the_input_size(name):
    named_models.check_name(name)
    with torch.device("meta"):
        features = named_models.build_model(name, (96, 64))(torch.empty(1, 3, 96, 64))
    assert features.ndim in (3, 4)
