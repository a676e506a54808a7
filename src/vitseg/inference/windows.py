# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Windowed inference of images whose scores no memory holds: the windows of `vitseg.models.sliding_window`, and the same
answers, in the order that lets scores go as soon as nothing can change them.

Windows go through the network row by row, and in a row from left to right. What is kept are the sums of scores that a
window further right, or in the next row, will add to. An image that is too wide for even these is taken in strips,
from top to bottom each; windows over the border of two strips go through the network for both.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..models.score_maps import MAX_SCORES
from ..models.sliding_window import window_starts


# The sums of scores that are kept between rows of windows take at most so many bytes, as long as a strip is two
# windows wide.
SUMS_BYTES = 2**29

# From the rows and columns of an image, as the model sees it, its normalised pixels (channels, rows, columns); `None`
# if nobody asks what is there.
ReadPixels = Callable[[slice, slice], torch.Tensor | None]
# From scores (num_labels, rows, columns), what is kept of each pixel: its class, and perhaps more, (rows, columns).
Decide = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Axis:
    """
    One direction of an image: its pixels in the file, those that the model sees, and the windows over these.

    Args:
        length: pixels in the file.
        scaled: pixels that the model sees.
        window: pixels of a window.
        stride: distance of windows.
    """

    length: int
    scaled: int
    window: int
    stride: int

    @functools.cached_property
    def starts(self) -> list[int]:
        """First pixels of the windows."""
        return window_starts(self.scaled, self.window, self.stride)

    @functools.cached_property
    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Between which two pixels that the model sees each pixel of the file lies, and how near the second."""
        position = (np.arange(self.length) + 0.5) * (self.scaled / self.length) - 0.5
        position = position.clip(0, self.scaled - 1)
        low = position.astype(np.int64)
        weight = position - low
        return low, np.minimum(low + (weight > 0), self.scaled - 1), weight.astype(np.float32)

    def settled(self, end: int) -> int:
        """How many pixels of the file have their answer when the first `end` pixels that the model sees have it."""
        return int(np.searchsorted(self.taps[1], end))

    def seen(self, pixels: range) -> range:
        """The pixels that the model sees which the answer for some pixels of the file is made of."""
        return range(int(self.taps[0][pixels.start]), int(self.taps[1][pixels.stop - 1]) + 1)

    def asked(self, seen: slice) -> slice:
        """The pixels of the file whose answer some of those that the model sees are part of."""
        low, high, _ = self.taps
        first, end = int(np.searchsorted(high, seen.start)), int(np.searchsorted(low, seen.stop))
        return slice(first, max(first, end))

    def needed_from(self, pixel: int, end: int) -> int:
        """The first of the pixels before `end` that the model sees which the answer is made of from `pixel` on."""
        return min(int(self.taps[0][pixel]), end) if pixel < self.length else end

    def windows_over(self, seen: range) -> range:
        """Which of the windows show some of the pixels that the model sees."""
        over = [
            index for index, start in enumerate(self.starts) if start < seen.stop and start + self.window > seen.start
        ]
        return range(over[0], over[-1] + 1)


@dataclass(frozen=True)
class Windows:
    """
    The windows over an image, how they are blended, and the strips that it is taken in.

    Args:
        rows, columns: the two directions.
        num_labels: classes.
        is_smooth: whether a window's scores count less towards its borders, or all the same.
    """

    rows: Axis
    columns: Axis
    num_labels: int
    is_smooth: bool = False

    @functools.cached_property
    def row_groups(self) -> list[list[int]]:
        """First rows of the windows that go through together: the last two rows of windows, which lie closer than the
        others, since more sums would have to be kept between them."""
        tops = self.rows.starts
        is_close = len(tops) > 1 and tops[-1] - tops[-2] < self.rows.stride
        return [[top] for top in tops[:-2]] + [tops[-2:]] if is_close else [[top] for top in tops]

    @functools.cached_property
    def strips(self) -> list[range]:
        """The columns, of the file, of each strip."""
        # Resizing looks at a row more.
        kept_rows = max(self.rows.window - self.rows.stride, 0) + 1
        width = SUMS_BYTES // (4 * self.num_labels * kept_rows)
        lefts = self.columns.starts
        own = max((width - self.columns.window) // self.columns.stride, 1)
        count = max(math.ceil((len(lefts) - 1) / own), 1)
        firsts = [round(index * len(lefts) / count) for index in range(count)]
        begins = [0, *(self.columns.settled(lefts[first]) for first in firsts[1:]), self.columns.length]
        return [range(begin, end) for begin, end in itertools.pairwise(begins) if begin < end]

    def weights(self, axis: Axis) -> np.ndarray:
        """How much the pixels of a window count in one direction, float32."""
        if not self.is_smooth:
            return np.ones(axis.window, np.float32)
        return (np.sin(np.pi * (np.arange(axis.window) + 0.5) / axis.window) ** 2).astype(np.float32)

    def total_weights(self, axis: Axis) -> torch.Tensor:
        """What the sums of scores are divided by, in one direction: float32, of all pixels that the model sees."""
        total = np.zeros(axis.scaled, np.float64)
        for start in axis.starts:
            total[start : start + axis.window] += self.weights(axis)
        return torch.from_numpy(total.astype(np.float32))

    def groups_from(self, row: int) -> list[list[int]]:
        """The groups of windows that the answer from a row of the file on is made of."""
        first = self.rows.taps[0][row]
        return [group for group in self.row_groups if group[-1] + self.rows.window > first]

    def count(self, strip: range, row: int = 0) -> int:
        """How many windows go through the network for a strip, from a row of the file on."""
        across = self.columns.windows_over(self.columns.seen(strip))
        return len(across) * sum(map(len, self.groups_from(row)))


def highest(scores: torch.Tensor) -> tuple[torch.Tensor]:
    """The class of the highest score."""
    # `argmax` gives the same indices, but takes up to three times as long on a CPU.
    return (scores.max(dim=0).indices,)


def answer_bands(
    windows: Windows,
    strip: range,
    row: int,
    predict: Callable[[Sequence[torch.Tensor]], torch.Tensor],
    read: ReadPixels,
    batch_size: int,
    record: np.dtype,
    decide: Decide = highest,
    device: torch.device | str = "cpu",
) -> Iterator[np.ndarray]:
    """
    The answer for a strip, from a row of the file on, in bands from top to bottom.

    Args:
        windows: the windows over the image.
        strip: columns, one of `windows.strips`.
        row: the first row.
        predict: the network, windows `(channels, h, w)` -> logits `(windows, num_labels, h, w)`.
        read: the image.
        batch_size: how many windows go through the network at a time.
        record: what is kept of a pixel, with a field for each that `decide` gives.
        decide: what is made of the mean scores, which are resized to the file's pixels bilinearly, as image processors
            do.
        device: where scores are summed.

    Yields:
        Records `(rows, len(strip))`. Where nobody asks they are arbitrary.
    """
    accumulator = _Accumulator(windows, strip, row, record, decide, device)
    groups = windows.groups_from(row)
    columns = windows.columns
    lefts = [columns.starts[index] for index in columns.windows_over(columns.seen(strip))]
    for index, group in enumerate(groups):
        next_top = groups[index + 1][0] if index + 1 < len(groups) else windows.rows.scaled
        places = [(top, left) for left in lefts for top in group]
        logits = _window_logits(windows, places, predict, read, batch_size)
        accumulator.begin_row(group, next_top)
        for position, left in enumerate(lefts):
            # First, so that the network has the memory for itself.
            scores = [next(logits) for _ in group]
            accumulator.begin_window(left)
            for top, window in zip(group, scores, strict=True):
                accumulator.add(window, top, left)
            del scores, window  # which would stay while the network makes the next ones
            accumulator.settle(lefts[position + 1] if position + 1 < len(lefts) else columns.scaled)
        band = accumulator.end_row()
        if len(band):
            yield band


def _window_logits(
    windows: Windows,
    places: Sequence[tuple[int, int]],
    predict: Callable[[Sequence[torch.Tensor]], torch.Tensor],
    read: ReadPixels,
    batch_size: int,
) -> Iterator[torch.Tensor | None]:
    """Logits of the window at each place, `None` where there is nothing to see."""
    for first in range(0, len(places), batch_size):
        pixels = [
            read(slice(top, top + windows.rows.window), slice(left, left + windows.columns.window))
            for top, left in places[first : first + batch_size]
        ]
        shown = [window for window in pixels if window is not None]
        logits = iter(predict(shown) if shown else ())
        yield from (None if window is None else next(logits) for window in pixels)
        del logits


class _Accumulator:
    """
    The sums of scores in a strip that are not settled yet: `above`, of the rows that the next row of windows adds to,
    and `block`, of the columns that the next window adds to.
    """

    def __init__(
        self,
        windows: Windows,
        strip: range,
        row: int,
        record: np.dtype,
        decide: Decide,
        device: torch.device | str,
    ):
        self.windows = windows
        self.decide = decide
        self.device = device
        self.strip = strip
        self.seen = windows.columns.seen(strip)
        # The first rows and columns that are not settled, of the file, and that are still needed, of what is seen.
        self.row, self.top = row, int(windows.rows.taps[0][row])
        self.column, self.left = strip.start, self.seen.start
        self.bottom = self.next_row = self.next_top = self.top
        kept_rows = max(windows.rows.window - windows.rows.stride, 0) + 1
        self.above = torch.zeros(windows.num_labels, kept_rows, len(self.seen), device=device)
        self.block = torch.zeros(0)
        self.answer = np.zeros((0, 0), record)
        self.weights = torch.from_numpy(windows.weights(windows.rows)[:, None] * windows.weights(windows.columns)).to(
            device
        )
        self.total_rows = windows.total_weights(windows.rows).to(device)
        self.total_columns = windows.total_weights(windows.columns).to(device)

    def begin_row(self, group: Sequence[int], next_top: int) -> None:
        """The windows whose first rows are these add from now on; the next will begin at `next_top`."""
        rows = self.windows.rows
        self.num_above = self.bottom - self.top
        self.bottom = group[-1] + rows.window
        self.next_row = max(rows.settled(next_top), self.row)
        self.next_top = rows.needed_from(self.next_row, self.bottom)
        self.column, self.left = self.strip.start, self.seen.start
        self.block = self.above.new_zeros(len(self.above), self.bottom - self.top, 0)
        self.answer = np.zeros((self.next_row - self.row, len(self.strip)), self.answer.dtype)

    def begin_window(self, left: int) -> None:
        """Enlarge the block to the columns of a window, which begins at `left`, with what there is from above."""
        known = self.left + self.block.shape[-1]
        end = min(left + self.windows.columns.window, self.seen.stop)
        block = self.block.new_zeros(*self.block.shape[:2], end - self.left)
        block[..., : known - self.left] = self.block
        from_above = self.above[:, : self.num_above, known - self.seen.start : end - self.seen.start]
        block[:, : self.num_above, known - self.left :] = from_above
        self.block = block

    def add(self, logits: torch.Tensor | None, top: int, left: int) -> None:
        """Add the scores of a window, as far as they are needed."""
        if logits is None:
            return
        scores = logits.float() * self.weights if self.windows.is_smooth else logits.float()
        scores = scores[:, max(self.top - top, 0) :, max(self.left - left, 0) : self.seen.stop - left]
        first_row, first_column = max(top - self.top, 0), max(left - self.left, 0)
        height, width = scores.shape[-2:]
        self.block[:, first_row : first_row + height, first_column : first_column + width] += scores

    def settle(self, next_left: int) -> None:
        """No window of this row adds to columns before `next_left` any more."""
        columns = self.windows.columns
        next_column = min(max(columns.settled(next_left), self.column), self.strip.stop)
        end = self.left + self.block.shape[-1]
        kept_from = end if next_column == self.strip.stop else columns.needed_from(next_column, end)
        if next_column > self.column:
            self._decide(next_column)
        going = slice(self.left - self.seen.start, kept_from - self.seen.start)
        remaining = self.block[:, self.next_top - self.top :, : kept_from - self.left]
        self.above[:, : remaining.shape[1], going] = remaining
        # A copy, so that what is settled goes.
        self.block = self.block[..., kept_from - self.left :].clone()
        self.column, self.left = next_column, kept_from

    def end_row(self) -> np.ndarray:
        """The rows of the answer that are settled."""
        self.row, self.top = self.next_row, self.next_top
        return self.answer

    def _decide(self, next_column: int) -> None:
        """Write the answer for what is settled, of some rows at a time."""
        rows, columns = self.windows.rows, self.windows.columns
        height = max(MAX_SCORES // (len(self.block) * (next_column - self.column)), 1)
        own_columns = slice(self.column - self.strip.start, next_column - self.strip.start)
        for first in range(self.row, self.next_row, height):
            lines = range(first, min(first + height, self.next_row))
            scores = self._mean(rows.seen(lines), columns.seen(range(self.column, next_column)))
            scores = _resized(scores, rows, lines, dim=1)
            scores = _resized(scores, columns, range(self.column, next_column), dim=2)
            part = self.answer[lines.start - self.row : lines.stop - self.row, own_columns]
            for field, values in zip(self.answer.dtype.names, self.decide(scores), strict=True):
                part[field] = values.cpu().numpy()

    def _mean(self, rows: range, columns: range) -> torch.Tensor:
        sums = self.block[
            :, rows.start - self.top : rows.stop - self.top, columns.start - self.left : columns.stop - self.left
        ]
        total_rows = self.total_rows[rows.start : rows.stop, None]
        return sums / (total_rows * self.total_columns[columns.start : columns.stop])


def _resized(scores: torch.Tensor, axis: Axis, pixels: range, dim: int) -> torch.Tensor:
    """Scores of pixels of the file from those of the pixels that the model sees, in one direction."""
    if axis.length == axis.scaled:
        return scores
    low, high, weight = (tap[pixels.start : pixels.stop] for tap in axis.taps)
    near, far = (torch.from_numpy(index - low[0]).to(scores.device) for index in (low, high))
    fraction = torch.from_numpy(weight).to(scores.device)
    fraction = fraction[:, None] if dim == 1 else fraction
    return scores.index_select(dim, near).lerp_(scores.index_select(dim, far), fraction)
