# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way to a model: read and resized, unless their results are there."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor

from ..bands import bands_of, picture_of
from ..image_files import printable
from ..stamps import file_stamp, identity
from .outcomes import Outcome
from .pictures import read_model_image
from .results import AREAS, is_complete, remove_results


# How many batches of images may wait for others of their size.
WAITING_BATCHES = 8


@dataclass(frozen=True)
class Picture:
    """
    An image file.

    Args:
        path: where it is.
        name: what its results are called, in the output folder.
        origin: what they are made of.
        image: its pixels as people see them, RGB; of bands those that `picture_of` shows.
        pixel_values: the model's input `(1, channels, height, width)`.
    """

    path: Path
    name: str
    origin: str
    image: Image.Image
    pixel_values: torch.Tensor


@dataclass(frozen=True)
class Reader:
    """
    Reads image files.

    Args:
        paths: the files.
        names: what the results of each are called.
        output: the folder of the results.
        endings: how their names end.
        work: what tells model and options from others.
        image_processor: the model's.
    """

    paths: Sequence[str]
    names: Sequence[str]
    output: Path
    endings: Sequence[str]
    work: str
    image_processor: BaseImageProcessor

    def read(self, index: int) -> Picture | Outcome:
        """A picture for the model, or why there is nothing to do, or nothing that can be done."""
        path, name = Path(self.paths[index]), self.names[index]
        target = self.output / name
        try:
            # A file of this name, size and time is the same: to read all of a million again takes hours.
            origin = identity(work=self.work, image=[printable(path), *file_stamp(path)])
            if is_complete(target, self.endings, origin):
                report = json.loads(Path(f"{target}{AREAS}").read_text(encoding="utf-8"))
                return Outcome(self.paths[index], "kept", name, report=report)
            image = read_model_image(path.read_bytes(), bands_of(self.image_processor))
            axes = None if isinstance(image, Image.Image) else "channels_first"
            pixel_values = self.image_processor(image, input_data_format=axes, return_tensors="pt")["pixel_values"]
        except Exception as error:  # also of an image that is too large for the memory
            remove_results(target)
            reason = getattr(error, "strerror", None) or str(error)
            return Outcome(self.paths[index], "failed", name, reason)
        return Picture(path, name, origin, picture_of(image, self.image_processor), pixel_values)


def batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures whose input has the same size: padding others to one size would change what the model answers."""
    waiting: dict[torch.Size, list[Picture]] = {}
    for picture in pictures:
        group = waiting.setdefault(picture.pixel_values.shape, [])
        group.append(picture)
        if len(group) == batch_size:
            yield waiting.pop(picture.pixel_values.shape)
        elif sum(map(len, waiting.values())) == WAITING_BATCHES * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
