# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of SETR."""

from .image_processing_semantic import SemanticImageProcessor


class SetrImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`SetrForSemanticSegmentation`]: ImageNet mean and standard deviation, and by default the
    published size for ADE20K (short side 512, long side at most 2048).
    """


__all__ = ["SetrImageProcessor"]
