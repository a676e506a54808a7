# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of StructToken."""

from transformers.configuration_utils import PreTrainedConfig

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .layers import as_pair
from .strict import strict


EXTRACTIONS = ("cse", "sse", "pwe")


@strict
class StructTokenConfig(DecoderConfig):
    r"""
    Configuration of a [`StructTokenForSemanticSegmentation`]: StructToken of "StructToken: Rethinking Semantic
    Segmentation with Structural Prior" (https://arxiv.org/abs/2203.12612). The defaults are SSE with ViT-L/16 at
    640 x 640.

    Args:
        extraction (`str`, *optional*, defaults to `"sse"`):
            How structure tokens and features interact: `"cse"` (cross-slice extraction: tokens attend to feature
            channels), `"sse"` (self-slice extraction: tokens and feature channels attend to each other) or `"pwe"`
            (point-wise extraction: a learned 1x1 convolution mixes tokens and feature channels).
        token_grid_size (pair of `int`, *optional*):
            Rows and columns of the stored structure tokens, which are resized where the feature map has another size.
            Defaults to the patches of a window.
        decoder_hidden_size (`int`, *optional*):
            Number of feature channels in the decoder. Defaults to those of the backbone's feature map.
        decoder_num_layers (`int`, *optional*, defaults to 4):
            Number of decoder layers.
        decoder_mlp_ratio (`int`, *optional*, defaults to 4):
            Factor by which the feed-forward block of a decoder layer widens the channels.
        decoder_drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last decoder layer; it grows linearly from 0 at the first.
        decoder_layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the decoder's layer norms outside of the feed-forward blocks.
        decoder_mlp_layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer norms in the feed-forward blocks.
        kwargs:
            Arguments of [`DecoderConfig`]. There is no auxiliary head.

    Example:

    ```python
    >>> from vitseg import PlainVitConfig, StructTokenConfig, StructTokenForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768, image_size=128
    ... )
    >>> config = StructTokenConfig(backbone_config=backbone_config, extraction="pwe", num_labels=10)
    >>> model = StructTokenForSemanticSegmentation(config)
    >>> config.window_size, config.token_grid_size
    (128, [8, 8])

    ```
    """

    model_type = "structtoken"

    extraction: str = "sse"
    token_grid_size: list[int] | tuple[int, int] | None = None
    decoder_hidden_size: int | None = None
    decoder_num_layers: int = 4
    decoder_mlp_ratio: int = 4
    decoder_drop_path_rate: float | int = 0.1
    decoder_layer_norm_eps: float = 1e-6
    decoder_mlp_layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.token_grid_size is None:
            window = as_pair(self.window_size)
            stride = as_pair(self.feature_stride or getattr(self.backbone_config, "patch_size", 16))
            self.token_grid_size = [-(-window[0] // stride[0]), -(-window[1] // stride[1])]

    def default_backbone_config(self) -> PreTrainedConfig:
        """ViT-L/16 at 640 x 640 as published."""
        return PlainVitConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            image_size=640,
            drop_path_rate=0.1,
            interpolate_by_token_count=True,
            interpolation_mode="bicubic",
        )

    def validate_architecture(self):
        super().validate_architecture()
        if self.extraction not in EXTRACTIONS:
            raise ValueError(f"extraction is {self.extraction!r}; expected one of {EXTRACTIONS}.")
        if len(self.token_grid_size) != 2 or min(self.token_grid_size) < 1:
            raise ValueError(f"token_grid_size is {self.token_grid_size}; expected positive rows and columns.")
        for name in ("decoder_num_layers", "decoder_mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


__all__ = ["StructTokenConfig"]
