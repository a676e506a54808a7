# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SETR-PUP-HLG: semantic segmentation on the encoder of HLG.

Paper: "Vision Transformers: From Semantic Segmentation to Dense Prediction", https://arxiv.org/abs/2207.09339.
Original: https://github.com/fudan-zvg/SETR (commit 1361561, MIT). Its test protocol and losses are those of
mmsegmentation; see `modeling_hlg` for the encoder and for what is called a quirk.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_hlg import ATTENTION_WINDOW, IMAGE_MULTIPLE, HlgConfig
from .configuration_semantic import WindowedInferenceConfig
from .layers import ConvLayer, channels_first, channels_last, pad_to_multiple, resize
from .modeling_hlg import (
    HlgAttention,
    HlgModel,
    HlgModelOutput,
    HlgPositionBias,
    HlgPreTrainedModel,
    HlgSmoothing,
)
from .modeling_semantic import Prediction, SemanticSegmentationModel
from .pipelines import known_to_pipelines
from .pixel_losses import NumItems
from .position_groups import Grouping, cut


class HlgDecoderAttention(nn.Module):
    """Multi-head attention of the decoder, with which its layers attend to neighbours and to summaries alike."""

    def __init__(self, config: HlgConfig):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size)
        self.attention = HlgAttention(config, hidden_size, config.decoder_num_attention_heads)
        self.position_bias = HlgPositionBias(hidden_size, config.decoder_num_attention_heads)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`(batch, queries, hidden)`, `(batch, keys, hidden)`, `(1, heads, queries, keys)` -> as the first."""
        attended, _ = self.attention(self.q_proj(queries), self.k_proj(tokens), self.v_proj(tokens), bias)
        return self.o_proj(attended)


class HlgDecoderMLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, 4 * hidden_size)
        self.fc2 = nn.Linear(4 * hidden_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(hidden_states)))


class HlgDecoderLayer(GradientCheckpointingLayer):
    """
    A pre-norm decoder layer: attention in groups, attention to the mean of each group, MLP.

    The groups are windows, or with an interval the positions that lie so far apart. Takes and returns a map
    `(batch, hidden, h, w)`.
    """

    def __init__(self, config: HlgConfig, dilated: bool):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.dilated = dilated
        self.group_size = config.decoder_interval if dilated else ATTENTION_WINDOW
        self.smoothing = HlgSmoothing(hidden_size)
        self.local_layernorm = nn.LayerNorm(hidden_size)
        self.summary_layernorm = nn.LayerNorm(hidden_size)
        self.global_layernorm = nn.LayerNorm(hidden_size)
        self.attention = HlgDecoderAttention(config)
        self.mlp_layernorm = nn.LayerNorm(hidden_size)
        self.mlp = HlgDecoderMLP(hidden_size)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        height, width = maps.shape[-2:]
        maps = channels_last(self.smoothing(pad_to_multiple(maps, self.group_size)))
        count = (maps.shape[1] // self.group_size, maps.shape[2] // self.group_size)
        size = (self.group_size, self.group_size)
        grid, shape = (size, count) if self.dilated else (count, size)
        groups = Grouping(grid, shape, self.dilated, maps.device)
        tokens = groups.split(maps)
        normalized = self.local_layernorm(tokens).flatten(0, 1)  # (batch * groups, positions, hidden)
        attended = self.attention(normalized, normalized, self.attention.position_bias(normalized, groups.shape))
        tokens = tokens + attended.unflatten(0, (maps.shape[0], -1))

        summaries = self.summary_layernorm(tokens.mean(dim=2))
        tokens = cut(groups.merge(tokens), height, width).flatten(1, 2)
        bias = self.attention.position_bias(tokens, (height, width), key_grid=groups.grid)
        tokens = tokens + self.attention(self.global_layernorm(tokens), summaries, bias)
        tokens = tokens + self.mlp(self.mlp_layernorm(tokens))
        return channels_first(tokens.unflatten(1, (height, width)))


class HlgDecodeHead(nn.Module):
    """
    The decode head: the feature maps of all stages together, decoder layers at the resolution of the first, a
    classifier.

    Takes the feature maps of the four stages; returns scores `(batch, num_labels, rows, columns)` of the positions of
    the first.
    """

    def __init__(self, config: HlgConfig):
        super().__init__()
        self.fusion = ConvLayer(sum(config.hidden_sizes), config.decoder_hidden_size, kernel_size=3, bias=True)
        self.layers = nn.ModuleList(
            HlgDecoderLayer(config, dilated=index % 2 == 1) for index in range(config.decoder_num_layers)
        )
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        self.classifier = nn.Conv2d(config.decoder_hidden_size, config.num_labels, kernel_size=1)

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        finest, *coarser = feature_maps
        resized = [resize(feature_map, finest.shape[-2:]) for feature_map in coarser]
        hidden_states = self.fusion(torch.cat((finest, *resized), dim=1))
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return self.classifier(self.dropout(hidden_states))


class HlgAuxiliaryHead(nn.Module):
    """A head that is only trained: convolution and classifier; `(batch, channels, h, w)` to logits of that size."""

    def __init__(self, config: HlgConfig, in_channels: int, hidden_size: int):
        super().__init__()
        self.conv_layer = ConvLayer(in_channels, hidden_size, kernel_size=3)
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        self.classifier = nn.Conv2d(hidden_size, config.num_labels, kernel_size=1)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.conv_layer(feature_map)))


@known_to_pipelines
class HlgForSemanticSegmentation(HlgPreTrainedModel, SemanticSegmentationModel):
    """
    SETR-PUP-HLG: the HLG encoder, a decode head with local and global attention, and auxiliary heads that only take
    part in training.

    Example:

    ```python
    >>> import torch
    >>> from vitseg import HlgConfig, HlgForSemanticSegmentation

    >>> config = HlgConfig(
    ...     hidden_sizes=[16, 16, 32, 32], depths=[2, 2, 2, 2], num_attention_heads=[1, 1, 2, 2], window_size=64,
    ...     decoder_hidden_size=32, num_labels=5,
    ... )
    >>> model = HlgForSemanticSegmentation(config).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 80, 112)).logits
    >>> logits.shape
    torch.Size([1, 5, 80, 112])

    ```
    """

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        WindowedInferenceConfig.settle_ignore_index(config)
        self.backbone = HlgModel(config)
        self.decode_head = HlgDecodeHead(config)
        self.auxiliary_head = nn.ModuleList(
            HlgAuxiliaryHead(config, config.hidden_sizes[head["in_index"]], head["hidden_size"])
            for head in config.auxiliary_heads
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if any(module is head.classifier for head in self.auxiliary_head):
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)

    def predict(self, features: HlgModelOutput, for_losses: bool = False) -> Prediction:
        """As in the base class; the details are the feature maps."""
        return Prediction(self.decode_head(features.feature_maps), features.feature_maps)

    def losses(
        self, prediction: Prediction, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> dict[str, torch.Tensor]:
        """`decode.loss_seg`, and `aux.loss_seg` or with several auxiliary heads `aux_0.loss_seg`, ..."""
        losses = {"decode.loss_seg": self.pixel_loss(prediction.scores, labels, num_items_in_batch)}
        heads = zip(self.auxiliary_names, self.auxiliary_head, self.config.auxiliary_heads, strict=True)
        for name, head, settings in heads:
            scores = head(prediction.details[settings["in_index"]])
            loss = self.pixel_loss(scores, labels, num_items_in_batch, self.fit_to_image)
            losses[f"{name}.loss_seg"] = self.config.auxiliary_loss_weight * loss
        return losses

    @property
    def auxiliary_names(self) -> list[str]:
        """What the originals call the auxiliary heads: one alone has no number."""
        count = len(self.auxiliary_head)
        return ["aux"] if count == 1 else [f"aux_{index}" for index in range(count)]

    def upsample(self, scores: torch.Tensor, size: torch.Size) -> torch.Tensor:
        return self.fit_to_image(self.to_square(scores), size)

    def to_square(self, scores: torch.Tensor) -> torch.Tensor:
        """
        Scores of the decode head as high and wide as the padded image is wide. Quirk: the original gives one number
        for the size; the resize that follows makes up for it.
        """
        side = 4 * scores.shape[-1]
        return resize(scores, (side, side))

    def fit_to_image(self, scores: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Scores resized to the image as the encoder padded it, without what was added to it."""
        height, width = size
        rows, columns = (height + IMAGE_MULTIPLE - 1) // IMAGE_MULTIPLE, (width + IMAGE_MULTIPLE - 1) // IMAGE_MULTIPLE
        logits = resize(scores, (rows * IMAGE_MULTIPLE, columns * IMAGE_MULTIPLE))
        return cut(logits, height, width, dim=2)


__all__ = ["HlgForSemanticSegmentation"]
