# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of SCTNet's teacher."""

from .image_processing_semantic import SemanticImageProcessor


class SctNetTeacherImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`SctNetTeacherForSemanticSegmentation`]: ImageNet mean and standard deviation, as SCTNet's, and
    by default the size for ADE20K (short side 512, long side at most 2048).
    """


__all__ = ["SctNetTeacherImageProcessor"]
