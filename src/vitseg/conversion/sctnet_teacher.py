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
from .arguments import OriginalClass, refuse_unless
from .base import Converter
from .mmseg import (
    DECODE_HEAD,
    ENCODER_DECODER,
    GELU,
    LN,
    as_list,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_training,
)
from .rules import Rule, module_rules, pointwise_rules


# Where encoder and head lie: in mmsegmentation, in the authors' teacher files, and in a checkpoint of the training.
PREFIXES = (
    ("backbone.", "decode_head."),
    ("teacher_backbone.", "teacher_head."),
    ("auxiliary_head.1.teacher_backbone.", "auxiliary_head.1.teacher_head."),
)
# Width of a head of attention in the authors' teachers.
HEAD_WIDTH = 64
NUM_STAGES = 4

MIX_VISION_TRANSFORMER = OriginalClass(
    ("MixVisionTransformer",),
    carried={
        "in_channels": 3,
        "embed_dims": 64,
        "num_layers": [3, 4, 6, 3],
        "num_heads": [1, 2, 4, 8],
        "sr_ratios": [8, 4, 2, 1],
        "mlp_ratio": 4,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
    },
    fixed={
        "num_stages": NUM_STAGES,
        "patch_sizes": [7, 3, 3, 3],
        "strides": [4, 2, 2, 2],
        "out_indices": [0, 1, 2, 3],
        "qkv_bias": True,
    },
    parts={"norm_cfg": (LN, {"type": "LN", "eps": 1e-6}), "act_cfg": (GELU, {"type": "GELU"})},
    ignored=("pretrained", "init_cfg", "with_cp"),
)
HEAD = DECODE_HEAD.derived("SegformerHead", fixed={"interpolate_mode": "bilinear"})
# Of the teacher alone, or of SCTNet with it; of the former the encoder tells enough.
SEGMENTOR = ENCODER_DECODER.derived(
    "EncoderDecoder", "EncoderDecoder_Distill", required=("backbone",), carried={"decode_head": None}
)


class SctNetTeacherConverter(Converter):
    """The teacher's checkpoints, and those of SCTNet that hold it."""

    refusal = "There is no teacher in the checkpoint"
    expected_names = (
        "teacher_backbone.layers.0.0.projection.weight and teacher_head.fusion_conv.conv.weight, with or without "
        "auxiliary_head.1 before them, or those of mmsegmentation's SegFormer"
    )
    architectures = ((MIX_VISION_TRANSFORMER, HEAD),)

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
        The `SctNetTeacherConfig` of the checkpoint, whose shapes tell widths and depths, and of `original`.

        That is mmsegmentation's own configuration, or SCTNet's, which may have the `teacher` in its `auxiliary_head`;
        where it has not, attention heads are 64 channels wide, as in the published ones.
        """
        encoder, head = self.prefixes
        shapes = {
            name.removeprefix(encoder): tensor.shape
            for name, tensor in self.tensors.items()
            if name.startswith(encoder)
        }
        stages = range(1 + max(int(name.split(".")[1]) for name in shapes))
        hidden_sizes = [shapes[f"layers.{stage}.0.projection.weight"][0] for stage in stages]
        depths = [_depth(shapes, stage) for stage in stages]
        first_mlps = [shapes[f"layers.{stage}.1.0.ffn.layers.0.weight"] for stage in stages]
        model = SEGMENTOR.read(original)
        vit = _read_vit(model, hidden_sizes, depths)
        widths = [vit["embed_dims"] * num_heads for num_heads in vit["num_heads"]]
        if (widths, vit["num_layers"]) != (hidden_sizes, depths):
            raise ValueError(
                f"The original configuration's embed_dims={vit['embed_dims']}, num_heads={vit['num_heads']} and "
                f"num_layers={vit['num_layers']} make stages of widths {widths}, but the checkpoint has widths "
                f"{hidden_sizes} and depths {depths}. (What a configuration leaves out has the original's default.)"
            )
        return SctNetTeacherConfig(
            encoder_config=SegformerConfig(
                num_channels=shapes["layers.0.0.projection.weight"][1],
                num_encoder_blocks=len(stages),
                depths=depths,
                hidden_sizes=hidden_sizes,
                num_attention_heads=vit["num_heads"],
                sr_ratios=[shapes.get(f"layers.{stage}.1.0.attn.sr.weight", [1])[-1] for stage in stages],
                mlp_ratios=[mlp[0] // mlp[1] for mlp in first_mlps],
                hidden_dropout_prob=vit["drop_rate"],
                attention_probs_dropout_prob=vit["attn_drop_rate"],
                drop_path_rate=vit["drop_path_rate"],
            ),
            decoder_hidden_size=self.tensors[f"{head}conv_seg.weight"].shape[1],
            num_labels=self.tensors[f"{head}conv_seg.weight"].shape[0],
            **_read_head(model),
            **read_test_protocol(model["test_cfg"]),
        )

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

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


def _read_vit(model: dict[str, Any], hidden_sizes: list[int], depths: list[int]) -> dict[str, Any]:
    """The arguments of the encoder, of a checkpoint with stages of these widths and depths."""
    backbone = model["backbone"]
    if backbone["type"] in MIX_VISION_TRANSFORMER.names:
        vit = MIX_VISION_TRANSFORMER.read(backbone)
    else:
        # SCTNet's authors write the teacher down in the code of its auxiliary head.
        num_heads = [max(size // HEAD_WIDTH, 1) for size in hidden_sizes]
        stated: dict[str, Any] = next(
            (part["teacher"] for part in as_list(model["auxiliary_head"]) if "teacher" in part), {}
        )
        encoder = {name: value for name, value in stated.items() if name != "channels"}
        vit = MIX_VISION_TRANSFORMER.read(
            {"num_layers": depths, "num_heads": num_heads, "drop_path_rate": 0.1, **encoder}
        )
    refuse_unless(vit["norm_cfg"], eps=1e-6)
    return vit


def _read_head(model: dict[str, Any]) -> dict[str, Any]:
    """What a SegFormer's own head says of its training, if it is there."""
    if model["decode_head"] is None or model["decode_head"]["type"] not in HEAD.names:
        return {}
    head = read_head(HEAD, model["decode_head"])
    refuse_unless(head, in_index=[0, 1, 2, 3])
    training = read_training([head])
    return {
        "classifier_dropout_prob": head["dropout_ratio"],
        "semantic_loss_ignore_index": training["semantic_loss_ignore_index"],
    }


def _depth(shapes: dict[str, torch.Size], stage: int) -> int:
    return len([name for name in shapes if re.fullmatch(rf"layers\.{stage}\.1\.\d+\.norm1\.weight", name)])
