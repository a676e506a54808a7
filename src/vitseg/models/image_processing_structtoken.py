# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of StructToken."""

from .image_processing_semantic import SemanticImageProcessor


class StructTokenImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`StructTokenForSemanticSegmentation`]: by default ImageNet mean and standard deviation, and the
    published size for ADE20K (short side 512, long side at most 2048).

    The normalisation differs between the published models: those with ViT-L, and with ViT-B all but CSE, were trained
    with a mean and standard deviation of 0.5 for each channel, as their recipes say.
    """


__all__ = ["StructTokenImageProcessor"]
