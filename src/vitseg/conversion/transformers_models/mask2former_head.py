# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
`Mask2FormerHead` as configurations describe it: the classes of mmsegmentation, mmdetection and mmcv that it is made
of, with all of their arguments, and what of them `Mask2FormerConfig` says.

Configurations give a `type` to the larger parts alone.
"""

import math
from typing import Any

from ..arguments import OriginalClass, refuse_unless, value_of_all
from ..mmseg import CROSS_ENTROPY, LN, RELU


# What transformers' class has written down in its code: the feature maps that the pixel decoder's encoder takes, the
# points that each of its attention heads looks at, and the groups of its norms.
NUM_LEVELS = 3
NUM_POINTS = 4
NUM_GROUPS = 32

GN = OriginalClass(("GN",), fixed={"num_groups": NUM_GROUPS, "eps": 1e-5, "affine": True}, ignored=("requires_grad",))
POSITIONAL_ENCODING = OriginalClass(
    ("SinePositionalEncoding",),
    required=("num_feats",),
    carried={"normalize": False},
    fixed={"temperature": 10000, "scale": 2 * math.pi, "eps": 1e-6, "offset": 0.0},
    ignored=("init_cfg",),
)
FFN = OriginalClass(
    ("FFN",),
    carried={"embed_dims": 256, "feedforward_channels": 1024},
    fixed={"num_fcs": 2, "ffn_drop": 0.0, "dropout_layer": None, "add_identity": True, "layer_scale_init_value": 0.0},
    parts={"act_cfg": (RELU, {"type": "ReLU"})},
    ignored=("init_cfg",),
)
ATTENTION = OriginalClass(
    ("MultiheadAttention",),
    required=("embed_dims", "num_heads"),
    fixed={
        "attn_drop": 0.0,
        "proj_drop": 0.0,
        "dropout": 0.0,
        "dropout_layer": None,
        "batch_first": True,
        "bias": True,
    },
    ignored=("init_cfg",),
)
DEFORMABLE_ATTENTION = OriginalClass(
    ("MultiScaleDeformableAttention",),
    carried={"embed_dims": 256, "num_heads": 8, "num_levels": 4, "num_points": 4, "dropout": 0.1},
    fixed={"batch_first": True, "norm_cfg": None, "value_proj_ratio": 1.0},
    ignored=("im2col_step", "init_cfg"),
)
ENCODER_LAYER = OriginalClass(
    ("DeformableDetrTransformerEncoderLayer",),
    required=("self_attn_cfg", "ffn_cfg"),
    parts={"norm_cfg": (LN, {"type": "LN"})},
    ignored=("init_cfg",),
)
DECODER_LAYER = ENCODER_LAYER.derived("Mask2FormerTransformerDecoderLayer", required=("cross_attn_cfg",))
ENCODER = OriginalClass(
    ("Mask2FormerTransformerEncoder",), required=("num_layers", "layer_cfg"), ignored=("num_cp", "init_cfg")
)
DECODER = OriginalClass(
    ("Mask2FormerTransformerDecoder",),
    required=("num_layers", "layer_cfg"),
    parts={"post_norm_cfg": (LN, {"type": "LN"})},
    ignored=("return_intermediate", "init_cfg"),
)
PIXEL_DECODER = OriginalClass(
    ("MSDeformAttnPixelDecoder",),
    required=("encoder",),
    carried={"positional_encoding": {"num_feats": 128, "normalize": True}},
    fixed={"strides": [4, 8, 16, 32], "num_outs": NUM_LEVELS},
    parts={"norm_cfg": (GN, {"type": "GN", "num_groups": NUM_GROUPS}), "act_cfg": (RELU, {"type": "ReLU"})},
    # Those of the head take their place.
    ignored=("in_channels", "feat_channels", "out_channels", "init_cfg"),
)
CLASS_LOSS = CROSS_ENTROPY.derived(
    "CrossEntropyLoss",
    carried={"class_weight": None},
    fixed={"avg_non_ignore": False, "ignore_index": None},
)
MASK_LOSS = CLASS_LOSS.derived("CrossEntropyLoss", carried={"use_sigmoid": False}, fixed={"class_weight": None})
DICE_LOSS = OriginalClass(
    ("DiceLoss",),
    carried={"naive_dice": False, "loss_weight": 1.0, "eps": 1e-3},
    fixed={"use_sigmoid": True, "activate": True, "reduction": "mean"},
)
# What queries are matched by, in the order of the losses.
COSTS = (
    OriginalClass(("ClassificationCost",), carried={"weight": 1.0}),
    OriginalClass(("CrossEntropyLossCost",), carried={"weight": 1.0}, fixed={"use_sigmoid": True}),
    OriginalClass(
        ("DiceCost",),
        carried={"weight": 1.0, "pred_act": False, "eps": 1e-3},
        fixed={"naive_dice": True},
    ),
)
ASSIGNER = OriginalClass(("HungarianAssigner",), required=("match_costs",))
SAMPLER = OriginalClass(("MaskPseudoSampler",))
TRAIN_CFG = OriginalClass(
    ("train_cfg",),
    carried={"num_points": 12544, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75},
    parts={"assigner": (ASSIGNER, None), "sampler": (SAMPLER, None)},
)
HEAD = OriginalClass(
    ("Mask2FormerHead",),
    required=("num_classes", "in_channels", "feat_channels", "out_channels", "transformer_decoder"),
    carried={
        "num_queries": 100,
        "enforce_decoder_input_project": False,
        "positional_encoding": {"num_feats": 128, "normalize": True},
        "ignore_index": 255,
        "train_cfg": None,
    },
    fixed={"num_transformer_feat_level": NUM_LEVELS, "align_corners": False},
    parts={
        "pixel_decoder": (PIXEL_DECODER, None),
        "loss_cls": (
            CLASS_LOSS,
            {"type": "CrossEntropyLoss", "loss_weight": 2.0, "class_weight": [1.0] * 133 + [0.1]},
        ),
        "loss_mask": (MASK_LOSS, {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 5.0}),
        "loss_dice": (DICE_LOSS, {"type": "DiceLoss", "naive_dice": True, "eps": 1.0, "loss_weight": 5.0}),
    },
    # What mmdetection would count the classes by, and what it takes without looking at it.
    ignored=("num_things_classes", "num_stuff_classes", "strides", "test_cfg", "init_cfg"),
)


def read_layers(head: dict[str, Any]) -> dict[str, Any]:
    """
    The arguments of `Mask2FormerConfig` about the layers of the pixel decoder and the decoder.

    Args:
        head: its arguments, as [`OriginalClass.read`] gives them.

    Raises:
        ValueError: if transformers has no such layers. It has one width and one number of attention heads for all.
    """
    encoder = _read_part(head["pixel_decoder"], "encoder", ENCODER)
    decoder = _read_part(head, "transformer_decoder", DECODER)
    encoder_layer = _read_part(encoder, "layer_cfg", ENCODER_LAYER)
    decoder_layer = _read_part(decoder, "layer_cfg", DECODER_LAYER)
    deformable = _read_part(encoder_layer, "self_attn_cfg", DEFORMABLE_ATTENTION)
    attentions = [_read_part(decoder_layer, name, ATTENTION) for name in ("self_attn_cfg", "cross_attn_cfg")]
    ffns = [_read_part(layer, "ffn_cfg", FFN) for layer in (encoder_layer, decoder_layer)]
    for part in (deformable, *attentions, *ffns):
        refuse_unless(part, embed_dims=head["feat_channels"])
    refuse_unless(deformable, num_levels=NUM_LEVELS, num_points=NUM_POINTS, dropout=0.0)
    for norm in (encoder_layer["norm_cfg"], decoder_layer["norm_cfg"], decoder["post_norm_cfg"]):
        refuse_unless(norm, eps=1e-5)
    for part in (head, head["pixel_decoder"]):
        encoding = _read_part(part, "positional_encoding", POSITIONAL_ENCODING)
        refuse_unless(encoding, num_feats=head["feat_channels"] // 2, normalize=True)
    return {
        "num_attention_heads": value_of_all([deformable, *attentions], "num_heads"),
        "encoder_layers": encoder["num_layers"],
        # It counts the prediction before the first layer, too.
        "decoder_layers": decoder["num_layers"] + 1,
        "encoder_feedforward_dim": ffns[0]["feedforward_channels"],
        "dim_feedforward": ffns[1]["feedforward_channels"],
    }


def read_losses(head: dict[str, Any]) -> dict[str, Any]:
    """
    The arguments of `Mask2FormerConfig` about the losses, which are the costs that queries are matched by, too.

    Args:
        head: its arguments, as [`OriginalClass.read`] gives them.

    Raises:
        ValueError: if the losses are not transformers', or the costs not the losses.
    """
    losses = [head[name] for name in ("loss_cls", "loss_mask", "loss_dice")]
    refuse_unless(head["loss_mask"], use_sigmoid=True)
    refuse_unless(head["loss_dice"], naive_dice=True, eps=1.0)
    class_weights = head["loss_cls"]["class_weight"] or [None]
    refuse_unless(head["loss_cls"], class_weight=[*([1.0] * head["num_classes"]), class_weights[-1]])
    class_weight, mask_weight, dice_weight = (loss["loss_weight"] for loss in losses)
    config = {
        "no_object_weight": class_weights[-1],
        "class_weight": class_weight,
        "mask_weight": mask_weight,
        "dice_weight": dice_weight,
    }
    if not head["train_cfg"]:
        return config
    training = _read_part(head, "train_cfg", TRAIN_CFG)
    costs = training["assigner"]["match_costs"]
    read = [original.read(cost) for original, cost in zip(COSTS, costs, strict=False)]
    for cost, loss in zip(read, losses, strict=False):
        refuse_unless(cost, weight=loss["loss_weight"], pred_act=True, eps=1.0)
    if len(costs) != len(COSTS):
        raise ValueError(f"{training['assigner']['type']} has {len(costs)} match_costs; expected those of the losses.")
    return {
        **config,
        "train_num_points": training["num_points"],
        "oversample_ratio": training["oversample_ratio"],
        "importance_sample_ratio": training["importance_sample_ratio"],
    }


def _read_part(owner: dict[str, Any], name: str, original: OriginalClass) -> dict[str, Any]:
    """The arguments of a part without `type`, of an owner whose own are as [`OriginalClass.read`] gives them."""
    return original.read(owner[name], f"{owner['type']}'s {name}")
