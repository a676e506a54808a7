# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Losses of pixels: the originals' cross-entropy, and how such a loss is taken of scores that are smaller than the image.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.autograd.function import once_differentiable


# What the sums in a loss are divided by, if not by what the batch itself holds; see `count_items` of a model.
NumItems: TypeAlias = torch.Tensor | int | float | None
# Of logits `(batch, num_labels, height, width)`, labels `(batch, height, width)`, the ignore index, and the number of
# items, by default that of the labels.
PixelLossFunction: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int, NumItems], torch.Tensor]
# Scores of full size that exist at a time: 64 MB, or those of one image.
MAX_SCORES = 2**24


def pixel_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, ignore_index: int, num_items_in_batch: NumItems = None
) -> torch.Tensor:
    """
    Cross-entropy averaged over *all* pixels: ignored ones add nothing to the sum but count in the mean.

    This is mmsegmentation's default reduction, which the published models were trained with; PyTorch's own mean
    divides by the pixels that are not ignored. `logits` is `(batch, num_labels, height, width)`, `labels` int64
    `(batch, height, width)`, and `num_items_in_batch` the pixels to average over, by default those of `labels`.
    """
    # In float32: the sum over the pixels of an image is more than float16 can hold.
    total = nn.functional.cross_entropy(logits.float(), labels, ignore_index=ignore_index, reduction="sum")
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def loss_of_upsampled(
    scores: torch.Tensor,
    labels: torch.Tensor,
    upsample: Callable[[torch.Tensor], torch.Tensor],
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """
    `loss_function(upsample(scores), labels)`, a few images at a time.

    Scores of full size take most of the memory of a training step over a frozen encoder: 150 classes at 512 x 512
    pixels are 157 MB an image, and a loss holds several such tensors for the way back, of each head. Here the way back
    to `scores` is gone at once, and what is kept is a gradient of their size.

    Args:
        scores: `(batch, num_labels, rows, columns)`.
        labels: int64 `(batch, height, width)`.
        upsample: makes scores of some images, in float32, as large as their labels.
        loss_function: of upsampled scores and labels of some images; the loss of all is the sum of theirs. It has no
            parameters that learn.

    Returns:
        The loss, a scalar in float32, through which there is one way back.
    """
    if torch.compiler.is_compiling():  # The compiler decides by itself what it keeps.
        return loss_function(upsample(scores.float()), labels)
    given = scores if torch.is_grad_enabled() else scores.detach()
    loss: torch.Tensor = _LossOfUpsampled.apply(given, labels, upsample, loss_function)
    return loss


class _LossOfUpsampled(torch.autograd.Function):
    """See [`loss_of_upsampled`]."""

    @staticmethod
    def forward(
        ctx: Any,
        scores: torch.Tensor,
        labels: torch.Tensor,
        upsample: Callable[[torch.Tensor], torch.Tensor],
        loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        learns = ctx.needs_input_grad[0]
        images = max(MAX_SCORES // (scores.shape[1] * labels[0].numel()), 1)
        losses, gradients = [], []
        for some_scores, some_labels in zip(scores.split(images), labels.split(images), strict=True):
            with torch.set_grad_enabled(learns):
                leaf = some_scores.detach().float().requires_grad_(learns)
                loss = loss_function(upsample(leaf), some_labels)
            losses.append(loss.detach())
            if learns:
                gradients += torch.autograd.grad(loss, leaf)
        ctx.dtype = scores.dtype
        ctx.save_for_backward(*([torch.cat(gradients)] if learns else []))
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # In half precision only what a scaled loss has made large enough for it.
        return (gradient * grad_output).to(ctx.dtype), None, None, None
