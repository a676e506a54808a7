# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets of images of any number of bands: which bands of their files are taken, and what these are like."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from ..bands import bands_first, read_bands
from .sources import DataSource


# Beside the label table of a prepared data set.
BANDS_FILE = "bands.json"


@dataclass(frozen=True)
class Bands:
    """
    Which bands of files are taken.

    Args:
        count: how many each file has.
        chosen: those that are taken, from 1, in this order.

    Raises:
        ValueError: if there is none of a number, or one is taken twice.
    """

    count: int
    chosen: tuple[int, ...]

    def __post_init__(self) -> None:
        if wrong := [band for band in self.chosen if not 1 <= band <= self.count]:
            raise ValueError(f"--bands names {wrong[0]}, but the images have {self.count} bands, from 1.")
        if len(set(self.chosen)) < len(self.chosen):
            raise ValueError(f"--bands {' '.join(map(str, self.chosen))} names a band twice.")

    def read(self, content: bytes, what: str) -> np.ndarray:
        """
        Those of a file, `(bands, height, width)`, with its own numbers.

        Raises:
            ValueError: naming `what` it is, if it cannot be read, see `read_bands`, or has another number of bands.
        """
        return bands_first(read_bands(content, what), self.count, what)[[band - 1 for band in self.chosen]]


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation of each band over all pixels of the training images, in their own numbers."""

    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]

    @classmethod
    def of_sums(cls, sums: np.ndarray, pixels: int) -> "BandStatistics":
        """From the sums of values and of their squares, float64 `(2, bands)`, over so many pixels."""
        mean, square = sums / pixels
        deviation = np.sqrt((square - mean**2).clip(0))
        # What is the same everywhere says nothing, and is left to be 0.
        std = np.where(deviation > 1e-6 * np.abs(mean), deviation, 1.0)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def to_json(self) -> str:
        """The content of a `bands.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def sum_bands(image: np.ndarray) -> np.ndarray:
    """The sums of the values of each band and of their squares, float64 `(2, bands)`, of `(bands, height, width)`."""
    values = image.reshape(len(image), -1).astype(np.float64)
    return np.stack([values.sum(axis=1), np.einsum("ij,ij->i", values, values)])


def count_bands(shape: Sequence[int], size: tuple[int, int]) -> int:
    """
    How many bands an array has, of whose label map height and width are known.

    Raises:
        ValueError: if it has another size.
    """
    if size == tuple(shape):
        return 1
    if len(shape) == 3 and size in (tuple(shape[:2]), tuple(shape[1:])):
        return shape[2] if size == tuple(shape[:2]) else shape[0]
    raise ValueError(f"has the shape {tuple(shape)}, its mask {size[0]} x {size[1]} (height x width)")


def choose_bands(wanted: Sequence[str], count: int) -> Bands:
    """
    What `--bands` asks for.

    Args:
        wanted: "all", or numbers from 1.
        count: how many bands each image has.

    Raises:
        ValueError: if it is neither.
    """
    if [*wanted] == ["all"]:
        return Bands(count, tuple(range(1, count + 1)))
    if not all(map(str.isdecimal, wanted)):
        raise ValueError(f"--bands {' '.join(wanted)}: expected all, or numbers of bands from 1.")
    return Bands(count, tuple(map(int, wanted)))


def load_bands(source: str | Path | DataSource) -> BandStatistics | None:
    """
    What the bands of a prepared data set are like; `None` if it holds pictures.

    Raises:
        ValueError: if its `bands.json` does not say so.
    """
    file = Path(source) / BANDS_FILE
    if not Path(source).is_dir():
        try:
            file = Path(hf_hub_download(DataSource.of(source).name, BANDS_FILE, repo_type="dataset"))
        except EntryNotFoundError:
            return None
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, content[name])) for name in ("image_mean", "image_std"))
        if not 0 < len(mean) == len(std) or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise ValueError("expected as many finite means as positive standard deviations")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} does not hold the image_mean and image_std of bands: {error}") from error
    return BandStatistics(mean, std)
