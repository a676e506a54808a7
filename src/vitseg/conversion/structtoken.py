# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken (https://github.com/RockeyCoss/StructToken): configurations to `StructTokenConfig`, names to ours."""

from typing import Any

from ..models.configuration_structtoken import StructTokenConfig
from .base import Converter
from .mmseg import as_list, read_test_protocol, read_vit_config, refuse_unless, vit_rules
from .rules import Rule, pointwise_rules


EXTRACTIONS = {
    "CrossSliceExtracStructTokenHead": "cse",
    "SelfSliceExtracStructTokenHead": "sse",
    "PointWiseExtracStructTokenHead": "pwe",
}
# The original's head counts positions in these, whatever the patches of its backbone.
TOKEN_SIZE = 16
LAYER = r"decode_head\.layers\.(\d+)"


class StructTokenConverter(Converter):
    """StructToken's checkpoints."""

    refusal = "This is not a StructToken checkpoint"
    expected_names = "decode_head.kernels and backbone.pos_embed"

    def has_known_names(self) -> bool:
        return {"decode_head.kernels", "backbone.pos_embed"} <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> StructTokenConfig:
        """The `StructTokenConfig` of `backbone`, `decode_head` and `test_cfg`."""
        backbone, head = original["backbone"], original["decode_head"]
        if head["type"] not in EXTRACTIONS:
            raise ValueError(f"decode_head has type={head['type']!r}; expected one of {list(EXTRACTIONS)}.")
        refuse_unless(head, align_corners=False, interpolate_mode="bicubic", input_transform=None)
        norm = head.get("norm_cfg", {})
        refuse_unless(norm, type="LN")
        for loss in as_list(head.get("loss_decode")):
            refuse_unless(loss, type="CrossEntropyLoss", loss_weight=1.0, use_sigmoid=False, class_weight=None)

        # The backbone's feature maps are in the order of its blocks.
        depth = backbone["num_layers"]
        taps = sorted(index % depth for index in as_list(backbone.get("out_indices", -1)))
        return StructTokenConfig(
            backbone_config=read_vit_config(backbone, [taps[head.get("in_index", -1)]]),
            num_labels=head["num_classes"],
            extraction=EXTRACTIONS[head["type"]],
            token_grid_size=[head.get(side, 512) // TOKEN_SIZE for side in ("image_h", "image_w")],
            decoder_hidden_size=head["channels"],
            decoder_num_layers=head["num_layers"],
            decoder_mlp_ratio=head.get("mlp_ratio", 4),
            decoder_drop_path_rate=head.get("drop_path_rate", 0.1),
            decoder_mlp_layer_norm_eps=norm.get("eps", 1e-5),
            semantic_loss_ignore_index=head.get("ignore_index", 255),
            **read_test_protocol(original.get("test_cfg")),
        )

    def rules(self, config: StructTokenConfig) -> list[Rule]:
        mixer, ours = rf"{LAYER}\.(?:cross_attn|attn)", r"decode_head.layers.\1"
        first_map = "query_map" if config.extraction != "pwe" else "input_map"
        mlps = {"ffn1": "token_mlp", "ffn2": "feature_mlp"} if config.extraction == "cse" else {"ffn1": "mlp"}
        maps = {"query_map": first_map, "key_map": "key_map", "value_map": "value_map", "out_project": "output_map"}
        return [
            *vit_rules(config.backbone_config),
            Rule(r"decode_head\.kernels", "decode_head.structure_tokens"),
            *pointwise_rules(r"decode_head\.dec_proj", "decode_head.projection"),
            *pointwise_rules(rf"{mixer}\.attn_pw_conv", rf"{ours}.extraction.mixing"),
            *(
                rule
                for theirs, name in maps.items()
                for rule in _block_rules(
                    rf"{mixer}\.{theirs}", rf"{ours}.extraction.{name}", ("conv1", "conv2", "conv3")
                )
            ),
            *(
                rule
                for theirs, name in mlps.items()
                for rule in _block_rules(
                    rf"{LAYER}\.{theirs}", rf"{ours}.{name}.block", ("pwconv1", "dwconv", "pwconv2")
                )
            ),
            Rule(
                r"decode_head\.residual_block\.norm(\d)\.(weight|bias)", r"decode_head.residual_block.layernorm\1.\2"
            ),
            Rule(r"decode_head\.residual_block\.(conv\d)\.(weight|bias)", r"decode_head.residual_block.\1.\2"),
        ]


def _block_rules(theirs: str, ours: str, convolutions: tuple[str, str, str]) -> list[Rule]:
    """Three convolutions, each with its norm."""
    first, middle, last = convolutions
    return [
        *pointwise_rules(rf"{theirs}\.{first}", f"{ours}.fc1"),
        Rule(rf"{theirs}\.{middle}\.(weight|bias)", rf"{ours}.conv.\2"),
        *pointwise_rules(rf"{theirs}\.{last}", f"{ours}.fc2"),
        Rule(rf"{theirs}\.norm(\d)\.(weight|bias)", rf"{ours}.layernorm\2.\3"),
    ]
