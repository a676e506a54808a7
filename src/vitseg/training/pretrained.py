# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
ImageNet weights as the start of a backbone: those of timm's ViT and DeiT and of Google's JAX ViT for the plain ViT,
and those of SCTNet's authors for SCTNet.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..models.modeling_plain_vit import PlainVitBackbone
from ..models.modeling_sctnet import SctNetBackbone


# The classifier has no place in a backbone.
TIMM_DROPPED = re.compile(r"(head|head_dist|pre_logits|fc_norm)\..*")
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
SCTNET_ATTENTION_LAYERS = {"layer3_2": "stage3.layers.0", "layer4": "stage4.layers.0", "layer5": "stage4.layers.1"}
# Modules of the backbone of SCTNet's authors, as patterns, and ours.
SCTNET_RENAMED = {
    r"conv1\.0": "stem.0.conv",
    r"conv1\.1": "stem.0.norm",
    r"conv1\.3": "stem.1.conv",
    r"conv1\.4": "stem.1.norm",
    r"layer([123])\.(\d+)\.conv([12])": r"stage\1.convolutions.\2.layer\3.conv",
    r"layer([123])\.(\d+)\.bn([12])": r"stage\1.convolutions.\2.layer\3.norm",
    r"layer([123])\.(\d+)\.downsample\.0": r"stage\1.convolutions.\2.shortcut.conv",
    r"layer([123])\.(\d+)\.downsample\.1": r"stage\1.convolutions.\2.shortcut.norm",
    r"convdown4\.0": "stage4.convolutions.conv",
    r"convdown4\.1": "stage4.convolutions.norm",
    **{
        rf"{theirs}\.{their_part}": rf"{ours}.{our_part}"
        for theirs, ours in SCTNET_ATTENTION_LAYERS.items()
        for their_part, our_part in ((r"attn_l\.norm", "attention.norm"), (r"mlp_l\.(\w+)", r"mlp.\1"))
    },
    r"spp\.scale0\.0": "stage5.pooling.scales.0.norm",
    r"spp\.scale0\.2": "stage5.pooling.scales.0.conv",
    r"spp\.scale([1234])\.1": r"stage5.pooling.scales.\1.norm",
    r"spp\.scale([1234])\.3": r"stage5.pooling.scales.\1.conv",
    **{
        rf"spp\.{theirs}\.{number}": f"stage5.pooling.{ours}.{module}"
        for theirs, ours in (
            *((f"process{index + 1}", f"processes.{index}") for index in range(4)),
            ("compression", "compression"),
            ("shortcut", "shortcut"),
        )
        for number, module in ((0, "norm"), (2, "conv"))
    },
}
SCTNET_KERNELS = {"kv": "attention.vertical_kernel", "kv3": "attention.horizontal_kernel"}


def download_timm_weights(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a timm model with its pretrained weights, such as `vit_large_patch16_384`."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def load_timm_weights(backbone: PlainVitBackbone, state_dict: Mapping[str, torch.Tensor]) -> None:
    """
    Load the state dict of a timm `VisionTransformer`, distilled or not, into a backbone of the same widths and depth.

    The position embedding is resized to the backbone's grid as the originals do it: the last rows that make a square
    are the grid, resized without antialiasing by the backbone's `interpolation_mode`; the first row is the class
    token's, the second one DeiT's distillation token's, which is skipped where the backbone has no such token.

    Raises:
        ValueError: listing the parameters that are missing, unknown or of another shape.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, tensor in state_dict.items():
        if TIMM_DROPPED.fullmatch(name):
            continue
        if name == "cls_token":
            converted["embeddings.cls_token"] = tensor
        elif name == "dist_token":
            converted["embeddings.distillation_token"] = tensor
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


def sctnet_names() -> dict[str, str]:
    """Patterns of the names of all tensors of the SCTNet authors' backbone, and ours for `re.Match.expand`."""
    leaf = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    names = {}
    for theirs, ours in SCTNET_RENAMED.items():
        names[theirs + leaf] = rf"{ours}.\{re.compile(theirs).groups + 1}"
    for theirs, ours in SCTNET_ATTENTION_LAYERS.items():
        for kernel, our_kernel in SCTNET_KERNELS.items():
            names[rf"{theirs}\.attn_l\.{kernel}"] = f"{ours}.{our_kernel}"
    return names


def load_sctnet_weights(backbone: SctNetBackbone, state_dict: Mapping[str, torch.Tensor]) -> None:
    """
    Load a pre-trained backbone of SCTNet's authors (`SCT-S_Pretrain.pth`, `SCT-B_Pretrain.pth`), whose names have no
    `backbone.` before them, into a backbone of the same widths and depths.

    What is not the backbone's, such as a classifier for ImageNet, is left out.

    Raises:
        ValueError: listing the parameters that are missing or of another shape.
    """
    converted: dict[str, torch.Tensor] = {}
    names = sctnet_names()
    for name, tensor in state_dict.items():
        name = name.removeprefix("module.").removeprefix("backbone.")
        for pattern, target in names.items():
            if match := re.fullmatch(pattern, name):
                converted[match.expand(target)] = tensor
    for name, tensor in backbone.state_dict().items():
        if name.endswith("num_batches_tracked"):
            converted.setdefault(name, torch.zeros_like(tensor))
    _load_all(backbone, converted)


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
    if not backbone.config.use_distillation_token:
        converted.pop("embeddings.distillation_token", None)
    if not backbone.config.use_final_norm:
        converted = {name: tensor for name, tensor in converted.items() if not name.startswith("layernorm.")}
    positions = "embeddings.position_embeddings"
    if positions in converted:
        converted[positions] = _resize_positions(converted[positions], backbone)
    _load_all(backbone, converted)


def _load_all(backbone: nn.Module, converted: dict[str, torch.Tensor]) -> None:
    """Load every tensor of a backbone."""
    # The policy network is trained by itself.
    expected = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("policy_net.")}
    problems = [f"{name}: missing" for name in expected.keys() - converted.keys()]
    problems += [f"{name}: unknown" for name in converted.keys() - expected.keys()]
    problems += [
        f"{name}: {tuple(converted[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & converted.keys()
        if converted[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError("The ImageNet weights do not fit the backbone:\n  " + "\n  ".join(sorted(problems)))
    backbone.load_state_dict(converted, strict=False)


def _resize_positions(positions: torch.Tensor, backbone: PlainVitBackbone) -> torch.Tensor:
    """Position embedding `(1, rows, hidden)` of a square grid -> `(1, tokens, hidden)` of the backbone's."""
    side = math.isqrt(positions.shape[1])
    grid = positions[:, -(side**2) :].unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    mode = backbone.config.interpolation_mode
    grid = nn.functional.interpolate(grid, size=backbone.config.grid_size, mode=mode, align_corners=False)
    grid = grid.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat((positions[:, : backbone.config.num_prefix_tokens], grid), dim=1)
