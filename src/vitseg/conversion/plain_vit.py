# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The plain ViT under the names of others: the blocks that originals share, and ImageNet weights of timm and of Google's
JAX implementation (https://github.com/google-research/vision_transformer).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..models.configuration_plain_vit import PlainVitConfig
from .rules import Rule


Transform = Callable[[torch.Tensor], torch.Tensor]

CLASSIFIER = "ImageNet's classifier, which a backbone does not have"
# The names of a block of timm's `VisionTransformer`, see `layer_rules`.
TIMM_NAMES = {"qkv": r"attn\.qkv\.", "proj": r"attn\.proj", "norm1": "norm1", "norm2": "norm2"}
TIMM_NAMES |= {"fc1": r"mlp\.fc1", "fc2": r"mlp\.fc2"}


def layer_rules(theirs: str, ours: str, names: dict[str, str]) -> list[Rule]:
    """
    Rules for the blocks of a ViT.

    Args:
        theirs: pattern of their list of blocks.
        ours: our list.
        names: patterns of a block's `norm1`, `proj`, `norm2`, `fc1` and `fc2`, and of its `qkv` up to weight or bias.
    """
    qkv = tuple(rf"{ours}.\1.attention.{part}_proj.\2" for part in "qkv")
    modules = {
        "norm1": "layernorm_before",
        "proj": "attention.o_proj",
        "norm2": "layernorm_after",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }
    return [
        Rule(rf"{theirs}\.(\d+)\.{names['qkv']}(weight|bias)", qkv),
        *(
            Rule(rf"{theirs}\.(\d+)\.{names[name]}\.(weight|bias)", rf"{ours}.\1.{module}.\2")
            for name, module in modules.items()
        ),
    ]


def token_rules(config: PlainVitConfig, theirs: str) -> list[Rule]:
    """Rules for class token and positions of a segmenter's ViT, whose names begin with the pattern `theirs`."""
    if config.use_class_token:
        return [
            Rule(rf"{theirs}cls_token", "backbone.embeddings.cls_token"),
            Rule(rf"{theirs}pos_embed", "backbone.embeddings.position_embeddings"),
        ]
    return [
        Rule(rf"{theirs}cls_token", reason="the class token is cut off before the first block"),
        Rule(rf"{theirs}pos_embed", "backbone.embeddings.position_embeddings", lambda positions: positions[:, 1:]),
    ]


# ImageNet weights.


def encoder_rules(config: PlainVitConfig, names: Iterable[str]) -> list[Rule]:
    """
    The table that renames a whole ViT, in timm's names or JAX's, for a backbone of the same widths and depth.

    The position embedding is resized to the backbone's grid as the originals do it: the last rows that make a square
    are the grid, resized without antialiasing by the backbone's `interpolation_mode`; the first row is the class
    token's, the second one DeiT's distillation token's, which is skipped where the backbone has no such token.
    """
    return _jax_rules(config) if any("/" in name for name in names) else _timm_rules(config)


def _timm_rules(config: PlainVitConfig) -> list[Rule]:
    return [
        Rule(r"(head|head_dist|pre_logits|fc_norm)\..*", reason=CLASSIFIER),
        *_embedding_rules(config, "cls_token", "pos_embed"),
        _optional(config.use_distillation_token, "dist_token", "embeddings.distillation_token"),
        _optional(config.use_final_norm, r"norm\.(weight|bias)", r"layernorm.\1"),
        Rule(r"patch_embed\.proj\.(weight|bias)", r"embeddings.patch_embeddings.\1"),
        *layer_rules("blocks", "layers", TIMM_NAMES),
    ]


def _jax_rules(config: PlainVitConfig) -> list[Rule]:
    theirs, ours = r"Transformer/encoderblock_(\d+)", r"layers.\1"
    attention, mlp = rf"{theirs}/MultiHeadDotProductAttention_1", rf"{theirs}/MlpBlock_3"
    return [
        Rule(r"(head|pre_logits)/.*", reason=CLASSIFIER),
        *_embedding_rules(config, "cls", "Transformer/posembed_input/pos_embedding"),
        *_jax_layer_rules("embedding", "embeddings.patch_embeddings", lambda kernel: kernel.permute(3, 2, 0, 1)),
        _optional(config.use_final_norm, "Transformer/encoder_norm/scale", "layernorm.weight"),
        _optional(config.use_final_norm, "Transformer/encoder_norm/bias", "layernorm.bias"),
        *(
            Rule(rf"{theirs}/{norm}/{leaf}", rf"{ours}.{our_norm}.{our_leaf}")
            for norm, our_norm in (("LayerNorm_0", "layernorm_before"), ("LayerNorm_2", "layernorm_after"))
            for leaf, our_leaf in (("scale", "weight"), ("bias", "bias"))
        ),
        # Query, key and value end in heads and their widths; the projection after the attention begins with them.
        *(
            rule
            for part in ("query", "key", "value")
            for rule in _jax_layer_rules(
                f"{attention}/{part}", f"{ours}.attention.{part[0]}_proj", lambda kernel: kernel.flatten(1).T
            )
        ),
        *_jax_layer_rules(f"{attention}/out", f"{ours}.attention.o_proj", lambda kernel: kernel.flatten(0, -2).T),
        *_jax_layer_rules(f"{mlp}/Dense_0", f"{ours}.mlp.fc1", lambda kernel: kernel.T),
        *_jax_layer_rules(f"{mlp}/Dense_1", f"{ours}.mlp.fc2", lambda kernel: kernel.T),
    ]


def _jax_layer_rules(theirs: str, ours: str, to_torch: Transform) -> list[Rule]:
    """A linear layer or a convolution of JAX, whose output dimensions come last."""
    return [
        Rule(f"{theirs}/kernel", f"{ours}.weight", to_torch),
        Rule(f"{theirs}/bias", f"{ours}.bias", torch.Tensor.flatten),
    ]


def _embedding_rules(config: PlainVitConfig, class_token: str, positions: str) -> list[Rule]:
    return [
        _optional(config.use_class_token, class_token, "embeddings.cls_token"),
        Rule(
            positions,
            "embeddings.position_embeddings",
            lambda rows: resize_positions(rows, config.grid_size, config.interpolation_mode, config.num_prefix_tokens),
        ),
    ]


def _optional(is_there: bool, pattern: str, target: str) -> Rule:
    return Rule(pattern, target) if is_there else Rule(pattern, reason="the backbone has none")


def resize_positions(
    positions: torch.Tensor, grid_size: tuple[int, int], mode: str, num_prefix_tokens: int
) -> torch.Tensor:
    """Position embedding `(1, rows, hidden)` of a square grid -> `(1, prefix + tokens, hidden)` of another grid."""
    side = math.isqrt(positions.shape[1])
    grid = positions[:, -(side**2) :].unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    grid = nn.functional.interpolate(grid, size=grid_size, mode=mode, align_corners=False)
    grid = grid.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat((positions[:, :num_prefix_tokens], grid), dim=1)
