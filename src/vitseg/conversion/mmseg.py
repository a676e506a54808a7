# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What originals built on mmsegmentation have in common: its classes and their defaults, its ViT's names, the test
protocol and the preprocessing.

The defaults are those of release 1.2.2. Earlier releases have fewer arguments, and the same defaults for those that
they have; but their patch embedding always has a bias, which later is an argument, off by default. The checkpoint
tells.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ..models.configuration_plain_vit import PlainVitConfig
from .arguments import OriginalClass, refuse_unless, value_of_all
from .plain_vit import layer_rules, token_rules
from .rules import Rule


GELU = OriginalClass(("GELU",), fixed={"approximate": "none"})
RELU = OriginalClass(("ReLU",), ignored=("inplace",))
LN = OriginalClass(
    ("LN",), carried={"eps": 1e-5}, fixed={"elementwise_affine": True, "bias": True}, ignored=("requires_grad",)
)
BN = OriginalClass(
    ("SyncBN", "BN", "BN2d"),
    fixed={"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True},
    ignored=("requires_grad",),
)
CROSS_ENTROPY = OriginalClass(
    ("CrossEntropyLoss",),
    carried={"loss_weight": 1.0, "avg_non_ignore": False},
    fixed={"use_sigmoid": False, "use_mask": False, "reduction": "mean", "class_weight": None},
    ignored=("loss_name",),
)
DECODE_HEAD = OriginalClass(
    ("BaseDecodeHead",),
    required=("in_channels", "channels", "num_classes"),
    carried={"dropout_ratio": 0.1, "in_index": -1, "ignore_index": 255, "out_channels": None},
    fixed={
        "threshold": None,
        "conv_cfg": None,
        "input_transform": None,
        "sampler": None,
        "align_corners": False,
    },
    parts={
        "norm_cfg": (BN, None),
        "act_cfg": (RELU, {"type": "ReLU"}),
        "loss_decode": (CROSS_ENTROPY, {"type": "CrossEntropyLoss"}),
    },
    ignored=("init_cfg",),
)
# Its norm and activation belong to the convolutions, of which there may be none.
FCN_HEAD = DECODE_HEAD.derived(
    "FCNHead",
    carried={"num_convs": 2, "kernel_size": 3, "concat_input": True, "norm_cfg": None, "act_cfg": {"type": "ReLU"}},
    fixed={"dilation": 1},
)
VISION_TRANSFORMER = OriginalClass(
    ("VisionTransformer",),
    carried={
        "img_size": 224,
        "patch_size": 16,
        "in_channels": 3,
        "embed_dims": 768,
        "num_layers": 12,
        "num_heads": 12,
        "mlp_ratio": 4,
        "out_indices": -1,
        "qkv_bias": True,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "with_cls_token": True,
        "patch_norm": False,
        "patch_bias": False,
        "final_norm": False,
        "interpolate_mode": "bicubic",
    },
    fixed={
        "patch_pad": "corner",
        "out_origin": False,
        "output_cls_token": False,
        "pre_norm": False,
        "num_fcs": 2,
        "frozen_exclude": ["all"],
    },
    parts={"norm_cfg": (LN, {"type": "LN"}), "act_cfg": (GELU, {"type": "GELU"})},
    ignored=("norm_eval", "with_cp", "pretrained", "init_cfg"),
)
TEST_CFG = OriginalClass(("test_cfg",), carried={"mode": "whole", "crop_size": None, "stride": None})
DATA_PREPROCESSOR = OriginalClass(
    ("SegDataPreProcessor",),
    carried={"mean": None, "std": None, "bgr_to_rgb": False},
    fixed={"rgb_to_bgr": False, "test_cfg": None},
    # What is padded, and with what, are crops that a training takes.
    ignored=("size", "size_divisor", "pad_val", "seg_pad_val", "batch_augments", "non_blocking"),
)
ENCODER_DECODER = OriginalClass(
    ("EncoderDecoder",),
    required=("backbone", "decode_head"),
    carried={"neck": None, "auxiliary_head": None, "test_cfg": None, "data_preprocessor": None},
    ignored=("train_cfg", "pretrained", "init_cfg"),
)


def as_list(value: Any) -> list[Any]:
    """A value that may be one, several or none, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def read_head(original: OriginalClass, head: dict[str, Any]) -> dict[str, Any]:
    """
    The arguments of a decode head, as [`OriginalClass.read`] gives them.

    Raises:
        ValueError: if it is another, or one of its arguments cannot be converted.
    """
    arguments = original.read(head)
    if arguments["out_channels"] is not None:
        refuse_unless(arguments, out_channels=arguments["num_classes"])
    return arguments


def read_training(heads: list[dict[str, Any]]) -> dict[str, Any]:
    """
    The arguments of our configuration for what heads, the decode head first, say of classes and losses.

    Raises:
        ValueError: if they differ, or the loss is not ours.
    """
    losses = [head["loss_decode"] for head in heads]
    refuse_unless(losses[0], loss_weight=1.0)
    for loss in losses:
        refuse_unless(loss, avg_non_ignore=False)
    weight = {"auxiliary_loss_weight": value_of_all(losses[1:], "loss_weight")} if losses[1:] else {}
    return {
        "num_labels": value_of_all(heads, "num_classes"),
        "semantic_loss_ignore_index": value_of_all(heads, "ignore_index"),
        **weight,
    }


def read_test_protocol(test_cfg: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of our configuration for the original's `test_cfg`; none where there is none."""
    if test_cfg is None:
        return {}
    arguments = TEST_CFG.read(test_cfg)
    if arguments["mode"] != "slide":
        return {"inference_mode": arguments["mode"]}
    return {"inference_mode": "slide", "window_size": test_cfg["crop_size"], "window_stride": test_cfg["stride"]}


def read_preprocessing(original: dict[str, Any]) -> dict[str, Any]:
    """
    The settings of our image processor for the `data_preprocessor` of releases 1.x; none where there is none.

    Raises:
        ValueError: if it leaves the channels in OpenCV's order, or does something else that ours does not.
    """
    if original.get("data_preprocessor") is None:
        return {}
    arguments = DATA_PREPROCESSOR.read(original["data_preprocessor"])
    refuse_unless(arguments, bgr_to_rgb=True)
    if arguments["mean"] is None:
        return {"do_rescale": False, "do_normalize": False}
    return {
        "image_mean": [value / 255 for value in arguments["mean"]],
        "image_std": [value / 255 for value in arguments["std"]],
    }


def vit_taps(vit: dict[str, Any]) -> list[int]:
    """
    The layers whose outputs a `VisionTransformer` gives, counted from 0, in the order in which it gives them: that of
    the layers.

    Raises:
        ValueError: if it names layers that it does not have. (Only -1, and only alone, counts from the end.)
    """
    depth = vit["num_layers"]
    taps = [depth - 1] if vit["out_indices"] == -1 else as_list(vit["out_indices"])
    if not taps or any(not 0 <= tap < depth for tap in taps):
        raise ValueError(
            f"{vit['type']} has out_indices={vit['out_indices']!r}; expected layers from 0 to {depth - 1}."
        )
    return sorted(set(taps))


def tapped(head: dict[str, Any], num_maps: int) -> int:
    """
    Which of `num_maps` feature maps a head takes, counted from 0.

    Raises:
        ValueError: if there is no such one.
    """
    index = head["in_index"]
    if not isinstance(index, int) or not -num_maps <= index < num_maps:
        raise ValueError(
            f"{head['type']} has in_index={index!r}, but there are {num_maps} feature maps for it to choose from."
        )
    return index % num_maps


def check_patch_bias(vit: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """
    Raises:
        ValueError: if the patch embedding of a `VisionTransformer` has a bias that the checkpoint does not hold.
    """
    if vit["patch_bias"] and "backbone.patch_embed.projection.bias" not in tensors:
        raise ValueError(
            "VisionTransformer has patch_bias=True, but the checkpoint has no backbone.patch_embed.projection.bias."
        )


def read_vit_config(vit: dict[str, Any], taps: list[int], tensors: Mapping[str, torch.Tensor]) -> PlainVitConfig:
    """
    The configuration of mmsegmentation's `VisionTransformer`.

    Args:
        vit: its arguments, as [`OriginalClass.read`] gives them.
        taps: the layers whose outputs are wanted, counted from 0.
        tensors: its checkpoint.

    Raises:
        ValueError: if it asks for something that our plain ViT does not have; the message names it.
    """
    check_patch_bias(vit, tensors)
    patch_size, image_size = vit["patch_size"], as_list(vit["img_size"])
    return PlainVitConfig(
        hidden_size=vit["embed_dims"],
        num_hidden_layers=vit["num_layers"],
        num_attention_heads=vit["num_heads"],
        intermediate_size=int(vit["embed_dims"] * vit["mlp_ratio"]),
        # Positions are stored for whole patches alone.
        image_size=[side // patch_size * patch_size for side in (image_size[0], image_size[-1])],
        patch_size=patch_size,
        num_channels=vit["in_channels"],
        hidden_dropout_prob=vit["drop_rate"],
        attention_probs_dropout_prob=vit["attn_drop_rate"],
        drop_path_rate=vit["drop_path_rate"],
        # Its attention branch never drops.
        drop_path_on_attention=False,
        layer_norm_eps=vit["norm_cfg"]["eps"],
        qkv_bias=vit["qkv_bias"],
        use_class_token=vit["with_cls_token"],
        interpolate_by_token_count=True,
        interpolation_mode=vit["interpolate_mode"],
        use_patch_norm=vit["patch_norm"],
        use_final_norm=vit["final_norm"],
        out_indices=[tap + 1 for tap in taps],
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


def vit_absent_biases(config: PlainVitConfig) -> str:
    """Pattern of the biases of ours, under `backbone`, that a `VisionTransformer` of this configuration may lack."""
    patches = r"backbone\.embeddings\.patch_embeddings\.bias"
    # Without a bias for queries, keys and values it has none after the attention either.
    return patches if config.qkv_bias else rf"{patches}|backbone\.layers\.\d+\.attention\.o_proj\.bias"
