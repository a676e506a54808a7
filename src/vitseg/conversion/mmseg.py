# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What originals built on mmsegmentation have in common: the ViT's configuration and names, and the test protocol."""

from typing import Any

from ..models.configuration_plain_vit import PlainVitConfig
from .plain_vit import layer_rules, token_rules
from .rules import Rule


def as_list(value: Any) -> list[Any]:
    """A value that may be one, several or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def refuse_unless(part: dict[str, Any], /, **expected: Any) -> None:
    """
    Raises:
        ValueError: if a part of the original configuration sets a key to anything but the value expected.
    """
    for key, value in expected.items():
        if part.get(key, value) != value:
            raise ValueError(f"{part.get('type')} has {key}={part[key]!r}; only {value!r} can be converted.")


def read_auxiliary_weight(heads: list[dict[str, Any]]) -> dict[str, float]:
    """The argument of our configuration for the weight of all auxiliary heads' losses; none where there are none."""
    weights = {head.get("loss_decode", {}).get("loss_weight", 1.0) for head in heads}
    if len(weights) > 1:
        raise ValueError(f"The auxiliary heads have different loss weights {sorted(weights)}; expected one for all.")
    return {"auxiliary_loss_weight": weights.pop()} if weights else {}


def read_test_protocol(test_cfg: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of our configuration for the original's `test_cfg`."""
    test_cfg = test_cfg or {}
    if test_cfg.get("mode") == "slide":
        return {"inference_mode": "slide", "window_size": test_cfg["crop_size"], "window_stride": test_cfg["stride"]}
    return {"inference_mode": test_cfg["mode"]} if "mode" in test_cfg else {}


def read_vit_config(backbone: dict[str, Any], out_indices: list[int]) -> PlainVitConfig:
    """
    The configuration of mmsegmentation's `VisionTransformer`, with the feature maps of `out_indices`, counted from 0.

    Raises:
        ValueError: if it asks for something that our plain ViT does not have; the message names it.
    """
    if backbone.get("act_cfg", {}).get("type", "GELU") != "GELU":
        raise ValueError(f"The backbone has act_cfg={backbone['act_cfg']!r}; only GELU can be converted.")
    # Without a bias for queries, keys and values the original has none after the attention either.
    refuse_unless(backbone, pre_norm=False, output_cls_token=False, qkv_bias=True)
    hidden_size, depth, patch_size = backbone["embed_dims"], backbone["num_layers"], backbone.get("patch_size", 16)
    image_size = as_list(backbone["img_size"])
    return PlainVitConfig(
        hidden_size=hidden_size,
        num_hidden_layers=depth,
        num_attention_heads=backbone["num_heads"],
        intermediate_size=int(hidden_size * backbone.get("mlp_ratio", 4)),
        # Positions are stored for whole patches alone.
        image_size=[side // patch_size * patch_size for side in (image_size[0], image_size[-1])],
        patch_size=patch_size,
        num_channels=backbone.get("in_channels", 3),
        hidden_dropout_prob=backbone.get("drop_rate", 0.0),
        attention_probs_dropout_prob=backbone.get("attn_drop_rate", 0.0),
        drop_path_rate=backbone.get("drop_path_rate", 0.0),
        layer_norm_eps=backbone.get("norm_cfg", {}).get("eps", 1e-5),
        use_class_token=backbone.get("with_cls_token", True),
        interpolate_by_token_count=True,
        interpolation_mode=backbone.get("interpolate_mode", "bicubic"),
        use_patch_norm=backbone.get("patch_norm", False),
        use_final_norm=backbone.get("final_norm", False),
        out_indices=[index % depth + 1 for index in out_indices],
    )


# The names of a block of mmsegmentation's `VisionTransformer`, see `layer_rules`.
BLOCK_NAMES = {"qkv": r"attn\.attn\.in_proj_", "proj": r"attn\.attn\.out_proj", "norm1": "ln1", "norm2": "ln2"}
BLOCK_NAMES |= {"fc1": r"ffn\.layers\.0\.0", "fc2": r"ffn\.layers\.1"}


def vit_rules(config: PlainVitConfig) -> list[Rule]:
    """Rules for the names of mmsegmentation's `VisionTransformer`, under `backbone`."""
    return [
        Rule(r"backbone\.patch_embed\.norm\.(weight|bias)", r"backbone.embeddings.layernorm.\1"),
        Rule(r"backbone\.patch_embed\.projection\.(weight|bias)", r"backbone.embeddings.patch_embeddings.\1"),
        Rule(r"backbone\.ln1\.(weight|bias)", r"backbone.layernorm.\1"),
        *token_rules(config, r"backbone\."),
        *layer_rules(r"backbone\.layers", "backbone.layers", BLOCK_NAMES),
    ]
