# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the policy network of token sharing is trained on: images, and which of their superpatches hold one class."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..models.image_processing_semantic import resize_nearest
from ..recipes import PolicyTraining
from .augmentation import IGNORE_INDEX


# Side of a superpatch in pixels.
SUPERPATCH = 32


def policy_targets(label_map: torch.Tensor, ignore_mixed_border: bool) -> torch.Tensor:
    """
    Which superpatches hold a single value, the ignored pixels being a value like any other.

    Args:
        label_map: train ids, `(..., height, width)` with sides that are multiples of 32; 255 is ignored.
        ignore_mixed_border: whether superpatches of the outermost ring that hold one class and ignored pixels get 255
            rather than 0, as for ADE20K, whose annotations leave out the edge of many images.

    Returns:
        int64 `(..., height / 32, width / 32)`: 1 for a single value, 0 for several, and 255 for what the loss ignores.
    """
    pixels = label_map.to(torch.int64).unflatten(-1, (-1, SUPERPATCH)).unflatten(-3, (-1, SUPERPATCH))
    pixels = pixels.transpose(-3, -2).flatten(-2)  # (..., rows, columns, 32 * 32)
    ignored = pixels == IGNORE_INDEX
    targets = (pixels.amin(dim=-1) == pixels.amax(dim=-1)).long()
    if ignore_mixed_border:
        # Of the pixels that are not ignored.
        smallest = pixels.amin(dim=-1)
        largest = pixels.masked_fill(ignored, -1).amax(dim=-1)
        border = torch.ones_like(targets, dtype=torch.bool)
        border[..., 1:-1, 1:-1] = False
        targets[border & ignored.any(dim=-1) & (smallest == largest)] = IGNORE_INDEX
    return targets


@dataclass(frozen=True, kw_only=True)
class PolicyTransform:
    """
    Makes a training example of the policy network: normalise, resize, crop, flip, find the targets.

    Args:
        recipe: says how.
    """

    recipe: PolicyTraining

    def __call__(
        self, image: torch.Tensor, label_map: torch.Tensor, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            image: uint8 RGB `(3, height, width)`.
            label_map: `(height, width)`, train ids in any integer dtype; 255 is ignored.
            rng: where everything random is drawn from.

        Returns:
            `pixel_values`: float32 `(3, h, w)`, from -1 to 1. `labels`: int64 `(h / 32, w / 32)`.

        Raises:
            ValueError: if the image is smaller than the crop.
        """
        pixel_values = image.float().sub_(127.5).div_(127.5)
        height, width = self._resized(*label_map.shape)
        if (height, width) != tuple(label_map.shape):
            pixel_values = nn.functional.interpolate(
                pixel_values[None], size=(height, width), mode="bilinear", align_corners=False
            )[0]
            label_map = resize_nearest(label_map, (height, width))
        if self.recipe.crop_size is not None:
            crop_height, crop_width = self.recipe.crop_size
            if height < crop_height or width < crop_width:
                raise ValueError(
                    f"An image of {height} x {width} pixels is smaller than the crop of {crop_height} x {crop_width}."
                )
            top, left = (int(rng.random() * room) for room in (height - crop_height, width - crop_width))
            pixel_values = pixel_values[:, top : top + crop_height, left : left + crop_width]
            label_map = label_map[top : top + crop_height, left : left + crop_width]
        if rng.random() < self.recipe.flip_probability:
            pixel_values, label_map = pixel_values.flip(-1), label_map.flip(-1)
        targets = policy_targets(label_map, self.recipe.ignore_mixed_border)
        return {"pixel_values": pixel_values.contiguous(), "labels": targets}

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        size = self.recipe.size
        if "shortest_edge" in size:
            short, long = sorted((height, width))
            long = int(size["shortest_edge"] * long / short)
            return (size["shortest_edge"], long) if height <= width else (long, size["shortest_edge"])
        return size.get("height", height), size.get("width", width)
