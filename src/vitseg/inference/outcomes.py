# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of each image of a run."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Outcome:
    """
    What became of an image.

    Args:
        image: its path, or its name in a data set.
        status: "done"; "kept", if its results were there and are what they would be now; or "failed".
        result: what its results are called, in the output folder.
        reason: why it failed.
        report: its size and its classes, as in an `area_report`, as far as they are known.
        seconds: that the model took for it.
    """

    image: str
    status: Literal["done", "kept", "failed"]
    result: str
    reason: str | None = None
    report: dict[str, Any] | None = None
    seconds: float | None = None
