# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SETR: semantic segmentation with a plain ViT encoder and convolutional decoders.

Paper: "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers",
https://arxiv.org/abs/2012.15840. Original: https://github.com/fudan-zvg/SETR (MIT); re-implemented in mmsegmentation
(Apache-2.0) with small differences in the decoders, which are configuration switches here. Where the original's code
departs from its paper, this file follows the code, because the published weights do.

All upsampling is bilinear without aligned corners, unless said otherwise.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BackboneOutput

from .configuration_setr import NUM_MLA_LEVELS, SetrConfig
from .layers import ConvLayer, channels_first, channels_last, resize
from .modeling_decoder import DecoderModel
from .modeling_semantic import Prediction
from .pipelines import known_to_pipelines
from .pixel_losses import NumItems


def upsample(feature_map: torch.Tensor, scale: int, align_corners: bool = False) -> torch.Tensor:
    """`(batch, channels, h, w)` -> `(batch, channels, scale * h, scale * w)`, bilinear."""
    if scale == 1:
        return feature_map
    return nn.functional.interpolate(feature_map, scale_factor=scale, mode="bilinear", align_corners=align_corners)


def normalize(layernorm: nn.Module, feature_map: torch.Tensor) -> torch.Tensor:
    """Layer norm over the channels of a feature map `(batch, channels, h, w)`."""
    return channels_first(layernorm(channels_last(feature_map)))


class SetrUpHead(nn.Module):
    """
    Naive and PUP heads, decode and auxiliary: a norm, convolutions each followed by upsampling, a classifier.

    Takes a feature map `(batch, in_channels, h, w)`; returns logits `(batch, num_labels, s * h, s * w)`, with s the
    product of the upsampling factors.
    """

    def __init__(self, config: SetrConfig, in_channels: int, kernel_size: int, upsample_scales: list[int]):
        super().__init__()
        self.upsample_scales = upsample_scales
        hidden_size = config.decoder_hidden_size
        self.layernorm = nn.LayerNorm(in_channels, eps=1e-6)
        self.layers = nn.ModuleList(
            ConvLayer(
                in_channels if index == 0 else hidden_size, hidden_size, kernel_size, bias=config.decoder_conv_bias
            )
            for index in range(len(upsample_scales))
        )
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        self.classifier = nn.Conv2d(hidden_size, config.num_labels, kernel_size=1)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        hidden_states = normalize(self.layernorm, feature_map)
        for layer, scale in zip(self.layers, [1, *self.upsample_scales[:-1]], strict=True):
            hidden_states = layer(upsample(hidden_states, scale))
        # A 1x1 convolution and bilinear upsampling commute: fewer channels are upsampled this way.
        return upsample(self.classifier(self.dropout(hidden_states)), self.upsample_scales[-1])


class SetrMlaNeck(nn.Module):
    """
    Multi-level feature aggregation: four feature maps of equal size, shallowest first, summed from the deepest down.

    Takes and returns four feature maps, `(batch, in_channels, h, w)` and `(batch, decoder_hidden_size, h, w)`.
    """

    def __init__(self, config: SetrConfig, in_channels: list[int]):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.layernorms = nn.ModuleList(nn.LayerNorm(channels, eps=1e-6) for channels in in_channels)
        self.lateral_layers = nn.ModuleList(
            ConvLayer(channels, hidden_size, kernel_size=1) for channels in in_channels
        )
        self.output_layers = nn.ModuleList(
            ConvLayer(hidden_size, hidden_size, kernel_size=3) for _ in range(NUM_MLA_LEVELS)
        )

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        levels = [
            lateral(normalize(layernorm, feature_map))
            for feature_map, layernorm, lateral in zip(feature_maps, self.layernorms, self.lateral_layers, strict=True)
        ]
        for index in reversed(range(NUM_MLA_LEVELS - 1)):
            levels[index] = levels[index] + levels[index + 1]
        return [layer(level) for layer, level in zip(self.output_layers, levels, strict=True)]


class SetrMlaHead(nn.Module):
    """
    MLA decode head: two convolutions for each level, upsampling by 4, one classifier over all levels together.

    Takes four feature maps `(batch, decoder_hidden_size, h, w)`, shallowest first; returns logits
    `(batch, num_labels, 4 * h, 4 * w)`.
    """

    def __init__(self, config: SetrConfig):
        super().__init__()
        self.align_corners = config.mla_align_corners
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvLayer(config.decoder_hidden_size, config.mla_branch_size, kernel_size=3),
                ConvLayer(config.mla_branch_size, config.mla_branch_size, kernel_size=3),
            )
            for _ in range(NUM_MLA_LEVELS)
        )
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        kernel_size = config.mla_classifier_kernel_size
        self.classifies_first = kernel_size == 1
        self.classifier = nn.Conv2d(
            NUM_MLA_LEVELS * config.mla_branch_size, config.num_labels, kernel_size, padding=kernel_size // 2
        )

    def forward(self, feature_maps: list[torch.Tensor]) -> torch.Tensor:
        levels = [branch(feature_map) for branch, feature_map in zip(self.branches, feature_maps, strict=True)]
        hidden_states = self.dropout(torch.cat(levels, dim=1))
        if self.classifies_first:
            # As in SetrUpHead, a 1x1 classifier may come before the upsampling.
            return upsample(self.classifier(hidden_states), 4, self.align_corners)
        return self.classifier(upsample(hidden_states, 4, self.align_corners))


@known_to_pipelines
class SetrForSemanticSegmentation(DecoderModel):
    """
    SETR: a backbone, a Naive, PUP or MLA decode head, and auxiliary heads that only take part in training.

    Example:

    ```python
    >>> import torch
    >>> from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64
    ... )
    >>> model = SetrForSemanticSegmentation(SetrConfig(backbone_config=backbone_config, num_labels=5)).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 80, 112)).logits
    >>> logits.shape
    torch.Size([1, 5, 80, 112])

    ```
    """

    config: SetrConfig
    base_model_prefix = "setr"

    def __init__(self, config: SetrConfig):
        super().__init__(config)
        channels = self.backbone.channels
        self.decode_head: nn.Module
        # The last upsampling of the decode head, which `upsample` does.
        self.last_scale = 1
        if config.decoder_type == "mla":
            self.check_equal_strides("The MLA decoder", "set feature_stride, or choose decoder_type 'naive' or 'pup'.")
            self.neck = SetrMlaNeck(config, channels)
            self.decode_head = SetrMlaHead(config)
            self.auxiliary_head = nn.ModuleList(
                nn.Conv2d(config.decoder_hidden_size, config.num_labels, kernel_size=1, bias=config.mla_auxiliary_bias)
                for _ in config.auxiliary_heads
            )
        else:
            *scales, self.last_scale = config.decoder_upsample_scales or [1]
            self.decode_head = SetrUpHead(
                config, channels[config.decoder_in_index], config.decoder_kernel_size, [*scales, 1]
            )
            self.auxiliary_head = nn.ModuleList(
                SetrUpHead(config, channels[head["in_index"]], head["kernel_size"], head["upsample_scales"])
                for head in config.auxiliary_heads
            )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # PyTorch's own default, as in the original.
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        """As in the base class; the details are the feature maps that the heads take."""
        feature_maps = features.feature_maps
        if self.config.decoder_type == "mla":
            feature_maps = self.neck(feature_maps)
            scores = self.decode_head(feature_maps)
        else:
            scores = self.decode_head(feature_maps[self.config.decoder_in_index])
        return Prediction(scores, feature_maps)

    def upsample(self, scores: torch.Tensor, size: torch.Size) -> torch.Tensor:
        return resize(upsample(scores, self.last_scale), size)

    def losses(
        self, prediction: Prediction, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> dict[str, torch.Tensor]:
        """`decode.loss_seg` of the decode head, and `aux_0.loss_seg`, `aux_1.loss_seg`, ... of the auxiliary heads."""
        losses = {"decode.loss_seg": self.pixel_loss(prediction.scores, labels, num_items_in_batch)}
        for index, (head, settings) in enumerate(zip(self.auxiliary_head, self.config.auxiliary_heads, strict=True)):
            feature_map = prediction.details[settings["in_index"]]
            if self.config.decoder_type == "mla":
                # The other auxiliary heads leave channels out by themselves.
                feature_map = nn.functional.dropout2d(feature_map, self.config.decoder_dropout, self.training)
            loss = self.pixel_loss(head(feature_map), labels, num_items_in_batch, upsample=resize)
            losses[f"aux_{index}.loss_seg"] = self.config.auxiliary_loss_weight * loss
        return losses


__all__ = ["SetrForSemanticSegmentation"]
