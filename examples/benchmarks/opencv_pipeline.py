# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The training pipeline of the published models with OpenCV and NumPy, step by step as mmsegmentation goes about it.

It is what `benchmark.py data` measures `vitseg.data` against: the same steps in the same order, written for their own
sake, with the defaults of ADE20K at 512 x 512.
"""

from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import torch
from PIL import Image


# RGB, on the scale of bytes.
MEAN = np.array([[123.675, 116.28, 103.53]])
STD = np.array([[58.395, 57.12, 57.375]])
IGNORE_INDEX = 255

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class OpenCvPipeline:
    """From encoded bytes to training tensors. Images are BGR (height, width, 3) on the way."""

    crop_size: tuple[int, int] = (512, 512)
    scale: tuple[int, int] = (2048, 512)
    ratio_range: tuple[float, float] = (0.5, 2.0)
    max_category_share: float = 0.75
    flip_probability: float = 0.5

    def __call__(self, image_file: bytes, label_file: bytes, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """
        One training example of an image and a label map that counts classes from 1.

        Returns `pixel_values`, float32 (3, height, width), and `labels`, int64 (height, width), of the crop's size.
        """
        image, label_map = self.decode(image_file, label_file)
        image, label_map = self.resize(image, label_map, rng)
        image, label_map = self.crop(image, label_map, rng)
        if rng.random() < self.flip_probability:
            image, label_map = cv2.flip(image, 1), np.flip(label_map, axis=1)
        image = normalize(distort_photometrically(image, rng))
        image, label_map = self.pad(image, label_map)
        return {
            "pixel_values": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "labels": torch.from_numpy(label_map.astype(np.int64)),
        }

    def decode(self, image_file: bytes, label_file: bytes) -> Pair:
        image = np.asarray(cv2.imdecode(np.frombuffer(image_file, np.uint8), cv2.IMREAD_COLOR))
        label_map = np.array(Image.open(BytesIO(label_file)))
        label_map[label_map == 0] = IGNORE_INDEX
        label_map -= 1
        label_map[label_map == IGNORE_INDEX - 1] = IGNORE_INDEX
        return image, label_map

    def resize(self, image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> Pair:
        ratio = rng.uniform(*self.ratio_range)
        sides, bounds = sorted(image.shape[:2]), sorted(int(side * ratio) for side in self.scale)
        factor = min(bound / side for bound, side in zip(bounds, sides, strict=True))
        height, width = (int(side * factor + 0.5) for side in image.shape[:2])
        return (
            cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR),
            cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST),
        )

    def crop(self, image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> Pair:
        for tries_left in reversed(range(11)):
            top, left = (
                rng.integers(max(full - crop, 0), endpoint=True)
                for full, crop in zip(label_map.shape, self.crop_size, strict=True)
            )
            window = slice(top, top + self.crop_size[0]), slice(left, left + self.crop_size[1])
            if self.max_category_share == 1 or tries_left == 0:
                break
            classes, counts = np.unique(label_map[window], return_counts=True)
            counts = counts[classes != IGNORE_INDEX]
            if len(counts) > 1 and counts.max() / counts.sum() < self.max_category_share:
                break
        return image[window], label_map[window]

    def pad(self, image: np.ndarray, label_map: np.ndarray) -> Pair:
        height, width = label_map.shape
        missing = (0, self.crop_size[0] - height, 0, self.crop_size[1] - width)
        return (
            cv2.copyMakeBorder(image, *missing, cv2.BORDER_CONSTANT, value=0),
            cv2.copyMakeBorder(label_map, *missing, cv2.BORDER_CONSTANT, value=IGNORE_INDEX),
        )


def multiply_add(image: np.ndarray, factor: float = 1.0, amount: float = 0.0) -> np.ndarray:
    """Bytes times `factor` plus `amount`, clipped and truncated."""
    return np.clip(image.astype(np.float32) * factor + amount, 0, 255).astype(np.uint8)


def distort_photometrically(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue of a BGR image, each by chance; contrast comes second or last."""
    if rng.integers(2):
        image = multiply_add(image, amount=rng.uniform(-32, 32))
    contrast_now = rng.integers(2)
    if contrast_now and rng.integers(2):
        image = multiply_add(image, factor=rng.uniform(0.5, 1.5))
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[..., 1] = multiply_add(hsv[..., 1], factor=rng.uniform(0.5, 1.5))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-18, 18)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if not contrast_now and rng.integers(2):
        image = multiply_add(image, factor=rng.uniform(0.5, 1.5))
    return image


def normalize(image: np.ndarray) -> np.ndarray:
    """A uint8 BGR image as normalised RGB in float32."""
    normalized = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2RGB)
    cv2.subtract(normalized, MEAN, normalized)
    cv2.multiply(normalized, 1 / STD, normalized)
    return normalized
