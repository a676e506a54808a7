# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training-time augmentation: mmsegmentation's random resize, crop, flip and photometric distortion.

The published models were trained on bytes that OpenCV resized and recoloured. The functions here compute the bytes of
OpenCV without it (`hsv_to_rgb` tells of a reservation), and only those that the crop keeps: the image is never resized
as a whole. Each takes its parameters as arguments; `TrainingTransform` draws them, for one sample at a time, from a
generator that the caller seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision.transforms.v2.functional import normalize
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..models.image_processing_semantic import keep_ratio_size, resize_bilinear, resize_nearest


IGNORE_INDEX = 255
# Windows that the random crop looks at before it takes the next one as it comes.
CROP_TRIES = 10

# OpenCV's 8-bit HSV: hue in steps of two degrees, fixed-point quotients with this many bits.
HUES = 180
HSV_BITS = 12

Window = tuple[int, int, int, int]


def scaled_size(height: int, width: int, scale: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Height and width of an image that keeps its ratio and fits the box `scale` times `ratio`, whose two sides (in
    any order) bound the image's longer and its shorter side."""
    shortest_edge, longest_edge = sorted(int(side * ratio) for side in scale)
    return keep_ratio_size(height, width, shortest_edge, longest_edge)


def choose_window(
    label_map: torch.Tensor, size: tuple[int, int], max_category_share: float, rng: np.random.Generator
) -> Window:
    """Draws where to crop, avoiding windows that a single class dominates.

    A window is good if it holds at least two classes and the commonest covers less than `max_category_share` of the
    pixels that are not ignored. After ten bad windows the next is taken as it comes, and with `max_category_share=1`
    the first.

    Args:
        label_map: (height, width), non-negative integers; 255 is ignored.
        size: height and width of the crop. Where the label map is smaller, the window covers all of it.
        max_category_share: greater than 0, at most 1.
        rng: where the positions are drawn from, uniformly.

    Returns:
        Top, left, height and width of the window.
    """
    height, width = (min(crop, full) for crop, full in zip(size, label_map.shape, strict=True))
    last_top_left = (label_map.shape[0] - height, label_map.shape[1] - width)
    top, left = rng.integers(last_top_left, endpoint=True).tolist()
    for _ in range(CROP_TRIES if max_category_share < 1 else 0):
        counts = label_map[top : top + height, left : left + width].flatten().bincount(minlength=256)
        counts[IGNORE_INDEX] = 0
        if (counts > 0).sum() > 1 and int(counts.max()) / int(counts.sum()) < max_category_share:
            break
        top, left = rng.integers(last_top_left, endpoint=True).tolist()
    return top, left, height, width


def adjust_brightness(image: torch.Tensor, amount: float) -> torch.Tensor:
    """A uint8 image plus `amount` grey levels, clipped to 0..255 and truncated."""
    return (image.float() + amount).clamp_(0, 255).to(torch.uint8)


def adjust_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """A uint8 image times `factor`, clipped to 0..255 and truncated."""
    return (image.float() * factor).clamp_(0, 255).to(torch.uint8)


def adjust_saturation(image: torch.Tensor, factor: float) -> torch.Tensor:
    """A uint8 RGB image (3, height, width) whose 8-bit saturation is multiplied by `factor`, clipped and truncated."""
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb(hue, (saturation * factor).clamp_(0, 255).int(), value)


def adjust_hue(image: torch.Tensor, shift: int) -> torch.Tensor:
    """A uint8 RGB image (3, height, width) whose hue is turned by `shift` steps of two degrees."""
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb((hue + shift) % HUES, saturation, value)


def rgb_to_hsv(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """OpenCV's 8-bit HSV of a uint8 RGB image (3, height, width), for every colour.

    Returns:
        Hue (0..179), saturation and value (0..255), each int32 (height, width).
    """
    red, green, blue = image.int()
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = _rounded_quotient(chroma, 255, value)
    # Counted in chromas from red; each primary claims ties with the next.
    hue = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    hue = _rounded_quotient(hue, HUES // 6, chroma)
    return torch.where(hue < 0, hue + HUES, hue), saturation, value


def _rounded_quotient(number: torch.Tensor, factor: int, divisor: torch.Tensor) -> torch.Tensor:
    """`number * factor / divisor`, rounded, with OpenCV's fixed-point inverse of the divisor; 0 for 0 / 0."""
    inverse = ((factor << HSV_BITS) / divisor.clamp(min=1)).round().int()
    return (number * inverse + (1 << HSV_BITS - 1)) >> HSV_BITS


def _hsv_weights() -> torch.Tensor:
    """What each colour channel keeps of the value: float32 (3, 180 * 256), by `hue * 256 + saturation`."""
    sixth = torch.arange(HUES) * np.float32(6 / HUES)
    fraction = sixth.frac()[:, None]
    saturation = (torch.arange(256) * np.float32(1 / 255)).double()
    # Products in double precision, rounded after the subtraction: OpenCV's compiler fuses the two.
    none = torch.ones(HUES, 256)
    full = (1 - saturation).float().expand(HUES, 256)
    falling = (1 - saturation * fraction).float()
    rising = (1 - saturation * (1 - fraction)).float()
    by_sixth = torch.stack(
        [
            torch.stack([none, rising, full]),
            torch.stack([falling, none, full]),
            torch.stack([full, none, rising]),
            torch.stack([full, falling, none]),
            torch.stack([rising, full, none]),
            torch.stack([none, full, falling]),
        ]
    )
    return by_sixth[sixth.long(), :, torch.arange(HUES)].transpose(0, 1).flatten(1).contiguous()


_HSV_WEIGHTS = _hsv_weights()


def hsv_to_rgb(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The inverse of `rgb_to_hsv`, up to rounding: the bytes of OpenCV's scalar code, for every colour.

    OpenCV is not of one mind here: its vector code truncates where its scalar code rounds. On processors with AVX2 the
    scalar code does only the last `width % 32` columns, so the published models saw colours up to a grey level darker.

    Args:
        hue: integers 0..179, (height, width).
        saturation: integers 0..255, (height, width).
        value: integers 0..255, (height, width).

    Returns:
        uint8 (3, height, width).
    """
    weights = _HSV_WEIGHTS.index_select(1, (hue * 256 + saturation).flatten()).view(3, *hue.shape)
    return weights.mul_(value * np.float32(1 / 255)).mul_(255).round_().to(torch.uint8)


def distort_photometrically(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """mmsegmentation's PhotoMetricDistortion of a uint8 RGB image (3, height, width).

    Brightness (+-32), contrast and saturation (x 0.5..1.5) and hue (+-36 degrees) change in this order, each with
    probability 1/2; in one half of all cases contrast comes last.
    """

    def coin() -> bool:
        return rng.random() < 0.5

    if coin():
        image = adjust_brightness(image, rng.uniform(-32, 32))
    contrast_now = coin()
    if contrast_now and coin():
        image = adjust_contrast(image, rng.uniform(0.5, 1.5))
    if coin():
        image = adjust_saturation(image, rng.uniform(0.5, 1.5))
    if coin():
        image = adjust_hue(image, int(rng.integers(-18, 18)))
    if not contrast_now and coin():
        image = adjust_contrast(image, rng.uniform(0.5, 1.5))
    return image


@dataclass(frozen=True, kw_only=True)
class TrainingTransform:
    """The training pipeline of all published models: resize, crop, flip, distort, normalise and pad.

    Args:
        crop_size: height and width of what comes out.
        scale: the box (long and short side, in any order) that an image is resized into at ratio 1, keeping its ratio.
        ratio_range: smallest and largest factor of `scale`; one is drawn uniformly for each sample.
        max_category_share: see `choose_window`; 1 switches this off.
        flip_probability: how often image and label map are mirrored left to right.
        photometric_distortion: whether colours are changed, see `distort_photometrically`.
        image_mean: mean of each RGB channel, in 0..1, as image processors have it.
        image_std: standard deviation of each RGB channel, likewise.

    Raises:
        ValueError: if an argument is out of range.
    """

    crop_size: tuple[int, int]
    scale: tuple[int, int]
    ratio_range: tuple[float, float] = (0.5, 2.0)
    max_category_share: float = 0.75
    flip_probability: float = 0.5
    photometric_distortion: bool = True
    image_mean: Sequence[float] = tuple(IMAGENET_DEFAULT_MEAN)
    image_std: Sequence[float] = tuple(IMAGENET_DEFAULT_STD)

    def __post_init__(self) -> None:
        if min(*self.crop_size, *self.scale) < 1:
            raise ValueError(f"crop_size is {self.crop_size} and scale {self.scale}; sides are 1 pixel or more.")
        if not 0 < self.ratio_range[0] <= self.ratio_range[1]:
            raise ValueError(
                f"ratio_range is {self.ratio_range}; expected two positive factors, the smaller one first."
            )
        if not 0 < self.max_category_share <= 1:
            raise ValueError(f"max_category_share is {self.max_category_share}; expected more than 0 and at most 1.")
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"flip_probability is {self.flip_probability}; expected 0 to 1.")

    def __call__(
        self, image: torch.Tensor, label_map: torch.Tensor, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """Makes one training example. The same generator state always gives the same example.

        Args:
            image: uint8 RGB (3, height, width).
            label_map: (height, width), train ids in any integer dtype; 255 is ignored.
            rng: where everything random is drawn from.

        Returns:
            `pixel_values`: float32 (3, crop height, crop width), 0 (the mean colour) where the image is too small.
            `labels`: int64 (crop height, crop width), 255 there; it holds no value that `label_map` does not.

        Raises:
            ValueError: if `image` is not uint8 RGB, or `label_map` has another size.
        """
        if image.dtype != torch.uint8 or image.shape != (3, *label_map.shape):
            raise ValueError(
                f"image is {image.dtype} {tuple(image.shape)}, label_map {tuple(label_map.shape)}; expected "
                "torch.uint8 (3, height, width) and (height, width)."
            )
        old_height, old_width = label_map.shape
        size = scaled_size(old_height, old_width, self.scale, rng.uniform(*self.ratio_range))
        label_map = resize_nearest(label_map, size)
        window = choose_window(label_map, self.crop_size, self.max_category_share, rng)
        top, left, height, width = window
        image = resize_bilinear(image, size, window)
        label_map = label_map[top : top + height, left : left + width]
        if rng.random() < self.flip_probability:
            image, label_map = image.flip(-1), label_map.flip(-1)
        if self.photometric_distortion:
            image = distort_photometrically(image, rng)
        pixel_values = normalize(
            image.float(), [255 * mean for mean in self.image_mean], [255 * std for std in self.image_std]
        )
        missing = (0, self.crop_size[1] - width, 0, self.crop_size[0] - height)
        return {
            "pixel_values": nn.functional.pad(pixel_values, missing, value=0.0),
            "labels": nn.functional.pad(label_map.to(torch.int64), missing, value=IGNORE_INDEX),
        }
