# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures that are stored on their side, upside down, or mirrored: where a part of the upright one is stored."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Turn:
    """
    What makes a picture upright.

    Args:
        orientation: as EXIF and TIFF number them, 1 (as it is) to 8.
        stored_size: height and width as it is stored.
    """

    orientation: int
    stored_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width when it is upright."""
        return self.stored_size[::-1] if self._swaps_sides else self.stored_size

    @property
    def _swaps_sides(self) -> bool:
        return self.orientation >= 5

    @property
    def _steps(self) -> tuple[int, int]:
        """Which way upright rows, and columns, run where they are stored."""
        return -1 if self.orientation in (3, 4, 7, 8) else 1, -1 if self.orientation in (2, 3, 6, 7) else 1

    def stored(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """The rows and columns where a part of the upright picture is stored."""
        part = [
            slice(length - span.stop, length - span.start) if step < 0 else span
            for span, step, length in zip((rows, columns), self._steps, self.size, strict=True)
        ]
        return (part[1], part[0]) if self._swaps_sides else (part[0], part[1])

    def upright(self, part: np.ndarray) -> np.ndarray:
        """A part `(..., rows, columns)` as it is stored, made upright."""
        part = np.swapaxes(part, -1, -2) if self._swaps_sides else part
        return np.ascontiguousarray(part[..., :: self._steps[0], :: self._steps[1]])
