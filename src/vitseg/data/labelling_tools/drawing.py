# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From the segments that a labelling tool exported of an image to its label map."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from ...images import check_size, open_header, upright_size
from .. import masks
from ..archives import File


# Which of several segments a pixel is of: the last one drawn, or the smallest.
Overlaps: TypeAlias = Literal["order", "area"]
# What becomes of objects that have a box and no outline.
Boxes: TypeAlias = Literal["refuse", "skip", "fill"]


@dataclass(frozen=True)
class Segment:
    """
    Part of an image that somebody gave a label.

    Args:
        label: name of its class.
        mask: its pixels.
        level: those of a higher level are on top, whatever `Overlaps` says.
    """

    label: str
    mask: masks.Mask
    level: int = 0


@dataclass(frozen=True)
class Drawing:
    """The segments of an image in the order in which they were drawn."""

    height: int
    width: int
    segments: Sequence[Segment]


class Reader(Protocol):
    """How a tool writes segments down. As text, all that decides on what is read."""

    def __call__(self, content: bytes, image: File | None) -> Drawing:
        """
        The segments of an image.

        Args:
            content: a label file, or the part of one that is about the image.
            image: the image file, for what is said in shares of its size.

        Raises:
            ValueError, or whatever comes of content of another form.
        """


@dataclass(frozen=True)
class Canvas:
    """
    What label maps are to hold.

    Args:
        values: name of a class -> train id, or 255 for pixels that are ignored.
        background: value of the pixels in no segment.
        overlaps: which of several segments a pixel is of.
    """

    values: tuple[tuple[str, int], ...]
    background: int
    overlaps: Overlaps

    def paint(self, drawing: Drawing) -> np.ndarray:
        """
        The label map, uint8 (height, width).

        Raises:
            ValueError: if the label of a segment is not among the classes.
        """
        values = dict(self.values)
        label_map = np.full((drawing.height, drawing.width), self.background, np.uint8)
        for segment in sorted(drawing.segments, key=self._place):
            if segment.label not in values:
                raise ValueError(f"the label {segment.label!r} is not among the classes")
            label_map[masks.to_bitmap(segment.mask)] = values[segment.label]
        return label_map

    def _place(self, segment: Segment) -> tuple[int, int]:
        return segment.level, -masks.area(segment.mask) if self.overlaps == "area" else 0


@dataclass(frozen=True)
class DrawnAnnotation:
    """
    The annotation of an image as segments.

    Args:
        source: where it stands, in words.
        content: its label file, or the part of one that is about the image.
        image: the image file.
        reader: how the segments are written down.
        canvas: what the label map is to hold.
    """

    source: str
    content: File | bytes
    image: File | None
    reader: Reader
    canvas: Canvas

    def __str__(self) -> str:
        return self.source

    @property
    def size(self) -> int:
        return self.content.size if isinstance(self.content, File) else len(self.content)

    @property
    def stamp(self) -> str:
        content = self.content.stamp.encode() if isinstance(self.content, File) else self.content
        return hashlib.sha256(b"\0".join([content, repr((self.reader, self.canvas)).encode()])).hexdigest()

    def read(self) -> np.ndarray:
        content = self.content.read() if isinstance(self.content, File) else self.content
        try:
            return self.canvas.paint(self.reader(content, self.image))
        except ValueError as error:
            raise ValueError(f"Cannot use {self}: {error}.") from error
        except (AttributeError, LookupError, TypeError, OverflowError, RecursionError, zlib.error) as error:
            raise ValueError(f"Cannot use {self}, which is not of the form that was expected: {error!r}") from error


def takes_box(boxes: Boxes) -> bool:
    """
    Whether an object that is a box is drawn.

    Raises:
        ValueError: if it is to be refused.
    """
    if boxes == "refuse":
        raise ValueError("it is a box without outline; --boxes skip or fill takes such objects")
    return boxes == "fill"


def checked_size(height: Any, width: Any) -> tuple[int, int]:
    """
    Height and width that a label file gives.

    Raises:
        ValueError: if they are no size of an image, or more pixels than are taken for safe.
    """
    if not all(isinstance(side, int | float) and side == side and side >= 1 for side in (height, width)):
        raise ValueError(f"the image is said to have {width!r} x {height!r} pixels")
    check_size((int(width), int(height)))
    return int(height), int(width)


def size_of(image: File | None) -> tuple[int, int]:
    """Height and width of an image file when it is turned as its EXIF orientation says, as labelling tools show it."""
    if image is None:
        raise ValueError("there is no image whose size it could be of")
    try:
        with image.open() as file, open_header(file) as opened:
            width, height = upright_size(opened)
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
        raise ValueError(f"cannot decode {image}: {error}") from error
    return checked_size(height, width)


def compact(record: Any) -> bytes:
    """A record of a larger file as bytes, a tenth of what it takes as objects."""
    return json.dumps(record, separators=(",", ":")).encode()
