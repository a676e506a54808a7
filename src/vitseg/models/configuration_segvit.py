# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of SegViT."""

from transformers.configuration_utils import PreTrainedConfig

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .layers import as_pair
from .strict import strict


DECODER_TYPES = ("atm", "single_atm", "tpn_atm")


@strict
class SegVitConfig(DecoderConfig):
    r"""
    Configuration of a [`SegVitForSemanticSegmentation`]: "SegViT: Semantic Segmentation with Plain Vision
    Transformers" (https://arxiv.org/abs/2210.05844). The defaults are SegViT with ViT-L/16 at 640 x 640; with
    `decoder_type="tpn_atm"` they are SegViT Shrunk.

    Args:
        decoder_type (`str`, *optional*, defaults to `"atm"`):
            `"atm"` (attention-to-mask: one decoder for each feature map, the deepest first, whose masks add up),
            `"single_atm"` (the feature maps add up, and every decoder layer gives masks of its own) or `"tpn_atm"`
            (SegViT Shrunk: up-sampling queries read the feature maps, the shallowest first, and become the one feature
            map of a single attention-to-mask decoder).
        decoder_hidden_size (`int`, *optional*, defaults to 512):
            Width of the decoder.
        decoder_num_layers (`int`, *optional*, defaults to 3):
            Number of layers of each decoder.
        decoder_num_attention_heads (`int`, *optional*, defaults to 16):
            Number of attention heads in the decoder. Must divide `decoder_hidden_size`.
        decoder_dropout (`float`, *optional*, defaults to 0.1):
            Dropout in the decoder: on attention probabilities, inside the MLPs and on the residual branches.
        decoder_use_projection (`bool`, *optional*, defaults to `True`):
            Whether feature maps go through a linear layer and a layer norm. Without them, `decoder_hidden_size` must
            be the backbone's width.
        mask_size (`int` or pair of `int`, *optional*):
            Side, or height and width, in pixels, to which the masks of an image of whatever size are enlarged before
            class scores are formed from them: the size of the training crops. Defaults to `window_size`.
        query_stride (`int`, *optional*, defaults to 16):
            For `"tpn_atm"`: distance of the up-sampling queries in pixels of `mask_size`, so that their number is
            fixed, whatever the size of the image.
        class_weight, mask_weight, dice_weight (`float`, *optional*, default to 1.0, 20.0 and 1.0):
            Weights of the three loss terms: cross-entropy of the queries' classes, focal loss and dice loss of their
            masks.
        no_object_weight (`float`, *optional*, defaults to 0.1):
            Weight of the "no object" class in the cross-entropy.
        auxiliary_loss_weight (`float`, *optional*, defaults to 1.0):
            Further weight of the loss terms of all predictions but the last.
        num_auxiliary_losses (`int`, *optional*):
            How many of the predictions before the last enter the loss, the first ones. Defaults to all.
        kwargs:
            Arguments of [`DecoderConfig`].

    Example:

    ```python
    >>> from vitseg import PlainVitConfig, SegVitConfig, SegVitForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768, image_size=128,
    ...     use_class_token=False, out_indices=[2, 3, 4],
    ... )
    >>> config = SegVitConfig(
    ...     backbone_config=backbone_config, decoder_hidden_size=96, decoder_num_attention_heads=3, num_labels=10
    ... )
    >>> model = SegVitForSemanticSegmentation(config)
    >>> config.mask_size, config.window_stride
    (128, 85)

    ```
    """

    model_type = "segvit"

    decoder_type: str = "atm"
    decoder_hidden_size: int = 512
    decoder_num_layers: int = 3
    decoder_num_attention_heads: int = 16
    decoder_dropout: float | int = 0.1
    decoder_use_projection: bool = True
    mask_size: int | list[int] | tuple[int, int] | None = None
    query_stride: int = 16
    class_weight: float | int = 1.0
    mask_weight: float | int = 20.0
    dice_weight: float | int = 1.0
    no_object_weight: float | int = 0.1
    auxiliary_loss_weight: float | int = 1.0
    num_auxiliary_losses: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.mask_size is None:
            height, width = as_pair(self.window_size)
            self.mask_size = height if height == width else [height, width]

    def default_backbone_config(self) -> PreTrainedConfig:
        """ViT-L/16 at 640 x 640 with the taps of the published models; SegViT Shrunk's shrinks at the ninth block."""
        shrunk = self.decoder_type == "tpn_atm"
        return PlainVitConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            drop_path_rate=0.3,
            drop_path_on_attention=False,
            image_size=640,
            use_class_token=False,
            interpolation_mode="bicubic",
            shrink_layer=9 if shrunk else None,
            out_indices=[8, 24] if shrunk else [8, 16, 24],
        )

    @property
    def query_grid(self) -> tuple[int, int]:
        """Rows and columns of the up-sampling queries."""
        height, width = as_pair(self.mask_size)
        return height // self.query_stride, width // self.query_stride

    def validate_architecture(self):
        super().validate_architecture()
        if self.decoder_type not in DECODER_TYPES:
            raise ValueError(f"decoder_type is {self.decoder_type!r}; expected one of {DECODER_TYPES}.")
        if self.decoder_hidden_size % self.decoder_num_attention_heads:
            raise ValueError(
                f"decoder_hidden_size {self.decoder_hidden_size} is not a multiple of decoder_num_attention_heads "
                f"{self.decoder_num_attention_heads}."
            )
        if self.decoder_num_layers < 1:
            raise ValueError(f"decoder_num_layers is {self.decoder_num_layers}; expected at least 1.")
        if min(as_pair(self.mask_size)) < 1:
            raise ValueError(f"mask_size is {self.mask_size}; expected positive numbers of pixels.")
        if self.decoder_type == "tpn_atm" and not 1 <= self.query_stride <= min(as_pair(self.mask_size)):
            raise ValueError(
                f"query_stride is {self.query_stride}; expected from 1 to {min(as_pair(self.mask_size))}, the shorter "
                "side of mask_size."
            )
        if self.num_auxiliary_losses is not None and self.num_auxiliary_losses < 0:
            raise ValueError(f"num_auxiliary_losses is {self.num_auxiliary_losses}; expected at least 0, or None.")


__all__ = ["SegVitConfig"]
