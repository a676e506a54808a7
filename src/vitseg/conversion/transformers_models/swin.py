# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Swin: mmsegmentation's `SwinTransformer` as transformers' `SwinBackbone`."""

from typing import Any

import torch
from transformers import SwinConfig

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import GELU, LN
from ..rules import Rule, module_rules


SWIN_TRANSFORMER = OriginalClass(
    ("SwinTransformer",),
    carried={
        "pretrain_img_size": 224,
        "in_channels": 3,
        "embed_dims": 96,
        "patch_size": 4,
        "window_size": 7,
        "mlp_ratio": 4,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "strides": [4, 2, 2, 2],
        "out_indices": [0, 1, 2, 3],
        "qkv_bias": True,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.1,
    },
    fixed={"qk_scale": None, "patch_norm": True, "use_abs_pos_embed": False},
    parts={"norm_cfg": (LN, {"type": "LN"}), "act_cfg": (GELU, {"type": "GELU"})},
    ignored=("with_cp", "pretrained", "frozen_stages", "init_cfg", "pretrain_style", "convert_weights"),
)
# Parameters of `SwinBackbone` that it does not look at.
UNUSED_PARAMETERS = r"swin\.layernorm\.(weight|bias)"


def read_swin_config(backbone: dict[str, Any]) -> SwinConfig:
    """
    The configuration of transformers' backbone with a feature map of each stage.

    Raises:
        ValueError: if it is another backbone, or one of its arguments cannot be converted.
    """
    swin = SWIN_TRANSFORMER.read(backbone)
    # Some of transformers' norms have this epsilon whatever its configuration says.
    refuse_unless(swin["norm_cfg"], eps=1e-5)
    stages = list(range(len(swin["depths"])))
    refuse_unless(swin, strides=[swin["patch_size"], *(2 for _ in stages[1:])], out_indices=stages)
    return SwinConfig(
        image_size=swin["pretrain_img_size"],
        num_channels=swin["in_channels"],
        embed_dim=swin["embed_dims"],
        patch_size=swin["patch_size"],
        window_size=swin["window_size"],
        mlp_ratio=swin["mlp_ratio"],
        depths=swin["depths"],
        num_heads=swin["num_heads"],
        qkv_bias=swin["qkv_bias"],
        hidden_dropout_prob=swin["drop_rate"],
        attention_probs_dropout_prob=swin["attn_drop_rate"],
        drop_path_rate=swin["drop_path_rate"],
        layer_norm_eps=1e-5,
        out_features=[f"stage{stage + 1}" for stage in stages],
    )


def swin_rules(config: SwinConfig, ours: str) -> list[Rule]:
    """The rules for the names of `SwinTransformer`, under `backbone`; `ours` is where transformers' backbone lies."""
    block, our_block = r"backbone\.stages\.(\d)\.blocks\.(\d+)", rf"{ours}.swin.encoder.layers.\1.blocks.\2"
    downsample, our_downsample = r"backbone\.stages\.(\d)\.downsample", rf"{ours}.swin.encoder.layers.\1.downsample"
    attention = f"{our_block}.attention"
    bias_table = "relative_position_bias_table"
    modules = {
        r"backbone\.patch_embed\.projection": f"{ours}.swin.embeddings.patch_embeddings.projection",
        r"backbone\.patch_embed\.norm": f"{ours}.swin.embeddings.norm",
        rf"{block}\.norm1": f"{our_block}.layernorm_before",
        rf"{block}\.attn\.w_msa\.proj": f"{attention}.o_proj",
        rf"{block}\.norm2": f"{our_block}.layernorm_after",
        rf"{block}\.ffn\.layers\.0\.0": f"{our_block}.mlp.fc1",
        rf"{block}\.ffn\.layers\.1": f"{our_block}.mlp.fc2",
    }
    modules |= {
        rf"backbone\.norm{stage}": f"{ours}.hidden_states_norms.stage{stage + 1}"
        for stage in range(len(config.depths))
    }
    return [
        *module_rules(modules),
        Rule(rf"{block}\.attn\.w_msa\.qkv\.(weight|bias)", tuple(rf"{attention}.{part}_proj.\3" for part in "qkv")),
        Rule(rf"{block}\.attn\.w_msa\.{bias_table}", f"{attention}.relative_position_bias.{bias_table}"),
        Rule(r".*\.relative_position_index", reason="follows from the size of the windows"),
        Rule(rf"{downsample}\.norm\.(weight|bias)", rf"{our_downsample}.norm.\2", merged_channels),
        Rule(rf"{downsample}\.reduction\.weight", f"{our_downsample}.reduction.weight", merged_channels),
    ]


def merged_channels(tensor: torch.Tensor) -> torch.Tensor:
    """
    The channels of four merged patches, the last dimension, from mmsegmentation's order (channel, row, column, as
    PyTorch unfolds them) to that of Swin's authors and transformers (column, row, channel).
    """
    return tensor.unflatten(-1, (-1, 2, 2)).movedim(-3, -1).transpose(-3, -2).flatten(-3)
