# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of SETR."""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .strict import strict


NUM_MLA_LEVELS = 4

# The published decoders that classify one upsampled feature map.
UP_HEADS: dict[str, dict[str, Any]] = {
    "naive": {"kernel_size": 1, "upsample_scales": [1], "auxiliary_upsample_scales": [1]},
    "pup": {"kernel_size": 3, "upsample_scales": [2, 2, 2, 2], "auxiliary_upsample_scales": [4]},
}


@strict
class SetrConfig(DecoderConfig):
    r"""
    Configuration of a [`SetrForSemanticSegmentation`]: SETR of "Rethinking Semantic Segmentation from a
    Sequence-to-Sequence Perspective with Transformers" (https://arxiv.org/abs/2012.15840). The defaults are SETR-PUP
    with ViT-L/16 at 512 x 512.

    Args:
        decoder_type (`str`, *optional*, defaults to `"pup"`):
            `"naive"` (classify the last feature map), `"pup"` (progressive upsampling) or `"mla"` (multi-level feature
            aggregation over four feature maps). Sets the defaults of the arguments below.
        decoder_hidden_size (`int`, *optional*, defaults to 256):
            Width of the convolutions of the naive and PUP heads, and of MLA's aggregated levels.
        decoder_in_index (`int`, *optional*, defaults to -1):
            Which of the backbone's feature maps the naive or PUP decode head takes.
        decoder_kernel_size (`int`, *optional*):
            Kernel of the naive (1) or PUP (3) head's convolutions.
        decoder_upsample_scales (`list[int]`, *optional*):
            One convolution for each entry, followed by bilinear upsampling by that factor: `[1]` for naive,
            `[2, 2, 2, 2]` for PUP. The logits are resized to the input in the end.
        decoder_conv_bias (`bool`, *optional*, defaults to `True`):
            Whether the naive and PUP heads' convolutions have a bias (mmsegmentation's have none).
        decoder_dropout (`float`, *optional*, defaults to 0.0):
            Share of the channels before each classifier that training leaves out.
        mla_branch_size (`int`, *optional*, defaults to 128):
            Width of each level's branch in the MLA head.
        mla_align_corners (`bool`, *optional*, defaults to `True`):
            Whether the branches are upsampled with aligned corners (mmsegmentation's are not).
        mla_classifier_kernel_size (`int`, *optional*, defaults to 3):
            Kernel of the MLA head's classifier (1 in mmsegmentation).
        mla_auxiliary_bias (`bool`, *optional*, defaults to `False`):
            Whether the classifiers of the MLA auxiliary heads have a bias (mmsegmentation's have).
        auxiliary_heads (`list[dict]`, *optional*):
            The heads that are only trained, one dictionary each: `in_index`, the feature map (for MLA: the aggregated
            level, shallowest first) it takes, and for naive and PUP its `kernel_size` and `upsample_scales`. Defaults
            to the published ones over all feature maps (naive: all but the last); an empty list makes none.
        kwargs:
            Arguments of [`DecoderConfig`].

    Example:

    ```python
    >>> from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768, image_size=128,
    ...     out_indices=[1, 2, 3, 4],
    ... )
    >>> config = SetrConfig(backbone_config=backbone_config, decoder_type="pup", num_labels=10)
    >>> model = SetrForSemanticSegmentation(config)
    >>> config.window_size, config.window_stride
    (128, 85)

    ```
    """

    model_type = "setr"

    decoder_type: str = "pup"
    decoder_hidden_size: int = 256
    decoder_in_index: int = -1
    decoder_kernel_size: int | None = None
    decoder_upsample_scales: list[int] | tuple[int, ...] | None = None
    decoder_conv_bias: bool = True
    decoder_dropout: float | int = 0.0
    mla_branch_size: int = 128
    mla_align_corners: bool = True
    mla_classifier_kernel_size: int = 3
    mla_auxiliary_bias: bool = False
    auxiliary_heads: list[dict[str, Any]] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.decoder_type in UP_HEADS:
            head = UP_HEADS[self.decoder_type]
            if self.decoder_kernel_size is None:
                self.decoder_kernel_size = head["kernel_size"]
            if self.decoder_upsample_scales is None:
                self.decoder_upsample_scales = list(head["upsample_scales"])
        if self.auxiliary_heads is None:
            self.auxiliary_heads = self.default_auxiliary_heads()

    def default_backbone_config(self) -> PreTrainedConfig:
        """ViT-L/16 at 512 x 512 with the taps of the published models."""
        return PlainVitConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            image_size=512,
            use_class_token=self.decoder_type != "mla",
            out_indices=[6, 12, 18, 24] if self.decoder_type == "mla" else [10, 15, 20, 24],
        )

    def default_auxiliary_heads(self) -> list[dict[str, Any]]:
        """The auxiliary heads that the paper trains the decoder with."""
        if self.decoder_type == "mla":
            return [{"in_index": index} for index in range(NUM_MLA_LEVELS)]
        if self.decoder_type not in UP_HEADS:
            return []
        num_features = len(self.backbone_config.out_indices)
        head = UP_HEADS[self.decoder_type]
        return [
            {
                "in_index": index,
                "kernel_size": head["kernel_size"],
                "upsample_scales": list(head["auxiliary_upsample_scales"]),
            }
            for index in range(num_features - (self.decoder_type == "naive"))
        ]

    def validate_architecture(self):
        super().validate_architecture()
        decoders = (*UP_HEADS, "mla")
        if self.decoder_type not in decoders:
            raise ValueError(f"decoder_type is {self.decoder_type!r}; expected one of {decoders}.")
        num_features = len(self.backbone_config.out_indices)
        if self.decoder_type == "mla" and num_features != NUM_MLA_LEVELS:
            raise ValueError(
                f"The MLA decoder takes {NUM_MLA_LEVELS} feature maps, but backbone_config.out_indices "
                f"{self.backbone_config.out_indices} names {num_features}."
            )
        if not -num_features <= self.decoder_in_index < num_features:
            raise ValueError(
                f"decoder_in_index is {self.decoder_in_index}, but backbone_config.out_indices "
                f"{self.backbone_config.out_indices} names {num_features} feature maps."
            )
        head_keys = {"in_index"} if self.decoder_type == "mla" else {"in_index", "kernel_size", "upsample_scales"}
        for head in self.auxiliary_heads:
            if set(head) != head_keys or not 0 <= head["in_index"] < num_features:
                raise ValueError(
                    f"auxiliary_heads holds {head}; expected the keys {sorted(head_keys)} with in_index from 0 to "
                    f"{num_features - 1}."
                )


__all__ = ["SetrConfig"]
