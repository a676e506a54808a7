# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
StructToken: semantic segmentation with one learned map for each class, which the decoder turns into the logits.

Paper: "StructToken: Rethinking Semantic Segmentation with Structural Prior", https://arxiv.org/abs/2203.12612.
Original: https://github.com/RockeyCoss/StructToken (Apache-2.0). Where the original's code departs from its paper,
this file follows the code, because the published weights do.

The decoder's tensors are `(batch, rows, columns, channels)`: layer norms are over the channels, 1x1 convolutions are
linear layers, and 3x3 convolutions run on a view. All GELUs are exact.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput

from .configuration_structtoken import StructTokenConfig
from .layers import DropPath, as_pair, channels_first, channels_last, is_exporting
from .modeling_decoder import DecoderModel
from .modeling_semantic import Prediction
from .pipelines import known_to_pipelines


class StructTokenConvBlock(nn.Module):
    """
    1x1, 3x3 and 1x1 convolution, each followed by a layer norm, with GELUs between them.

    The first widens `channels` by `mlp_ratio`, the second has as many groups as there are `channels` (and is
    depth-wise only where nothing is widened), the third narrows. Takes and returns `(batch, rows, columns, channels)`.
    """

    def __init__(self, channels: int, mlp_ratio: int, eps: float):
        super().__init__()
        hidden_size = mlp_ratio * channels
        self.fc1 = nn.Linear(channels, hidden_size)
        self.layernorm1 = nn.LayerNorm(hidden_size, eps=eps)
        self.conv = nn.Conv2d(hidden_size, hidden_size, kernel_size=3, padding=1, groups=channels)
        self.layernorm2 = nn.LayerNorm(hidden_size, eps=eps)
        self.fc2 = nn.Linear(hidden_size, channels)
        self.layernorm3 = nn.LayerNorm(channels, eps=eps)
        self.activation_fn = nn.GELU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.activation_fn(self.layernorm1(self.fc1(maps)))
        maps = channels_last(self.conv(channels_first(maps)))
        maps = self.activation_fn(self.layernorm2(maps))
        return self.layernorm3(self.fc2(maps))


class StructTokenMLP(nn.Module):
    """Feed-forward block with its residual connection, and a GELU on the sum."""

    def __init__(self, config: StructTokenConfig, channels: int, drop_path_rate: float):
        super().__init__()
        self.block = StructTokenConvBlock(channels, config.decoder_mlp_ratio, config.decoder_mlp_layer_norm_eps)
        self.drop_path = DropPath(drop_path_rate)
        self.activation_fn = nn.GELU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.activation_fn(maps + self.drop_path(self.block(maps)))


class StructTokenSliceAttention(nn.Module):
    """
    Attention between channels: each channel is one token, whose vector is its whole map. One head.

    Takes queries `(batch, rows, columns, query_channels)` and features `(batch, rows, columns, feature_channels)`;
    returns maps of the queries' shape. The matrix of weights is `query_channels x feature_channels` whatever the size
    of the image.
    """

    def __init__(self, query_channels: int, feature_channels: int, eps: float):
        super().__init__()
        self.query_map = StructTokenConvBlock(query_channels, mlp_ratio=1, eps=eps)
        self.key_map = StructTokenConvBlock(feature_channels, mlp_ratio=1, eps=eps)
        self.value_map = StructTokenConvBlock(feature_channels, mlp_ratio=1, eps=eps)
        self.output_map = StructTokenConvBlock(query_channels, mlp_ratio=1, eps=eps)

    def forward(self, queries: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query_map(queries), self.key_map(features), self.value_map(features)
        # Not by the configured attention: flash and flex kernels take vectors of up to 256 numbers, these have one for
        # each position. The default scale is that number to the power of -1/2.
        output = nn.functional.scaled_dot_product_attention(slices(query), slices(key), slices(value))
        return self.output_map(output[:, 0].transpose(1, 2).reshape(queries.shape))


def slices(maps: torch.Tensor) -> torch.Tensor:
    """`(batch, rows, columns, channels)` -> `(batch, 1, channels, rows * columns)`, as fused attention wants it."""
    return maps.flatten(1, 2).transpose(1, 2).contiguous()[:, None]


class StructTokenPointwiseMixing(nn.Module):
    """Learned mixing of the channels at each position, instead of attention; the shape of the maps stays."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.input_map = StructTokenConvBlock(channels, mlp_ratio=1, eps=eps)
        self.mixing = nn.Linear(channels, channels)
        self.output_map = StructTokenConvBlock(channels, mlp_ratio=1, eps=eps)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.output_map(self.mixing(self.input_map(maps)))


class StructTokenCrossLayer(GradientCheckpointingLayer):
    """
    Decoder layer of CSE: structure tokens attend to the feature channels, which never see the tokens.

    Takes and returns tokens `(batch, rows, columns, num_labels)` and features `(batch, rows, columns, hidden_size)`.
    The last layer leaves the features as they are.
    """

    def __init__(self, config: StructTokenConfig, hidden_size: int, drop_path_rate: float, is_last: bool):
        super().__init__()
        self.extraction = StructTokenSliceAttention(config.num_labels, hidden_size, config.decoder_layer_norm_eps)
        self.drop_path = DropPath(drop_path_rate)
        self.token_mlp = StructTokenMLP(config, config.num_labels, drop_path_rate)
        self.feature_mlp = nn.Identity() if is_last else StructTokenMLP(config, hidden_size, drop_path_rate)

    def forward(self, tokens: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = tokens + self.drop_path(self.extraction(tokens, features))
        return self.token_mlp(tokens), self.feature_mlp(features)


class StructTokenJointLayer(GradientCheckpointingLayer):
    """
    Decoder layer of SSE and PWE: structure tokens and feature channels together, by slice attention or point-wise
    mixing.

    Takes and returns tokens `(batch, rows, columns, num_labels)` and features `(batch, rows, columns, hidden_size)`.
    """

    def __init__(self, config: StructTokenConfig, hidden_size: int, drop_path_rate: float):
        super().__init__()
        self.sizes = [config.num_labels, hidden_size]
        channels, eps = sum(self.sizes), config.decoder_layer_norm_eps
        self.attends = config.extraction == "sse"
        self.extraction = (
            StructTokenSliceAttention(channels, channels, eps)
            if self.attends
            else StructTokenPointwiseMixing(channels, eps)
        )
        self.drop_path = DropPath(drop_path_rate)
        self.mlp = StructTokenMLP(config, channels, drop_path_rate)

    def forward(self, tokens: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.cat((tokens, features), dim=-1)
        extracted = self.extraction(maps, maps) if self.attends else self.extraction(maps)
        tokens, features = self.mlp(maps + self.drop_path(extracted)).split(self.sizes, dim=-1)
        return tokens, features


class StructTokenResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions of the structure tokens, which leaves the logits."""

    def __init__(self, config: StructTokenConfig):
        super().__init__()
        self.layernorm1 = nn.LayerNorm(config.num_labels, eps=config.decoder_layer_norm_eps)
        self.conv1 = nn.Conv2d(config.num_labels, config.num_labels, kernel_size=3, padding=1)
        self.layernorm2 = nn.LayerNorm(config.num_labels, eps=config.decoder_layer_norm_eps)
        self.conv2 = nn.Conv2d(config.num_labels, config.num_labels, kernel_size=3, padding=1)
        self.activation_fn = nn.GELU()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden_states = channels_first(self.activation_fn(self.layernorm1(tokens)))
        hidden_states = channels_last(self.conv1(hidden_states))
        hidden_states = channels_first(self.activation_fn(self.layernorm2(hidden_states)))
        return tokens + channels_last(self.conv2(hidden_states))


class StructTokenDecodeHead(nn.Module):
    """
    Structure tokens, decoder layers and a residual block.

    Takes a feature map `(batch, in_channels, rows, columns)`; returns logits `(batch, num_labels, rows, columns)`.
    """

    def __init__(self, config: StructTokenConfig, in_channels: int):
        super().__init__()
        hidden_size = config.decoder_hidden_size or in_channels
        rows, columns = as_pair(config.token_grid_size)
        self.projection = nn.Linear(in_channels, hidden_size)
        self.structure_tokens = nn.Parameter(torch.zeros(1, config.num_labels, rows, columns))
        last = config.decoder_num_layers - 1
        rates = [config.decoder_drop_path_rate * index / max(last, 1) for index in range(config.decoder_num_layers)]
        self.layers = nn.ModuleList(
            StructTokenCrossLayer(config, hidden_size, rate, is_last=index == last)
            if config.extraction == "cse"
            else StructTokenJointLayer(config, hidden_size, rate)
            for index, rate in enumerate(rates)
        )
        self.residual_block = StructTokenResidualBlock(config)

    def interpolate_tokens(self, rows: int, columns: int) -> torch.Tensor:
        """The structure tokens for a grid of `rows` x `columns`: `(1, num_labels, rows, columns)`."""
        stored_size = self.structure_tokens.shape[-2:]
        # An exported program takes any grid, and resizing to the same grid changes nothing.
        if not is_exporting() and stored_size == (rows, columns):
            return self.structure_tokens
        # The stored grid decides, not the one at hand.
        align_corners = any(side % 2 == 1 for side in stored_size)
        tokens = nn.functional.interpolate(
            self.structure_tokens.float(), size=(rows, columns), mode="bicubic", align_corners=align_corners
        )
        return tokens.to(self.structure_tokens.dtype)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        batch, _, rows, columns = feature_map.shape
        features = self.projection(channels_last(feature_map))
        tokens = channels_last(self.interpolate_tokens(rows, columns)).repeat(batch, 1, 1, 1)
        for layer in self.layers:
            tokens, features = layer(tokens, features)
        return channels_first(self.residual_block(tokens))


@known_to_pipelines
class StructTokenForSemanticSegmentation(DecoderModel):
    """
    StructToken: a backbone, whose last feature map the decode head takes, and one learned map for each class, which
    the decode head turns into the logits.

    Fine-tuning with another `num_labels` (`ignore_mismatched_sizes=True`) keeps what does not depend on the classes:
    the backbone and the decode head's projection, and of CSE's decoder layers the key and value maps and the features'
    feed-forward blocks. The structure tokens and the rest of the decode head start anew; for SSE and PWE that is all
    of the decoder layers, whose channels are the classes and the features together.

    Example:

    ```python
    >>> import torch
    >>> from vitseg import PlainVitConfig, StructTokenConfig, StructTokenForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64
    ... )
    >>> config = StructTokenConfig(backbone_config=backbone_config, extraction="cse", num_labels=5)
    >>> model = StructTokenForSemanticSegmentation(config).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 80, 112)).logits
    >>> logits.shape
    torch.Size([1, 5, 80, 112])

    ```
    """

    config: StructTokenConfig
    base_model_prefix = "structtoken"
    _no_split_modules = [*DecoderModel._no_split_modules, "StructTokenCrossLayer", "StructTokenJointLayer"]

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers looks at the decoder's attention, which is of channels. The choice is the backbone's.
        return True

    def __init__(self, config: StructTokenConfig):
        super().__init__(config)
        self.decode_head = StructTokenDecodeHead(config, self.backbone.channels[-1])
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv2d):
            # The original's 1x1 convolutions are linear layers here.
            init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, StructTokenDecodeHead):
            init.trunc_normal_(module.structure_tokens, std=0.02)

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        # The scores of an image that was padded are stretched to its size, not cropped.
        return Prediction(self.decode_head(features.feature_maps[-1]))


__all__ = ["StructTokenForSemanticSegmentation"]
