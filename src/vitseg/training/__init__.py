# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: the loop, what each task has of its own, and checkpoints that resume exactly."""

from ..extras import require


require("train")
