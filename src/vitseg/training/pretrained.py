# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of timm's ViT and DeiT as the start of a plain ViT backbone."""

import math
import re
from collections.abc import Mapping

import torch
from torch import nn

from ..models.modeling_plain_vit import PlainVitBackbone


# The classifier, the final norm and DeiT's distillation token have no place in a backbone.
DROPPED = re.compile(r"(head|head_dist|pre_logits|norm|fc_norm)\..*|dist_token")
RENAMED = {
    "patch_embed.proj": "embeddings.patch_embeddings",
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
}


def download_timm_weights(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a timm model with its pretrained weights, such as `vit_large_patch16_384`."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def load_timm_weights(backbone: PlainVitBackbone, state_dict: Mapping[str, torch.Tensor]) -> None:
    """
    Load the state dict of a timm `VisionTransformer`, distilled or not, into a backbone of the same widths and depth.

    The position embedding is resized to the backbone's grid as the originals do it: the last rows that make a square
    are the grid (so a distillation token's row is skipped), resized bilinearly without antialiasing; the first row is
    the class token's.

    Raises:
        ValueError: listing the parameters that are missing, unknown or of another shape.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, tensor in state_dict.items():
        if DROPPED.fullmatch(name):
            continue
        if name == "cls_token":
            if backbone.config.use_class_token:
                converted["embeddings.cls_token"] = tensor
        elif name == "pos_embed":
            converted["embeddings.position_embeddings"] = _resize_positions(tensor, backbone)
        elif match := re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name):
            for part, projection in zip("qkv", tensor.chunk(3), strict=True):
                converted[f"layers.{match[1]}.attention.{part}_proj.{match[2]}"] = projection
        else:
            module, _, leaf = re.sub(r"^blocks\.", "layers.", name).rpartition(".")
            for theirs, ours in RENAMED.items():
                module = re.sub(rf"(^|\.){re.escape(theirs)}$", rf"\1{ours}", module)
            converted[f"{module}.{leaf}"] = tensor

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
    grid = nn.functional.interpolate(grid, size=backbone.config.grid_size, mode="bilinear", align_corners=False)
    grid = grid.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat((positions[:, :1], grid), dim=1) if backbone.config.use_class_token else grid
