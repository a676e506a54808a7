# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the SegFormer that teaches SCTNet."""

from typing import Any

from transformers import SegformerConfig
from transformers.configuration_utils import PreTrainedConfig

from .configuration_semantic import WindowedInferenceConfig
from .strict import strict


@strict
class SctNetTeacherConfig(WindowedInferenceConfig):
    r"""
    Configuration of a [`SctNetTeacherForSemanticSegmentation`]: SegFormer (https://arxiv.org/abs/2105.15203) with the
    head that mmsegmentation gives it. The defaults are MiT-B2 at 512 x 512, the teacher of SCTNet-S.

    Args:
        encoder_config (`SegformerConfig` or `dict`, *optional*):
            Configuration of transformers' SegFormer encoder. Defaults to MiT-B2.
        decoder_hidden_size (`int`, *optional*, defaults to 256):
            Width of each branch of the head and of the features before the classifier.
        classifier_dropout_prob (`float`, *optional*, defaults to 0.1):
            Share of the channels before the classifier that training leaves out.
        image_size (`int` or pair of `int`, *optional*, defaults to 512):
            Side, or height and width, in pixels, of the images that the model is meant for.
        kwargs:
            Arguments of [`WindowedInferenceConfig`]. `inference_mode` is `"whole"` by default; `window_size` defaults
            to `image_size`.
    """

    model_type = "sctnet_teacher"
    sub_configs = {"encoder_config": SegformerConfig}

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    decoder_hidden_size: int = 256
    classifier_dropout_prob: float | int = 0.1
    image_size: int | list[int] | tuple[int, int] = 512
    inference_mode: str = "whole"

    def __post_init__(self, **kwargs):
        if self.encoder_config is None:
            self.encoder_config = SegformerConfig(depths=[3, 4, 6, 3], hidden_sizes=[64, 128, 320, 512])
        elif isinstance(self.encoder_config, dict):
            self.encoder_config = SegformerConfig(
                **{key: value for key, value in self.encoder_config.items() if key != "model_type"}
            )
        if self.window_size is None:
            self.window_size = self.image_size
        super().__post_init__(**kwargs)


__all__ = ["SctNetTeacherConfig"]
