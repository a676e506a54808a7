# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: initial weights, parameter groups and schedules."""

from ..extras import require


require("train")
