# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Losses for data that no benchmark is like: weights of classes, smoothed labels, hard pixels alone, and the Dice loss.

No published result has them, and a model that was trained with them is like any other. Each is a sum over pixels or
images that is divided by what the method's own loss is divided by, so that a step has the same gradient however its
images are divided among batches and processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ..models.labels import divisor
from ..models.modeling_semantic import SegmentationOutput, SemanticSegmentationModel, label_maps
from ..models.pixel_losses import NumItems
from ..recipes import OhemRecipe, TrainingRecipe


def change_loss(
    trained: nn.Module,
    model: SemanticSegmentationModel,
    training: TrainingRecipe,
    class_weights: Sequence[float] | None = None,
) -> nn.Module:
    """
    Let a model learn by the loss that a recipe says.

    Args:
        trained: makes the losses of a batch: the model itself, or a module around it.
        model: the model, whose loss of pixels is changed in place.
        training: says how.
        class_weights: of its `num_labels` classes, or `None`.

    Returns:
        What makes the losses now: `trained`, or a module around it.

    Raises:
        ValueError: if the model has no loss of pixels.
    """
    changed = training.changed_losses
    if changed and model.config.model_type == "segvit":
        named = ", ".join(f"training.{name}" for name in changed)
        raise ValueError(
            f"SegViT learns classes and masks of queries, not a class for each pixel, so {named} cannot be had. Weigh "
            "its own terms instead (model.class_weight, model.mask_weight, model.dice_weight); for rare classes there "
            "is training.rare_class_sampling."
        )
    if set(changed) - {"dice"}:
        model.loss_function = PixelLoss(
            class_weights=class_weights, label_smoothing=training.label_smoothing, ohem=training.ohem
        )
    return WithDiceLoss(trained, model, training.dice) if training.dice else trained


def balanced_class_weights(pixels: np.ndarray) -> list[float]:
    """
    Weights with which all classes count the same: `n / (k n_c)`, where n_c of all n pixels are of a class, and k
    classes have any. They are those that scikit-learn calls balanced, and their mean over the pixels is 1.

    Args:
        pixels: of each class, int64 `(num_labels,)`.

    Returns:
        A weight for each class, 1 for those without pixels.
    """
    has_pixels = pixels > 0
    weights = np.ones(len(pixels))
    weights[has_pixels] = pixels.sum() / (has_pixels.sum() * pixels[has_pixels])
    return weights.tolist()


@dataclass(frozen=True, kw_only=True)
class PixelLoss:
    """
    A cross-entropy of pixels to put in the place of a model's: `model.loss_function = PixelLoss(...)`.

    Without arguments it is mmsegmentation's, which most published models were trained with. The divisor of the sum
    stays, whatever pixels weigh and however many of them count.

    Args:
        class_weights: of the pixels of each class, `num_labels` numbers.
        label_smoothing: share of each pixel's target that is spread over all classes, as in PyTorch's cross-entropy.
        ohem: which pixels alone count, see [`OhemRecipe`].
    """

    # That the loss of a batch is the sum of those of its images, if the divisor is the same.
    adds_up_over_images: ClassVar[bool] = True

    class_weights: Sequence[float] | None = None
    label_smoothing: float = 0.0
    ohem: OhemRecipe | None = None

    def __call__(
        self, logits: torch.Tensor, labels: torch.Tensor, ignore_index: int, num_items_in_batch: NumItems = None
    ) -> torch.Tensor:
        """Arguments and result as of [`pixel_cross_entropy`]."""
        logits, weight = logits.float(), None
        if self.class_weights is not None:
            weight = torch.tensor(self.class_weights, dtype=logits.dtype)
            weight = weight.to(logits.device, non_blocking=True)  # else every step would wait for the device
        losses = nn.functional.cross_entropy(
            logits,
            labels,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        if self.ohem is not None:
            losses = losses * hard_pixels(logits.detach(), labels, ignore_index, self.ohem)
        return losses.sum() / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def hard_pixels(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int, recipe: OhemRecipe) -> torch.Tensor:
    """Which pixels online hard example mining looks at: bool `(batch, height, width)`, arguments as of a loss."""
    losses = nn.functional.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")
    # More than any probability where there is nothing to find.
    probabilities = torch.exp(-losses).masked_fill(labels == ignore_index, 2.0).flatten(1)
    threshold = torch.full_like(probabilities[:, :1], recipe.threshold)
    if recipe.min_kept:
        last = min(recipe.min_kept, probabilities.shape[1] - 1)
        threshold = probabilities.sort(dim=1).values[:, last : last + 1].clamp(min=recipe.threshold)
    return (probabilities < threshold).view_as(labels)


def dice_losses(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int) -> torch.Tensor:
    """
    The Dice loss of each image (https://arxiv.org/abs/1606.04797): of each class that the image shows, 1 less the
    share of overlap of its probabilities and its pixels, smoothed by 1; the mean over these classes.

    Args:
        logits: `(batch, num_labels, height, width)`.
        labels: int64 `(batch, height, width)`.
        ignore_index: of pixels that count for nothing.

    Returns:
        float32 `(batch,)`; 0 for an image of which all pixels are ignored.
    """
    is_labelled = (labels != ignore_index)[:, None]
    classes = torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    is_class = (labels[:, None] == classes) & is_labelled
    probabilities = logits.float().softmax(dim=1) * is_labelled
    overlap, pixels = (probabilities * is_class).sum(dim=(2, 3)), is_class.sum(dim=(2, 3))
    dice = (2.0 * overlap + 1.0) / (probabilities.sum(dim=(2, 3)) + pixels + 1.0)
    shown = pixels > 0
    return ((1.0 - dice) * shown).sum(dim=1) / divisor(shown.sum(dim=1))


class WithDiceLoss(nn.Module):
    """
    A model in training whose loss has one term more, `decode.loss_dice`: the Dice loss of its answer.

    It is the mean over the images of a step, which count by what the method's own loss is a mean over: all alike, or
    where that leaves ignored pixels out, by the others.

    Args:
        trained: makes the losses of a batch: the model itself, or a module around it.
        model: the model.
        weight: of the term.
    """

    def __init__(self, trained: nn.Module, model: SemanticSegmentationModel, weight: float) -> None:
        super().__init__()
        self.trained = trained
        self.weight = weight
        self.config = model.config
        # Not the model, which `trained` holds already.
        self.count_items: Callable[[torch.Tensor], torch.Tensor] = model.count_items

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> SegmentationOutput:
        """As the forward pass of the model in training."""
        outputs: SegmentationOutput = self.trained(pixel_values, labels, num_items_in_batch=num_items_in_batch)
        labels = label_maps(labels, pixel_values, self.config)
        losses = dice_losses(outputs.logits, labels, self.config.ignore_index)
        items = torch.stack([self.count_items(label_map) for label_map in labels])
        num_items = divisor(items.sum()) if num_items_in_batch is None else num_items_in_batch
        dice = self.weight * (losses * items).sum() / num_items
        return SegmentationOutput(
            loss=outputs.loss + dice,
            logits=outputs.logits,
            loss_dict={**(outputs.loss_dict or {}), "decode.loss_dice": dice},
        )
