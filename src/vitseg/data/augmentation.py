# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training-time augmentation: mmsegmentation's random resize, crop, flip and photometric distortion, or one's own.

The published models were trained on bytes that OpenCV resized and recoloured, and OpenCV does both here. Each function
takes its parameters as arguments; `TrainingTransform` draws them, for one sample at a time, from a generator that the
caller seeds. Transforms of torchvision draw from torch's global generator, which is lent to them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import normalize
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..bands import bands_of
from ..models.image_processing_semantic import SemanticImageProcessor, keep_ratio_size, resize_nearest
from ..models.labels import IGNORE_INDEX
from ..recipes import TrainingRecipe
from ..recipes.augmentation import build_augmentation


# Windows that the random crop looks at before it takes the next one as it comes.
CROP_TRIES = 10

# Hue in OpenCV's 8-bit HSV, in steps of two degrees.
HUES = 180
# What a byte may hold. A change of bytes is computed for each of these once, and looked up for each pixel.
LEVELS = np.arange(256, dtype=np.float32)

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


def adjust_brightness(image: np.ndarray, amount: float) -> np.ndarray:
    """A uint8 image plus `amount` grey levels, clipped to 0..255 and truncated."""
    return cv2.LUT(image, (LEVELS + np.float32(amount)).clip(0, 255).astype(np.uint8))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """A uint8 image times `factor`, clipped to 0..255 and truncated."""
    return cv2.LUT(image, (LEVELS * np.float32(factor)).clip(0, 255).astype(np.uint8))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """A uint8 RGB image (height, width, 3) whose 8-bit saturation is multiplied by `factor`, clipped and truncated.

    OpenCV's way back from HSV truncates in its vector code and rounds in its scalar code, which does the last columns:
    some colours differ by a grey level between processors.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = adjust_contrast(hsv[..., 1], factor)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def adjust_hue(image: np.ndarray, shift: int) -> np.ndarray:
    """A uint8 RGB image (height, width, 3) whose hue is turned by `shift` steps of two degrees; HSV as above."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = cv2.LUT(hsv[..., 0], ((LEVELS + shift) % HUES).astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def distort_photometrically(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """mmsegmentation's PhotoMetricDistortion of a uint8 RGB image (height, width, 3).

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


@contextmanager
def torch_drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """Whatever torch draws meanwhile, on the CPU, is decided by `rng`; afterwards, it goes on as if nothing had been
    drawn."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also seeds accelerators.
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        # The mean of an image, on which contrast depends, differs in its last bits with the number of threads.
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def apply_jointly(
    transforms: Sequence[Callable[..., Any]], image: torch.Tensor, label_map: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Applies transforms of torchvision, one after the other, to a uint8 image `(3, height, width)` and its label map
    `(height, width)` together; everything random is drawn from `rng`.

    Raises:
        ValueError: naming the transform, if it cannot be applied to an image of this size.
    """
    pair = tv_tensors.Image(image), tv_tensors.Mask(label_map)
    with torch_drawing_from(rng):
        for transform in transforms:
            try:
                pair = transform(*pair)
            except (RuntimeError, TypeError, ValueError) as error:
                height, width = pair[1].shape
                raise ValueError(
                    f"augmentation: {type(transform).__name__} cannot be applied to an image of {height} x {width} "
                    f"pixels (height x width): {error}"
                ) from error
    image, label_map = (part.as_subclass(torch.Tensor) for part in pair)
    return image, label_map


@dataclass(frozen=True, kw_only=True)
class TrainingTransform:
    """The training pipeline of all published models: resize, crop, flip, distort, normalise and pad. With transforms
    of one's own: those, crop, normalise and pad.

    Args:
        crop_size: height and width of what comes out.
        scale: the box (long and short side, in any order) that an image is resized into at ratio 1, keeping its ratio.
        ratio_range: smallest and largest factor of `scale`; one is drawn uniformly for each sample.
        max_category_share: see `choose_window`; 1 switches this off.
        flip_probability: how often image and label map are mirrored left to right.
        photometric_distortion: whether colours are changed, see `distort_photometrically`.
        augmentation: transforms of torchvision, which take an image and a mask and give bytes as they got them, in the
            place of resizing (`scale`, `ratio_range`), flipping and changing colours; `None` for those.
        image_mean: mean of each RGB channel, in 0..1, as image processors have it; of bands in their own numbers.
        image_std: standard deviation of each RGB channel, or band, likewise.
        num_bands: how many bands images have, whose colours are not changed; `None` for pictures.

    Raises:
        ValueError: if an argument is out of range.
    """

    crop_size: tuple[int, int]
    scale: tuple[int, int]
    ratio_range: tuple[float, float] = (0.5, 2.0)
    max_category_share: float = 0.75
    flip_probability: float = 0.5
    photometric_distortion: bool = True
    augmentation: Sequence[Callable[..., Any]] | None = None
    image_mean: Sequence[float] = tuple(IMAGENET_DEFAULT_MEAN)
    image_std: Sequence[float] = tuple(IMAGENET_DEFAULT_STD)
    num_bands: int | None = None

    @classmethod
    def from_recipe(cls, recipe: TrainingRecipe, image_processor: SemanticImageProcessor) -> "TrainingTransform":
        """The augmentation of a recipe, with the colour statistics of an image processor."""
        num_bands = bands_of(image_processor)
        # New pixels have the mean colour, and are ignored.
        colors = [255 * mean if num_bands is None else mean for mean in image_processor.image_mean]
        fill = {tv_tensors.Image: [round(color) for color in colors], tv_tensors.Mask: IGNORE_INDEX}
        return cls(
            crop_size=recipe.crop_size,
            scale=recipe.scale,
            ratio_range=recipe.ratio_range,
            max_category_share=recipe.max_category_share,
            flip_probability=recipe.flip_probability,
            photometric_distortion=recipe.photometric_distortion,
            augmentation=None if recipe.augmentation is None else build_augmentation(recipe.augmentation, fill),
            image_mean=tuple(image_processor.image_mean),
            image_std=tuple(image_processor.image_std),
            num_bands=num_bands,
        )

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
            image: uint8 RGB (3, height, width), or of bands, uint8 or float32 (bands, height, width).
            label_map: (height, width), train ids in any integer dtype; 255 is ignored.
            rng: where everything random is drawn from.

        Returns:
            `pixel_values`: float32 (channels, crop height, crop width), 0 (the mean) where the image is too small.
            `labels`: int64 (crop height, crop width), 255 there; it holds no value that `label_map` does not.

        Raises:
            ValueError: if `image` is not uint8 RGB or of the bands, or `label_map` has another size; or if a
                transform of `augmentation` cannot be applied, or makes something else of them.
        """
        self._check_pair(image, label_map)
        if self.augmentation is None:
            pixels, label_map = self._crop_as_published(image, label_map, rng)
        else:
            image, label_map = apply_jointly(self.augmentation, image, label_map, rng)
            self._check_pair(image, label_map)
            top, left, height, width = choose_window(label_map, self.crop_size, self.max_category_share, rng)
            pixels = image[:, top : top + height, left : left + width]
            label_map = label_map[top : top + height, left : left + width]
        unit = 255 if self.num_bands is None else 1
        pixel_values = normalize(
            pixels.float(),
            [unit * mean for mean in self.image_mean],
            [unit * std for std in self.image_std],
            inplace=True,
        )
        labels = label_map.to(torch.int64)
        if labels.shape != tuple(self.crop_size):
            height, width = labels.shape
            missing = (0, self.crop_size[1] - width, 0, self.crop_size[0] - height)
            pixel_values = nn.functional.pad(pixel_values, missing, value=0.0)
            labels = nn.functional.pad(labels, missing, value=IGNORE_INDEX)
        return {"pixel_values": pixel_values, "labels": labels}

    def _crop_as_published(
        self, image: torch.Tensor, label_map: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The crop of the resized image, flipped and distorted, and of its label map; as large as there is of it."""
        old_height, old_width = label_map.shape
        size = scaled_size(old_height, old_width, self.scale, rng.uniform(*self.ratio_range))
        label_map = resize_nearest(label_map, size)
        top, left, height, width = choose_window(label_map, self.crop_size, self.max_category_share, rng)
        label_map = label_map[top : top + height, left : left + width]
        window = np.s_[top : top + height, left : left + width]
        is_flipped = rng.random() < self.flip_probability
        label_map = label_map.flip(-1) if is_flipped else label_map
        resize = functools.partial(cv2.resize, dsize=size[::-1], interpolation=cv2.INTER_LINEAR)
        if self.num_bands is not None:
            # OpenCV takes some channels at a time, but not hundreds. Colours are of pictures alone.
            bands = torch.from_numpy(np.stack([resize(band)[window] for band in image.numpy()]))
            return bands.flip(-1) if is_flipped else bands, label_map
        pixels = resize(image.permute(1, 2, 0).numpy())[window]
        if is_flipped:
            pixels = cv2.flip(pixels, 1)
        if self.photometric_distortion:
            pixels = distort_photometrically(pixels, rng)
        return torch.from_numpy(np.stack(cv2.split(pixels))), label_map

    def _check_pair(self, image: torch.Tensor, label_map: torch.Tensor) -> None:
        channels, dtypes = 3, [torch.uint8]
        if self.num_bands is not None:
            channels, dtypes = self.num_bands, [torch.uint8, torch.float32]
        if image.dtype not in dtypes or image.shape != (channels, *label_map.shape):
            raise ValueError(
                f"image is {image.dtype} {tuple(image.shape)}, label_map {tuple(label_map.shape)}; expected "
                f"{' or '.join(map(str, dtypes))} ({channels}, height, width) and (height, width)."
            )
