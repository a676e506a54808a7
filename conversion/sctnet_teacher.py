# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SCTNet's teacher: mmsegmentation's SegFormer, from its own checkpoints or from inside those of SCTNet's training.

https://github.com/xzz777/SCTNet keeps it in files of its own (`Teacher_SegFormer_B2_ADE.pth`) and, while training, in
the model's auxiliary head.
"""

import re
from typing import Any

import torch
from mmseg import as_list, read_test_protocol
from rules import Rule
from transformers import SegformerConfig

from vitseg import SctNetTeacherConfig


# Where encoder and head lie: in mmsegmentation, in the authors' teacher files, and in a checkpoint of the training.
PREFIXES = (
    ("backbone.", "decode_head."),
    ("teacher_backbone.", "teacher_head."),
    ("auxiliary_head.1.teacher_backbone.", "auxiliary_head.1.teacher_head."),
)
# The original's width of a head of attention.
HEAD_WIDTH = 64


def read_config(original: dict[str, Any], state_dict: dict[str, torch.Tensor]) -> SctNetTeacherConfig:
    """
    The `SctNetTeacherConfig` of a checkpoint, whose shapes tell all but the number of attention heads.

    That is the `num_heads` of `original`: of the `backbone` of mmsegmentation's own configuration, or of the `teacher`
    in SCTNet's `auxiliary_head`; where it is not named, heads are 64 channels wide.
    """
    encoder, head = find_prefixes(state_dict)
    shapes = {
        name.removeprefix(encoder): tensor.shape for name, tensor in state_dict.items() if name.startswith(encoder)
    }
    stages = range(1 + max(int(name.split(".")[1]) for name in shapes))
    hidden_sizes = [shapes[f"layers.{stage}.0.projection.weight"][0] for stage in stages]
    teacher: dict[str, Any] = next(
        (part["teacher"] for part in as_list(original.get("auxiliary_head")) if "teacher" in part),
        original["backbone"] if original["backbone"].get("type") == "MixVisionTransformer" else {},
    )
    first_mlps = [shapes[f"layers.{stage}.1.0.ffn.layers.0.weight"] for stage in stages]
    config = SctNetTeacherConfig(
        encoder_config=SegformerConfig(
            num_channels=shapes["layers.0.0.projection.weight"][1],
            num_encoder_blocks=len(stages),
            depths=[_depth(shapes, stage) for stage in stages],
            hidden_sizes=hidden_sizes,
            num_attention_heads=list(teacher.get("num_heads", [max(size // HEAD_WIDTH, 1) for size in hidden_sizes])),
            sr_ratios=[shapes.get(f"layers.{stage}.1.0.attn.sr.weight", [1])[-1] for stage in stages],
            mlp_ratios=[mlp[0] // mlp[1] for mlp in first_mlps],
            drop_path_rate=teacher.get("drop_path_rate", 0.1),
        ),
        decoder_hidden_size=state_dict[f"{head}conv_seg.weight"].shape[1],
        num_labels=state_dict[f"{head}conv_seg.weight"].shape[0],
        **read_test_protocol(original.get("test_cfg")),
    )
    return config


def _depth(shapes: dict[str, torch.Size], stage: int) -> int:
    return len([name for name in shapes if re.fullmatch(rf"layers\.{stage}\.1\.\d+\.norm1\.weight", name)])


def adapt_config(config: SctNetTeacherConfig, state_dict: dict[str, torch.Tensor]) -> SctNetTeacherConfig:
    """The configuration as it is: it was read from the checkpoint."""
    return config


def find_prefixes(state_dict: dict[str, torch.Tensor]) -> tuple[str, str]:
    """
    Where encoder and head lie in a checkpoint.

    Raises:
        ValueError: if it holds no SegFormer with mmsegmentation's head.
    """
    for encoder, head in PREFIXES:
        if f"{encoder}layers.0.0.projection.weight" in state_dict and f"{head}fusion_conv.conv.weight" in state_dict:
            return encoder, head
    raise ValueError(
        "There is no teacher in the checkpoint: expected names such as teacher_backbone.layers.0.0.projection.weight "
        "and teacher_head.fusion_conv.conv.weight, with or without auxiliary_head.1 before them, or those of "
        f"mmsegmentation's SegFormer. The file's first names are {list(state_dict)[:5]}."
    )


def rules(config: SctNetTeacherConfig, state_dict: dict[str, torch.Tensor]) -> list[Rule]:
    """The table that renames a checkpoint for a model of `config`."""
    encoder, head = (re.escape(prefix) for prefix in find_prefixes(state_dict))
    stage, block = rf"{encoder}layers\.(\d)", rf"{encoder}layers\.(\d)\.1\.(\d+)"
    our_stage, our_block = r"encoder.stages.\1", r"encoder.stages.\1.blocks.\2"
    attention = rf"{our_block}.attention"
    in_projections = tuple(f"{attention}.{part}_proj" for part in "qkv")
    parts = {
        r"norm1": "layernorm_before",
        r"attn\.attn\.out_proj": "attention.o_proj",
        r"attn\.sr": "attention.sequence_reduction.sequence_reduction",
        r"attn\.norm": "attention.sequence_reduction.layer_norm",
        r"norm2": "layernorm_after",
        r"ffn\.layers\.1": "mlp.dwconv.dwconv",
    }
    convolutions = {r"ffn\.layers\.0": "mlp.fc1", r"ffn\.layers\.4": "mlp.fc2"}
    norm = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
    return [
        Rule(rf"{stage}\.0\.projection\.(weight|bias)", rf"{our_stage}.patch_embeddings.proj.\2"),
        Rule(rf"{stage}\.0\.norm\.(weight|bias)", rf"{our_stage}.patch_embeddings.layer_norm.\2"),
        Rule(rf"{stage}\.2\.(weight|bias)", rf"{our_stage}.layer_norm.\2"),
        Rule(rf"{block}\.attn\.attn\.in_proj_(weight|bias)", tuple(rf"{name}.\3" for name in in_projections)),
        *(Rule(rf"{block}\.{theirs}\.(weight|bias)", rf"{our_block}.{ours}.\3") for theirs, ours in parts.items()),
        *(
            rule
            for theirs, ours in convolutions.items()
            for rule in (
                Rule(rf"{block}\.{theirs}\.weight", rf"{our_block}.{ours}.weight", lambda weight: weight.flatten(1)),
                Rule(rf"{block}\.{theirs}\.bias", rf"{our_block}.{ours}.bias"),
            )
        ),
        Rule(rf"{head}convs\.(\d)\.conv\.weight", r"decode_head.branches.\1.conv.weight"),
        Rule(rf"{head}convs\.(\d)\.bn\.{norm}", r"decode_head.branches.\1.norm.\2"),
        Rule(rf"{head}fusion_conv\.conv\.weight", "decode_head.fusion.conv.weight"),
        Rule(rf"{head}fusion_conv\.bn\.{norm}", r"decode_head.fusion.norm.\1"),
        Rule(rf"{head}conv_seg\.(weight|bias)", r"decode_head.classifier.\1"),
        Rule(r"auxiliary_head\..*", reason="no part of the teacher"),
        *([] if encoder.startswith("backbone") else [Rule(r"(backbone|decode_head)\..*", reason="the model taught")]),
    ]
