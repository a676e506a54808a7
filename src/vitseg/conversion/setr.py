# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SETR: original configurations to `SetrConfig`, original names to ours.

Two families of checkpoints exist. The authors' (https://github.com/fudan-zvg/SETR) hold `backbone.blocks`;
mmsegmentation's own hold `backbone.layers`, and their decoders differ in places (see `SetrConfig`).
"""

from collections.abc import Mapping
from typing import Any

import torch

from ..models.configuration_plain_vit import PlainVitConfig
from ..models.configuration_setr import SetrConfig
from .arguments import OriginalClass, refuse_unless, value_of_all
from .base import Converter
from .mmseg import (
    BN,
    DECODE_HEAD,
    ENCODER_DECODER,
    FCN_HEAD,
    LN,
    RELU,
    VISION_TRANSFORMER,
    as_list,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_training,
    read_vit_config,
    tapped,
    vit_absent_biases,
    vit_rules,
    vit_taps,
)
from .plain_vit import TIMM_NAMES, layer_rules, token_rules
from .rules import BATCH_NORM, Rule, module_rules


NUM_LEVELS = 4
# Of the layer norms before and in decoders.
NORM_EPS = 1e-6
# (convolutions, upsamplings) of the authors' up head -> factors after each convolution before the classifier.
AUTHORS_UPSAMPLE_SCALES = {(2, 1): [1], (2, 2): [4], (4, 4): [2, 2, 2, 2]}

# The authors' classes.
AUTHORS_VIT = OriginalClass(
    ("VisionTransformer",),
    carried={
        "img_size": 384,
        "patch_size": 16,
        "in_chans": 3,
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "drop_rate": 0.1,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
    },
    fixed={"qk_scale": None, "hybrid_backbone": None},
    # Its norms are layer norms, whatever `norm_cfg` says; the rest is about the ImageNet weights it starts from.
    ignored=("model_name", "num_classes", "norm_cfg", "pos_embed_interp", "random_init", "align_corners"),
)
AUTHORS_MLA_VIT = AUTHORS_VIT.derived(
    "VIT_MLA", carried={"mla_channels": 256, "mla_index": [5, 11, 17, 23]}, parts={"norm_cfg": (BN, None)}
)
# None of their heads uses the dropout and the classifier of the base class. Published configurations state widths of
# the backbone that it does not have.
AUTHORS_HEAD = DECODE_HEAD.derived(
    "BaseDecodeHead",
    required=("num_classes",),
    carried={"img_size": 768},
    ignored=("in_channels", "channels", "dropout_ratio", "act_cfg"),
)
AUTHORS_UP_HEAD = AUTHORS_HEAD.derived(
    "VisionTransformerUpHead",
    carried={"num_conv": 1, "num_upsampe_layer": 1, "conv3x3_conv1x1": True},
    fixed={"upsampling_method": "bilinear"},
    ignored=("embed_dim",),
)
AUTHORS_MLA_HEAD = AUTHORS_HEAD.derived("VIT_MLAHead", carried={"mla_channels": 256, "mlahead_channels": 128})
AUTHORS_MLA_AUXILIARY_HEAD = AUTHORS_HEAD.derived("VIT_MLA_AUXIHead", required=("in_channels",), ignored=("norm_cfg",))

# mmsegmentation's.
UP_HEAD = DECODE_HEAD.derived(
    "SETRUPHead",
    carried={"num_convs": 1, "up_scale": 4, "kernel_size": 3},
    parts={"norm_layer": (LN, {"type": "LN", "eps": NORM_EPS})},
)
MLA_HEAD = DECODE_HEAD.derived("SETRMLAHead", carried={"mla_channels": 128}, fixed={"up_scale": 4})
MLA_NECK = OriginalClass(
    ("MLANeck",),
    required=("in_channels", "out_channels"),
    parts={"norm_layer": (LN, {"type": "LN", "eps": NORM_EPS}), "norm_cfg": (BN, None), "act_cfg": (RELU, None)},
)


class SetrConverter(Converter):
    """SETR's checkpoints, of either family."""

    has_optional_heads = True
    refusal = "This is not a SETR checkpoint"
    expected_names = "backbone.blocks.0.norm1.weight or backbone.layers.0.ln1.weight, and a SETR decode head"
    architectures = (
        (VISION_TRANSFORMER, UP_HEAD),
        (VISION_TRANSFORMER, MLA_HEAD),
        (AUTHORS_VIT, AUTHORS_UP_HEAD),
        (AUTHORS_MLA_VIT, AUTHORS_MLA_HEAD),
    )

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
        model = ENCODER_DECODER.read(original)
        auxiliary_heads = as_list(model["auxiliary_head"])
        if self.is_mmseg:
            read = _read_mmseg_mla if model["neck"] is not None else _read_mmseg_up
            arguments, heads = read(model, auxiliary_heads, self.tensors)
        else:
            refuse_unless(model, neck=None)
            read_authors = _read_authors_mla if model["backbone"].get("type") == "VIT_MLA" else _read_authors_up
            arguments, heads = read_authors(model["backbone"], model["decode_head"], auxiliary_heads)
        return SetrConfig(**arguments, **read_training(heads), **read_test_protocol(model["test_cfg"]))

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

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

    def absent_biases(self, config: SetrConfig) -> str:
        return vit_absent_biases(config.backbone_config) if self.is_mmseg else ""

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


# A configuration's arguments for ours, and its heads.
Read = tuple[dict[str, Any], list[dict[str, Any]]]


def _read_authors_vit(vit: dict[str, Any], taps: list[int], **arguments: Any) -> PlainVitConfig:
    return PlainVitConfig(
        hidden_size=vit["embed_dim"],
        num_hidden_layers=vit["depth"],
        num_attention_heads=vit["num_heads"],
        intermediate_size=int(vit["embed_dim"] * vit["mlp_ratio"]),
        image_size=vit["img_size"],
        patch_size=vit["patch_size"],
        num_channels=vit["in_chans"],
        qkv_bias=vit["qkv_bias"],
        hidden_dropout_prob=vit["drop_rate"],
        attention_probs_dropout_prob=vit["attn_drop_rate"],
        drop_path_rate=vit["drop_path_rate"],
        out_indices=[tap + 1 for tap in taps],
        **arguments,
    )


def _read_authors_mla(backbone: dict[str, Any], head: dict[str, Any], auxiliary_heads: list[dict[str, Any]]) -> Read:
    vit, head = AUTHORS_MLA_VIT.read(backbone), read_head(AUTHORS_MLA_HEAD, head)
    auxiliary_heads = [read_head(AUTHORS_MLA_AUXILIARY_HEAD, part) for part in auxiliary_heads]
    refuse_unless(vit, mla_index=sorted(set(vit["mla_index"]) & set(range(vit["depth"]))))
    refuse_unless(head, mla_channels=vit["mla_channels"])
    for part in auxiliary_heads:
        refuse_unless(part, in_channels=vit["mla_channels"])
    for part in (head, *auxiliary_heads):
        refuse_unless(part, img_size=vit["img_size"])
    arguments = {
        "backbone_config": _read_authors_vit(vit, vit["mla_index"], use_class_token=False),
        "decoder_type": "mla",
        "decoder_hidden_size": head["mla_channels"],
        "mla_branch_size": head["mlahead_channels"],
        "auxiliary_heads": [{"in_index": tapped(part, NUM_LEVELS)} for part in auxiliary_heads],
    }
    return arguments, [head, *auxiliary_heads]


def _read_authors_up(backbone: dict[str, Any], head: dict[str, Any], auxiliary_heads: list[dict[str, Any]]) -> Read:
    vit, heads = AUTHORS_VIT.read(backbone), [read_head(AUTHORS_UP_HEAD, part) for part in (head, *auxiliary_heads)]
    for part in heads:
        refuse_unless(part, img_size=vit["img_size"])
    # These heads name blocks; ours name feature maps.
    blocks = [tapped(part, vit["depth"]) for part in heads]
    taps = sorted(set(blocks))
    up_heads = [
        {
            "in_index": taps.index(block),
            # A head of four convolutions has 3x3 ones whatever the switch says.
            "kernel_size": 3 if part["num_conv"] == 4 or part["conv3x3_conv1x1"] else 1,
            "upsample_scales": _authors_upsample_scales(part),
        }
        for part, block in zip(heads, blocks, strict=True)
    ]
    arguments = {
        "backbone_config": _read_authors_vit(vit, taps),
        "decoder_type": "pup" if heads[0]["num_conv"] == 4 else "naive",
        **_decode_head_arguments(up_heads[0]),
        "auxiliary_heads": up_heads[1:],
    }
    return arguments, heads


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


def _read_mmseg_mla(
    model: dict[str, Any], auxiliary_heads: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor]
) -> Read:
    vit, neck = VISION_TRANSFORMER.read(model["backbone"]), MLA_NECK.read(model["neck"])
    head = read_head(MLA_HEAD, model["decode_head"])
    auxiliary_heads = [read_head(FCN_HEAD, part) for part in auxiliary_heads]
    refuse_unless(neck["norm_layer"], eps=NORM_EPS)
    refuse_unless(neck, in_channels=[vit["embed_dims"]] * NUM_LEVELS)
    refuse_unless(head, in_channels=[neck["out_channels"]] * NUM_LEVELS, in_index=list(range(NUM_LEVELS)))
    refuse_unless(head, channels=NUM_LEVELS * head["mla_channels"])
    for part in auxiliary_heads:
        refuse_unless(part, num_convs=0, concat_input=False)
        refuse_unless(part, in_channels=neck["out_channels"], channels=neck["out_channels"])
    arguments = {
        "backbone_config": read_vit_config(vit, vit_taps(vit), tensors),
        "decoder_type": "mla",
        "decoder_hidden_size": neck["out_channels"],
        "decoder_dropout": value_of_all([head, *auxiliary_heads], "dropout_ratio"),
        "mla_branch_size": head["mla_channels"],
        "mla_align_corners": False,
        "mla_classifier_kernel_size": 1,
        "mla_auxiliary_bias": True,
        # The neck's outputs run from deep to shallow there, from shallow to deep here.
        "auxiliary_heads": [{"in_index": NUM_LEVELS - 1 - tapped(part, NUM_LEVELS)} for part in auxiliary_heads],
    }
    return arguments, [head, *auxiliary_heads]


def _read_mmseg_up(
    model: dict[str, Any], auxiliary_heads: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor]
) -> Read:
    vit = VISION_TRANSFORMER.read(model["backbone"])
    heads = [read_head(UP_HEAD, part) for part in (model["decode_head"], *auxiliary_heads)]
    taps = vit_taps(vit)
    for part in heads:
        refuse_unless(part["norm_layer"], eps=NORM_EPS)
        refuse_unless(part, in_channels=vit["embed_dims"])
        if part["num_convs"] < 1:
            raise ValueError(f"SETRUPHead has num_convs={part['num_convs']!r}; expected at least 1.")
    up_heads = [
        {
            "in_index": tapped(part, len(taps)),
            "kernel_size": part["kernel_size"],
            "upsample_scales": [part["up_scale"]] * part["num_convs"],
        }
        for part in heads
    ]
    arguments = {
        "backbone_config": read_vit_config(vit, taps, tensors),
        "decoder_type": "pup" if heads[0]["kernel_size"] == 3 else "naive",
        "decoder_hidden_size": value_of_all(heads, "channels"),
        "decoder_dropout": value_of_all(heads, "dropout_ratio"),
        "decoder_conv_bias": False,
        **_decode_head_arguments(up_heads[0]),
        "auxiliary_heads": up_heads[1:],
    }
    return arguments, heads


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
