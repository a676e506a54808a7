# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Images with objects, for detectors: streamed, and augmented as the originals were trained, boxes by torchvision.

A data set has the columns `image` and `objects`, and for evaluation `image_id`. The objects of an image are lists:
`bbox` (x, y, width and height in pixels of the image turned as its EXIF orientation says), `category` (the class id)
and perhaps `area` and `iscrowd`, as data sets in COCO's style on the Hub have them. If `category` is a `ClassLabel`,
it brings the names of the classes along.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from ..images import read_picture
from ..models.image_processing_hlg import read_objects, relative_boxes
from ..models.image_processing_semantic import SemanticImageProcessor, keep_ratio_size, resize_bilinear
from ..recipes import DetectionTraining
from .sources import DataSource
from .streaming import Example, ExampleStream, load_with_images


COLUMNS = ("image", "objects")


def as_annotations(objects: dict[str, list]) -> list[dict[str, Any]]:
    """The objects of an image, stored as lists, as COCO has them: a dictionary each, with `category_id`."""
    names = {"category": "category_id"}
    keys = [key for key in objects if key in ("bbox", "category", "category_id", "area", "iscrowd")]
    columns = [objects[key] for key in keys]
    return [
        {names.get(key, key): value for key, value in zip(keys, values, strict=True)}
        for values in zip(*columns, strict=True)
    ]


@dataclass(frozen=True)
class DetectionTransform:
    """
    The training pipeline of the detectors: resize to a random short side, flip, normalise.

    Args:
        recipe: says how.
        image_processor: whose colour statistics normalise.
    """

    recipe: DetectionTraining
    image_processor: SemanticImageProcessor

    def __call__(
        self, image: torch.Tensor, boxes: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            image: uint8 RGB `(3, height, width)`.
            boxes: float32 `(objects, 4)`, x1, y1, x2, y2 in pixels.
            rng: where everything random is drawn from.

        Returns:
            Normalised pixels `(3, new height, new width)`, and the boxes in them, clipped, as [`relative_boxes`].
        """
        size = (image.shape[-2], image.shape[-1])
        new_size = keep_ratio_size(*size, int(rng.choice(self.recipe.short_sides)), self.recipe.longest_side)
        # The kernel for images is that of the image processor; torchvision's own antialiases.
        image = resize_bilinear(image, new_size)
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)
        boxes = functional.resize(boxes, list(new_size))
        if rng.random() < self.recipe.flip_probability:
            image, boxes = functional.horizontal_flip(image), functional.horizontal_flip(boxes)
        boxes = functional.clamp_bounding_boxes(boxes).as_subclass(torch.Tensor)
        mean, std = list(self.image_processor.image_mean), list(self.image_processor.image_std)
        pixels = functional.normalize(image.float() / 255, mean, std)
        return pixels, relative_boxes(boxes, new_size)


def collate_objects(examples: list[Example], divisor: int = 32) -> dict[str, Any]:
    """A batch: images padded with zeros to the smallest multiple of `divisor` that holds all, masks, and labels."""
    images = [example["pixel_values"] for example in examples]
    height, width = (-(-max(image.shape[dim] for image in images) // divisor) * divisor for dim in (-2, -1))
    pixel_values = torch.zeros(len(images), 3, height, width)
    pixel_mask = torch.zeros(len(images), height, width, dtype=torch.int64)
    for image, pixels, mask in zip(images, pixel_values, pixel_mask, strict=True):
        pixels[:, : image.shape[-2], : image.shape[-1]] = image
        mask[: image.shape[-2], : image.shape[-1]] = 1
    labels = [example["labels"] for example in examples]
    return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": labels}


class DetectionStream(ExampleStream):
    """
    A stream of images and objects; see [`ExampleStream`]. Crowds and boxes that [`read_objects`] leaves out are left
    out; images without objects stay, and count as background. Its `transform` is a [`DetectionTransform`]; None gives
    labels alone.
    """

    columns = COLUMNS
    collate = staticmethod(collate_objects)

    def make_example(self, row: Example, rng: np.random.Generator) -> Example:
        image = torch.from_numpy(np.array(read_picture(row["image"]))).permute(2, 0, 1)
        boxes, classes = read_objects(as_annotations(row["objects"]), (image.shape[-2], image.shape[-1]))
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_labels:
            raise ValueError(
                f"An object has the class {int(classes.max())}, but the {self.num_labels} classes are 0 to "
                f"{self.num_labels - 1}."
            )
        if self.transform is None:
            return {"labels": {"class_labels": classes, "boxes": boxes}}
        pixel_values, boxes = self.transform(image, boxes, rng)
        return {"pixel_values": pixel_values, "labels": {"class_labels": classes, "boxes": boxes}}


def load_images_with_objects(source: str | Path | DataSource, split: str) -> datasets.Dataset:
    """A split as a map-style data set of `image` (PIL, RGB), `image_id` and `objects`, for evaluation."""
    return load_with_images(source, split, (*COLUMNS, "image_id"))
