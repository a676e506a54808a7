# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
HLG: a hierarchical encoder whose blocks attend in windows and to summaries of all windows, and a classifier on it.

Paper: "Vision Transformers: From Semantic Segmentation to Dense Prediction", https://arxiv.org/abs/2207.09339.
Original: https://github.com/fudan-zvg/SETR (commit 1361561, MIT), three copies of the encoder, for classification,
segmentation and detection. They differ in places, which are configuration switches here. None of them runs as it was
published; this file answers what they answer after the smallest repairs. What looks like a mistake in the originals
but changes their answers is kept, because weights trained with it need it, and is called a quirk below.

Feature maps are `(batch, channels, height, width)` in channels-last memory order, so that convolutions and what acts
on single positions take turns without copies.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPooling,
    ImageClassifierOutput,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_hlg import ATTENTION_WINDOW, IMAGE_MULTIPLE, PREFIX_IMAGE_SIZE, HlgConfig
from .labels import as_class_ids, check_shape, check_values
from .layers import (
    DropPath,
    channels_first,
    channels_last,
    check_images,
    eager_attention_forward,
    is_exporting,
    pad_to_multiple,
)
from .pipelines import known_to_pipelines
from .position_groups import Grouping, cut, divide


# The class of images that the loss of a classifier leaves out, as everywhere in PyTorch and transformers.
IGNORED_LABEL = -100


def normalize(batch_norm: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """
    Batch norm of a map in channels-last memory order.

    For one image in row-major order, PyTorch's backward pass on the CPU gives wrong gradients without a word when the
    gradient that comes in is channels-last, as one that comes back through tokens is.
    """
    return batch_norm(maps.contiguous(memory_format=torch.channels_last))


class HlgStem(nn.Module):
    """Images to maps of half their height and width: two convolutions."""

    def __init__(self, config: HlgConfig):
        super().__init__()
        hidden_size = config.hidden_sizes[0]
        self.conv1 = nn.Conv2d(config.num_channels, hidden_size, kernel_size=3, stride=2, padding=1, bias=False)
        self.batch_norm1 = nn.BatchNorm2d(hidden_size)
        self.conv2 = nn.Conv2d(hidden_size, hidden_size, kernel_size=3, padding=1, bias=False)
        self.batch_norm2 = nn.BatchNorm2d(hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        maps = nn.functional.gelu(normalize(self.batch_norm1, self.conv1(pixel_values)))
        return nn.functional.gelu(normalize(self.batch_norm2, self.conv2(maps)))


class HlgDownsample(nn.Module):
    """Half the height and width, and more channels: a convolution in which each input channel makes its own."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1, groups=in_channels)
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(normalize(self.batch_norm, self.conv(maps)))


class HlgMLP(nn.Module):
    """The feed-forward part of a block: a depthwise convolution, perhaps with stride 2, between pointwise ones."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.fc1 = nn.Conv2d(in_channels, hidden_channels, kernel_size=1)
        self.batch_norm1 = nn.BatchNorm2d(hidden_channels)
        self.conv = nn.Conv2d(
            hidden_channels, hidden_channels, kernel_size=3, stride=stride, padding=1, groups=hidden_channels
        )
        self.batch_norm2 = nn.BatchNorm2d(hidden_channels)
        self.fc2 = nn.Conv2d(hidden_channels, out_channels, kernel_size=1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = nn.functional.gelu(normalize(self.batch_norm1, self.fc1(maps)))
        return self.fc2(nn.functional.gelu(normalize(self.batch_norm2, self.conv(maps))))


class HlgSmoothing(nn.Module):
    """A bottleneck of convolutions around which there is a shortcut; the activation is on the sum of both."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 4, kernel_size=1)
        self.batch_norm1 = nn.BatchNorm2d(channels // 4)
        self.conv2 = nn.Conv2d(channels // 4, channels // 4, kernel_size=3, padding=1)
        self.batch_norm2 = nn.BatchNorm2d(channels // 4)
        self.conv3 = nn.Conv2d(channels // 4, channels, kernel_size=1)
        self.batch_norm3 = nn.BatchNorm2d(channels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        branch = nn.functional.gelu(normalize(self.batch_norm1, self.conv1(maps)))
        branch = nn.functional.gelu(normalize(self.batch_norm2, self.conv2(branch)))
        return nn.functional.gelu(maps + normalize(self.batch_norm3, self.conv3(branch)))


class HlgPositionBias(nn.Module):
    """
    Dynamic position bias: a small network turns the offset from a key to a query into a bias for each head.

    Offsets are whole numbers of positions, not scaled.
    """

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        width = hidden_size // 4 // 4
        self.projection = nn.Linear(2, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, out_width))
            for out_width in (width, width, num_heads)
        )

    def network(self, offsets: torch.Tensor) -> torch.Tensor:
        """`(n, 2)` differences of rows and columns -> `(n, heads)`."""
        hidden_states = self.projection(offsets)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states

    def forward(
        self,
        tokens: torch.Tensor,
        grid: tuple[int, int],
        key_grid: tuple[int, int] | None = None,
        num_keys: int | None = None,
    ) -> torch.Tensor:
        """
        Biases between all queries and keys.

        The table of a grid holds the offsets row by row, from `1 - rows` to `rows - 1` and for each of them from
        `1 - columns` to `columns - 1`.

        Args:
            tokens: the queries or what else is computed with; the biases have their device and dtype.
            grid: rows and columns of the queries.
            key_grid: rows and columns of the keys, if theirs is another grid. Quirk: entries are then chosen as if the
                table were that of `key_grid`, but it is that of `grid`, whose rows are longer; so the offset of the
                entry has little to do with that of key and query.
            num_keys: takes the keys to be the first so many positions of `grid`. That is a quirk too, where they stand
                for windows.

        Returns:
            `(1, heads, queries, keys)`.
        """
        rows, columns = grid
        key_rows, key_columns = key_grid or grid
        num_queries, num_keys = rows * columns, num_keys or key_rows * key_columns
        stride = 2 * key_columns - 1
        origin = (key_rows - 1) * stride + key_columns - 1
        # An entry is the difference of what row and column of the query add to it and what those of the key do.
        device = tokens.device
        query_row, query_column = divide(torch.arange(num_queries, device=device), columns)
        key_row, key_column = divide(torch.arange(num_keys, device=device), key_columns)
        of_query, of_key = query_row * stride + query_column + origin, key_row * stride + key_column
        if is_exporting():
            # Not by broadcasting: see `divide`.
            query, key = divide(torch.arange(num_queries * num_keys, device=device), num_keys)
            entries = of_query.index_select(0, query) - of_key.index_select(0, key)
        else:
            entries = (of_query[:, None] - of_key).flatten()
        # Entries beyond the last query's are never asked for: with a coarse grid of keys, most of the table.
        table = self.table(tokens, grid, origin + (rows - 1) * stride + columns)  # (entries, heads)
        return table.T.index_select(1, entries).unflatten(1, (num_queries, num_keys))[None]

    def table(self, tokens: torch.Tensor, grid: tuple[int, int], length: int) -> torch.Tensor:
        """The first `length` entries of a grid's table, `(length, heads)`, in the dtype of the tokens."""
        rows, columns = grid
        row, column = divide(torch.arange(length, device=tokens.device), 2 * columns - 1)
        return self.network(torch.stack((row + (1 - rows), column + (1 - columns)), dim=1).to(tokens.dtype))


class HlgAttention(nn.Module):
    """Multi-head attention with a bias, without projections: `(batch, queries, c)`, `(batch, keys, c)` twice."""

    def __init__(self, config: HlgConfig, hidden_size: int, num_heads: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.scaling = (hidden_size // num_heads) ** -0.5
        self.is_causal = False

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attention_interface = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        states = (states.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for states in (query, key, value))
        output, attention = attention_interface(
            self, *states, bias.to(query.dtype), dropout=0.0, scaling=self.scaling, **kwargs
        )
        return output.flatten(2), attention


class HlgGlobalAttention(HlgAttention):
    """The attention of a block over the whole map, to the summaries of windows or to all positions."""


class HlgLocalGlobalAttention(nn.Module):
    """
    The attention of a block of the first three stages: in windows, plain or dilated, then to a summary of each.

    Quirks: positions added to fill the windows take part, and what the smoothing makes of the map replaces it.
    """

    def __init__(self, config: HlgConfig, hidden_size: int, num_heads: int, dilated: bool, drop_path_rate: float):
        super().__init__()
        self.dilated = dilated
        self.global_bias = config.global_bias
        self.pooling = config.window_pooling
        self.smoothing = HlgSmoothing(hidden_size)
        self.local_layernorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.local_attention = HlgAttention(config, hidden_size, num_heads)
        self.local_position_bias = HlgPositionBias(hidden_size, num_heads)
        if self.pooling == "conv":
            self.window_conv = nn.Conv2d(hidden_size, hidden_size, ATTENTION_WINDOW, groups=hidden_size)
        self.window_layernorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.query_layernorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.query_conv = nn.Conv2d(hidden_size, hidden_size, kernel_size=3, padding=1, groups=hidden_size)
        self.global_attention = HlgGlobalAttention(config, hidden_size, num_heads)
        self.global_position_bias = HlgPositionBias(hidden_size, num_heads)
        self.o_proj = nn.Linear(hidden_size, hidden_size)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, maps: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        height, width = maps.shape[-2:]
        maps = pad_to_multiple(maps, ATTENTION_WINDOW)
        grid = (maps.shape[-2] // ATTENTION_WINDOW, maps.shape[-1] // ATTENTION_WINDOW)
        windows = Grouping(grid, (ATTENTION_WINDOW, ATTENTION_WINDOW), self.dilated, maps.device)
        smooth = channels_last(self.smoothing(maps))
        normalized = self.local_layernorm(smooth)
        query, value = self.q_proj(normalized), self.v_proj(normalized)
        local = self.attend_locally(query, value, windows, **kwargs)
        maps = smooth + local

        summaries = self.window_layernorm(self.pool(windows.split(maps)))
        maps, local, query = (cut(states, height, width) for states in (maps, local, query))
        query = query + channels_last(self.query_conv(channels_first(self.query_layernorm(local))))
        if self.global_bias == "prefix":
            bias = self.global_position_bias(query, (height, width), num_keys=grid[0] * grid[1])
        else:
            bias = self.global_position_bias(query, (height, width), key_grid=grid)
        attended, _ = self.global_attention(
            query.flatten(1, 2), self.k_proj(summaries), self.v_proj(summaries), bias, **kwargs
        )
        attended = self.o_proj(attended).unflatten(1, (height, width))
        return channels_first(maps + self.drop_path(attended))

    def attend_locally(
        self, query: torch.Tensor, value: torch.Tensor, windows: Grouping, **kwargs: Unpack[TransformersKwargs]
    ) -> torch.Tensor:
        """Attention within windows, where the queries are the keys too; all maps `(batch, h, w, channels)`."""
        tokens = windows.split(query).flatten(0, 1)  # (batch * windows, 49, channels)
        bias = self.local_position_bias(tokens, windows.shape)
        attended, _ = self.local_attention(tokens, tokens, windows.split(value).flatten(0, 1), bias, **kwargs)
        return windows.merge(attended.unflatten(0, (query.shape[0], -1)))

    def pool(self, windows: torch.Tensor) -> torch.Tensor:
        """`(batch, windows, 49, channels)` -> `(batch, windows, channels)`."""
        if self.pooling == "mean":
            return windows.mean(dim=2)
        if self.pooling == "max":
            return windows.amax(dim=2)
        maps = channels_first(windows.flatten(0, 1).unflatten(1, (ATTENTION_WINDOW, ATTENTION_WINDOW)))
        return self.window_conv(maps).flatten(1).unflatten(0, windows.shape[:2])


class HlgSelfAttention(nn.Module):
    """The attention of a block of the last stage: from all positions to all, with a norm after it."""

    def __init__(self, config: HlgConfig, hidden_size: int, num_heads: int, drop_path_rate: float):
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.global_attention = HlgGlobalAttention(config, hidden_size, num_heads)
        self.global_position_bias = HlgPositionBias(hidden_size, num_heads)
        self.o_proj = nn.Linear(hidden_size, hidden_size)
        self.layernorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, maps: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        grid = (maps.shape[-2], maps.shape[-1])
        maps = channels_last(maps)
        tokens = maps.flatten(1, 2)
        query, key, value = self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens)
        attended, _ = self.global_attention(query, key, value, self.global_position_bias(query, grid), **kwargs)
        attended = self.layernorm(self.o_proj(attended)).unflatten(1, grid)
        return channels_first(maps + self.drop_path(attended))


class HlgLayer(GradientCheckpointingLayer):
    """
    A block: first the feed-forward part, then the attention. The first block of a stage halves height and width.

    Takes and returns a feature map `(batch, channels, h, w)`.
    """

    def __init__(self, config: HlgConfig, stage: int, index: int, drop_path_rate: float):
        super().__init__()
        hidden_size, num_heads = config.hidden_sizes[stage], config.num_attention_heads[stage]
        changes = index == 0
        in_channels = config.hidden_sizes[max(stage - 1, 0)] if changes else hidden_size
        mlp_width = in_channels if config.mlp_width == "input" else hidden_size
        self.downsample = HlgDownsample(in_channels, hidden_size) if changes else nn.Identity()
        self.mlp = HlgMLP(in_channels, config.mlp_ratio * mlp_width, hidden_size, stride=2 if changes else 1)
        self.mlp_layernorm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.drop_path = DropPath(drop_path_rate)
        self.attention: nn.Module
        if stage == len(config.depths) - 1:
            self.attention = HlgSelfAttention(config, hidden_size, num_heads, drop_path_rate)
        else:
            self.attention = HlgLocalGlobalAttention(
                config, hidden_size, num_heads, dilated=index % 2 == 1, drop_path_rate=drop_path_rate
            )

    def forward(self, feature_map: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        branch = channels_first(self.mlp_layernorm(channels_last(self.mlp(feature_map))))
        return self.attention(self.downsample(feature_map) + self.drop_path(branch), **kwargs)


class HlgStage(nn.Module):
    """Blocks of one width, and perhaps a layer norm; maps `(batch, channels, h, w)`."""

    def __init__(self, config: HlgConfig, stage: int, drop_path_rates: list[float]):
        super().__init__()
        self.layers = nn.ModuleList(
            HlgLayer(config, stage, index, drop_path_rate) for index, drop_path_rate in enumerate(drop_path_rates)
        )
        is_last = stage == len(config.depths) - 1
        self.layernorm = (
            nn.LayerNorm(config.hidden_sizes[stage], eps=config.layer_norm_eps)
            if config.use_stage_norm or is_last
            else nn.Identity()
        )

    def forward(self, feature_map: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        for layer in self.layers:
            feature_map = layer(feature_map, **kwargs)
        return channels_first(self.layernorm(channels_last(feature_map)))


class HlgPreTrainedModel(PreTrainedModel):
    """Initialisation and loading of HLG."""

    config: HlgConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["HlgStem", "HlgLayer", "HlgDecoderLayer"]
    # The other kinds of attention know no bias.
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": HlgStage,
        "attentions": OutputRecorder(HlgGlobalAttention, index=1),
    }
    _input_embed_layer = "conv1"

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers looks for it in the file of the class, but all attention is in this one.
        return True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.Conv2d):
            # PyTorch's own default, as in the original.
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)


class HlgEncoder(HlgPreTrainedModel):
    """What [`HlgModel`] and [`HlgBackbone`] have in common: the network, under the same names."""

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        # Plain Python numbers: on the meta device, where from_pretrained builds the model, a tensor has no values.
        step = config.drop_path_rate / (sum(config.depths) - 1)
        rates = [step * index for index in range(sum(config.depths))]
        self.stem = HlgStem(config)
        self.stages = nn.ModuleList(
            HlgStage(config, stage, rates[sum(config.depths[:stage]) :][:depth])
            for stage, depth in enumerate(config.depths)
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.stem.conv1

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.stem.conv1 = value  # type: ignore[assignment]

    def encode(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> list[torch.Tensor]:
        """Feature maps of the stem and of each stage."""
        check_images(pixel_values, self.config.num_channels)
        size = tuple(pixel_values.shape[-2:])
        if self.config.global_bias == "prefix" and size != (PREFIX_IMAGE_SIZE, PREFIX_IMAGE_SIZE):
            raise ValueError(
                f"pixel_values are {size[0]} x {size[1]} pixels, but with global_bias='prefix', as in the published "
                f"classifiers, only {PREFIX_IMAGE_SIZE} x {PREFIX_IMAGE_SIZE} is defined. Resize and crop the images "
                "to that, as the image processor does, or train a model with global_bias='key_grid'."
            )
        pixel_values = pad_to_multiple(pixel_values.to(self.dtype), IMAGE_MULTIPLE)
        feature_maps = [self.stem(pixel_values.contiguous(memory_format=torch.channels_last))]
        for stage in self.stages:
            feature_maps.append(stage(feature_maps[-1], **kwargs))
        return feature_maps


@dataclass
class HlgModelOutput(BaseModelOutputWithPooling):
    r"""
    Output of [`HlgModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch, positions, hidden_sizes[-1])`):
            The positions of the last stage, after the final norm.
        pooler_output (`torch.Tensor` of shape `(batch, hidden_sizes[-1])`):
            Their mean.
        hidden_states (`tuple[torch.Tensor, ...]`, *optional*):
            On request, the feature maps of the stem and of the stages.
        attentions (`tuple[torch.Tensor, ...]`, *optional*):
            On request and with eager attention, those of each block to the summaries of windows, in the last stage to
            all positions: `(batch, heads, positions, keys)`.
        feature_maps (`tuple[torch.Tensor, ...]`):
            Of the four stages, `(batch, hidden_sizes[i], h, w)` with strides of 4, 8, 16 and 32 pixels.
    """

    feature_maps: tuple[torch.Tensor, ...] | None = None


class HlgModel(HlgEncoder):
    """The encoder of HLG under its three tasks: the feature maps of all stages, and the mean of the last."""

    _auto_class = "AutoModel"

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> HlgModelOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images. They are padded with zeros at the bottom and right up to a multiple of 32 pixels;
                with `config.global_bias="prefix"` they must be of 224 x 224 pixels.

        Returns:
            [`HlgModelOutput`].

        Raises:
            ValueError: if `pixel_values` does not have the shape or the size that the model can take.
        """
        _, *feature_maps = self.encode(pixel_values, **kwargs)
        tokens = feature_maps[-1].flatten(2).transpose(1, 2)
        return HlgModelOutput(
            last_hidden_state=tokens, pooler_output=tokens.mean(dim=1), feature_maps=tuple(feature_maps)
        )


class HlgBackbone(BackboneMixin, HlgEncoder):
    """
    The encoder of HLG as a backbone: the feature maps that `config.out_features` names, each stage's after its norm.

    Any input size works: images are padded with zeros at the bottom and right up to a multiple of 32 pixels.
    """

    _auto_class = "AutoBackbone"

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        self.num_features = [config.hidden_sizes[0], *config.hidden_sizes]
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.

        Returns:
            `BackboneOutput`: `feature_maps`, of stage i `(batch, hidden_sizes[i - 1], h, w)` with a stride of
            `2 ** (i + 1)` pixels; `hidden_states` and `attentions` as in [`HlgModel`].

        Raises:
            ValueError: if `pixel_values` does not have the shape or the size that the model can take.
        """
        feature_maps = self.encode(pixel_values, **kwargs)
        return BackboneOutput(feature_maps=tuple(feature_maps[index] for index in self.out_indices))


@dataclass
class HlgImageClassifierOutput(ImageClassifierOutput):
    r"""
    Output of [`HlgForImageClassification`].

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*, returned with `labels`):
            The training loss.
        logits (`torch.Tensor` of shape `(batch, num_labels)`):
            Class scores before softmax.
        loss_dict (`dict[str, torch.Tensor]`, *optional*, returned with `labels`):
            The loss again, as `loss_cls`.
        hidden_states, attentions:
            The encoder's, on request.
    """

    loss_dict: dict[str, torch.Tensor] | None = None


@known_to_pipelines
class HlgForImageClassification(HlgPreTrainedModel):
    """HLG with a classifier of images on the mean of the last stage's positions."""

    _auto_class = "AutoModelForImageClassification"

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.backbone = HlgModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)
        self.post_init()

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """
        How many items the loss of some labels is a mean over, as transformers' Trainer counts them: the numbers that
        are not ignored, of which shares of classes are many for each image. See `count_items` of a segmentation model.
        """
        if not labels.is_floating_point():
            labels = as_class_ids(labels)
        return labels.ne(IGNORED_LABEL).sum()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | float | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> HlgImageClassifierOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images; see [`HlgModel`] for their size.
            labels (`torch.Tensor`, *optional*):
                Class ids, integers `(batch,)` with -100 for images to ignore, or a share of each class, floating point
                `(batch, num_labels)`, as mixup and label smoothing make them; both for cross-entropy. With
                `config.problem_type` of another kind, what that needs.
            num_items_in_batch (`torch.Tensor`, *optional*):
                What the loss is a mean over, if this is one of several batches of a step: the sum of their
                [`count_items`]. By default it is what this batch holds.

        Returns:
            [`HlgImageClassifierOutput`]: `logits` `(batch, num_labels)`; with `labels` also `loss` and `loss_dict`.

        Raises:
            ValueError: if `pixel_values` does not have the shape or the size that the model can take, or class ids do
                not fit; their values are only looked at on the CPU.
        """
        outputs = self.backbone(pixel_values, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss, loss_dict = None, None
        if labels is not None:
            if self.config.problem_type not in (None, "single_label_classification"):
                loss = self.loss_function(labels, logits, self.config)
            elif labels.is_floating_point():
                loss = nn.functional.cross_entropy(logits.float(), labels)
            else:
                check_shape(labels, logits.shape[:1], "image")
                labels = as_class_ids(labels)
                check_values(labels, self.num_labels, IGNORED_LABEL, "Check id2label.")
                loss = nn.functional.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL)
            if num_items_in_batch is not None:
                loss = loss * (self.count_items(labels) / num_items_in_batch)
            loss_dict = {"loss_cls": loss}
        return HlgImageClassifierOutput(
            loss=loss,
            logits=logits,
            loss_dict=loss_dict,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["HlgBackbone", "HlgForImageClassification", "HlgModel", "HlgPreTrainedModel"]
