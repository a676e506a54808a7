# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The plain ViT backbone under SETR, SegViT, StructToken and CTS Segmenter.

The network is the Vision Transformer of "An Image is Worth 16x16 Words" (https://arxiv.org/abs/2010.11929) in the form
that the segmentation originals use: pre-norm blocks, exact GELU, layer norm epsilon 1e-6, feature maps that are the
raw residual stream after chosen blocks, by default without a final norm. Weights come from timm's ViT and DeiT.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_plain_vit import PlainVitConfig
from .layers import DropPath, check_images, copy_tokens, eager_attention_forward, is_exporting, pad_to_multiple


if TYPE_CHECKING:
    from .token_sharing import SharedTokens


@dataclass
class PlainVitOutput(BackboneOutput):
    r"""
    Output of the plain ViT: that of a backbone, and where tokens are shared, what the feature maps were made of.

    Args:
        tokens (`torch.Tensor` of shape `(batch, tokens, hidden_size)`, *optional*):
            The tokens after the last block, without class and distillation token.
        shared_tokens (`SharedTokens`, *optional*):
            Which patches they stand for.
    """

    tokens: torch.Tensor | None = None
    shared_tokens: "SharedTokens | None" = None


class PlainVitEmbeddings(nn.Module):
    """
    Patches, class token and position embedding: `(batch, channels, height, width)` -> `(batch, tokens, hidden)`.

    Given the scores of a policy network, patches share tokens as `config.token_sharing` says.
    """

    def __init__(self, config: PlainVitConfig):
        super().__init__()
        self.config = config
        self.patch_embeddings = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.layernorm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.use_patch_norm else nn.Identity()
        )
        rows, columns = config.grid_size
        num_positions = rows * columns + config.num_prefix_tokens
        self.position_embeddings = nn.Parameter(torch.zeros(1, num_positions, config.hidden_size))
        if config.use_class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        if config.use_distillation_token:
            self.distillation_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        if config.token_sharing is not None:
            # Here, so that a model without token sharing neither imports it nor the policy network.
            from .token_sharing import take_shared

            self.take_shared = take_shared

    def interpolate_positions(self, rows: int, columns: int) -> torch.Tensor:
        """
        The position embedding for a grid of `rows` x `columns` patches: `(1, tokens, hidden)`.

        The grid part is resized by `config.interpolation_mode` (`align_corners=False`, no antialiasing); the rows of
        class and distillation token are kept.
        """
        stored_rows, stored_columns = self.config.grid_size
        if not is_exporting():
            if (rows, columns) == (stored_rows, stored_columns):
                return self.position_embeddings
            if self.config.interpolate_by_token_count and rows * columns == stored_rows * stored_columns:
                return self.position_embeddings

        prefix, grid = self.position_embeddings.split(
            [self.config.num_prefix_tokens, stored_rows * stored_columns], dim=1
        )  # (1, 0 to 2, hidden), (1, positions, hidden)
        grid = grid.unflatten(1, (stored_rows, stored_columns)).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(
            grid.float(), size=(rows, columns), mode=self.config.interpolation_mode, align_corners=False
        )
        grid = grid.to(prefix.dtype).flatten(2).transpose(1, 2)
        return torch.cat((prefix, grid), dim=1)

    def forward(
        self, pixel_values: torch.Tensor, policy_logits: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[int, int], "SharedTokens | None"]:
        check_images(pixel_values, self.config.num_channels)
        pixel_values = pad_to_multiple(pixel_values.to(self.position_embeddings.dtype), self.config.patch_size)
        rows, columns = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        positions = self.interpolate_positions(rows, columns)
        shared_tokens = None
        if policy_logits is not None:
            pixel_values, positions, shared_tokens = self.take_shared(
                self.config, pixel_values, positions, policy_logits
            )
        # Contiguous: else all sums up to the last layer have the convolution's order, and each norm copies them.
        tokens = self.patch_embeddings(pixel_values).flatten(2).transpose(1, 2).contiguous()
        tokens = self.layernorm(tokens)
        for name in ("distillation_token", "cls_token"):
            if hasattr(self, name):
                tokens = torch.cat((getattr(self, name).expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return self.dropout(tokens + positions), (rows, columns), shared_tokens


class PlainVitAttention(nn.Module):
    """Multi-head attention over all tokens, of the same or of other tokens."""

    def __init__(self, config: PlainVitConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.scaling = self.head_dim**-0.5
        self.is_causal = False

        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if key_value_states is None:
            key_value_states = hidden_states
        query_shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        key_value_shape = (*key_value_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(query_shape).transpose(1, 2)
        key = self.k_proj(key_value_states).view(key_value_shape).transpose(1, 2)
        value = self.v_proj(key_value_states).view(key_value_shape).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, attention = attention_interface(
            self,
            query,
            key,
            value,
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.flatten(2)), attention


class PlainVitMLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: PlainVitConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(self.activation_fn(self.fc1(hidden_states))))


class PlainVitLayer(GradientCheckpointingLayer):
    """
    A pre-norm transformer block.

    Given `key_value_states`, the block's attention is from `hidden_states` to those tokens.
    """

    def __init__(self, config: PlainVitConfig, drop_path_rate: float):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = PlainVitAttention(config)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = PlainVitMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.attention_drop_path = DropPath(drop_path_rate if config.drop_path_on_attention else 0.0)
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if key_value_states is not None:
            key_value_states = self.layernorm_before(key_value_states)
        attention_output, _ = self.attention(self.layernorm_before(hidden_states), key_value_states, **kwargs)
        hidden_states = hidden_states + self.attention_drop_path(self.dropout(attention_output))
        mlp_output = self.mlp(self.layernorm_after(hidden_states))
        return hidden_states + self.drop_path(self.dropout(mlp_output))


class PlainVitPreTrainedModel(PreTrainedModel):
    """Initialisation and loading of the plain ViT."""

    config: PlainVitConfig
    base_model_prefix = "plain_vit"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["CtsPolicyNet", "PlainVitEmbeddings", "PlainVitLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": PlainVitLayer, "attentions": PlainVitAttention}
    _input_embed_layer = "patch_embeddings"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, PlainVitEmbeddings):
            init.trunc_normal_(module.position_embeddings, std=std)
            if self.config.use_class_token:
                init.trunc_normal_(module.cls_token, std=std)
            if self.config.use_distillation_token:
                init.trunc_normal_(module.distillation_token, std=std)
        elif isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=std)


class PlainVitBackbone(BackboneMixin, PlainVitPreTrainedModel):
    """
    A plain ViT that returns the feature maps named by `config.out_features`, one position for each patch: the raw
    residual stream without the class token, and without a final norm unless `config.use_final_norm` says so.

    Any input size works: the input is padded with zeros at the bottom and right up to a multiple of the patch size,
    and the position embedding is resized to the grid of patches.

    With `config.token_sharing`, superpatches that a policy network chooses share one token, which gives all of their
    patches the same features. The selection has no gradient, so the policy network is trained by itself.
    """

    _auto_class = "AutoBackbone"

    def __init__(self, config: PlainVitConfig):
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        if config.token_sharing is not None:
            # Here, so that a model without token sharing does not import it.
            from .configuration_cts_policy import CtsPolicyNetConfig
            from .modeling_cts_policy import CtsPolicyNet

            # It has no attention, but transformers expects it to agree with the model around it.
            policy_config = CtsPolicyNetConfig(attn_implementation=config._attn_implementation)
            self.policy_net = CtsPolicyNet(policy_config)
        self.embeddings = PlainVitEmbeddings(config)
        # Plain Python numbers: on the meta device, where from_pretrained builds the model, a tensor has no values.
        drop_path_step = config.drop_path_rate / max(config.num_hidden_layers - 1, 1)
        self.layers = nn.ModuleList(
            PlainVitLayer(config, drop_path_rate=drop_path_step * index) for index in range(config.num_hidden_layers)
        )
        self.layernorm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.use_final_norm else nn.Identity()
        )
        self.post_init()
        self.train(self.training)

    def train(self, mode: bool = True) -> "PlainVitBackbone":
        super().train(mode)
        if self.config.token_sharing is not None:
            # Here, because loading makes every parameter ask for a gradient. These never get one.
            self.policy_net.requires_grad_(False)
            self.policy_net.train(mode and not self.config.freeze_policy)
        return self

    def policy_logits(self, pixel_values: torch.Tensor) -> torch.Tensor | None:
        """The policy network's scores of the superpatches, `(batch, 2, ceil(height / 32), ceil(width / 32))`, without
        gradient; `None` without a policy network."""
        if self.config.token_sharing is None:
            return None
        check_images(pixel_values, self.config.num_channels)
        with torch.no_grad():
            return self.policy_net(pixel_values).logits

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> PlainVitOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images.

        Returns:
            [`PlainVitOutput`]: `feature_maps`, a tuple of `(batch, hidden_size, ceil(height / patch_size),
            ceil(width / patch_size))`, from `config.shrink_layer` on half as high and wide, or without
            `config.reshape_hidden_states` `(batch, tokens, hidden_size)`; on request `hidden_states`
            (`(batch, tokens, hidden_size)`, the embedded tokens first) and `attentions` (`(batch, heads, tokens,
            tokens)`; with eager attention only).

        Raises:
            ValueError: if `pixel_values` does not have 4 dimensions or the configured number of channels.
        """
        # As in the original, the policy network sees the image before it is padded.
        hidden_states, grid_size, shared_tokens = self.embeddings(pixel_values, self.policy_logits(pixel_values))
        taps = set(self.out_features)
        feature_maps = []
        if "stem" in taps:
            feature_maps.append(self.to_feature_map(hidden_states, grid_size, shared_tokens))
        for stage_name, layer in zip(self.stage_names[1:], self.layers, strict=True):
            if stage_name == f"stage{self.config.shrink_layer}":
                kept, grid_size = self.every_second(hidden_states, grid_size, shared_tokens)
                # At most one token of a superpatch goes on.
                shared_tokens = None
                hidden_states = layer(kept, hidden_states, **kwargs)
            else:
                hidden_states = layer(hidden_states, **kwargs)
            if stage_name == self.stage_names[-1]:
                hidden_states = self.layernorm(hidden_states)
            if stage_name in taps:
                feature_maps.append(self.to_feature_map(hidden_states, grid_size, shared_tokens))
        tokens = None
        if shared_tokens is not None:
            tokens = copy_tokens(hidden_states, self.config.num_prefix_tokens, hidden_states.shape[1])
        return PlainVitOutput(feature_maps=tuple(feature_maps), tokens=tokens, shared_tokens=shared_tokens)

    def every_second(
        self, hidden_states: torch.Tensor, grid_size: tuple[int, int], shared_tokens: "SharedTokens | None" = None
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """The patches in rows and columns 0, 2, 4, ... of the grid, after the prefix tokens if any; and their grid."""
        num_prefix_tokens = self.config.num_prefix_tokens
        if shared_tokens is None:
            patches = hidden_states[:, num_prefix_tokens:]
        else:
            patches = shared_tokens.restore(hidden_states, num_prefix_tokens).flatten(1, 2)
        # By index: what torch.export makes of slices with steps may depend on whether the grid is odd.
        kept = torch.arange(patches.shape[1], device=patches.device).unflatten(0, grid_size)[::2, ::2]
        tokens = torch.cat((hidden_states[:, :num_prefix_tokens], patches.index_select(1, kept.flatten())), dim=1)
        return tokens, (kept.shape[0], kept.shape[1])

    def to_feature_map(
        self, hidden_states: torch.Tensor, grid_size: tuple[int, int], shared_tokens: "SharedTokens | None" = None
    ) -> torch.Tensor:
        """`(batch, tokens, hidden)` -> `(batch, hidden, rows, columns)`, in channels-last memory order; a view, unless
        tokens are shared. Without `config.reshape_hidden_states`, `(batch, prefix and patches, hidden)`."""
        num_prefix_tokens = self.config.num_prefix_tokens
        if shared_tokens is None:
            grid = hidden_states[:, num_prefix_tokens:].unflatten(1, grid_size)
        else:
            grid = shared_tokens.restore(hidden_states, num_prefix_tokens)
        if not self.config.reshape_hidden_states:
            return torch.cat((hidden_states[:, :num_prefix_tokens], grid.flatten(1, 2)), dim=1)
        return grid.permute(0, 3, 1, 2)


__all__ = ["PlainVitBackbone", "PlainVitOutput", "PlainVitPreTrainedModel"]
