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
from transformers import SegformerConfig

from ..models.configuration_sctnet_teacher import SctNetTeacherConfig
from .base import Converter
from .mmseg import as_list, read_test_protocol
from .rules import Rule, module_rules, pointwise_rules


# Where encoder and head lie: in mmsegmentation, in the authors' teacher files, and in a checkpoint of the training.
PREFIXES = (
    ("backbone.", "decode_head."),
    ("teacher_backbone.", "teacher_head."),
    ("auxiliary_head.1.teacher_backbone.", "auxiliary_head.1.teacher_head."),
)
# The original's width of a head of attention.
HEAD_WIDTH = 64


class SctNetTeacherConverter(Converter):
    """The teacher's checkpoints, and those of SCTNet that hold it."""

    refusal = "There is no teacher in the checkpoint"
    expected_names = (
        "teacher_backbone.layers.0.0.projection.weight and teacher_head.fusion_conv.conv.weight, with or without "
        "auxiliary_head.1 before them, or those of mmsegmentation's SegFormer"
    )

    @property
    def prefixes(self) -> tuple[str, str]:
        """What names of encoder and head begin with; empty without a SegFormer that has mmsegmentation's head."""
        for encoder, head in PREFIXES:
            if {f"{encoder}layers.0.0.projection.weight", f"{head}fusion_conv.conv.weight"} <= self.tensors.keys():
                return encoder, head
        return "", ""

    def has_known_names(self) -> bool:
        return all(self.prefixes)

    def read_config(self, original: dict[str, Any]) -> SctNetTeacherConfig:
        """
        The `SctNetTeacherConfig` of the checkpoint, whose shapes tell all but the number of attention heads.

        That is the `num_heads` of `original`: of the `backbone` of mmsegmentation's own configuration, or of the
        `teacher` in SCTNet's `auxiliary_head`; where it is not named, heads are 64 channels wide.
        """
        encoder, head = self.prefixes
        shapes = {
            name.removeprefix(encoder): tensor.shape
            for name, tensor in self.tensors.items()
            if name.startswith(encoder)
        }
        stages = range(1 + max(int(name.split(".")[1]) for name in shapes))
        hidden_sizes = [shapes[f"layers.{stage}.0.projection.weight"][0] for stage in stages]
        teacher: dict[str, Any] = next(
            (part["teacher"] for part in as_list(original.get("auxiliary_head")) if "teacher" in part),
            original["backbone"] if original["backbone"].get("type") == "MixVisionTransformer" else {},
        )
        first_mlps = [shapes[f"layers.{stage}.1.0.ffn.layers.0.weight"] for stage in stages]
        return SctNetTeacherConfig(
            encoder_config=SegformerConfig(
                num_channels=shapes["layers.0.0.projection.weight"][1],
                num_encoder_blocks=len(stages),
                depths=[_depth(shapes, stage) for stage in stages],
                hidden_sizes=hidden_sizes,
                num_attention_heads=list(
                    teacher.get("num_heads", [max(size // HEAD_WIDTH, 1) for size in hidden_sizes])
                ),
                sr_ratios=[shapes.get(f"layers.{stage}.1.0.attn.sr.weight", [1])[-1] for stage in stages],
                mlp_ratios=[mlp[0] // mlp[1] for mlp in first_mlps],
                drop_path_rate=teacher.get("drop_path_rate", 0.1),
            ),
            decoder_hidden_size=self.tensors[f"{head}conv_seg.weight"].shape[1],
            num_labels=self.tensors[f"{head}conv_seg.weight"].shape[0],
            **read_test_protocol(original.get("test_cfg")),
        )

    def rules(self, config: SctNetTeacherConfig) -> list[Rule]:
        encoder, head = (re.escape(prefix) for prefix in self.prefixes)
        stage, block = rf"{encoder}layers\.(\d)", rf"{encoder}layers\.(\d)\.1\.(\d+)"
        our_stage, our_block = r"encoder.stages.\1", r"encoder.stages.\1.blocks.\2"
        attention = rf"{our_block}.attention"
        in_projections = tuple(rf"{attention}.{part}_proj.\3" for part in "qkv")
        modules = {
            rf"{stage}\.0\.projection": f"{our_stage}.patch_embeddings.proj",
            rf"{stage}\.0\.norm": f"{our_stage}.patch_embeddings.layer_norm",
            rf"{stage}\.2": f"{our_stage}.layer_norm",
            rf"{block}\.norm1": f"{our_block}.layernorm_before",
            rf"{block}\.attn\.attn\.out_proj": f"{attention}.o_proj",
            rf"{block}\.attn\.sr": f"{attention}.sequence_reduction.sequence_reduction",
            rf"{block}\.attn\.norm": f"{attention}.sequence_reduction.layer_norm",
            rf"{block}\.norm2": f"{our_block}.layernorm_after",
            rf"{block}\.ffn\.layers\.1": f"{our_block}.mlp.dwconv.dwconv",
            rf"{head}convs\.(\d)\.conv": r"decode_head.branches.\1.conv",
            rf"{head}convs\.(\d)\.bn": r"decode_head.branches.\1.norm",
            rf"{head}fusion_conv\.conv": "decode_head.fusion.conv",
            rf"{head}fusion_conv\.bn": "decode_head.fusion.norm",
            rf"{head}conv_seg": "decode_head.classifier",
        }
        table = [
            Rule(rf"{block}\.attn\.attn\.in_proj_(weight|bias)", in_projections),
            *module_rules(modules),
            *pointwise_rules(rf"{block}\.ffn\.layers\.0", rf"{our_block}.mlp.fc1"),
            *pointwise_rules(rf"{block}\.ffn\.layers\.4", rf"{our_block}.mlp.fc2"),
            Rule(r"auxiliary_head\..*", reason="no part of the teacher"),
        ]
        if encoder.startswith("backbone"):
            return table
        return [*table, Rule(r"(backbone|decode_head)\..*", reason="the model taught")]


def _depth(shapes: dict[str, torch.Size], stage: int) -> int:
    return len([name for name in shapes if re.fullmatch(rf"layers\.{stage}\.1\.\d+\.norm1\.weight", name)])
