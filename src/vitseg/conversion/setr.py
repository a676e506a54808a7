# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SETR: original configurations to `SetrConfig`, original names to ours.

Two families of checkpoints exist. The authors' (https://github.com/fudan-zvg/SETR) hold `backbone.blocks`;
mmsegmentation's own hold `backbone.layers`, and their decoders differ in places (see `SetrConfig`).
"""

from typing import Any

import torch

from ..models.configuration_plain_vit import PlainVitConfig
from ..models.configuration_setr import SetrConfig
from .base import Converter
from .mmseg import as_list, read_auxiliary_weight, read_test_protocol, read_vit_config, refuse_unless, vit_rules
from .plain_vit import TIMM_NAMES, layer_rules, token_rules
from .rules import BATCH_NORM, Rule, module_rules


NUM_LEVELS = 4
# (convolutions, upsamplings) of the authors' up head -> factors after each convolution before the classifier.
AUTHORS_UPSAMPLE_SCALES = {(2, 1): [1], (2, 2): [4], (4, 4): [2, 2, 2, 2]}


class SetrConverter(Converter):
    """SETR's checkpoints, of either family."""

    has_optional_heads = True
    refusal = "This is not a SETR checkpoint"
    expected_names = "backbone.blocks.0.norm1.weight or backbone.layers.0.ln1.weight, and a SETR decode head"

    @property
    def is_mmseg(self) -> bool:
        """Whether the names are mmsegmentation's rather than the authors'."""
        return any(name.startswith("backbone.layers.") for name in self.tensors)

    def has_known_names(self) -> bool:
        authors = any(name.startswith("backbone.blocks.") for name in self.tensors)
        # mmsegmentation's Segmenter shares the backbone's names, but its head has none of SETR's.
        head = any(
            name.startswith(("decode_head.up_convs.", "decode_head.conv_0.", "decode_head.mlahead."))
            for name in self.tensors
        )
        return self.is_mmseg != authors and head

    def read_config(self, original: dict[str, Any]) -> SetrConfig:
        """The `SetrConfig` of `backbone`, `neck`, `decode_head`, `auxiliary_head` and `test_cfg`."""
        heads = [original["decode_head"], *as_list(original.get("auxiliary_head"))]
        for head in heads:
            refuse_unless(head, align_corners=False, upsampling_method="bilinear")
        arguments = {
            "num_labels": original["decode_head"]["num_classes"],
            **read_auxiliary_weight(heads[1:]),
            **read_test_protocol(original.get("test_cfg")),
        }
        read = _read_mmseg_config if self.is_mmseg else _read_authors_config
        return SetrConfig(**arguments, **read(original["backbone"], heads[0], heads[1:], original.get("neck")))

    def adapt_config(self, config: SetrConfig) -> SetrConfig:
        """
        With the kernel sizes that the checkpoint has: the authors' Naive head changed from 3x3 to 1x1 convolutions in
        April 2021, and checkpoints of both kinds exist.
        """
        if config.decoder_type != "naive" or self.is_mmseg:
            return config
        if "decode_head.conv_0.weight" in self.tensors:
            config.decoder_kernel_size = self.tensors["decode_head.conv_0.weight"].shape[-1]
        for index, head in enumerate(config.auxiliary_heads):
            if f"auxiliary_head.{index}.conv_0.weight" in self.tensors:
                head["kernel_size"] = self.tensors[f"auxiliary_head.{index}.conv_0.weight"].shape[-1]
        return config

    def rules(self, config: SetrConfig) -> list[Rule]:
        if self.is_mmseg:
            return [
                *vit_rules(config.backbone_config),
                *(_mmseg_mla_rules(config) if config.decoder_type == "mla" else _mmseg_up_rules()),
            ]
        return [
            Rule(r"backbone\.patch_embed\.proj\.(weight|bias)", r"backbone.embeddings.patch_embeddings.\1"),
            *token_rules(config.backbone_config, r"backbone\."),
            *layer_rules(r"backbone\.blocks", "backbone.layers", TIMM_NAMES),
            *(_authors_mla_rules() if config.decoder_type == "mla" else _authors_up_rules(config)),
        ]


def _read_authors_config(
    backbone: dict[str, Any], head: dict[str, Any], auxiliary_heads: list[dict[str, Any]], neck: None
) -> dict[str, Any]:
    hidden_size = backbone["embed_dim"]
    vit = {
        "hidden_size": hidden_size,
        "num_hidden_layers": backbone["depth"],
        "num_attention_heads": backbone["num_heads"],
        "intermediate_size": int(hidden_size * backbone.get("mlp_ratio", 4)),
        "image_size": backbone["img_size"],
        "patch_size": backbone.get("patch_size", 16),
        "num_channels": backbone.get("in_chans", 3),
        "qkv_bias": backbone.get("qkv_bias", True),
        "hidden_dropout_prob": backbone.get("drop_rate", 0.0),
        "drop_path_rate": backbone.get("drop_path_rate", 0.0),
    }
    if "mla_index" in backbone:
        taps = list(backbone["mla_index"])
        return {
            "backbone_config": PlainVitConfig(**vit, use_class_token=False, out_indices=[tap + 1 for tap in taps]),
            "decoder_type": "mla",
            "decoder_hidden_size": head["mla_channels"],
            "mla_branch_size": head["mlahead_channels"],
            "auxiliary_heads": [{"in_index": aux["in_index"]} for aux in auxiliary_heads],
        }

    # These heads name blocks; ours name feature maps.
    taps = sorted({part["in_index"] % backbone["depth"] for part in (head, *auxiliary_heads)})
    up_heads = [
        {
            "in_index": taps.index(part["in_index"] % backbone["depth"]),
            # A head of four convolutions has 3x3 ones whatever the switch says.
            "kernel_size": 3 if part["num_conv"] == 4 or part.get("conv3x3_conv1x1", True) else 1,
            "upsample_scales": _authors_upsample_scales(part),
        }
        for part in (head, *auxiliary_heads)
    ]
    return {
        "backbone_config": PlainVitConfig(**vit, out_indices=[tap + 1 for tap in taps]),
        "decoder_type": "pup" if head["num_conv"] == 4 else "naive",
        **_decode_head_arguments(up_heads[0]),
        "auxiliary_heads": up_heads[1:],
    }


def _authors_upsample_scales(head: dict[str, Any]) -> list[int]:
    shape = (head["num_conv"], head["num_upsampe_layer"])
    if shape not in AUTHORS_UPSAMPLE_SCALES:
        raise ValueError(
            f"A head of num_conv={shape[0]} and num_upsampe_layer={shape[1]} cannot be converted; the pairs known are "
            f"{sorted(AUTHORS_UPSAMPLE_SCALES)}."
        )
    return list(AUTHORS_UPSAMPLE_SCALES[shape])


def _decode_head_arguments(up_head: dict[str, Any]) -> dict[str, Any]:
    return {f"decoder_{key}": value for key, value in up_head.items()}


def _read_mmseg_config(
    backbone: dict[str, Any], head: dict[str, Any], auxiliary_heads: list[dict[str, Any]], neck: dict[str, Any] | None
) -> dict[str, Any]:
    backbone_config = read_vit_config(backbone, as_list(backbone["out_indices"]))
    if neck is not None:
        for aux in auxiliary_heads:
            refuse_unless(aux, num_convs=0)
        return {
            "backbone_config": backbone_config,
            "decoder_type": "mla",
            "decoder_hidden_size": neck["out_channels"],
            "mla_branch_size": head["mla_channels"],
            "mla_align_corners": False,
            "mla_classifier_kernel_size": 1,
            "mla_auxiliary_bias": True,
            # The neck's outputs run from deep to shallow there, from shallow to deep here.
            "auxiliary_heads": [{"in_index": NUM_LEVELS - 1 - aux["in_index"]} for aux in auxiliary_heads],
        }

    num_taps = len(backbone_config.out_indices)
    up_heads = [
        {
            "in_index": part["in_index"] % num_taps,
            "kernel_size": part["kernel_size"],
            "upsample_scales": [part["up_scale"]] * part["num_convs"],
        }
        for part in (head, *auxiliary_heads)
    ]
    for aux in auxiliary_heads:
        refuse_unless(aux, channels=head["channels"])
    return {
        "backbone_config": backbone_config,
        "decoder_type": "pup" if head["kernel_size"] == 3 else "naive",
        "decoder_hidden_size": head["channels"],
        "decoder_conv_bias": False,
        **_decode_head_arguments(up_heads[0]),
        "auxiliary_heads": up_heads[1:],
    }


UNUSED_CLASSIFIER = Rule(r"(decode_head|auxiliary_head\.\d+)\.conv_seg\..*", reason="never applied by the original")


def _authors_up_rules(config: SetrConfig) -> list[Rule]:
    head = r"(decode_head|auxiliary_head\.\d+)"
    last = len(config.decoder_upsample_scales)
    return [
        UNUSED_CLASSIFIER,
        Rule(rf"{head}\.norm\.(weight|bias)", r"\1.layernorm.\2"),
        Rule(rf"decode_head\.conv_{last}\.(weight|bias)", r"decode_head.classifier.\1"),
        Rule(r"(auxiliary_head\.\d+)\.conv_1\.(weight|bias)", r"\1.classifier.\2"),
        Rule(rf"{head}\.conv_(\d)\.(weight|bias)", r"\1.layers.\2.conv.\3"),
        Rule(rf"{head}\.syncbn_fc_(\d)\.{BATCH_NORM}", r"\1.layers.\2.batch_norm.\3"),
    ]


def _authors_mla_rules() -> list[Rule]:
    table = [UNUSED_CLASSIFIER]
    for level in range(NUM_LEVELS):
        table += module_rules({rf"backbone\.norm_{level}": f"neck.layernorms.{level}"})
        branch, our_branch = rf"decode_head\.mlahead\.head{level + 2}", f"decode_head.branches.{level}"
        for theirs, conv, norm, ours in (
            (rf"backbone\.mla\.mla_p{level + 2}_1x1", 0, 1, f"neck.lateral_layers.{level}"),
            (rf"backbone\.mla\.mla_p{level + 2}", 0, 1, f"neck.output_layers.{level}"),
            (branch, 0, 1, f"{our_branch}.0"),
            (branch, 3, 4, f"{our_branch}.1"),
        ):
            table += module_rules({rf"{theirs}\.{conv}": f"{ours}.conv", rf"{theirs}\.{norm}": f"{ours}.batch_norm"})
    return [
        *table,
        Rule(r"decode_head\.cls\.(weight|bias)", r"decode_head.classifier.\1"),
        Rule(r"auxiliary_head\.(\d+)\.aux\.weight", r"auxiliary_head.\1.weight"),
    ]


def _mmseg_up_rules() -> list[Rule]:
    head = r"(decode_head|auxiliary_head\.\d+)"
    return [
        Rule(rf"{head}\.norm\.(weight|bias)", r"\1.layernorm.\2"),
        Rule(rf"{head}\.conv_seg\.(weight|bias)", r"\1.classifier.\2"),
        Rule(rf"{head}\.up_convs\.(\d+)\.0\.conv\.weight", r"\1.layers.\2.conv.weight"),
        Rule(rf"{head}\.up_convs\.(\d+)\.0\.bn\.{BATCH_NORM}", r"\1.layers.\2.batch_norm.\3"),
    ]


def _mmseg_mla_rules(config: SetrConfig) -> list[Rule]:
    def shallow_level_first(weight: torch.Tensor) -> torch.Tensor:
        return torch.cat(weight.split(config.mla_branch_size, dim=1)[::-1], dim=1)

    table = [
        Rule(r"neck\.norm\.(\d)\.(weight|bias)", r"neck.layernorms.\1.\2"),
        Rule(r"neck\.mla\.channel_proj\.(\d)\.conv\.weight", r"neck.lateral_layers.\1.conv.weight"),
        Rule(rf"neck\.mla\.channel_proj\.(\d)\.bn\.{BATCH_NORM}", r"neck.lateral_layers.\1.batch_norm.\2"),
        Rule(r"decode_head\.conv_seg\.weight", "decode_head.classifier.weight", shallow_level_first),
        Rule(r"decode_head\.conv_seg\.bias", "decode_head.classifier.bias"),
        Rule(r"auxiliary_head\.(\d+)\.conv_seg\.(weight|bias)", r"auxiliary_head.\1.\2"),
    ]
    for level in range(NUM_LEVELS):
        theirs = NUM_LEVELS - 1 - level
        for layer, ours in (
            (rf"neck\.mla\.feat_extract\.{theirs}", f"neck.output_layers.{level}"),
            (rf"decode_head\.up_convs\.{theirs}\.(\d)", rf"decode_head.branches.{level}.\1"),
        ):
            table += module_rules({rf"{layer}\.conv": f"{ours}.conv", rf"{layer}\.bn": f"{ours}.batch_norm"})
    return table
