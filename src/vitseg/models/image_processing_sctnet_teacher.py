# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of SCTNet's teacher."""

from transformers.processing_utils import Unpack

from .image_processing_semantic import SemanticImageProcessor, SemanticImageProcessorKwargs


class SctNetTeacherImageProcessorKwargs(SemanticImageProcessorKwargs, total=False):
    r"""
    do_reduce_labels (`bool`, *optional*, defaults to `self.do_reduce_labels`):
        Whether class ids of label maps are reduced by one, 0 becoming 255 (ignored): for data sets whose 0 means "no
        class", such as ADE20K.
    """


class SctNetTeacherImageProcessor(SemanticImageProcessor):
    """
    Image processor of [`SctNetTeacherForSemanticSegmentation`]: ImageNet mean and standard deviation, as SCTNet's, and
    by default the size for ADE20K (short side 512, long side at most 2048).
    """

    valid_kwargs = SctNetTeacherImageProcessorKwargs

    def __init__(self, **kwargs: Unpack[SctNetTeacherImageProcessorKwargs]):
        super().__init__(**kwargs)


__all__ = ["SctNetTeacherImageProcessor"]
