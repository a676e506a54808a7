# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of StructToken."""

from transformers.processing_utils import Unpack

from .image_processing_semantic import SemanticImageProcessor, SemanticImageProcessorKwargs


class StructTokenImageProcessorKwargs(SemanticImageProcessorKwargs, total=False):
    r"""
    do_reduce_labels (`bool`, *optional*, defaults to `self.do_reduce_labels`):
        Whether class ids of label maps are reduced by one, 0 becoming 255 (ignored): for data sets whose 0 means "no
        class", such as ADE20K.
    """


class StructTokenImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`StructTokenForSemanticSegmentation`]: by default ImageNet mean and standard deviation, and the
    published size for ADE20K (short side 512, long side at most 2048).

    The normalisation differs between the published models: those with ViT-L, and with ViT-B all but CSE, were trained
    with a mean and standard deviation of 0.5 for each channel, as their recipes say.
    """

    valid_kwargs = StructTokenImageProcessorKwargs

    def __init__(self, **kwargs: Unpack[StructTokenImageProcessorKwargs]):
        super().__init__(**kwargs)


__all__ = ["StructTokenImageProcessor"]
