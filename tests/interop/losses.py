# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Losses: what a configuration can say of them, and the settings of a recipe that say the same.

The same logits and label maps go through the loss of mmsegmentation's own decode head, sampler included, and through
ours. Those of the shipped configurations, which know nothing but CrossEntropyLoss and its weight, are compared with
the models.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample

from vitseg.recipes import OhemRecipe
from vitseg.training.losses import PixelLoss

from .cases import Case, difference


COLUMNS = ("loss", "gradient")
NUM_CLASSES = 7
WEIGHTS = [0.5, 1.0, 2.0, 0.25, 3.0, 1.5, 0.0]


def cases() -> Iterator[Case]:
    def case(name: str, head: Mapping[str, Any], ours: Any, **inputs: Any) -> Case:
        return Case(name, functools.partial(compare, head, ours, **inputs))

    cross_entropy = {"type": "CrossEntropyLoss"}
    yield case("CrossEntropyLoss", {}, PixelLoss())
    yield case("CrossEntropyLoss, all pixels of an image ignored", {}, PixelLoss(), empty=True)
    yield case(
        "CrossEntropyLoss, avg_non_ignore=True, and num_items_in_batch",
        {"loss_decode": {**cross_entropy, "avg_non_ignore": True}},
        PixelLoss(),
        divide_by_labelled=True,
    )
    yield case(
        "CrossEntropyLoss, class_weight, times the mean weight of the pixels",
        {"loss_decode": {**cross_entropy, "class_weight": WEIGHTS}},
        PixelLoss(class_weights=WEIGHTS),
        ignored=False,
        times_weight=True,
    )
    for threshold, min_kept, batch in ((0.7, 2, 2), (0.3, 2, 2), (0.1, 2000, 1)):
        yield case(
            f"OHEMPixelSampler, thresh={threshold}, min_kept={min_kept}, {batch} images",
            {"sampler": {"type": "OHEMPixelSampler", "thresh": threshold, "min_kept": min_kept}},
            PixelLoss(ohem=OhemRecipe(threshold=threshold, min_kept=min_kept)),
            batch=batch,
        )


def compare(
    head: Mapping[str, Any],
    ours: PixelLoss,
    *,
    batch: int = 2,
    ignored: bool = True,
    empty: bool = False,
    divide_by_labelled: bool = False,
    times_weight: bool = False,
) -> dict[str, float]:
    """The loss, and its gradient in the logits."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(batch, NUM_CLASSES, 48, 64, generator=generator)
    labels = torch.randint(NUM_CLASSES, (batch, 48, 64), generator=generator)
    if ignored:
        labels[:, :9] = 255
    if empty:
        labels[0] = 255
    original = FCNHead(in_channels=4, channels=4, num_classes=NUM_CLASSES, num_convs=0, concat_input=False, **head)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label_map[None])) for label_map in labels]
    num_items = int((labels != 255).sum()) if divide_by_labelled else None

    def loss_of_ours(inputs: torch.Tensor) -> torch.Tensor:
        return ours(inputs, labels, 255, num_items)

    def loss_of_theirs(inputs: torch.Tensor) -> torch.Tensor:
        loss = original.loss_by_feat(inputs, samples)["loss_ce"]
        return loss * torch.tensor(WEIGHTS)[labels].mean() if times_weight else loss

    our_loss, our_gradient = loss_and_gradient(loss_of_ours, logits)
    their_loss, their_gradient = loss_and_gradient(loss_of_theirs, logits)
    # Gradients of means over thousands of pixels are small; of sums over them they are as large as a loss.
    gradient = difference(labels.numel() * our_gradient, labels.numel() * their_gradient)
    return {"loss": difference(our_loss, their_loss), "gradient": gradient}


def loss_and_gradient(
    loss_function: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = logits.clone().requires_grad_()
    loss = loss_function(inputs)
    (gradient,) = torch.autograd.grad(loss, inputs)
    return loss.detach(), gradient
