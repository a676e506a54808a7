# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label sets, data preparation, streaming and training-time augmentation."""

from ..extras import require


require("data")
