# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
HLG (https://github.com/fudan-zvg/SETR): configurations of its three tasks to `HlgConfig`, names to ours.

Weights were published for the classifiers alone. A classifier also becomes a model for segmentation or detection, with
its encoder and new heads, which is where the originals' training starts.
"""

from typing import Any

from ..models.configuration_hlg import HlgConfig
from .arguments import OriginalClass, refuse_unless, value_of_all
from .base import Converter
from .mmseg import (
    BN,
    DECODE_HEAD,
    ENCODER_DECODER,
    FCN_HEAD,
    RELU,
    as_list,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_training,
    tapped,
)
from .rules import Rule, module_rules


POOLINGS = {"mean": "mean", "avgpool": "mean", "maxpool": "max", "dwconv": "conv"}
PYRAMID_STRIDES = [8, 16, 32, 64, 128]
NUM_STAGES = 4

# The encoder, as the dense tasks and as the classifiers have it.
ENCODER = OriginalClass(
    ("HLGTransformer",),
    carried={
        "img_size": 224,
        "in_chans": 3,
        "embed_dims": [64, 128, 256, 512],
        "num_heads": [1, 2, 4, 8],
        "depths": [3, 4, 6, 3],
        "qkv_bias": False,
        "drop_path_rate": 0.0,
        "sr_ratios": [8, 4, 2, 1],
        "crs_interval": [8, 4, 2, 1],
        "h0_h1_method": None,
        "dynamic_position_bias": False,
        # Not an argument there, but a function.
        "norm_eps": 1e-6,
    },
    fixed={"qk_scale": None, "drop_rate": 0.0, "attn_drop_rate": 0.0, "h0_att": False, "h0_h1_fusion_type": "attn"},
    # The code stores some of them, and looks at none.
    ignored=("patch_size", "num_classes", "mlp_ratios", "proj_dwconv", "downsampling", "use_checkpoint", "pretrained"),
)
CLASSIFIER = ENCODER.derived(
    "HLGTransformer",
    required=("num_classes",),
    carried={"h0_h1_method": "mean", "norm_eps": 1e-5},
    fixed={"use_cls_token": False},
)
HEAD = DECODE_HEAD.derived(
    "HLGUPHead", required=("in_channels", "channels", "num_classes", "fuse_level", "depth"), carried={"sr_ratio": 4}
)

# Those of mmdetection, of release 2.
FPN = OriginalClass(
    ("FPN",),
    required=("in_channels", "out_channels", "num_outs"),
    carried={"start_level": 0, "add_extra_convs": False},
    fixed={
        "end_level": -1,
        "relu_before_extra_convs": False,
        "no_norm_on_lateral": False,
        "conv_cfg": None,
        "norm_cfg": None,
        "act_cfg": None,
        "upsample_cfg": {"mode": "nearest"},
    },
    ignored=("init_cfg",),
)
ANCHOR_GENERATOR = OriginalClass(
    ("AnchorGenerator",),
    required=("strides", "ratios", "octave_base_scale", "scales_per_octave"),
    fixed={
        "scales": None,
        "base_sizes": None,
        "scale_major": True,
        "centers": None,
        "center_offset": 0.0,
    },
)
BOX_CODER = OriginalClass(
    ("DeltaXYWHBBoxCoder",),
    fixed={
        "target_means": [0.0, 0.0, 0.0, 0.0],
        "target_stds": [1.0, 1.0, 1.0, 1.0],
        "clip_border": True,
        "add_ctr_clamp": False,
    },
    ignored=("ctr_clamp",),
)
FOCAL_LOSS = OriginalClass(
    ("FocalLoss",), fixed={"use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "reduction": "mean", "loss_weight": 1.0}
)
L1_LOSS = OriginalClass(("L1Loss",), fixed={"reduction": "mean", "loss_weight": 1.0})
RETINA_HEAD = OriginalClass(
    ("RetinaHead",),
    required=("num_classes", "in_channels"),
    carried={"stacked_convs": 4, "feat_channels": 256},
    fixed={"conv_cfg": None, "norm_cfg": None, "reg_decoded_bbox": False},
    parts={
        "anchor_generator": (
            ANCHOR_GENERATOR,
            {
                "type": "AnchorGenerator",
                "octave_base_scale": 4,
                "scales_per_octave": 3,
                "ratios": [0.5, 1.0, 2.0],
                "strides": PYRAMID_STRIDES,
            },
        ),
        "bbox_coder": (BOX_CODER, {"type": "DeltaXYWHBBoxCoder"}),
        # The defaults are other losses.
        "loss_cls": (FOCAL_LOSS, None),
        "loss_bbox": (L1_LOSS, None),
    },
    ignored=("init_cfg", "train_cfg", "test_cfg"),
)
DETECTOR = OriginalClass(
    ("RetinaNet",),
    required=("backbone", "neck", "bbox_head"),
    carried={"train_cfg": None, "test_cfg": None},
    ignored=("pretrained", "init_cfg"),
)
NMS = OriginalClass(("nms",), carried={"iou_threshold": 0.5})
DETECTOR_TEST_CFG = OriginalClass(
    ("test_cfg",),
    carried={"nms_pre": None, "score_thr": None, "max_per_img": None},
    fixed={"min_bbox_size": 0},
    parts={"nms": (NMS, {"type": "nms"})},
)
ASSIGNER = OriginalClass(
    ("MaxIoUAssigner",),
    required=("pos_iou_thr", "neg_iou_thr"),
    carried={"min_pos_iou": 0.0},
    fixed={
        "ignore_iof_thr": -1,
        "gt_max_assign_all": True,
        "match_low_quality": True,
        "ignore_wrt_candidates": True,
    },
    ignored=("gpu_assign_thr",),
)


class HlgConverter(Converter):
    """HLG's checkpoints, of any task."""

    tasks = ("classification", "detection", "segmentation")
    has_optional_heads = True
    refusal = "This is not an HLG checkpoint"
    expected_names = "s0_conv.0.0.weight (a classifier) or backbone.s0_conv.0.0.weight"
    architectures = ((ENCODER, HEAD), (ENCODER, RETINA_HEAD))

    @property
    def is_classifier(self) -> bool:
        """Whether the names are those of a classifier's file rather than of a model for segmentation or detection."""
        return any(name.startswith("s0_conv.") for name in self.tensors)

    def has_known_names(self) -> bool:
        return any(name.startswith(("s0_conv.", "backbone.s0_conv.")) for name in self.tensors)

    def read_config(self, original: dict[str, Any]) -> HlgConfig:
        """The `HlgConfig` of a classifier's encoder, or of the parts of a model for detection or segmentation."""
        if "bbox_head" in original:
            arguments = _read_detector(original)
        elif "decode_head" in original:
            arguments = _read_segmenter(original)
        else:
            classifier = CLASSIFIER.read(original)
            arguments = {
                **_read_encoder(classifier),
                "num_labels": classifier["num_classes"],
                "window_pooling": _read_pooling(classifier),
                "global_bias": "prefix",
                "use_stage_norm": False,
            }
        return HlgConfig(**arguments)

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        """The settings of a classifier's or a detector's, with the detector's own test settings."""
        if "decode_head" in original:
            return read_preprocessing(original)
        if "bbox_head" not in original:
            return {
                "size": {"shortest_edge": 256},
                "resample": 3,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            }
        test_cfg = DETECTOR_TEST_CFG.read(original.get("test_cfg") or {})
        settings = {
            "score_threshold": test_cfg["score_thr"],
            "nms_threshold": test_cfg["nms"]["iou_threshold"],
            "num_candidates": test_cfg["nms_pre"],
            "max_detections": test_cfg["max_per_img"],
        }
        return {
            "size": {"shortest_edge": 800, "longest_edge": 1333},
            "do_pad": True,
            "size_divisor": 32,
            "return_pixel_mask": True,
            **{name: value for name, value in settings.items() if value is not None},
        }

    def adapt_config(self, config: HlgConfig) -> HlgConfig:
        """
        With the depths and widths that the checkpoint has: the published configurations and the published sizes of the
        models disagree.
        """
        prefix = "" if self.is_classifier else "backbone."
        found: dict[str, Any] = {
            "depths": list(config.depths),
            "hidden_sizes": list(config.hidden_sizes),
            "num_attention_heads": list(config.num_attention_heads),
        }
        for stage in range(NUM_STAGES):
            block = f"{prefix}block{stage + 1}."
            indices = [int(name.removeprefix(block).split(".")[0]) for name in self.tensors if name.startswith(block)]
            if indices:
                found["depths"][stage] = max(indices) + 1
            if (weight := self.tensors.get(f"{block}0.mlp.fc3.weight")) is not None:
                found["hidden_sizes"][stage] = weight.shape[0]
            if (weight := self.tensors.get(f"{block}0.pos_global.pos3.2.weight")) is not None:
                found["num_attention_heads"][stage] = weight.shape[0]
        # Where a block changes the width, its MLP is as wide as that of its input or of its output calls for.
        for stage in range(1, NUM_STAGES):
            first, last = (
                self.tensors.get(f"{prefix}block{stage + 1}.0.mlp.{name}.weight") for name in ("fc1", "fc3")
            )
            if first is not None and last is not None and first.shape[1] != last.shape[0]:
                found["mlp_width"] = "output" if first.shape[0] == config.mlp_ratio * last.shape[0] else "input"
        has_conv = any(name.startswith(f"{prefix}block1.0.h0_conv.") for name in self.tensors)
        if has_conv != (config.window_pooling == "conv"):
            found["window_pooling"] = "conv" if has_conv else "mean"
        changes = {
            name: value
            for name, value in found.items()
            if value != (list(getattr(config, name)) if isinstance(value, list) else getattr(config, name))
        }
        for name, value in changes.items():
            print(f"The file has {name} {value}; its configuration says {getattr(config, name)}. Going by the file.")
        return HlgConfig.from_dict({**config.to_dict(), **changes}) if changes else config

    def new_parameters(self, task: str) -> str | None:
        """A classifier's file gives other tasks its encoder."""
        if task == "classification" or not self.is_classifier:
            return None
        return r"backbone\.stages\.[0-2]\.layernorm\..*|(decode_head|auxiliary_head|neck|bbox_head)\..*"

    def rules(self, config: HlgConfig) -> list[Rule]:
        prefix = "" if self.is_classifier else r"backbone\."
        return [
            *_stem_rules(prefix),
            *(rule for stage in range(NUM_STAGES) for rule in _stage_rules(prefix, stage)),
            *module_rules({rf"{prefix}norm": f"backbone.stages.{NUM_STAGES - 1}.layernorm"}),
            *module_rules({rf"{prefix}norm_out_([0-2])": r"backbone.stages.\1.layernorm"}),
            Rule(r"head\..*", reason="the classifier of images, which this task does not need")
            if config.use_stage_norm
            else Rule(r"head\.(.*)", r"classifier.\1"),
            *_decode_head_rules(),
            *module_rules(DETECTOR_MODULES),
        ]


def _read_encoder(encoder: dict[str, Any]) -> dict[str, Any]:
    refuse_unless(encoder, dynamic_position_bias=True)
    # Only whether they are 1 has an effect.
    for key in ("sr_ratios", "crs_interval"):
        if [ratio != 1 for ratio in encoder[key]] != [True, True, True, False]:
            raise ValueError(f"The encoder has {key}={encoder[key]!r}; only the last, and it alone, may be 1.")
    return {
        "num_channels": encoder["in_chans"],
        "hidden_sizes": encoder["embed_dims"],
        "depths": encoder["depths"],
        "num_attention_heads": encoder["num_heads"],
        "qkv_bias": encoder["qkv_bias"],
        "drop_path_rate": encoder["drop_path_rate"],
        "layer_norm_eps": encoder["norm_eps"],
    }


def _read_pooling(encoder: dict[str, Any]) -> str:
    method = encoder["h0_h1_method"]
    if method not in POOLINGS:
        raise ValueError(f"The encoder has h0_h1_method={method!r}; expected one of {list(POOLINGS)}.")
    return POOLINGS[method]


def _read_segmenter(original: dict[str, Any]) -> dict[str, Any]:
    model = ENCODER_DECODER.read(original)
    refuse_unless(model, neck=None)
    encoder, head = ENCODER.read(model["backbone"]), read_head(HEAD, model["decode_head"])
    auxiliary_heads = [read_head(FCN_HEAD, part) for part in as_list(model["auxiliary_head"])]
    refuse_unless(head, in_channels=encoder["embed_dims"], in_index=[0, 1, 2, 3], fuse_level=0)
    if head["sr_ratio"] < 2:
        raise ValueError(f"decode_head has sr_ratio={head['sr_ratio']!r}; expected at least 2.")
    for part in auxiliary_heads:
        refuse_unless(part, num_convs=1, kernel_size=3, concat_input=False)
        refuse_unless(part, in_channels=encoder["embed_dims"][tapped(part, NUM_STAGES)])
        BN.read_part(part["type"], "norm_cfg", part["norm_cfg"])
        RELU.read_part(part["type"], "act_cfg", part["act_cfg"])
    heads = [head, *auxiliary_heads]
    return {
        **_read_encoder(encoder),
        **read_training(heads),
        "inference_mode": "whole",
        "window_size": encoder["img_size"],
        **read_test_protocol(model["test_cfg"]),
        "decoder_hidden_size": head["channels"],
        "decoder_num_layers": head["depth"],
        "decoder_interval": head["sr_ratio"],
        "decoder_dropout": value_of_all(heads, "dropout_ratio"),
        "auxiliary_heads": [
            {"in_index": tapped(part, NUM_STAGES), "hidden_size": part["channels"]} for part in auxiliary_heads
        ],
    }


def _read_detector(original: dict[str, Any]) -> dict[str, Any]:
    model = DETECTOR.read(original)
    encoder, neck, head = (
        ENCODER.read(model["backbone"]),
        FPN.read(model["neck"]),
        RETINA_HEAD.read(model["bbox_head"]),
    )
    anchors = head["anchor_generator"]
    refuse_unless(neck, in_channels=encoder["embed_dims"], start_level=1, add_extra_convs="on_input", num_outs=5)
    refuse_unless(head, in_channels=neck["out_channels"])
    refuse_unless(anchors, strides=PYRAMID_STRIDES)
    if (stated := (model["train_cfg"] or {}).get("assigner")) is not None:
        refuse_unless(ASSIGNER.read(stated), pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    return {
        **_read_encoder(encoder),
        "num_labels": head["num_classes"],
        "pyramid_hidden_size": neck["out_channels"],
        "detector_hidden_size": head["feat_channels"],
        "detector_num_layers": head["stacked_convs"],
        "anchor_scale": anchors["octave_base_scale"],
        "anchor_scales_per_octave": anchors["scales_per_octave"],
        "anchor_ratios": anchors["ratios"],
    }


def _stem_rules(prefix: str) -> list[Rule]:
    return module_rules(
        {
            rf"{prefix}s0_conv\.{index}\.{theirs}": f"backbone.stem.{ours}{index + 1}"
            for index in (0, 1)
            for theirs, ours in enumerate(("conv", "batch_norm"))
        }
    )


def _stage_rules(prefix: str, stage: int) -> list[Rule]:
    block, layer = rf"{prefix}block{stage + 1}\.(\d+)", rf"backbone.stages.{stage}.layers.\1"
    names = {
        r"down_proj\.proj\.0": "downsample.conv",
        r"mlp\.fc1": "mlp.fc1",
        r"mlp\.fc2": "mlp.conv",
        r"mlp\.fc3": "mlp.fc2",
        "norm2": "mlp_layernorm",
        r"global_attn\.proj": "attention.o_proj",
        **{name: f"attention.{name}_proj" for name in "qkv"},
        r"down_proj\.proj\.1": "downsample.batch_norm",
        r"mlp\.norm1": "mlp.batch_norm1",
        r"mlp\.norm2": "mlp.batch_norm2",
    }
    table = [*_position_rules(rf"{block}\.pos_global", f"{layer}.attention.global_position_bias")]
    if stage == NUM_STAGES - 1:
        names |= {"norm1": "attention.layernorm"}
        table.append(Rule(rf"{block}\.spatial_smooth\..*", reason="never applied by the original"))
    else:
        names |= {
            "norm0": "attention.local_layernorm",
            "norm1": "attention.query_layernorm",
            "h0_norm": "attention.window_layernorm",
            "h0_conv": "attention.window_conv",
            "aux_q": "attention.query_conv",
        }
        table += _position_rules(rf"{block}\.pos_local", f"{layer}.attention.local_position_bias")
        table += _smoothing_rules(block, f"{layer}.attention.smoothing")
    return [*table, *module_rules({rf"{block}\.{theirs}": f"{layer}.{ours}" for theirs, ours in names.items()})]


def _position_rules(theirs: str, ours: str) -> list[Rule]:
    """A position bias inside something that is numbered by the pattern's first group."""
    layers = {rf"{theirs}\.pos{index + 1}\.([02])": rf"{ours}.layers.{index}.\2" for index in range(3)}
    return module_rules({rf"{theirs}\.pos_proj": f"{ours}.projection", **layers})


def _smoothing_rules(theirs: str, ours: str) -> list[Rule]:
    """The smoothing inside something that is numbered by the pattern's first group."""
    return module_rules(
        {
            rf"{theirs}\.spatial_smooth\.0\.{3 * index + shift}": f"{ours}.{module}{index + 1}"
            for index in range(3)
            for shift, module in enumerate(("conv", "batch_norm"))
        }
    )


def _decode_head_rules() -> list[Rule]:
    layer, ours = r"decode_head\.decode_transformer\.(\d+)", r"decode_head.layers.\1"
    modules = {
        r"decode_head\.conv_0": "decode_head.fusion.conv",
        r"decode_head\.syncbn_fc_0": "decode_head.fusion.batch_norm",
        r"decode_head\.conv_seg": "decode_head.classifier",
        rf"{layer}\.norm0": f"{ours}.local_layernorm",
        rf"{layer}\.norm1": f"{ours}.global_layernorm",
        rf"{layer}\.norm2": f"{ours}.mlp_layernorm",
        rf"{layer}\.attn\.norm": f"{ours}.summary_layernorm",
        rf"{layer}\.attn\.q": f"{ours}.attention.q_proj",
        rf"{layer}\.attn\.proj": f"{ours}.attention.o_proj",
        rf"{layer}\.mlp\.(fc[12])": rf"{ours}.mlp.\2",
    }
    # A single auxiliary head has no number there.
    for head, our_head in (("auxiliary_head", "auxiliary_head.0"), (r"auxiliary_head\.(\d+)", r"auxiliary_head.\1")):
        modules[rf"{head}\.convs\.0\.conv"] = f"{our_head}.conv_layer.conv"
        modules[rf"{head}\.convs\.0\.bn"] = f"{our_head}.conv_layer.batch_norm"
        modules[rf"{head}\.conv_seg"] = f"{our_head}.classifier"
    return [
        *module_rules(modules),
        Rule(rf"{layer}\.attn\.kv\.weight", tuple(f"{ours}.attention.{part}_proj.weight" for part in "kv")),
        *_position_rules(rf"{layer}\.attn\.pos", f"{ours}.attention.position_bias"),
        *_smoothing_rules(layer, f"{ours}.smoothing"),
    ]


# Modules of a detector's neck and head, as patterns, and ours.
DETECTOR_MODULES = {
    r"neck\.lateral_convs\.(\d)\.conv": r"neck.lateral_convs.\1",
    r"neck\.fpn_convs\.(\d)\.conv": r"neck.output_convs.\1",
    r"bbox_head\.cls_convs\.(\d+)\.conv": r"bbox_head.class_convs.\1",
    r"bbox_head\.reg_convs\.(\d+)\.conv": r"bbox_head.box_convs.\1",
    r"bbox_head\.retina_cls": "bbox_head.classifier",
    r"bbox_head\.retina_reg": "bbox_head.box_regressor",
}
