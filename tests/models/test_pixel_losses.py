# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of pixels, a few images at a time: the same values and gradients, and nothing of full size kept for them."""

import weakref

import pytest
import torch
from every_model import build, labels_of
from torch import nn

from vitseg.models import pixel_losses
from vitseg.models.pixel_losses import loss_of_upsampled, pixel_cross_entropy
from vitseg.recipes import OhemRecipe
from vitseg.training.losses import PixelLoss


LOSSES = {
    "cross-entropy": pixel_cross_entropy,
    "hard pixels": PixelLoss(
        class_weights=[1.0, 2.0, 3.0], label_smoothing=0.1, ohem=OhemRecipe(threshold=0.6, min_kept=20)
    ),
}


class Kept:
    """A tensor that the way back needs; there as long as that is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def upsample(scores: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(scores, size=(13, 18), mode="bilinear")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("images_at_a_time", [1, 2, 3])
def test_loss_and_gradient_are_those_of_all_images_together(loss, images_at_a_time, monkeypatch):
    monkeypatch.setattr(pixel_losses, "MAX_SCORES", images_at_a_time * 3 * 13 * 18)
    torch.manual_seed(0)
    scores, labels = torch.randn(3, 3, 4, 5, requires_grad=True), torch.randint(0, 3, (3, 13, 18))
    labels[0, :5] = 255
    expected = LOSSES[loss](upsample(scores), labels, 255, 500)
    (expected_gradient,) = torch.autograd.grad(3 * expected, scores)
    actual = loss_of_upsampled(scores, labels, upsample, lambda logits, some: LOSSES[loss](logits, some, 255, 500))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * actual, scores)[0], expected_gradient)
    with torch.no_grad():
        assert not loss_of_upsampled(scores, labels, upsample, lambda *given: LOSSES[loss](*given, 255)).requires_grad


def test_gradients_in_half_precision_are_those_of_a_scaled_loss():
    """Unscaled they are less than the least number that float16 has."""
    torch.manual_seed(0)
    scores, labels = torch.randn(1, 3, 4, 5).half().requires_grad_(), torch.randint(0, 3, (1, 13, 18))
    loss = loss_of_upsampled(scores, labels, upsample, lambda *given: pixel_cross_entropy(*given, 255, 1e9))
    (gradient,) = torch.autograd.grad(loss * 2.0**25, scores)
    exact = scores.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(pixel_cross_entropy(upsample(exact), labels, 255, 1e9) * 2.0**25, exact)
    torch.testing.assert_close(gradient.float(), expected, rtol=1e-3, atol=1e-4)


def test_a_function_of_ones_own_takes_all_images_unless_it_says_that_it_adds_up(monkeypatch):
    monkeypatch.setattr(pixel_losses, "MAX_SCORES", 1)
    model = build("setr-pup").eval()
    pixel_values, labels = torch.randn(2, 3, 32, 32), labels_of("setr-pup")[:, :32, :32]
    temperature, images = nn.Parameter(torch.ones(())), []

    def loss_function(logits, labels, ignore_index, num_items_in_batch=None):
        images.append(len(logits))
        return temperature * nn.functional.cross_entropy(logits, labels, ignore_index=ignore_index)

    model.loss_function = loss_function
    loss = model(pixel_values, labels=labels).loss
    loss.backward()
    assert set(images) == {2}
    torch.testing.assert_close(temperature.grad, loss.detach())
    images.clear()
    loss_function.adds_up_over_images = True
    model(pixel_values, labels=labels)
    assert set(images) == {1}


@pytest.mark.parametrize("name", ["cts-segmenter", "sctnet", "setr-mla", "setr-pup", "structtoken"])
def test_a_training_step_keeps_no_scores_of_full_size(name):
    model = build(name).train()
    pixel_values, labels = torch.randn(2, 3, 128, 128), labels_of(name)
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def keep(tensor: torch.Tensor) -> Kept:
        kept.add(holder := Kept(tensor))
        return holder

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda holder: holder.tensor):
        loss = model(pixel_values, labels=labels).loss
    assert kept
    full_size = (2, model.config.num_labels, 128, 128)
    assert [holder for holder in kept if tuple(holder.tensor.shape) == full_size] == []
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
