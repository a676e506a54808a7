# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT (https://github.com/zbwxp/SegVit): original configurations to `SegVitConfig`, original names to ours."""

from collections.abc import Mapping
from typing import Any

import torch

from ..models.configuration_plain_vit import PlainVitConfig
from ..models.configuration_segvit import SegVitConfig
from ..recipes.labels import load_label_set
from .arguments import OriginalClass, refuse_unless
from .base import Converter
from .mmseg import (
    DECODE_HEAD,
    ENCODER_DECODER,
    VISION_TRANSFORMER,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_vit_config,
    vit_absent_biases,
    vit_rules,
    vit_taps,
)
from .rules import Rule


DECODER_TYPES = {"ATMHead": "atm", "ATMSingleHead": "single_atm", "TPNATMHead": "tpn_atm"}

ATM_LOSS = OriginalClass(
    ("ATMLoss",),
    required=("num_classes", "dec_layers"),
    carried={"cls_weight": 1.0, "mask_weight": 20.0, "dice_weight": 1.0, "loss_weight": 1.0},
    fixed={"use_point": False},
)
ATM_HEAD = DECODE_HEAD.derived(
    *DECODER_TYPES,
    required=("num_classes", "img_size", "in_channels", "loss_decode"),
    carried={
        "embed_dims": 768,
        "num_layers": 3,
        "num_heads": 8,
        "use_stages": 3,
        "use_proj": True,
        "shrink_ratio": None,
    },
    fixed={"CE_loss": False, "crop_train": False},
    # It takes the classifier of the base class away, and what belongs to it.
    ignored=("channels", "dropout_ratio", "in_index", "norm_cfg", "act_cfg"),
)
SHRINKING_VIT = VISION_TRANSFORMER.derived("vit_shrink", carried={"shrink_idx": 8})

# Modules of a decoder layer that keep their weight and bias.
LAYER_NAMES = {
    r"self_attn\.out_proj": "self_attention.o_proj",
    r"norm1": "self_attention_layernorm",
    r"multihead_attn\.q": "cross_attention.q_proj",
    r"multihead_attn\.k": "cross_attention.k_proj",
    r"multihead_attn\.v": "cross_attention.v_proj",
    r"multihead_attn\.(?:proj|out_proj)": "cross_attention.o_proj",
    r"norm2": "cross_attention_layernorm",
    r"linear1": "mlp.fc1",
    r"linear2": "mlp.fc2",
    r"norm3": "mlp_layernorm",
}


class SegVitConverter(Converter):
    """SegViT's checkpoints."""

    refusal = "This is not a SegViT checkpoint"
    expected_names = "backbone.layers.0.ln1.weight and decode_head.decoder_1.layers.0.linear1.weight"
    architectures = ((VISION_TRANSFORMER, ATM_HEAD), (SHRINKING_VIT, ATM_HEAD))

    def has_known_names(self) -> bool:
        has_backbone = any(name.startswith("backbone.layers.") for name in self.tensors)
        return has_backbone and "decode_head.decoder_1.layers.0.linear1.weight" in self.tensors

    def read_config(self, original: dict[str, Any]) -> SegVitConfig:
        """The `SegVitConfig` of `backbone`, `decode_head` and `test_cfg`."""
        model = ENCODER_DECODER.read(original)
        head_type = model["decode_head"]["type"]
        if head_type not in DECODER_TYPES:
            raise ValueError(f"decode_head is a {head_type}; expected one of {sorted(DECODER_TYPES)}.")
        if model["auxiliary_head"]:
            raise ValueError("The original configuration has an auxiliary_head, which no SegViT has.")
        refuse_unless(model, neck=None)
        head = read_head(ATM_HEAD, model["decode_head"])
        loss = ATM_LOSS.read_part(head_type, "loss_decode", head["loss_decode"])
        vit = _read_vit(model["backbone"])
        refuse_unless(head, in_channels=vit["embed_dims"])
        refuse_unless(loss, num_classes=head["num_classes"])
        return SegVitConfig(
            num_labels=head["num_classes"],
            backbone_config=_read_backbone(vit, head["use_stages"], self.tensors),
            decoder_type=DECODER_TYPES[head_type],
            decoder_hidden_size=head["embed_dims"],
            decoder_num_layers=head["num_layers"],
            decoder_num_attention_heads=head["num_heads"],
            decoder_use_projection=head["use_proj"],
            mask_size=head["img_size"],
            query_stride=head["shrink_ratio"] or 16,
            class_weight=loss["cls_weight"] * loss["loss_weight"],
            mask_weight=loss["mask_weight"] * loss["loss_weight"],
            dice_weight=loss["dice_weight"] * loss["loss_weight"],
            num_auxiliary_losses=loss["dec_layers"] - 1,
            semantic_loss_ignore_index=head["ignore_index"],
            **read_test_protocol(model["test_cfg"]),
        )

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

    def adapt_config(self, config: SegVitConfig) -> SegVitConfig:
        """
        With the classes that the checkpoint has: the published files for Pascal Context are named after 59 classes,
        their configurations have 60.
        """
        queries = self.tensors.get("decode_head.atm.q.weight", self.tensors.get("decode_head.q.weight"))
        num_labels = config.num_labels if queries is None else len(queries)
        if num_labels != config.num_labels and {num_labels, config.num_labels} == {59, 60}:
            label_set = load_label_set(f"pascal_context{num_labels}")
            config.id2label, config.label2id = label_set.id2label, label_set.label2id
        return config

    def absent_biases(self, config: SegVitConfig) -> str:
        return vit_absent_biases(config.backbone_config)

    def rules(self, config: SegVitConfig) -> list[Rule]:
        table = [
            *vit_rules(config.backbone_config),
            Rule(r"decode_head\.(atm\.)?loss_decode\.criterion\.empty_weight", reason="constant weights of the loss"),
        ]
        num_stages = len(config.backbone_config.out_indices)
        if config.decoder_type != "tpn_atm":
            decoders = _decoder_rules(r"decode_head\.", "decode_head.", num_stages)
            return [*table, *decoders, *_class_rules(r"decode_head\.")]
        return [
            *table,
            *_decoder_rules(r"decode_head\.", "decode_head.upsampler.", num_stages),
            Rule(r"decode_head\.q\.weight", "decode_head.upsampler.queries"),
            *_decoder_rules(r"decode_head\.atm\.", "decode_head.", 1),
            *_class_rules(r"decode_head\.atm\."),
        ]


def _read_vit(backbone: dict[str, Any]) -> dict[str, Any]:
    if backbone["type"] == "vit_shrink":
        vit = SHRINKING_VIT.read(backbone)
        # With one the original cuts a patch off.
        refuse_unless(vit, with_cls_token=False)
        return vit
    if backbone["type"] != "VisionTransformer":
        raise ValueError(f"backbone is a {backbone['type']}; expected a VisionTransformer or a vit_shrink.")
    return {**VISION_TRANSFORMER.read(backbone), "shrink_idx": None}


def _read_backbone(vit: dict[str, Any], num_stages: int, tensors: Mapping[str, torch.Tensor]) -> PlainVitConfig:
    # The head takes the first feature maps.
    taps = vit_taps(vit)
    if num_stages > len(taps):
        raise ValueError(f"decode_head has use_stages={num_stages}, but backbone taps {len(taps)} layers.")
    config = read_vit_config(vit, taps[:num_stages], tensors)
    # The original tells grids with as many tokens apart no more than that, but fails on all but square ones.
    config.interpolate_by_token_count = False
    config.shrink_layer = None if vit["shrink_idx"] is None else vit["shrink_idx"] + 1
    config.validate()
    return config


def _decoder_rules(theirs: str, ours: str, num_stages: int) -> list[Rule]:
    """Rules of the projections and decoders of some stages; `theirs` and `ours` begin the names."""
    table = []
    for stage in range(num_stages):
        layers, our_layer = rf"{theirs}decoder_{stage + 1}\.layers\.(\d+)", rf"{ours}decoders.{stage}.layers.\1"
        table += [
            Rule(rf"{theirs}input_proj_{stage + 1}\.(weight|bias)", rf"{ours}projections.{stage}.linear.\1"),
            Rule(rf"{theirs}proj_norm_{stage + 1}\.(weight|bias)", rf"{ours}projections.{stage}.layernorm.\1"),
        ]
        for attention, our_attention in (("self_attn", "self_attention"), ("multihead_attn", "cross_attention")):
            qkv = tuple(rf"{our_layer}.{our_attention}.{part}_proj.\2" for part in "qkv")
            table.append(Rule(rf"{layers}\.{attention}\.in_proj_(weight|bias)", qkv))
        table += [
            Rule(rf"{layers}\.{name}\.(weight|bias)", rf"{our_layer}.{our_name}.\2")
            for name, our_name in LAYER_NAMES.items()
        ]
    return table


def _class_rules(theirs: str) -> list[Rule]:
    return [
        Rule(rf"{theirs}q\.weight", "decode_head.class_queries"),
        Rule(rf"{theirs}class_embed\.(weight|bias)", r"decode_head.classifier.\1"),
    ]
