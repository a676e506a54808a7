# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the policy network of content-aware token sharing."""

from os import PathLike

from transformers.configuration_utils import PreTrainedConfig

from .configuration_semantic import leave_class_to_config
from .strict import strict


@strict
class CtsPolicyNetConfig(PreTrainedConfig):
    r"""
    Configuration of a [`CtsPolicyNet`], whose architecture is fixed: the one of "Content-aware Token Sharing for
    Efficient Semantic Segmentation with Vision Transformers" (https://arxiv.org/abs/2306.02095).

    Args:
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Target of the superpatches that the loss ignores.
    """

    model_type = "cts_policy"
    # Saved folders carry their code, so that they load where vitseg is not installed.
    _auto_class = "AutoConfig"

    semantic_loss_ignore_index: int = 255

    def save_pretrained(self, save_directory: str | PathLike, push_to_hub: bool = False, **kwargs) -> None:
        # See WindowedInferenceConfig.save_pretrained.
        if self._auto_class is not None:
            reference = "image_processing_cts_segmenter.CtsSegmenterImageProcessor"
            self.auto_map = {**getattr(self, "auto_map", {}), "AutoImageProcessor": reference}
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        leave_class_to_config(save_directory)


__all__ = ["CtsPolicyNetConfig"]
