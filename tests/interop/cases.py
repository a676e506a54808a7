# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What is compared, and by what measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """
    Work that both do.

    Args:
        name: of the case in the table.
        compare: does it, and gives the largest differences by the column of the table; an exception is a failure.
        tolerance: above it a difference is a failure.
    """

    name: str
    compare: Callable[[], Mapping[str, float]]
    tolerance: float = TOLERANCE


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest number where that is above 1; infinite between shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()
