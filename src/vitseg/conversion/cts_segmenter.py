# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
CTS Segmenter: original configurations to `CtsSegmenterConfig`, original names to ours.

Three families of checkpoints exist. Those of Segmenter (https://github.com/rstrudel/segmenter) and of CTS Segmenter
(https://github.com/tue-mps/cts-segmenter), the latter with a policy network, hold `encoder.*` and come with a
`variant.yml`; mmsegmentation's own Segmenter holds `backbone.layers`; a policy network alone needs no configuration.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig

from ..models.configuration_cts_policy import CtsPolicyNetConfig
from ..models.configuration_cts_segmenter import CtsSegmenterConfig
from ..models.configuration_plain_vit import PlainVitConfig
from ..models.layers import as_pair
from .arguments import OriginalClass, refuse_unless
from .base import Converter
from .mmseg import (
    BLOCK_NAMES,
    DECODE_HEAD,
    ENCODER_DECODER,
    FCN_HEAD,
    GELU,
    LN,
    VISION_TRANSFORMER,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_vit_config,
    tapped,
    vit_absent_biases,
    vit_rules,
    vit_taps,
)
from .plain_vit import TIMM_NAMES, layer_rules, token_rules
from .rules import Rule, pointwise_rules


MLP_RATIO = 4
# Pixels less these, divided by those, in 0..1; as rounded in the original.
NORMALIZATIONS: dict[str, dict[str, list[float]]] = {
    "vit": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    "deit": {
        "image_mean": [value / 255 for value in (123.68, 116.28, 103.53)],
        "image_std": [value / 255 for value in (58.4, 57.12, 57.38)],
    },
}
# Data set of a `variant.yml` -> the longest side that an image is resized to, in short sides.
LONG_SIDES = {"ade20k": 4, "pascal_context": 8, "cityscapes": 2}

# `net_kwargs` of a `variant.yml`: what Segmenter's ViT takes, and what is made of it.
NET = OriginalClass(
    ("net_kwargs",),
    required=("image_size", "patch_size", "n_layers", "d_model", "n_heads", "n_cls", "decoder"),
    carried={
        "dropout": 0.1,
        "drop_path_rate": 0.0,
        "distilled": False,
        "channels": 3,
        "normalization": None,
        "policy_method": "no_sharing",
        "policy_schedule": None,
    },
    ignored=("backbone", "policynet_ckpt"),
)
DECODER = OriginalClass(("decoder",), required=("name",), ignored=("n_cls",))
MASK_DECODER = DECODER.derived("decoder", required=("n_layers",), carried={"drop_path_rate": 0.0, "dropout": 0.0})
MASK_HEAD = DECODE_HEAD.derived(
    "SegmenterMaskTransformerHead",
    required=("in_channels", "num_classes", "num_layers", "num_heads", "embed_dims"),
    carried={"mlp_ratio": MLP_RATIO, "drop_path_rate": 0.1, "drop_rate": 0.0, "attn_drop_rate": 0.0},
    fixed={"num_fcs": 2, "qkv_bias": True},
    parts={"act_cfg": (GELU, {"type": "GELU"}), "norm_cfg": (LN, {"type": "LN"})},
    # It takes the classifier of the base class away, and the dropout and the width before it with that.
    ignored=("channels", "dropout_ratio", "init_std"),
)


class CtsSegmenterConverter(Converter):
    """Segmenter's checkpoints, of any family, and those of a policy network alone."""

    # A policy network needs none.
    needs_original_config = False
    refusal = "This is not a Segmenter checkpoint, with or without token sharing, nor a policy network"
    expected_names = "encoder.pos_embed, backbone.ln1.weight or backbone.conv_stem.weight"
    architectures = ((VISION_TRANSFORMER, MASK_HEAD), (VISION_TRANSFORMER, FCN_HEAD))

    @property
    def is_policy_net(self) -> bool:
        """Whether this is a policy network alone."""
        return {"backbone.conv_stem.weight", "head.weight"} <= self.tensors.keys()

    @property
    def is_mmseg(self) -> bool:
        """Whether the names are mmsegmentation's; the head tells them from those of its SETR."""
        head = {name for name in self.tensors if name.startswith("decode_head.")}
        has_head = "decode_head.cls_emb" in head or head == {
            "decode_head.conv_seg.weight",
            "decode_head.conv_seg.bias",
        }
        return has_head and any(name.startswith("backbone.layers.") for name in self.tensors)

    def has_known_names(self) -> bool:
        return self.is_policy_net or self.is_mmseg != ("encoder.pos_embed" in self.tensors)

    def read_config(self, original: dict[str, Any]) -> PreTrainedConfig:
        """
        The configuration of a `variant.yml` (`net_kwargs`, `inference_kwargs`) or of mmsegmentation's (`backbone`,
        `decode_head`, `test_cfg`). A policy network needs none.
        """
        if self.is_policy_net:
            return CtsPolicyNetConfig()
        if self.is_mmseg:
            return _read_mmseg_config(original, self.tensors)
        net = _net_of(original)
        if net is None:
            raise ValueError(
                "A Segmenter checkpoint does not tell all of its architecture: give --original-config with the "
                "variant.yml that lies beside it, which holds net_kwargs."
            )
        return _read_authors_config(NET.read(net), original)

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        if self.is_policy_net:
            return {"size": {"height": 512, "width": 512}}
        if self.is_mmseg:
            return read_preprocessing(original)
        net = _net_of(original)
        if net is None:
            return {}
        normalization = net.get("normalization", "deit" if net.get("distilled") else "vit")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {normalization!r}; expected one of {sorted(NORMALIZATIONS)}.")
        settings: dict[str, Any] = dict(NORMALIZATIONS[normalization])
        dataset = (original.get("dataset_kwargs") or {}).get("dataset")
        short_side = (original.get("inference_kwargs") or {}).get("im_size")
        if dataset in LONG_SIDES and short_side is not None:
            size = {"shortest_edge": short_side, "longest_edge": LONG_SIDES[dataset] * short_side}
            settings |= {"size": size, "do_reduce_labels": dataset == "ade20k"}
        return settings

    def adapt_config(self, config: PreTrainedConfig) -> PreTrainedConfig:
        """
        With as many blocks in the mask transformer as the checkpoint has: the published model for Cityscapes has one
        less than the others.
        """
        if self.is_policy_net:
            if not isinstance(config, CtsPolicyNetConfig):
                raise ValueError(
                    "This is a policy network alone: convert it with --method cts_segmenter, without a recipe."
                )
            return config
        prefix = r"decode_head\.layers" if self.is_mmseg else r"decoder\.blocks"
        blocks = {match[1] for name in self.tensors if (match := re.match(rf"{prefix}\.(\d+)\.", name))}
        if blocks and config.decoder_type == "mask_transformer":
            config.decoder_num_layers = len(blocks)
        return config

    def absent_biases(self, config: PreTrainedConfig) -> str:
        return vit_absent_biases(config.backbone_config) if self.is_mmseg else ""

    def rules(self, config: PreTrainedConfig) -> list[Rule]:
        if self.is_policy_net:
            return [Rule(r"((backbone|head)\..*)", r"\1")]
        if self.is_mmseg:
            return [*vit_rules(config.backbone_config), *_mmseg_decoder_rules()]
        return [*_encoder_rules(config.backbone_config), *_decoder_rules()]


def encoder_rules(config: CtsPolicyNetConfig, names: Iterable[str]) -> list[Rule]:
    """The table that renames timm's EfficientNet-Lite0, with or without its classifier, for a policy network."""
    return [
        Rule(r"(conv_head|bn2|classifier)\..*", reason="ImageNet's classifier"),
        Rule(r"(.*)", r"backbone.\1"),
    ]


def _net_of(original: dict[str, Any]) -> dict[str, Any] | None:
    return original.get("net_kwargs") or original.get("net")


def _read_authors_config(net: dict[str, Any], original: dict[str, Any]) -> CtsSegmenterConfig:
    name = net["decoder"]["name"]
    is_mask_transformer = name == "mask_transformer"
    if not is_mask_transformer and "linear" not in name:
        raise ValueError(f"The decoder is {name!r}; expected 'mask_transformer' or a name with 'linear'.")
    head = (MASK_DECODER if is_mask_transformer else DECODER).read(net["decoder"])
    image_size, patch_size = as_pair(net["image_size"]), net["patch_size"]
    vit = PlainVitConfig(
        hidden_size=net["d_model"],
        num_hidden_layers=net["n_layers"],
        num_attention_heads=net["n_heads"],
        intermediate_size=MLP_RATIO * net["d_model"],
        num_channels=net["channels"],
        hidden_dropout_prob=net["dropout"],
        attention_probs_dropout_prob=net["dropout"],
        drop_path_rate=net["drop_path_rate"],
        layer_norm_eps=1e-5,
        # Positions are stored for whole patches alone.
        image_size=[side // patch_size * patch_size for side in image_size],
        patch_size=patch_size,
        use_distillation_token=bool(net["distilled"]),
        interpolate_by_token_count=True,
        use_final_norm=True,
        token_sharing=_read_schedule(net),
        # Not a setting of the original, but a way to train that some of its users take.
        freeze_policy=(original.get("training") or {}).get("mode") == "train_policy_eval",
    )
    decoder = {}
    if is_mask_transformer:
        decoder = {
            "decoder_num_layers": head["n_layers"],
            "decoder_dropout": head["dropout"],
            "decoder_drop_path_rate": head["drop_path_rate"],
        }
    return CtsSegmenterConfig(
        backbone_config=vit,
        num_labels=net["n_cls"],
        decoder_type="mask_transformer" if is_mask_transformer else "linear",
        **decoder,
        **_read_protocol(original),
    )


def _read_schedule(net: dict[str, Any]) -> int | None:
    """How many superpatches share a token; `None` without a policy network."""
    method = net["policy_method"]
    if method == "no_sharing":
        return None
    if method != "policy_net":
        raise ValueError(f"policy_method is {method!r}; expected 'policy_net' or 'no_sharing'.")
    not_shared, shared = net["policy_schedule"]
    height, width = as_pair(net["image_size"])
    rows, columns = -(-height // net["patch_size"]), -(-width // net["patch_size"])
    if not_shared + 4 * shared != rows * columns:
        raise ValueError(
            f"policy_schedule is ({not_shared}, {shared}): {not_shared} patches and {shared} times 4 that share a "
            f"token do not make the {rows * columns} patches of an image of {height} x {width} pixels."
        )
    return shared


def _read_protocol(original: dict[str, Any]) -> dict[str, Any]:
    """The test protocol: that of the evaluation during training, or a single pass where none is given."""
    inference = original.get("inference_kwargs") or original.get("inference")
    if not inference:
        return {"inference_mode": "whole"}
    return {
        "inference_mode": "slide",
        "window_size": inference["window_size"],
        "window_stride": inference["window_stride"],
    }


def _read_mmseg_config(original: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> CtsSegmenterConfig:
    model = ENCODER_DECODER.read(original)
    refuse_unless(model, neck=None, auxiliary_head=None)
    vit = VISION_TRANSFORMER.read(model["backbone"])
    is_linear = model["decode_head"]["type"] not in MASK_HEAD.names
    head = read_head(FCN_HEAD if is_linear else MASK_HEAD, model["decode_head"])
    refuse_unless(head, in_channels=vit["embed_dims"])
    taps = vit_taps(vit)
    if taps[tapped(head, len(taps))] != vit["num_layers"] - 1:
        raise ValueError(
            f"The head takes in_index={head['in_index']!r} of out_indices={vit['out_indices']!r}; only the last "
            f"layer, {vit['num_layers'] - 1}, can be converted."
        )
    refuse_unless(head["loss_decode"], loss_weight=1.0)
    settings: dict[str, Any] = {
        "backbone_config": read_vit_config(vit, [vit["num_layers"] - 1], tensors),
        "num_labels": head["num_classes"],
        "crop_padding": False,
        "enlarge_small_images": False,
        "average_valid_pixels": head["loss_decode"]["avg_non_ignore"],
        "semantic_loss_ignore_index": head["ignore_index"],
        **read_test_protocol(model["test_cfg"]),
    }
    if is_linear:
        refuse_unless(head, num_convs=0, concat_input=False, dropout_ratio=0, channels=head["in_channels"])
        return CtsSegmenterConfig(decoder_type="linear", **settings)
    refuse_unless(head, attn_drop_rate=head["drop_rate"])
    refuse_unless(head["norm_cfg"], eps=1e-5)
    return CtsSegmenterConfig(
        decoder_hidden_size=head["embed_dims"],
        decoder_num_layers=head["num_layers"],
        decoder_num_attention_heads=head["num_heads"],
        decoder_mlp_ratio=head["mlp_ratio"],
        decoder_dropout=head["drop_rate"],
        decoder_drop_path_rate=head["drop_path_rate"],
        decoder_drop_path_on_attention=False,
        **settings,
    )


def _encoder_rules(config: PlainVitConfig) -> list[Rule]:
    """As for other ViTs, but under `encoder`, and with a policy network."""
    return [
        Rule(r"encoder\.head(_dist)?\..*", reason="ImageNet's classifier, which segmentation never uses"),
        Rule(r"policy_net\.(.*)", r"backbone.policy_net.\1"),
        Rule(r"encoder\.dist_token", "backbone.embeddings.distillation_token"),
        *token_rules(config, r"encoder\."),
        Rule(r"encoder\.norm\.(weight|bias)", r"backbone.layernorm.\1"),
        Rule(r"encoder\.patch_embed\.proj\.(weight|bias)", r"backbone.embeddings.patch_embeddings.\1"),
        *layer_rules(r"encoder\.blocks", "backbone.layers", TIMM_NAMES),
    ]


def _decoder_rules() -> list[Rule]:
    return [
        Rule(r"decoder\.head\.(weight|bias)", r"decode_head.\1"),
        Rule(r"decoder\.cls_emb", "decode_head.class_embeddings"),
        Rule(r"decoder\.proj_dec\.(weight|bias)", r"decode_head.projection.\1"),
        # Applied from the right there.
        Rule(r"decoder\.proj_patch", "decode_head.token_projection.weight", lambda matrix: matrix.T),
        Rule(r"decoder\.proj_classes", "decode_head.class_projection.weight", lambda matrix: matrix.T),
        Rule(r"decoder\.decoder_norm\.(weight|bias)", r"decode_head.layernorm.\1"),
        Rule(r"decoder\.mask_norm\.(weight|bias)", r"decode_head.class_norm.\1"),
        *layer_rules(r"decoder\.blocks", "decode_head.layers", TIMM_NAMES),
    ]


def _mmseg_decoder_rules() -> list[Rule]:
    return [
        *pointwise_rules(r"decode_head\.conv_seg", "decode_head"),
        Rule(r"decode_head\.cls_emb", "decode_head.class_embeddings"),
        Rule(r"decode_head\.dec_proj\.(weight|bias)", r"decode_head.projection.\1"),
        Rule(r"decode_head\.patch_proj\.weight", "decode_head.token_projection.weight"),
        Rule(r"decode_head\.classes_proj\.weight", "decode_head.class_projection.weight"),
        Rule(r"decode_head\.decoder_norm\.(weight|bias)", r"decode_head.layernorm.\1"),
        Rule(r"decode_head\.mask_norm\.(weight|bias)", r"decode_head.class_norm.\1"),
        *layer_rules(r"decode_head\.layers", "decode_head.layers", BLOCK_NAMES),
    ]
