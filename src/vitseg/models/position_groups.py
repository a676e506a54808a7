# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The positions of feature maps in groups: how HLG cuts maps into windows and puts them together again.

All of it can be exported, with sizes of maps that the exported program does not know beforehand.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from .layers import is_exporting


@dataclass(frozen=True)
class Grouping:
    """
    How the positions of a map fall into groups that attend among themselves.

    Args:
        grid: rows and columns of groups.
        shape: rows and columns of positions in each group.
        dilated: whether the positions of a group come from all over the map, as far apart as there are groups, instead
            of being neighbours.
        device: where the maps are.
    """

    grid: tuple[int, int]
    shape: tuple[int, int]
    dilated: bool
    device: torch.device

    def split(self, maps: torch.Tensor) -> torch.Tensor:
        """`(batch, h, w, channels)` -> `(batch, groups, positions, channels)`."""
        (rows, columns), (height, width) = self.grid, self.shape
        if is_exporting():
            # Views of views may fix the exported program to sizes like the one it was traced with.
            tokens = maps.flatten(1, 2).index_select(1, self.order)
            return tokens.unflatten(1, (rows * columns, height * width))
        if self.dilated:
            groups = maps.unflatten(2, (width, columns)).unflatten(1, (height, rows)).permute(0, 2, 4, 1, 3, 5)
        else:
            groups = maps.unflatten(2, (columns, width)).unflatten(1, (rows, height)).permute(0, 1, 3, 2, 4, 5)
        return groups.flatten(3, 4).flatten(1, 2)

    def merge(self, groups: torch.Tensor) -> torch.Tensor:
        """What [`split`] made groups of."""
        (rows, columns), (height, width) = self.grid, self.shape
        if is_exporting():
            tokens = groups.flatten(1, 2).index_select(1, self.order.argsort())
            return tokens.unflatten(1, (rows * height, columns * width))
        groups = groups.unflatten(2, (height, width)).unflatten(1, (rows, columns))
        groups = groups.permute(0, 3, 1, 4, 2, 5) if self.dilated else groups.permute(0, 1, 3, 2, 4, 5)
        return groups.flatten(3, 4).flatten(1, 2)

    @cached_property
    def order(self) -> torch.Tensor:
        """The positions of the map, numbered row by row, in the order of the groups: `(h * w,)`."""
        (rows, columns), (height, width) = self.grid, self.shape
        group, position = divide(torch.arange(rows * columns * height * width, device=self.device), height * width)
        row, column = divide(group, columns)
        y, x = divide(position, width)
        if self.dilated:
            return (row + y * rows) * (columns * width) + column + x * columns
        return (row * height + y) * (columns * width) + column * width + x


def divide(numbers: torch.Tensor, divisor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Quotients and remainders: rows and columns of positions that are numbered row by row.

    Rows and columns are not added up by broadcasting, because torch.export takes a dimension that is broadcast never
    to be 1. And the operator for remainders has no translation to ONNX for a divisor that depends on the image.
    """
    quotients = numbers // divisor
    return quotients, numbers - quotients * divisor


def cut(maps: torch.Tensor, height: int, width: int, dim: int = 1) -> torch.Tensor:
    """The first rows and columns of maps that have these in dimensions `dim` and `dim + 1`."""
    if not is_exporting():
        return maps.narrow(dim, 0, height).narrow(dim + 1, 0, width)
    rows, columns = (torch.arange(count, device=maps.device) for count in (height, width))
    return maps.index_select(dim, rows).index_select(dim + 1, columns)
