# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Images with a class each, for classifiers: streamed and augmented with timm, as the originals were trained.

A data set has the columns `image` and `label`, an integer; if `label` is a `ClassLabel` of `datasets`, as that of
ImageNet-1K on the Hub is, it brings the names of the classes along.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from timm.data import Mixup, create_transform

from ..images import read_picture
from ..models.image_processing_semantic import SemanticImageProcessor
from ..recipes import ClassificationTraining
from .sources import DataSource, open_source
from .streaming import Example, ExampleStream, load_undecoded, load_with_images


COLUMNS = ("image", "label")


def load_class_names(source: str | Path | DataSource, column: str = "label") -> tuple[str, ...]:
    """
    The names of the classes that a data set of `datasets` carries.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub.
        column: that of the classes, or `"objects.category"` for those of objects.

    Raises:
        ValueError: if the data set names no classes there.
    """
    builder = open_source(source)
    first, *others = column.split(".")
    feature: Any = builder.info.features or {}
    keys = [DataSource.of(source).name_of(first), *others]
    if not feature:
        split = next(iter(builder.config.data_files or {}))
        feature, keys = load_undecoded(source, split, (first,)).features, [first, *others]
    for key in keys:
        feature = feature.get(key) if hasattr(feature, "get") else None
    feature = getattr(feature, "feature", feature)
    if not isinstance(feature, datasets.ClassLabel):
        raise ValueError(f"{source} has no class names in its column {column!r}: give them with --labels FILE.")
    return tuple(feature.names)


def training_transform(
    recipe: ClassificationTraining, processor: SemanticImageProcessor
) -> Callable[..., torch.Tensor]:
    """timm's augmentation of a recipe: a PIL image to a normalised tensor of the recipe's crop size."""
    return create_transform(
        input_size=(3, *recipe.crop_size),
        is_training=True,
        color_jitter=0.4,
        auto_augment=recipe.auto_augment,
        interpolation="bicubic",
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        re_prob=recipe.random_erasing,
        re_mode="pixel",
    )


def mixing(recipe: ClassificationTraining, num_labels: int) -> Mixup | None:
    """
    timm's mixup and cutmix of a recipe, which make a share of each class of the class ids; `None` where the recipe has
    neither. With an odd number of images, both leave one over: batches are of an even number.
    """
    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_labels,
    )


class ClassificationStream(ExampleStream):
    """
    A stream of images and class ids; see [`ExampleStream`].

    Its `transform` makes a tensor of a PIL image, with the random generators of Python, NumPy and PyTorch. None gives
    class ids alone.
    """

    columns = COLUMNS

    def make_example(self, row: Example, rng: np.random.Generator) -> Example:
        label = int(row["label"])
        if not 0 <= label < self.num_labels:
            raise ValueError(
                f"An image has the class {label}, but the {self.num_labels} classes are 0 to {self.num_labels - 1}."
            )
        example: Example = {"labels": torch.tensor(label)}
        if self.transform is not None:
            image = read_picture(row["image"])
            with seeded(int(rng.integers(2**32))):
                example["pixel_values"] = self.transform(image)
        return example


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The random generators that timm's augmentation draws from, in a state that `seed` tells; then as before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002


def load_labelled_images(source: str | Path | DataSource, split: str) -> datasets.Dataset:
    """A split as a map-style data set of `image` (PIL, RGB) and `label`, for evaluation."""
    return load_with_images(source, split, COLUMNS)
