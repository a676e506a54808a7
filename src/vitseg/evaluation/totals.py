# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Sums over all processes, for figures that are means over a whole data set."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator


def sum_over_processes(values: Sequence[float], accelerator: Accelerator) -> list[float]:
    """
    The sum of each value over all processes, which all call this.

    Numbers are summed in Python, which has double precision on every machine: Apple's processors for graphics have
    none. Between processes they are float32, exact up to 2^24.
    """
    gathered = accelerator.gather(torch.tensor([list(values)], dtype=torch.float32, device=accelerator.device))
    return [sum(column) for column in zip(*gathered.tolist(), strict=True)]
