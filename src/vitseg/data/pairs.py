# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with their annotations as they were downloaded, and one such pair as a row of a prepared data set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..bands import encode_bands
from ..image_files import without_image_suffix
from ..images import Orientation
from .annotations import Annotation, TrainIds
from .archives import File
from .bands import Bands, sum_bands
from .dataset_labels import DatasetLabels
from .shards import Row, class_counts
from .streaming import decode_example


# Counts the ways in which files have become rows: other code that makes other rows of the same files adds one, so that
# what was prepared before is prepared anew.
READER_VERSION = 2


class EncodedPair(NamedTuple):
    """
    A verified pair.

    Args:
        row: of the prepared data set.
        pixels: its number of pixels by train id, int64 (256,).
        band_sums: of an image of bands, see `sum_bands`.
    """

    row: Row
    pixels: np.ndarray
    band_sums: np.ndarray | None


@dataclass(frozen=True)
class Pair:
    """
    An image and its annotation; `None` for one that is missing.

    Args:
        name: what the prepared data set calls it (`file_name`): the image's path below the folder of its split,
            without suffix; the folders are left out in data sets where names differ without them.
        image: an image file.
        annotation: the annotation.
        orientation: which way images of the data set stand that have an EXIF orientation; see `find_orientation`.
        bands: which bands of the image file are taken; `None` if it is a picture.
    """

    name: str
    image: File | None
    annotation: Annotation | None
    orientation: Orientation | None = None
    bands: Bands | None = None

    @property
    def size(self) -> int:
        """About how many bytes both take."""
        return sum(part.size for part in (self.image, self.annotation) if part is not None)

    @property
    def stamp(self) -> str:
        """Another text for another pair, and for the same once one of its files has changed."""
        parts = ("" if part is None else part.stamp for part in (self.image, self.annotation))
        bands = [repr(self.bands)] if self.bands else []
        return "\n".join([self.name, *parts, self.orientation or "", *bands])


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """
    A data set as it was downloaded.

    Args:
        title: the data set in a few words.
        labels: its classes.
        train_ids: what the values in its annotation files mean.
        splits: the pairs of each split, sorted by name.
        notes: what a person should know of how the splits were made.
        unnamed: values in the annotation files that are ignored although nobody said so.
        bands: which bands of the image files are taken; `None` if they are pictures.
    """

    title: str
    labels: DatasetLabels
    train_ids: TrainIds
    splits: Mapping[str, Sequence[Pair]]
    notes: tuple[str, ...] = ()
    unnamed: tuple[int, ...] = ()
    bands: Bands | None = None


def match_up(
    images: Mapping[str, File], annotations: Mapping[str, Annotation], names: Iterable[str] | None = None
) -> list[Pair]:
    """The pairs of these names, sorted by name. Without names, all: an image or annotation alone is half a pair."""
    names = images.keys() | annotations.keys() if names is None else set(names)
    return [Pair(name, images.get(name), annotations.get(name)) for name in sorted(names)]


def encode_pair(pair: Pair, train_ids: TrainIds) -> EncodedPair:
    """
    Verify a pair and make it a row, as `write_shard` takes it: the image's bytes as they are, or its bands as NumPy
    has them, the label map as PNG of train ids.

    Raises:
        ValueError: if one of the two is missing or cannot be read, their sizes differ, or the annotation holds a value
            that is not in the table. The message has the path and the value.
    """
    if pair.image is None:
        raise ValueError(f"{pair.annotation or pair.name} has no image.")
    if pair.annotation is None:
        raise ValueError(f"{pair.image} has no annotation.")
    label_map = train_ids.of(pair.annotation)
    counts = np.bincount(label_map.ravel(), minlength=256)
    png = BytesIO()
    Image.fromarray(label_map).save(png, format="PNG")
    name = PurePosixPath(pair.image.name)
    content, band_sums = pair.image.read(), None
    if pair.bands is not None:
        image = pair.bands.read(content, str(pair.image))
        content, band_sums = encode_bands(image), sum_bands(image)
    row = {
        "image": {"bytes": content, "path": name.name},
        "label": {"bytes": png.getvalue(), "path": f"{without_image_suffix(name.name)}.png"},
        "file_name": pair.name,
        **class_counts(np.arange(256), counts),
    }
    # What training will do with it, so that training has nothing to complain about.
    decode_example(row | {"file_name": str(pair.image)}, pair.orientation)
    return EncodedPair(row, counts, band_sums)
