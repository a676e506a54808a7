# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken (https://github.com/RockeyCoss/StructToken): configurations to `StructTokenConfig`, names to ours."""

from typing import Any

from ..models.configuration_structtoken import StructTokenConfig
from .arguments import refuse_unless
from .base import Converter
from .mmseg import (
    DECODE_HEAD,
    ENCODER_DECODER,
    GELU,
    LN,
    VISION_TRANSFORMER,
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
from .rules import Rule, pointwise_rules


EXTRACTIONS = {
    "CrossSliceExtracStructTokenHead": "cse",
    "SelfSliceExtracStructTokenHead": "sse",
    "PointWiseExtracStructTokenHead": "pwe",
}
# The original's head counts positions in these, whatever the patches of its backbone.
TOKEN_SIZE = 16
HEAD = DECODE_HEAD.derived(
    *EXTRACTIONS,
    carried={"image_h": 512, "image_w": 512, "num_layers": 2, "mlp_ratio": 4, "drop_path_rate": 0.1},
    fixed={
        "h_stride": TOKEN_SIZE,
        "w_stride": TOKEN_SIZE,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "interpolate_mode": "bicubic",
    },
    parts={"norm_cfg": (LN, {"type": "LN"}), "act_cfg": (GELU, {"type": "GELU"})},
    # It takes the classifier of the base class away, and never calls the dropout before it.
    ignored=("dropout_ratio",),
)
LAYER = r"decode_head\.layers\.(\d+)"


class StructTokenConverter(Converter):
    """StructToken's checkpoints."""

    refusal = "This is not a StructToken checkpoint"
    expected_names = "decode_head.kernels and backbone.pos_embed"
    architectures = ((VISION_TRANSFORMER, HEAD),)

    def has_known_names(self) -> bool:
        return {"decode_head.kernels", "backbone.pos_embed"} <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> StructTokenConfig:
        """The `StructTokenConfig` of `backbone`, `decode_head` and `test_cfg`."""
        model = ENCODER_DECODER.read(original)
        refuse_unless(model, neck=None, auxiliary_head=None)
        head_type = model["decode_head"]["type"]
        if head_type not in EXTRACTIONS:
            raise ValueError(f"decode_head has type={head_type!r}; expected one of {list(EXTRACTIONS)}.")
        vit, head = VISION_TRANSFORMER.read(model["backbone"]), read_head(HEAD, model["decode_head"])
        refuse_unless(head, in_channels=vit["embed_dims"])
        taps = vit_taps(vit)
        backbone_config = read_vit_config(vit, [taps[tapped(head, len(taps))]], self.tensors)
        # In its own copy of the ViT the attention branch drops, too.
        backbone_config.drop_path_on_attention = True
        return StructTokenConfig(
            backbone_config=backbone_config,
            extraction=EXTRACTIONS[head_type],
            token_grid_size=[head[side] // TOKEN_SIZE for side in ("image_h", "image_w")],
            decoder_hidden_size=head["channels"],
            decoder_num_layers=head["num_layers"],
            decoder_mlp_ratio=head["mlp_ratio"],
            decoder_drop_path_rate=head["drop_path_rate"],
            decoder_mlp_layer_norm_eps=head["norm_cfg"]["eps"],
            **read_training([head]),
            **read_test_protocol(model["test_cfg"]),
        )

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

    def absent_biases(self, config: StructTokenConfig) -> str:
        return vit_absent_biases(config.backbone_config)

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
