# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Metrics, multi-scale and flip evaluation, submissions, plots and reports.

`MeanIoU` is loaded when it is first used: the library `evaluate`, whose interface it has, takes seconds to import.
"""

from typing import TYPE_CHECKING, Any

from ..extras import require


require("eval")

if TYPE_CHECKING:
    from .metric import MeanIoU

__all__ = ["MeanIoU"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .metric import MeanIoU

    return MeanIoU
