# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of SCTNet and of its backbone."""

from transformers.backbone_utils import BackboneConfigMixin

from .configuration_semantic import WindowedInferenceConfig
from .strict import strict


# Of folders written by vitseg 0.1, which held what only training needs.
FORMER_FIELDS = (
    "use_auxiliary_head",
    "auxiliary_hidden_size",
    "alignment_channels",
    "alignment_loss_weights",
    "alignment_temperature",
)


@strict
class SctNetConfig(BackboneConfigMixin, WindowedInferenceConfig):
    r"""
    Configuration of a [`SctNetForSemanticSegmentation`] and of its [`SctNetBackbone`]: SCTNet of "SCTNet:
    Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation"
    (https://arxiv.org/abs/2312.17071). The defaults are SCTNet-S at 512 x 512.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Number of channels of the input.
        base_channels (`int`, *optional*, defaults to 32):
            Channels of the first stage, C; the further ones have 2C, 4C and 8C. SCTNet-S has 32, SCTNet-B 64.
        stage_depths (`list[int]`, *optional*, defaults to `[2, 2, 2]`):
            Number of residual blocks in each of the first three stages.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Number of groups in which convolutional attention normalises its maps. Must divide `attention_channels`.
        attention_channels (`int`, *optional*, defaults to 64):
            Number of maps of each branch of convolutional attention, whatever the width of the stage.
        context_channels (`int`, *optional*, defaults to 64):
            Width of the pyramid pooling, P. SCTNet-S has 64, SCTNet-B 128.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout after each convolution of the feed-forward blocks.
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth, the same for both branches of all attention layers.
        decoder_hidden_size (`int`, *optional*):
            Width of the decode head. Defaults to 4C, that of the features it takes.
        image_size (`int` or pair of `int`, *optional*, defaults to 512):
            Side, or height and width, in pixels, of the images that the model is meant for: that of the published
            test protocol. Images of any size are taken.
        out_features (`list[str]`, *optional*):
            Which feature maps the backbone returns: `"stem"` (C channels, 1/4 of the image's size), `"stage1"` (C,
            1/4), `"stage2"` (2C, 1/8), `"stage3"` (4C, 1/16), `"stage4"` (8C, 1/32) or `"stage5"` (4C, 1/8: stage 2
            beside the context of stage 4, what the decode head takes). Defaults to `"stage5"`.
        out_indices (`list[int]`, *optional*):
            The same by number, from 0 for the stem.
        kwargs:
            Arguments of [`WindowedInferenceConfig`]. `inference_mode` is `"whole"` by default, as published;
            `window_size` defaults to `image_size`.

    Example:

    ```python
    >>> from vitseg import SctNetConfig, SctNetForSemanticSegmentation

    >>> config = SctNetConfig(base_channels=64, context_channels=128, num_labels=19, image_size=[512, 1024])
    >>> model = SctNetForSemanticSegmentation(config)
    >>> model.num_parameters()
    17437779

    ```
    """

    model_type = "sctnet"

    num_channels: int = 3
    base_channels: int = 32
    stage_depths: list[int] | tuple[int, ...] = (2, 2, 2)
    num_attention_heads: int = 8
    attention_channels: int = 64
    context_channels: int = 64
    hidden_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.1
    decoder_hidden_size: int | None = None
    image_size: int | list[int] | tuple[int, int] = 512
    inference_mode: str = "whole"
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        # For transformers, the number of hidden states after the first.
        self.num_hidden_layers = 5
        self.stage_names = ["stem"] + [f"stage{index}" for index in range(1, self.num_hidden_layers + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        for name in ("num_hidden_layers", *FORMER_FIELDS):
            kwargs.pop(name, None)
        if self.window_size is None:
            self.window_size = self.image_size
        if self.decoder_hidden_size is None:
            self.decoder_hidden_size = 4 * self.base_channels
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        super().validate_architecture()
        if len(self.stage_depths) != 3 or min(self.stage_depths) < 1:
            raise ValueError(f"stage_depths is {self.stage_depths}; expected three positive numbers of blocks.")
        if self.attention_channels % self.num_attention_heads:
            raise ValueError(
                f"attention_channels {self.attention_channels} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}."
            )


__all__ = ["SctNetConfig"]
