# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Annotation files as they are published, and what their values mean: image files, MATLAB files and run lengths."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..bands import read_bands
from ..image_files import is_array_name
from ..images import read_label_map
from .archives import File


_UNKNOWN = -1
# How many unknown values an error message lists.
_EXAMPLES = 5


class Annotation(Protocol):
    """The annotation of an image; as text, the path of its file."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""

    @property
    def stamp(self) -> str:
        """Another text for another annotation, and for the same once it has changed."""

    def read(self) -> np.ndarray:
        """
        The values as annotated.

        Returns:
            Integers (height, width).

        Raises:
            ValueError: if they cannot be read; the message names the file.
        """


@dataclass(frozen=True)
class _AnnotationFile:
    """A file that holds an annotation."""

    file: File

    def __str__(self) -> str:
        return str(self.file)

    @property
    def size(self) -> int:
        return self.file.size

    @property
    def stamp(self) -> str:
        return self.file.stamp


@dataclass(frozen=True)
class MaskFile(_AnnotationFile):
    """
    An image file whose pixel values, or positions in a palette, are the annotation, or an array of NumPy.

    Args:
        file: the file.
        is_colored: whether instead its colours are: `0xRRGGBB`.
    """

    is_colored: bool = False

    def read(self) -> np.ndarray:
        if is_array_name(self.file.name):
            return self._read_array()
        return read_label_map(self.file.read(), str(self), self.is_colored)

    def _read_array(self) -> np.ndarray:
        values = read_bands(self.file.read(), str(self))
        if self.is_colored or values.ndim != 2 or (values != np.trunc(values)).any():
            expected = "colours, which arrays are not read for" if self.is_colored else "an integer per pixel"
            raise ValueError(f"{self} has the shape {values.shape} and type {values.dtype}; expected {expected}.")
        return values.astype(np.int64)


@dataclass(frozen=True)
class MatFile(_AnnotationFile):
    """
    A MATLAB file (version 7 or older).

    Args:
        file: the file.
        key: the variable that holds the values.
    """

    key: str

    def read(self) -> np.ndarray:
        encoded = self.file.read()
        try:
            variables = loadmat(BytesIO(encoded), variable_names=[self.key])
        except NotImplementedError as error:
            raise ValueError(f"{self} is in MATLAB's format 7.3, which is not read. Save it with -v7.") from error
        except (MatReadError, EOFError, OSError, TypeError, ValueError, zlib.error) as error:
            raise ValueError(f"{self} is not a complete MATLAB file: {error}") from error
        values = variables.get(self.key)
        if values is None or values.ndim != 2 or values.dtype.kind not in "iuf":
            raise ValueError(f"{self} holds no matrix {self.key!r}.")
        integers = values.astype(np.int64)
        if (integers != values).any():
            raise ValueError(f"{self} holds values in {self.key!r} that are not integers.")
        return integers


@dataclass(frozen=True)
class RunLengths:
    """
    The segments of an image in COCO's compressed run-length encoding, painted one over the other, on 0.

    Args:
        source: the annotation file, in words.
        height: of the image.
        width: of the image.
        segments: the value of each segment, and its encoded mask.
    """

    source: str
    height: int
    width: int
    segments: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        return self.source

    @property
    def size(self) -> int:
        return sum(len(encoded) for _, encoded in self.segments)

    @property
    def stamp(self) -> str:
        content = repr((self.height, self.width, self.segments))
        return hashlib.sha256(content.encode()).hexdigest()

    def read(self) -> np.ndarray:
        values = np.zeros((self.height, self.width), np.int64)
        for value, encoded in self.segments:
            try:
                values[decode_run_lengths(encoded, self.height, self.width)] = value
            except ValueError as error:
                raise ValueError(f"{self}: {error}") from error
        return values


def decode_run_lengths(encoded: str, height: int, width: int) -> np.ndarray:
    """
    A mask from COCO's compressed run lengths (`counts` in COCO's JSON files).

    Returns:
        bool (height, width).

    Raises:
        ValueError: if the text is no such code, or not of a mask of this size.
    """
    lengths = run_lengths(encoded)
    if lengths.min() < 0 or lengths.sum() != height * width:
        raise ValueError(f"{encoded[:20]!r}... is not the run-length code of a {width} x {height} mask.")
    return np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(width, height).T


def run_lengths(encoded: str) -> np.ndarray:
    """
    The lengths of the runs in COCO's compressed code.

    Down the columns, pixels are alternately outside and inside; the text has the length of each run. From the fourth
    on it is the difference to the run before the last. A number is little-endian in characters of five bits, from
    "0" on; a sixth bit says that more follow, and the fifth of the last is the sign.

    Returns:
        int64 (runs,); negative where the text is of no mask.

    Raises:
        ValueError: if the text is no such code.
    """
    codes = np.frombuffer(encoded.encode(), np.uint8).astype(np.int64) - ord("0")
    if codes.size == 0 or codes.min() < 0 or codes.max() >= 64 or codes[-1] & 32:
        raise ValueError(f"{encoded[:20]!r}... is not a compressed run-length code.")
    is_last = codes & 32 == 0
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    digits = np.arange(codes.size) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((codes & 31) << 5 * digits, first)
    is_negative = codes[last] & 16 != 0
    numbers -= np.where(is_negative, 1 << 5 * (last - first + 1), 0)
    # Outside runs and inside runs, each the sum of its differences; the very first run is in neither sum.
    lengths = numbers.copy()
    lengths[1::2] = np.cumsum(numbers[1::2])
    lengths[2::2] = np.cumsum(numbers[2::2])
    return lengths


class TrainIds:
    """
    What the values in annotation files mean.

    Args:
        raw_to_train: value in the files -> train id (0..255).
        default: train id of all other values; `None` if there should not be any.
        is_colored: whether the values are colours, `0xRRGGBB`.
    """

    def __init__(self, raw_to_train: Mapping[int, int], default: int | None = None, is_colored: bool = False) -> None:
        self.raw_to_train = {raw: train for raw, train in sorted(raw_to_train.items()) if raw >= 0}
        self.default = default
        self.is_colored = is_colored
        # Sorted, with one more that no value reaches.
        self._raw = np.array([*self.raw_to_train, np.iinfo(np.int64).max])
        self._train = np.array([*self.raw_to_train.values(), _UNKNOWN], np.int16)

    def of(self, annotation: Annotation) -> np.ndarray:
        """
        The label map of an annotation.

        Returns:
            Train ids, uint8 (height, width).

        Raises:
            ValueError: if it cannot be read, or holds a value that is not in the table; the message names both.
        """
        raw = annotation.read()
        entry = np.searchsorted(self._raw, raw)
        other = _UNKNOWN if self.default is None else self.default
        train_ids = np.where(self._raw[entry] == raw, self._train[entry], other)
        unknown = np.unique(raw[train_ids == _UNKNOWN])
        if unknown.size:
            raise ValueError(f"{annotation} holds {self._describe(unknown)}, not in the label table.")
        return train_ids.astype(np.uint8)

    def _describe(self, values: np.ndarray) -> str:
        kind = "colour" if self.is_colored else "value"
        listed = ", ".join(self._write(values[:_EXAMPLES].tolist()))
        more = f" and {values.size - _EXAMPLES} more" if values.size > _EXAMPLES else ""
        return f"the {kind}{'s' if values.size > 1 else ''} {listed}{more}"

    def _write(self, values: Iterable[int]) -> list[str]:
        return [f"#{value:06x}" if self.is_colored else str(value) for value in values]
