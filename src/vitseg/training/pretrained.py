# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of timm's ViT and DeiT, and of Google's JAX ViT, as the start of a plain ViT backbone."""

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..models.modeling_plain_vit import PlainVitBackbone


# The classifier and DeiT's distillation token have no place in a backbone.
TIMM_DROPPED = re.compile(r"(head|head_dist|pre_logits|fc_norm)\..*|dist_token")
TIMM_RENAMED = {
    "patch_embed.proj": "embeddings.patch_embeddings",
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "norm": "layernorm",
}
JAX_DROPPED = re.compile(r"(head|pre_logits)/.*")
JAX_RENAMED = {
    "embedding": "embeddings.patch_embeddings",
    "LayerNorm_0": "layernorm_before",
    "MultiHeadDotProductAttention_1/query": "attention.q_proj",
    "MultiHeadDotProductAttention_1/key": "attention.k_proj",
    "MultiHeadDotProductAttention_1/value": "attention.v_proj",
    "MultiHeadDotProductAttention_1/out": "attention.o_proj",
    "LayerNorm_2": "layernorm_after",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
    "Transformer/encoder_norm": "layernorm",
}


def download_timm_weights(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a timm model with its pretrained weights, such as `vit_large_patch16_384`."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def load_timm_weights(backbone: PlainVitBackbone, state_dict: Mapping[str, torch.Tensor]) -> None:
    """
    Load the state dict of a timm `VisionTransformer`, distilled or not, into a backbone of the same widths and depth.

    The position embedding is resized to the backbone's grid as the originals do it: the last rows that make a square
    are the grid (so a distillation token's row is skipped), resized without antialiasing by the backbone's
    `interpolation_mode`; the first row is the class token's.

    Raises:
        ValueError: listing the parameters that are missing, unknown or of another shape.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, tensor in state_dict.items():
        if TIMM_DROPPED.fullmatch(name):
            continue
        if name == "cls_token":
            converted["embeddings.cls_token"] = tensor
        elif name == "pos_embed":
            converted["embeddings.position_embeddings"] = tensor
        elif match := re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name):
            for part, projection in zip("qkv", tensor.chunk(3), strict=True):
                converted[f"layers.{match[1]}.attention.{part}_proj.{match[2]}"] = projection
        else:
            module, _, leaf = re.sub(r"^blocks\.", "layers.", name).rpartition(".")
            for theirs, ours in TIMM_RENAMED.items():
                module = re.sub(rf"(^|\.){re.escape(theirs)}$", rf"\1{ours}", module)
            converted[f"{module}.{leaf}"] = tensor
    _load(backbone, converted)


def load_jax_weights(backbone: PlainVitBackbone, arrays: Mapping[str, np.ndarray | torch.Tensor]) -> None:
    """
    Load a ViT of Google's JAX implementation (the arrays of an `.npz` file of
    https://github.com/google-research/vision_transformer) into a backbone of the same widths and depth.

    The position embedding is treated as in [`load_timm_weights`].

    Raises:
        ValueError: listing the parameters that are missing, unknown or of another shape.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, array in arrays.items():
        if JAX_DROPPED.fullmatch(name):
            continue
        tensor = torch.as_tensor(array)
        if name == "cls":
            converted["embeddings.cls_token"] = tensor
        elif name == "Transformer/posembed_input/pos_embedding":
            converted["embeddings.position_embeddings"] = tensor
        else:
            module, _, leaf = re.sub(r"^Transformer/encoderblock_(\d+)/", r"layers.\1.", name).rpartition("/")
            for theirs, ours in JAX_RENAMED.items():
                module = re.sub(rf"(^|\.){theirs}$", rf"\1{ours}", module)
            converted[f"{module}.{'bias' if leaf == 'bias' else 'weight'}"] = _from_jax_layout(name, tensor)
    _load(backbone, converted)


def _from_jax_layout(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A parameter of JAX, whose output dimensions come last, as PyTorch has it."""
    if not name.endswith("/kernel"):
        return tensor.flatten()
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    # Query, key and value end in heads and their widths; the projection after the attention begins with them.
    return (tensor.flatten(0, -2) if name.endswith("/out/kernel") else tensor.flatten(1)).T


def _load(backbone: PlainVitBackbone, converted: dict[str, torch.Tensor]) -> None:
    """Load the weights of a whole ViT under our names, but for what the backbone does not have."""
    if not backbone.config.use_class_token:
        converted.pop("embeddings.cls_token", None)
    if not backbone.config.use_final_norm:
        converted = {name: tensor for name, tensor in converted.items() if not name.startswith("layernorm.")}
    positions = "embeddings.position_embeddings"
    if positions in converted:
        converted[positions] = _resize_positions(converted[positions], backbone)

    expected = backbone.state_dict()
    problems = [f"{name}: missing" for name in expected.keys() - converted.keys()]
    problems += [f"{name}: unknown" for name in converted.keys() - expected.keys()]
    problems += [
        f"{name}: {tuple(converted[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & converted.keys()
        if converted[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError("The ImageNet weights do not fit the backbone:\n  " + "\n  ".join(sorted(problems)))
    backbone.load_state_dict(converted)


def _resize_positions(positions: torch.Tensor, backbone: PlainVitBackbone) -> torch.Tensor:
    """Position embedding `(1, rows, hidden)` of a square grid -> `(1, tokens, hidden)` of the backbone's."""
    side = math.isqrt(positions.shape[1])
    grid = positions[:, -(side**2) :].unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    mode = backbone.config.interpolation_mode
    grid = nn.functional.interpolate(grid, size=backbone.config.grid_size, mode=mode, align_corners=False)
    grid = grid.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat((positions[:, :1], grid), dim=1) if backbone.config.use_class_token else grid
