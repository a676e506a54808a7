# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of CTS Segmenter and of its policy network."""

from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from .image_processing_semantic import SemanticImageProcessor


class CtsSegmenterImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`CtsSegmenterForSemanticSegmentation`] and [`CtsPolicyNet`]: pixels from -1 to 1, and by
    default the published size for ADE20K (short side 512, long side at most 2048).

    Models with a DeiT backbone take other pixels, as their recipes say: (R, G, B) less (123.68, 116.28, 103.53),
    divided by (58.4, 57.12, 57.38).
    """

    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD


__all__ = ["CtsSegmenterImageProcessor"]
