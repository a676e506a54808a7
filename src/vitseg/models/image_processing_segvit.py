# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of SegViT."""

from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from .image_processing_semantic import SemanticImageProcessor


class SegVitImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`SegVitForSemanticSegmentation`]: pixels from -1 to 1, as the ViT-L of all published models
    takes them (ViT-B has ImageNet's mean and standard deviation), and by default the published size for ADE20K (short
    side 640, long side at most 2048). The model's scores are sums of probabilities: the confidence in a class is its
    share in the sum over all.
    """

    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    size = {"shortest_edge": 640, "longest_edge": 2048}
    scores_are_logits = False


__all__ = ["SegVitImageProcessor"]
