# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training examples of the policy network: geometry, pixels and targets."""

import numpy as np
import pytest
import torch

from vitseg.data.policy_targets import PolicyTransform, policy_targets
from vitseg.recipes import POLICY_RECIPES, PolicyTraining


def transform(**kwargs) -> PolicyTransform:
    values = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0, "iterations": 1, "batch_size": 1}
    return PolicyTransform(recipe=PolicyTraining(**{**values, "flip_probability": 0.0, **kwargs}))


def scene(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image whose channels are row, column and label, and a label map that changes every 40 columns."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    label_map = columns // 40
    return torch.stack((rows % 256, columns % 256, label_map)).to(torch.uint8), label_map.to(torch.uint8)


@pytest.mark.parametrize("ignore_mixed_border", [True, False])
def test_targets(ignore_mixed_border):
    label_map = torch.zeros(5 * 32, 4 * 32, dtype=torch.uint8)
    label_map[40, 40] = 1  # two classes
    label_map[0:32, 0:32] = 255  # ignored altogether, at the border
    label_map[70, 0] = 255  # one class and an ignored pixel, at the border
    label_map[70, 40] = 255  # the same inside
    label_map[100, 127], label_map[101, 127] = 255, 3  # two classes and an ignored pixel, at the border
    expected = torch.ones(5, 4, dtype=torch.int64)
    expected[1, 1] = expected[2, 1] = expected[3, 3] = 0
    expected[2, 0] = 255 if ignore_mixed_border else 0
    assert torch.equal(policy_targets(label_map, ignore_mixed_border), expected)
    batch = torch.stack((label_map, torch.zeros_like(label_map)))
    targets = policy_targets(batch, ignore_mixed_border)
    assert torch.equal(targets[0], expected)
    assert (targets[1] == 1).all()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cts-policy-ade20k-512", (300, 400), (512, 512)),
        ("cts-policy-pascal-context-480", (300, 400), (480, 480)),
        ("cts-policy-cityscapes-768", (1024, 2048), (768, 768)),
    ],
)
def test_examples_of_the_published_recipes(name, size, expected):
    example = PolicyTransform(recipe=POLICY_RECIPES[name].training)(*scene(*size), np.random.default_rng(0))
    assert example["pixel_values"].shape == (3, *expected)
    assert example["pixel_values"].dtype == torch.float32
    assert example["pixel_values"].abs().max() <= 1
    assert example["labels"].shape == (expected[0] // 32, expected[1] // 32)


def test_pixels_run_from_minus_one_to_one():
    image = torch.tensor([0, 127, 255], dtype=torch.uint8)[:, None, None].expand(3, 32, 32)
    example = transform(size={"height": 32, "width": 32})(image, torch.zeros(32, 32), np.random.default_rng(0))
    expected = torch.tensor([-1.0, -0.5 / 127.5, 1.0])[:, None, None].expand(3, 32, 32)
    torch.testing.assert_close(example["pixel_values"], expected)


def test_the_targets_are_those_of_the_crop():
    image, label_map = scene(128, 256)
    for seed in range(5):
        example = transform(size={}, crop_size=(64, 96))(image, label_map, np.random.default_rng(seed))
        pixels = (example["pixel_values"] * 127.5 + 127.5).round().long()
        assert torch.equal(example["labels"], policy_targets(pixels[2], ignore_mixed_border=False))
        top, left = pixels[0, 0, 0], pixels[1, 0, 0]
        assert torch.equal(pixels[1, 0], left + torch.arange(96))
        assert torch.equal(pixels[0, :, 0], top + torch.arange(64))


def test_flips_keep_image_and_targets_together():
    image, label_map = scene(64, 128)
    plain = transform(size={"height": 64, "width": 128})(image, label_map, np.random.default_rng(0))
    flipped = transform(size={"height": 64, "width": 128}, flip_probability=1.0)(
        image, label_map, np.random.default_rng(0)
    )
    assert torch.equal(flipped["pixel_values"], plain["pixel_values"].flip(-1))
    assert torch.equal(flipped["labels"], policy_targets(label_map.flip(-1), ignore_mixed_border=False))


def test_the_long_side_is_truncated():
    # 512 * 3 / 2.0 and so on: 375 x 500 pixels become 512 x 682.
    maker = transform(size={"shortest_edge": 512}, crop_size=(512, 672))
    assert maker._resized(375, 500) == (512, 682)
    assert maker._resized(500, 375) == (682, 512)


def test_images_smaller_than_the_crop_are_refused():
    with pytest.raises(ValueError, match="64 x 128 pixels is smaller than the crop of 96 x 96"):
        transform(size={}, crop_size=(96, 96))(*scene(64, 128), np.random.default_rng(0))
