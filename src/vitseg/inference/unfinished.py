# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The answer for a large image while it is made: a file that a run which was killed finds again."""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


_ROWS = 512  # of a band, where the whole is read


class UnfinishedAnswer:
    """
    A file with a record for each pixel: one strip of columns after the other, rows from top to bottom, behind a line
    that says what they are made of. So its size says how far the work has come.

    Args:
        path: the file, which is made unless it is there and of the same origin.
        origin: what the answer is made of.
        size: height and width of the image.
        strips: columns of each strip.
        record: what is said of a pixel: its `label`, and perhaps the `confidence` in it.

    Raises:
        OSError: if it cannot be written.
        ValueError: if the disk has no room for all of it.
    """

    def __init__(self, path: Path, origin: str, size: tuple[int, int], strips: Sequence[range], record: np.dtype):
        self.path = path
        self.record = record
        self.height, self.width = size
        self.strips = strips
        self._header = f"{origin}\n".encode()
        if not path.exists() or not self._is_of_this_origin():
            path.write_bytes(self._header)
        self.num_pixels = (path.stat().st_size - len(self._header)) // record.itemsize
        missing = (self.height * self.width - self.num_pixels) * record.itemsize
        free = shutil.disk_usage(path.parent).free
        if missing > free:
            raise ValueError(
                f"its answer of {self.width} x {self.height} pixels takes {missing / 1e6:.0f} MB more while it is "
                f"made, and {path.parent} has room for {free / 1e6:.0f} MB"
            )
        strip, row = self.position
        done = 0 if strip == len(strips) else row * len(strips[strip])
        self.num_pixels = sum(map(len, strips[:strip])) * self.height + done
        os.truncate(path, len(self._header) + self.num_pixels * record.itemsize)

    def _is_of_this_origin(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(self._header)) == self._header

    @property
    def position(self) -> tuple[int, int]:
        """The strip that is being made, and its first row that is missing."""
        remaining = self.num_pixels
        for index, strip in enumerate(self.strips):
            if remaining < self.height * len(strip):
                return index, remaining // len(strip)
            remaining -= self.height * len(strip)
        return len(self.strips), 0

    def append(self, band: np.ndarray) -> None:
        """
        Write the next rows of a strip, records `(rows, columns)`.

        Raises:
            OSError: if it cannot be written, such as on a full disk; the run can go on there. Or if another run has
                written there.
        """
        try:
            with self.path.open("r+b") as file:
                is_alone = file.seek(0, os.SEEK_END) == len(self._header) + self.num_pixels * self.record.itemsize
                if is_alone:
                    file.write(band.tobytes())
        except FileNotFoundError:
            is_alone = False
        except OSError as error:
            hint = "; once there is room, the same command goes on there" if error.errno == errno.ENOSPC else ""
            raise OSError(error.errno, f"{error.strerror}{hint}", str(self.path)) from error
        if not is_alone:
            raise OSError(errno.EBUSY, "another run is at work on this image: wait until it has ended", str(self.path))
        self.num_pixels += band.size

    def rows(self, first: int, last: int) -> np.ndarray:
        """Some rows of the whole, records `(rows, width)`."""
        band = np.empty((last - first, self.width), self.record)
        size = self.record.itemsize
        with self.path.open("rb") as file:
            for strip in self.strips:
                file.seek(len(self._header) + size * (self.height * strip.start + first * len(strip)))
                part = np.frombuffer(file.read(size * (last - first) * len(strip)), self.record)
                band[:, strip.start : strip.stop] = part.reshape(-1, len(strip))
        return band

    def bands(self) -> Iterator[np.ndarray]:
        """The whole in bands from top to bottom, records `(rows, width)`."""
        for first in range(0, self.height, _ROWS):
            yield self.rows(first, min(first + _ROWS, self.height))
