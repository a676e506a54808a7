# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of CTS Segmenter, with and without token sharing."""

from transformers.configuration_utils import PreTrainedConfig

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .strict import strict


DECODER_TYPES = ("mask_transformer", "linear")
# Width of an attention head in all published models.
HEAD_SIZE = 64


@strict
class CtsSegmenterConfig(DecoderConfig):
    r"""
    Configuration of a [`CtsSegmenterForSemanticSegmentation`]: "Content-aware Token Sharing for Efficient Semantic
    Segmentation with Vision Transformers" (https://arxiv.org/abs/2306.02095) on "Segmenter: Transformer for Semantic
    Segmentation" (https://arxiv.org/abs/2105.05633). Without `backbone_config.token_sharing` it is Segmenter. The
    defaults are ViT-S/16 at 512 x 512 with 30% fewer tokens.

    Args:
        decoder_type (`str`, *optional*, defaults to `"mask_transformer"`):
            `"mask_transformer"` (class embeddings go through transformer blocks together with the tokens, and are then
            compared with them) or `"linear"` (a linear layer over the tokens).
        decoder_hidden_size (`int`, *optional*):
            Width of the mask transformer. Defaults to the backbone's.
        decoder_num_layers (`int`, *optional*, defaults to 2):
            Number of blocks of the mask transformer.
        decoder_num_attention_heads (`int`, *optional*):
            Number of attention heads of each block. Defaults to one for every 64 channels.
        decoder_mlp_ratio (`int`, *optional*, defaults to 4):
            Width of the hidden layer of each block's MLP, in widths of the mask transformer.
        decoder_dropout (`float`, *optional*, defaults to 0.1):
            Dropout in the mask transformer: on attention probabilities, inside the MLPs and on the residual branches.
        decoder_drop_path_rate (`float`, *optional*, defaults to 0.0):
            Stochastic depth of the last block of the mask transformer; it grows linearly from 0 at the first.
        decoder_drop_path_on_attention (`bool`, *optional*, defaults to `True`):
            Whether stochastic depth drops the attention branch too, and not only the MLP (as mmsegmentation does).
        crop_padding (`bool`, *optional*, defaults to `True`):
            Whether logits are enlarged to the whole patches that an image was padded to, of which the padding is then
            cut off. Otherwise they are resized straight to the size of the image, padding and all (as mmsegmentation
            does).
        enlarge_small_images (`bool`, *optional*, defaults to `True`):
            Whether an image smaller than a window is enlarged when it is segmented by windows, until its shorter side
            is as long as the window's. Its logits then have the size of the enlarged image.
        average_valid_pixels (`bool`, *optional*, defaults to `True`):
            Whether the loss is the mean over the pixels that are not ignored. Otherwise ignored pixels count, with a
            loss of 0 (as in mmsegmentation).
        kwargs:
            Arguments of [`DecoderConfig`].

    Example:

    ```python
    >>> from vitseg import CtsSegmenterConfig, CtsSegmenterForSemanticSegmentation, PlainVitConfig

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768, image_size=128,
    ...     token_sharing=6, use_final_norm=True,
    ... )
    >>> model = CtsSegmenterForSemanticSegmentation(CtsSegmenterConfig(backbone_config=backbone_config, num_labels=10))
    >>> model.config.decoder_num_attention_heads
    3

    ```
    """

    model_type = "cts_segmenter"

    decoder_type: str = "mask_transformer"
    decoder_hidden_size: int | None = None
    decoder_num_layers: int = 2
    decoder_num_attention_heads: int | None = None
    decoder_mlp_ratio: int = 4
    decoder_dropout: float | int = 0.1
    decoder_drop_path_rate: float | int = 0.0
    decoder_drop_path_on_attention: bool = True
    crop_padding: bool = True
    enlarge_small_images: bool = True
    average_valid_pixels: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.decoder_hidden_size is None:
            pyramid_sizes = getattr(self.backbone_config, "hidden_sizes", [None])
            self.decoder_hidden_size = getattr(self.backbone_config, "hidden_size", pyramid_sizes[-1])
        if self.decoder_hidden_size is None:
            name = type(self.backbone_config).__name__
            raise ValueError(f"backbone_config, a {name}, has no hidden_size: pass decoder_hidden_size.")
        if self.decoder_num_attention_heads is None:
            self.decoder_num_attention_heads = max(self.decoder_hidden_size // HEAD_SIZE, 1)

    def default_backbone_config(self) -> PreTrainedConfig:
        """ViT-S/16 at 512 x 512, of whose 256 superpatches 103 share a token."""
        return PlainVitConfig(
            hidden_size=384,
            num_hidden_layers=12,
            num_attention_heads=6,
            intermediate_size=1536,
            drop_path_rate=0.1,
            layer_norm_eps=1e-5,
            image_size=512,
            interpolate_by_token_count=True,
            use_final_norm=True,
            token_sharing=103,
        )

    def validate_architecture(self):
        super().validate_architecture()
        if self.decoder_type not in DECODER_TYPES:
            raise ValueError(f"decoder_type is {self.decoder_type!r}; expected one of {DECODER_TYPES}.")
        if self.decoder_num_layers < 1:
            raise ValueError(f"decoder_num_layers is {self.decoder_num_layers}; expected at least 1.")
        if self.decoder_hidden_size % self.decoder_num_attention_heads:
            raise ValueError(
                f"decoder_hidden_size {self.decoder_hidden_size} is not a multiple of decoder_num_attention_heads "
                f"{self.decoder_num_attention_heads}."
            )


__all__ = ["CtsSegmenterConfig"]
