# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
UPerNet over BEiT, as transformers' `UperNetForSemanticSegmentation` over its `BeitBackbone`.

transformers' `BeitForSemanticSegmentation` has the same layers, but counts the blocks whose outputs it takes so that
the last one is out of reach.
"""

from typing import Any

from transformers import BeitConfig

from ..arguments import OriginalClass
from ..mmseg import BN, GELU, LN
from ..rules import Rule, module_rules
from .upernet import UPER_HEAD, UperNetConverter


BEIT = OriginalClass(
    ("BEiT",),
    carried={
        "img_size": 224,
        "patch_size": 16,
        "in_channels": 3,
        "embed_dims": 768,
        "num_layers": 12,
        "num_heads": 12,
        "mlp_ratio": 4,
        "out_indices": -1,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "init_values": 0.1,
    },
    fixed={"qv_bias": True, "patch_norm": False, "final_norm": False, "num_fcs": 2},
    parts={"norm_cfg": (LN, {"type": "LN"}), "act_cfg": (GELU, {"type": "GELU"})},
    ignored=("norm_eval", "pretrained", "init_cfg"),
)
NECK = OriginalClass(
    ("Feature2Pyramid",),
    required=("embed_dim",),
    fixed={"rescales": [4, 2, 1, 0.5]},
    parts={"norm_cfg": (BN, {"type": "SyncBN"})},
)


class UperNetBeitConverter(UperNetConverter):
    """Checkpoints of mmsegmentation's UPerNet over BEiT."""

    refusal = "This is no checkpoint of mmsegmentation's UPerNet over BEiT"
    expected_names = "backbone.layers.0.attn.q_bias and decode_head.fpn_bottleneck.conv.weight"
    architectures = ((BEIT, UPER_HEAD),)
    neck = NECK

    def has_known_names(self) -> bool:
        return super().has_known_names() and "backbone.layers.0.attn.q_bias" in self.tensors

    def read_backbone(self, backbone: dict[str, Any]) -> BeitConfig:
        beit = BEIT.read(backbone)
        image_size, taps = beit["img_size"], beit["out_indices"]
        if isinstance(image_size, list):
            # transformers mixes up the sides of a table of relative positions that is not square.
            if len(set(image_size)) != 1:
                raise ValueError(f"{beit['type']} has img_size={image_size!r}; only a square can be converted.")
            image_size = image_size[0]
        depth = beit["num_layers"]
        if not isinstance(taps, list) or len(set(taps)) != 4 or any(not 0 <= tap < depth for tap in taps):
            raise ValueError(f"{beit['type']} has out_indices={taps!r}; expected four layers from 0 to {depth - 1}.")
        return BeitConfig(
            image_size=image_size,
            patch_size=beit["patch_size"],
            num_channels=beit["in_channels"],
            hidden_size=beit["embed_dims"],
            num_hidden_layers=depth,
            num_attention_heads=beit["num_heads"],
            intermediate_size=beit["mlp_ratio"] * beit["embed_dims"],
            attention_probs_dropout_prob=beit["attn_drop_rate"],
            drop_path_rate=beit["drop_path_rate"],
            layer_norm_eps=beit["norm_cfg"]["eps"],
            layer_scale_init_value=beit["init_values"],
            use_relative_position_bias=True,
            add_fpn=True,
            out_features=[f"stage{tap + 1}" for tap in sorted(taps)],
        )

    def backbone_rules(self, config: BeitConfig) -> list[Rule]:
        block, our_block = r"backbone\.layers\.(\d+)", r"backbone.beit.layers.\1"
        attention, bias_table = f"{our_block}.attention", "relative_position_bias_table"
        modules = {
            r"backbone\.patch_embed\.projection": "backbone.beit.embeddings.patch_embeddings.projection",
            rf"{block}\.ln1": f"{our_block}.layernorm_before",
            rf"{block}\.attn\.proj": f"{attention}.o_proj",
            rf"{block}\.ln2": f"{our_block}.layernorm_after",
            rf"{block}\.ffn\.layers\.0\.0": f"{our_block}.mlp.fc1",
            rf"{block}\.ffn\.layers\.1": f"{our_block}.mlp.fc2",
            r"neck\.upsample_4x\.0": "backbone.fpn.fpn1.conv_transpose1",
            r"neck\.upsample_4x\.1": "backbone.fpn.fpn1.normalization",
            r"neck\.upsample_4x\.3": "backbone.fpn.fpn1.conv_transpose2",
            r"neck\.upsample_2x\.0": "backbone.fpn.fpn2",
        }
        return [
            *module_rules(modules),
            Rule(r"backbone\.cls_token", "backbone.beit.embeddings.cls_token"),
            Rule(rf"{block}\.attn\.qkv\.weight", tuple(f"{attention}.{part}_proj.weight" for part in "qkv")),
            Rule(rf"{block}\.attn\.([qv])_bias", rf"{attention}.\2_proj.bias"),
            Rule(rf"{block}\.attn\.{bias_table}", f"{our_block}.relative_position_bias.{bias_table}"),
            Rule(r".*\.relative_position_index", reason="follows from the size of the image"),
            Rule(rf"{block}\.gamma_([12])", rf"{our_block}.lambda_\2"),
        ]
