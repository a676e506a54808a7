# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of every kind as the networks see them, the same in training, evaluation and prediction."""

from typing import TypeVar

import numpy as np
import torch
from PIL import Image


PictureOrTensor = TypeVar("PictureOrTensor", Image.Image, torch.Tensor)


def to_rgb(image: PictureOrTensor) -> PictureOrTensor:
    """
    An image as 8-bit RGB: of 16 bits the high byte, as OpenCV reads them, grey in all three channels, and white where
    it is transparent.

    Args:
        image: a Pillow image in any mode, which is not turned, or a tensor `(1, 3 or 4, height, width)`: bytes,
            uint16, or floating-point values from 0 to 1.

    Returns:
        A Pillow image in mode "RGB", or a tensor `(3, height, width)` in the dtype of `image`, uint8 for uint16. A
        tensor with another number of channels is returned with these.
    """
    return _picture_to_rgb(image) if isinstance(image, Image.Image) else _tensor_to_rgb(image)


def _picture_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # "I;16", or "I": how Pillow opens 16-bit grey files depends on its version. It would cut them off at 255.
        values = np.asarray(image).astype(np.uint16)
        grey = (values >> 8).astype(np.uint8)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _tensor_to_rgb(image: torch.Tensor) -> torch.Tensor:
    if image.dtype == torch.uint16:
        image = (image.int() >> 8).to(torch.uint8)
    if image.shape[0] == 1:
        return image.expand(3, -1, -1)
    if image.shape[0] != 4:
        return image
    opaque = 1.0 if image.is_floating_point() else 255.0
    colour, alpha = image[:3].float(), image[3:].float() / opaque
    return (colour * alpha + opaque * (1.0 - alpha)).add(0.0 if image.is_floating_point() else 0.5).to(image.dtype)
