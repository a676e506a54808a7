# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of SCTNet."""

from .image_processing_semantic import SemanticImageProcessor


class SctNetImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`SctNetForSemanticSegmentation`]: ImageNet mean and standard deviation, and by default the
    published size for ADE20K (short side 512, long side at most 2048).

    For Cityscapes the models named Seg50, Seg75 and Seg100 see images of 512 x 1024, 768 x 1536 and 1024 x 2048
    pixels, which is their `size`. `post_process_semantic_segmentation` brings the scores, which the model gives at
    that size, back to the image. Images are never padded: attention and pooling look at all of an image, so padding
    would change the scores everywhere.
    """


__all__ = ["SctNetImageProcessor"]
