# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of HLG, for all of its tasks."""

from typing import Any

from transformers.backbone_utils import BackboneConfigMixin

from .configuration_semantic import WindowedInferenceConfig
from .labels import IGNORE_INDEX
from .strict import strict


NUM_STAGES = 4
# Side of an attention window, in positions.
ATTENTION_WINDOW = 7
# Downsampling of the last stage: images are padded to a multiple of it.
IMAGE_MULTIPLE = 32
# The one size that classifiers with the prefix rule can take.
PREFIX_IMAGE_SIZE = 224

MLP_WIDTHS = ("input", "output")
WINDOW_POOLINGS = ("mean", "max", "conv")
GLOBAL_BIASES = ("key_grid", "prefix")


@strict
class HlgConfig(BackboneConfigMixin, WindowedInferenceConfig):
    r"""
    Configuration of HLG, the hierarchical local-global transformer of "Vision Transformers: From Semantic Segmentation
    to Dense Prediction" (https://arxiv.org/abs/2207.09339): of the encoder ([`HlgModel`], [`HlgBackbone`]) and of the
    models for classification ([`HlgForImageClassification`]), segmentation ([`HlgForSemanticSegmentation`]) and
    detection ([`HlgForObjectDetection`]).

    The original is three copies of the encoder that differ in places. The defaults are those of the copies for
    segmentation and detection, with the widths of HLG-Small; the published classifiers have `global_bias="prefix"`,
    `use_stage_norm=False` and `layer_norm_eps=1e-5`.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Number of channels of the input.
        hidden_sizes (`list[int]`, *optional*, defaults to `[96, 192, 384, 768]`):
            Width of each of the four stages, each a multiple of the one before.
        depths (`list[int]`, *optional*, defaults to `[2, 2, 6, 2]`):
            Number of blocks of each stage. (The originals fail with fewer than 2.)
        num_attention_heads (`list[int]`, *optional*, defaults to `[3, 6, 12, 24]`):
            Number of attention heads of each stage. Each must divide the stage's width.
        qkv_bias (`bool`, *optional*, defaults to `True`):
            Whether the query, key and value projections have a bias.
        mlp_ratio (`int`, *optional*, defaults to 4):
            Width of the hidden layer of each block's MLP, as a multiple of the block's width.
        mlp_width (`str`, *optional*, defaults to `"input"`):
            Which width of a block that changes it is meant: that of its `"input"`, which the sizes of the published
            models follow, or of its `"output"`, as the original classification code literally says.
        window_pooling (`str`, *optional*, defaults to `"mean"`):
            How an attention window becomes one token: `"mean"`, `"max"` or `"conv"` (a depthwise convolution).
        global_bias (`str`, *optional*, defaults to `"key_grid"`):
            Which entries of the position bias's table the global attention takes: `"key_grid"` (the originals for
            segmentation and detection) or `"prefix"` (the original for classification, which is defined for images of
            224 x 224 pixels alone). Neither is what the position of a window calls for, and weights need the one that
            they were trained with.
        use_stage_norm (`bool`, *optional*, defaults to `True`):
            Whether a layer norm follows each of the first three stages, on the way to the next one too.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer norms of the encoder, those of the position biases excepted.
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last block; it grows linearly from 0 at the first block.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the truncated normal that initialises linear layers.
        window_size (`int` or pair of `int`, *optional*, defaults to 512):
            For segmentation: side, or height and width, of the windows that large images are cut into, in pixels.
        decoder_hidden_size (`int`, *optional*, defaults to 512):
            For segmentation: width of the decoder.
        decoder_num_layers (`int`, *optional*, defaults to 2):
            For segmentation: number of decoder layers. Those with an even index attend in windows, those with an odd
            one in groups of positions that lie `decoder_interval` apart.
        decoder_num_attention_heads (`int`, *optional*):
            For segmentation: number of attention heads of the decoder. Defaults to one for each 32 channels.
        decoder_interval (`int`, *optional*, defaults to 8):
            For segmentation: distance of the positions of a group.
        decoder_dropout (`float`, *optional*, defaults to 0.1):
            For segmentation: probability with which a channel is dropped before the classifier of a head.
        auxiliary_heads (`list[dict]`, *optional*):
            For segmentation: the heads that are only trained, one dictionary each: `in_index`, the stage (from 0) that
            it takes, and `hidden_size`. Defaults to one of 256 channels on the third stage.
        pyramid_hidden_size (`int`, *optional*, defaults to 256):
            For detection: width of the feature pyramid.
        detector_hidden_size (`int`, *optional*, defaults to 256):
            For detection: width of the two towers of the head.
        detector_num_layers (`int`, *optional*, defaults to 4):
            For detection: number of convolutions of each tower.
        anchor_scale (`float`, *optional*, defaults to 4.0):
            For detection: size of the smallest anchor of a level, as a multiple of the level's stride.
        anchor_scales_per_octave (`int`, *optional*, defaults to 3):
            For detection: number of sizes from one anchor to that of twice its size.
        anchor_ratios (`list[float]`, *optional*, defaults to `[0.5, 1.0, 2.0]`):
            For detection: ratios of height to width of the anchors.
        out_features (`list[str]`, *optional*):
            Which feature maps [`HlgBackbone`] returns: `"stem"`, `"stage1"`, ..., `"stage4"`. Defaults to the last.
        out_indices (`list[int]`, *optional*):
            The same by number: 0 is the stem, `i` the output of the `i`-th stage.
        kwargs:
            Arguments of [`WindowedInferenceConfig`].

    Example:

    ```python
    >>> from vitseg import HlgConfig, HlgForSemanticSegmentation

    >>> config = HlgConfig(
    ...     hidden_sizes=[32, 32, 64, 64], depths=[2, 2, 2, 2], num_attention_heads=[1, 1, 2, 2], window_size=128,
    ...     decoder_hidden_size=64, num_labels=10,
    ... )
    >>> model = HlgForSemanticSegmentation(config)
    >>> config.window_stride, config.decoder_num_attention_heads
    (85, 2)

    ```
    """

    model_type = "hlg"

    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (96, 192, 384, 768)
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_attention_heads: list[int] | tuple[int, ...] = (3, 6, 12, 24)
    qkv_bias: bool = True
    mlp_ratio: int = 4
    mlp_width: str = "input"
    window_pooling: str = "mean"
    global_bias: str = "key_grid"
    use_stage_norm: bool = True
    layer_norm_eps: float = 1e-6
    drop_path_rate: float | int = 0.1
    initializer_range: float = 0.02
    window_size: int | list[int] | tuple[int, int] = 512
    decoder_hidden_size: int = 512
    decoder_num_layers: int = 2
    decoder_num_attention_heads: int | None = None
    decoder_interval: int = 8
    decoder_dropout: float | int = 0.1
    auxiliary_heads: list[dict[str, Any]] | None = None
    pyramid_hidden_size: int = 256
    detector_hidden_size: int = 256
    detector_num_layers: int = 4
    anchor_scale: float | int = 4.0
    anchor_scales_per_octave: int = 3
    anchor_ratios: list[float | int] | tuple[float | int, ...] = (0.5, 1.0, 2.0)
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        self.stage_names = ["stem"] + [f"stage{index}" for index in range(1, NUM_STAGES + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        if self.decoder_num_attention_heads is None:
            self.decoder_num_attention_heads = max(self.decoder_hidden_size // 32, 1)
        if self.auxiliary_heads is None:
            self.auxiliary_heads = [{"in_index": 2, "hidden_size": 256}]
        super().__post_init__(**kwargs)

    def settle_ignore_index(self) -> None:
        """As in the base class, but classifiers and detectors of more classes ignore nothing."""
        if self.num_labels <= IGNORE_INDEX:
            super().settle_ignore_index()

    @property
    def num_anchors(self) -> int:
        """Anchors at each position of a level of the feature pyramid."""
        return self.anchor_scales_per_octave * len(self.anchor_ratios)

    def validate_architecture(self):
        super().validate_architecture()
        for name in ("hidden_sizes", "depths", "num_attention_heads"):
            if len(getattr(self, name)) != NUM_STAGES:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a number for each of {NUM_STAGES} stages."
                )
        if min(self.depths) < 1:
            raise ValueError(f"depths is {self.depths}; expected at least 1 block in each stage.")
        for size, heads in zip(self.hidden_sizes, self.num_attention_heads, strict=True):
            if size % heads or size < 16:
                raise ValueError(
                    f"hidden_sizes is {self.hidden_sizes} with num_attention_heads {self.num_attention_heads}; "
                    "expected at least 16, and multiples of the number of heads."
                )
        if any(after % before for before, after in zip(self.hidden_sizes, self.hidden_sizes[1:], strict=False)):
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}; expected each to be a multiple of the one before.")
        choices = {"mlp_width": MLP_WIDTHS, "window_pooling": WINDOW_POOLINGS, "global_bias": GLOBAL_BIASES}
        for name, values in choices.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {values}.")
        if self.decoder_hidden_size % self.decoder_num_attention_heads or self.decoder_hidden_size < 16:
            raise ValueError(
                f"decoder_hidden_size is {self.decoder_hidden_size}; expected at least 16, and a multiple of "
                f"decoder_num_attention_heads {self.decoder_num_attention_heads}."
            )
        for head in self.auxiliary_heads:
            if set(head) != {"in_index", "hidden_size"} or not 0 <= head["in_index"] < NUM_STAGES:
                raise ValueError(
                    f"auxiliary_heads holds {head}; expected the keys ['hidden_size', 'in_index'] with in_index from "
                    f"0 to {NUM_STAGES - 1}."
                )
        for name in ("decoder_num_layers", "decoder_interval", "detector_num_layers", "anchor_scales_per_octave"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


__all__ = ["HlgConfig"]
