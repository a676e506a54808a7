# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT (https://github.com/zbwxp/SegVit): original configurations to `SegVitConfig`, original names to ours."""

from typing import Any

from ..models.configuration_plain_vit import PlainVitConfig
from ..models.configuration_segvit import SegVitConfig
from ..recipes.labels import load_label_set
from .base import Converter
from .mmseg import as_list, read_test_protocol, read_vit_config, refuse_unless, vit_rules
from .rules import Rule


DECODER_TYPES = {"ATMHead": "atm", "ATMSingleHead": "single_atm", "TPNATMHead": "tpn_atm"}

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

    def has_known_names(self) -> bool:
        has_backbone = any(name.startswith("backbone.layers.") for name in self.tensors)
        return has_backbone and "decode_head.decoder_1.layers.0.linear1.weight" in self.tensors

    def read_config(self, original: dict[str, Any]) -> SegVitConfig:
        """The `SegVitConfig` of `backbone`, `decode_head` and `test_cfg`."""
        backbone, head = original["backbone"], original["decode_head"]
        if head["type"] not in DECODER_TYPES:
            raise ValueError(f"decode_head is a {head['type']}; expected one of {sorted(DECODER_TYPES)}.")
        if original.get("auxiliary_head"):
            raise ValueError("The original configuration has an auxiliary_head, which no SegViT has.")
        loss = head["loss_decode"]
        refuse_unless(head, CE_loss=False, crop_train=False, align_corners=False, in_channels=backbone["embed_dims"])
        refuse_unless(loss, type="ATMLoss", num_classes=head["num_classes"])
        loss_weight = loss.get("loss_weight", 1.0)
        return SegVitConfig(
            num_labels=head["num_classes"],
            backbone_config=_read_backbone(backbone, head["use_stages"]),
            decoder_type=DECODER_TYPES[head["type"]],
            decoder_hidden_size=head["embed_dims"],
            decoder_num_layers=head["num_layers"],
            decoder_num_attention_heads=head["num_heads"],
            decoder_use_projection=head.get("use_proj", True),
            mask_size=head["img_size"],
            query_stride=head.get("shrink_ratio") or 16,
            class_weight=1.0 * loss_weight,
            mask_weight=20.0 * loss_weight,
            dice_weight=1.0 * loss_weight,
            num_auxiliary_losses=loss["dec_layers"] - 1,
            **read_test_protocol(original.get("test_cfg")),
        )

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


def _read_backbone(backbone: dict[str, Any], num_stages: int) -> PlainVitConfig:
    shrinks = backbone["type"] == "vit_shrink"
    if not shrinks and backbone["type"] != "VisionTransformer":
        raise ValueError(f"backbone is a {backbone['type']}; expected a VisionTransformer or a vit_shrink.")
    if shrinks:
        # With one the original cuts a patch off.
        refuse_unless({"with_cls_token": True, **backbone}, with_cls_token=False)
    # Feature maps come in the order of the layers; the head takes the first ones.
    taps = sorted(tap % backbone["num_layers"] for tap in as_list(backbone["out_indices"]))
    if num_stages > len(taps):
        raise ValueError(f"decode_head has use_stages={num_stages}, but backbone taps {len(taps)} layers.")
    config = read_vit_config(backbone, taps[:num_stages])
    config.drop_path_on_attention = False
    # The original tells grids with as many tokens apart no more than that, but fails on all but square ones.
    config.interpolate_by_token_count = False
    config.shrink_layer = backbone.get("shrink_idx", 8) + 1 if shrinks else None
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
