# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
mmsegmentation's own configurations, as it ships them: what they leave out has the defaults of its classes, and what
they say is carried over or refused.
"""

import copy
import json
import re
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case, pixels
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.conversion.base import converter_of


PATCH_BIAS = "backbone.embeddings.patch_embeddings.bias"
# The cases whose patch embedding has a bias.
WITH_BIAS = ("segmenter_mask_no_final_norm", "segformer")


def case(name: str) -> GoldenCase:
    return load_case("mmsegmentation", name)


def changed(name: str, place: str, changes: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration of a case with other arguments in one of its parts, or on top (`""`)."""
    config = copy.deepcopy(case(name).config)
    part: Any = config
    for key in place.split(".") if place else ():
        part = part[int(key) if key.isdigit() else key]
    part |= changes
    for key in without:
        del part[key]
    return config


def read(name: str, config: dict[str, Any]) -> Any:
    """Our configuration for one of a case's checkpoint."""
    golden = case(name)
    return converter_of(golden.method)(golden.state_dict()).read_config(config)


@pytest.mark.parametrize("name", case_names("mmsegmentation"))
def test_answers_as_the_original(name, command):
    golden = case(name)
    command.method = golden.method
    checkpoint = command.checkpoint({"state_dict": golden.state_dict()})
    answer = command.convert(checkpoint, command.original_config(golden.config))
    assert answer.status == 0, answer.err
    model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    for output, description in golden.description["outputs"].items():
        with torch.no_grad():
            golden.assert_matches(output, model(pixels(description["input"])).logits)

    preprocessing = golden.config["data_preprocessor"]
    image_processor = AutoImageProcessor.from_pretrained(command.output)
    assert [255 * value for value in image_processor.image_mean] == pytest.approx(preprocessing["mean"])
    assert [255 * value for value in image_processor.image_std] == pytest.approx(preprocessing["std"])

    zero = json.loads((command.output / "conversion.json").read_text())["zero"]
    assert (PATCH_BIAS in zero) == (name not in WITH_BIAS)
    assert ("the original has no such bias" in answer.out) == bool(zero)
    for parameter in zero:
        assert not model.get_parameter(parameter).any()


def test_a_bias_that_is_absent_is_zero_and_named(command):
    golden = case("setr_naive_no_attention_bias")
    answer = command.convert(command.checkpoint(golden.state_dict()), command.original_config(golden.config))
    assert f"Zero, because the original has no such bias (5): {PATCH_BIAS}, backbone.layers.0" in answer.out
    zero = json.loads((command.output / "conversion.json").read_text())["zero"]
    assert zero == [PATCH_BIAS, *(f"backbone.layers.{index}.attention.o_proj.bias" for index in range(4))]
    backbone_config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config.backbone_config
    assert not backbone_config.qkv_bias


def test_a_bias_that_should_be_there_is_missed(command):
    """Those of one layer, those of a configuration that states them, and those that no original is without."""
    golden = case("setr_naive")
    state_dict = golden.state_dict()
    del state_dict["backbone.layers.2.attn.attn.out_proj.bias"], state_dict["decode_head.conv_seg.bias"]
    answer = command.convert(command.checkpoint(state_dict), command.original_config(golden.config))
    command.assert_refused(
        answer, "missing (2)", "backbone.layers.2.attention.o_proj.bias", "decode_head.classifier.bias"
    )
    with pytest.raises(ValueError, match="patch_bias=True, but the checkpoint has no"):
        read("setr_naive", changed("setr_naive", "backbone", {"patch_bias": True}))


def test_a_checkpoint_of_an_earlier_release_keeps_its_patch_bias(command):
    """Their patch embedding has one without being told."""
    golden = case("setr_naive")
    bias = torch.linspace(-1, 1, 48)
    state_dict = golden.state_dict() | {"backbone.patch_embed.projection.bias": bias}
    assert torch.equal(command.converted(state_dict, golden.config).get_parameter(PATCH_BIAS), bias)


# What may be left out, and stands for the same then.
AT_DEFAULT: dict[str, dict[str, tuple[str, ...]]] = {
    "setr_naive": {
        "backbone": ("patch_size", "in_channels", "with_cls_token"),
        "decode_head": ("align_corners", "loss_decode", "num_convs"),
        "auxiliary_head.0": ("align_corners", "act_cfg"),
        "": ("pretrained", "train_cfg"),
    },
    "setr_pup": {"decode_head": ("kernel_size",), "auxiliary_head.1": ("kernel_size",)},
    "setr_mla": {
        "decode_head": ("align_corners", "loss_decode"),
        "auxiliary_head.2": ("align_corners", "act_cfg", "norm_cfg", "kernel_size"),
    },
    "segmenter_mask": {
        "backbone": ("patch_size", "in_channels", "attn_drop_rate", "drop_rate", "interpolate_mode"),
        "decode_head": ("loss_decode", "dropout_ratio"),
    },
    "segmenter_linear": {"decode_head": ("loss_decode",)},
    "segformer": {
        "backbone": ("num_stages", "patch_sizes", "sr_ratios", "mlp_ratio", "qkv_bias", "drop_rate", "out_indices"),
        "decode_head": ("dropout_ratio", "align_corners", "loss_decode"),
    },
}


@pytest.mark.parametrize(
    ("name", "place", "argument"),
    [
        (name, place, argument)
        for name, places in AT_DEFAULT.items()
        for place, arguments in places.items()
        for argument in arguments
    ],
)
def test_what_is_left_out_has_the_default_of_the_class(name, place, argument):
    shorter = changed(name, place, {}, (argument,))
    assert read(name, shorter).to_dict() == read(name, case(name).config).to_dict()


# Case, part, arguments set and left out there, and what ours are then.
SETTINGS: list[tuple[str, str, dict[str, Any], tuple[str, ...], dict[str, Any]]] = [
    ("setr_naive", "backbone", {}, ("drop_rate",), {"backbone_config.hidden_dropout_prob": 0.0}),
    ("setr_naive", "backbone", {}, ("norm_cfg",), {"backbone_config.layer_norm_eps": 1e-5}),
    ("setr_naive", "backbone", {"norm_cfg": {"type": "LN"}}, (), {"backbone_config.layer_norm_eps": 1e-5}),
    ("setr_naive", "backbone", {}, ("interpolate_mode",), {"backbone_config.interpolation_mode": "bicubic"}),
    ("setr_naive", "backbone", {}, ("img_size",), {"backbone_config.image_size": [224, 224]}),
    ("setr_naive", "backbone", {}, ("num_heads",), {"backbone_config.num_attention_heads": 12}),
    ("setr_naive", "backbone", {}, ("num_layers",), {"backbone_config.num_hidden_layers": 12}),
    ("setr_naive", "backbone", {"drop_path_rate": 0.1}, (), {"backbone_config.drop_path_on_attention": False}),
    ("setr_naive", "backbone", {"attn_drop_rate": 0.2}, (), {"backbone_config.attention_probs_dropout_prob": 0.2}),
    ("setr_naive", "backbone", {"out_indices": [3, 1, 2, 0]}, (), {"backbone_config.out_indices": [1, 2, 3, 4]}),
    ("setr_naive", "decode_head", {}, ("in_index",), {"decoder_in_index": 3}),
    ("setr_naive", "decode_head", {"in_index": -2}, (), {"decoder_in_index": 2}),
    ("setr_naive", "decode_head", {}, ("up_scale",), {"decoder_upsample_scales": [4]}),
    ("setr_naive", "auxiliary_head.0", {}, ("num_convs",), {"auxiliary_heads.0.upsample_scales": [4]}),
    ("setr_naive", "decode_head", {}, ("kernel_size",), {"decoder_kernel_size": 3}),
    ("setr_naive", "decode_head", {"norm_cfg": {"type": "BN"}}, (), {"decoder_conv_bias": False}),
    ("setr_naive", "decode_head", {"loss_decode": [{"type": "CrossEntropyLoss"}]}, (), {"decoder_in_index": 3}),
    ("setr_pup", "auxiliary_head.2", {}, ("in_index",), {"auxiliary_heads.2.in_index": 3}),
    ("setr_pup", "auxiliary_head.2", {}, ("num_convs",), {"auxiliary_heads.2.upsample_scales": [4]}),
    ("setr_mla", "decode_head", {"mla_channels": 128, "channels": 512}, (), {"mla_branch_size": 128}),
    ("setr_mla", "decode_head", {"channels": 512}, ("mla_channels",), {"mla_branch_size": 128}),
    ("setr_mla", "auxiliary_head.1", {}, ("in_index",), {"auxiliary_heads.1.in_index": 0}),
    ("setr_mla", "", {"test_cfg": {}}, (), {"inference_mode": "whole"}),
    ("segmenter_mask", "backbone", {}, ("drop_path_rate",), {"backbone_config.drop_path_rate": 0.0}),
    ("segmenter_mask", "backbone", {}, ("final_norm",), {"backbone_config.use_final_norm": False}),
    ("segmenter_mask", "backbone", {"out_indices": [2]}, (), {"backbone_config.out_indices": [3]}),
    ("segmenter_mask", "decode_head", {}, (), {"decoder_drop_path_rate": 0.1, "decoder_dropout": 0.0}),
    ("segmenter_mask", "decode_head", {"ignore_index": 254}, (), {"semantic_loss_ignore_index": 254}),
    (
        "segmenter_mask",
        "decode_head",
        {"loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True}},
        (),
        {"average_valid_pixels": True},
    ),
    ("segformer", "backbone", {}, ("drop_path_rate",), {"encoder_config.drop_path_rate": 0.0}),
    ("segformer", "backbone", {"drop_rate": 0.2}, (), {"encoder_config.hidden_dropout_prob": 0.2}),
    ("segformer", "decode_head", {"dropout_ratio": 0.3}, (), {"classifier_dropout_prob": 0.3}),
]


@pytest.mark.parametrize(("name", "place", "changes", "without", "expected"), SETTINGS)
def test_arguments_are_carried_over(name, place, changes, without, expected):
    config = read(name, changed(name, place, changes, without)).to_dict()
    for path, value in expected.items():
        actual: Any = config
        for key in path.split("."):
            actual = actual[int(key) if key.isdigit() else key]
        assert actual == value


def test_dropout_before_the_classifiers_is_carried_over():
    config = case("setr_pup").config
    for head in (config["decode_head"], *config["auxiliary_head"]):
        del head["dropout_ratio"]
    assert read("setr_pup", config).decoder_dropout == 0.1


# Case, part, arguments set and left out there, and what is said of it.
REFUSED: list[tuple[str, str, dict[str, Any], tuple[str, ...], str]] = [
    ("setr_naive", "", {"type": "CascadeEncoderDecoder"}, (), "type='CascadeEncoderDecoder'"),
    ("setr_naive", "", {"infer_wo_softmax": True}, (), "EncoderDecoder has infer_wo_softmax=True"),
    ("setr_naive", "", {"test_cfg": {"mode": "whole", "rescale": False}}, (), "test_cfg has rescale=False"),
    ("setr_naive", "backbone", {"type": "SwinTransformer"}, (), "type='SwinTransformer'; only 'VisionTransformer'"),
    (
        "setr_naive",
        "backbone",
        {"num_layer": 4},
        (),
        "VisionTransformer has num_layer=4, an argument that is not known",
    ),
    ("setr_naive", "backbone", {"pre_norm": True}, (), "VisionTransformer has pre_norm=True; only False"),
    ("setr_naive", "backbone", {"out_origin": True}, (), "VisionTransformer has out_origin=True; only False"),
    ("setr_naive", "backbone", {"output_cls_token": True}, (), "output_cls_token=True"),
    ("setr_naive", "backbone", {"patch_pad": "same"}, (), "patch_pad='same'"),
    ("setr_naive", "backbone", {"num_fcs": 3}, (), "num_fcs=3"),
    ("setr_naive", "backbone", {"frozen_exclude": ["ln"]}, (), "frozen_exclude=['ln']; only ['all']"),
    ("setr_naive", "backbone", {"act_cfg": {"type": "GELU", "approximate": "tanh"}}, (), "approximate='tanh'"),
    ("setr_naive", "backbone", {"norm_cfg": {"type": "BN"}}, (), "norm_cfg={'type': 'BN'}; only 'LN'"),
    ("setr_naive", "backbone", {"norm_cfg": {"type": "LN", "bias": False}}, (), "norm_cfg has bias=False"),
    ("setr_naive", "backbone", {"out_indices": [0, 1, 2, 4]}, (), "out_indices=[0, 1, 2, 4]; expected layers from 0"),
    ("setr_naive", "backbone", {}, ("embed_dims",), "SETRUPHead has in_channels=48; only 768"),
    ("setr_naive", "backbone", {}, ("out_indices",), "in_index=3, but there are 1 feature maps"),
    ("setr_naive", "decode_head", {"in_index": 4}, (), "in_index=4, but there are 4 feature maps"),
    ("setr_naive", "decode_head", {}, ("norm_cfg",), "SETRUPHead has norm_cfg=None; only 'SyncBN'"),
    ("setr_naive", "decode_head", {"norm_cfg": {"type": "GN"}}, (), "norm_cfg={'type': 'GN'}"),
    ("setr_naive", "decode_head", {"norm_cfg": {"type": "BN", "eps": 1e-3}}, (), "norm_cfg has eps=0.001"),
    ("setr_naive", "decode_head", {"norm_layer": {"type": "LN"}}, (), "norm_layer has eps=1e-05; only 1e-06"),
    ("setr_naive", "decode_head", {"act_cfg": {"type": "GELU"}}, (), "act_cfg={'type': 'GELU'}; only 'ReLU'"),
    ("setr_naive", "decode_head", {"num_convs": 0}, (), "num_convs=0"),
    ("setr_naive", "decode_head", {"align_corners": True}, (), "align_corners=True"),
    ("setr_naive", "decode_head", {"out_channels": 1}, (), "out_channels=1; only 7"),
    ("setr_naive", "decode_head", {"sampler": {"type": "OHEMPixelSampler"}}, (), "Only training looks at it"),
    ("setr_naive", "decode_head", {"loss_decode": {"type": "DiceLoss"}}, (), "only 'CrossEntropyLoss'"),
    (
        "setr_naive",
        "decode_head",
        {"loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 0.5}},
        (),
        "SETRUPHead's loss_decode has loss_weight=0.5; only 1.0",
    ),
    (
        "setr_naive",
        "auxiliary_head.0",
        {"loss_decode": {"type": "CrossEntropyLoss", "class_weight": [1.0] * 7}},
        (),
        "loss_decode has class_weight=",
    ),
    ("setr_naive", "auxiliary_head.0", {"ignore_index": 0}, (), "ignore_index=[255, 0, 255, 255]"),
    ("setr_naive", "auxiliary_head.0", {"channels": 32}, (), "channels=[24, 32, 24, 24]"),
    ("setr_naive", "auxiliary_head.0", {"num_classes": 8}, (), "num_classes=[7, 8, 7, 7]"),
    ("setr_naive", "auxiliary_head.0", {}, ("dropout_ratio",), "dropout_ratio=[0, 0.1, 0, 0]"),
    ("setr_mla", "neck", {}, ("act_cfg",), "MLANeck has act_cfg=None; only 'ReLU'"),
    ("setr_mla", "neck", {}, ("norm_cfg",), "MLANeck has norm_cfg=None; only 'SyncBN'"),
    ("setr_mla", "decode_head", {"up_scale": 2}, (), "SETRMLAHead has up_scale=2; only 4"),
    ("setr_mla", "decode_head", {"in_index": [3, 2, 1, 0]}, (), "in_index=[3, 2, 1, 0]"),
    ("setr_mla", "auxiliary_head.0", {}, ("num_convs",), "FCNHead has num_convs=2; only 0"),
    ("setr_mla", "auxiliary_head.0", {}, ("concat_input",), "FCNHead has concat_input=True; only False"),
    ("segmenter_mask", "", {"neck": {"type": "MLANeck"}}, (), "EncoderDecoder has neck="),
    ("segmenter_mask", "decode_head", {"num_fcs": 3}, (), "num_fcs=3"),
    ("segmenter_mask", "decode_head", {"attn_drop_rate": 0.1}, (), "attn_drop_rate=0.1; only 0.0"),
    ("segmenter_mask", "decode_head", {"norm_cfg": {"type": "LN", "eps": 1e-6}}, (), "norm_cfg has eps=1e-06"),
    ("segmenter_mask", "backbone", {"out_indices": [1]}, (), "only the last layer, 2, can be converted"),
    ("segmenter_linear", "decode_head", {}, ("num_convs",), "FCNHead has num_convs=2; only 0"),
    ("segmenter_linear", "decode_head", {}, ("dropout_ratio",), "FCNHead has dropout_ratio=0.1; only 0"),
    ("segformer", "backbone", {}, ("num_heads",), "num_heads=[1, 2, 4, 8]"),
    ("segformer", "backbone", {"qkv_bias": False}, (), "MixVisionTransformer has qkv_bias=False"),
    ("segformer", "backbone", {"patch_sizes": [5, 3, 3, 3]}, (), "patch_sizes=[5, 3, 3, 3]"),
    ("segformer", "backbone", {"norm_cfg": {"type": "LN"}}, (), "norm_cfg has eps=1e-05; only 1e-06"),
    ("segformer", "decode_head", {"interpolate_mode": "nearest"}, (), "interpolate_mode='nearest'"),
]


@pytest.mark.parametrize(("name", "place", "changes", "without", "message"), REFUSED)
def test_arguments_are_refused_by_name_and_value(name, place, changes, without, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(name, changed(name, place, changes, without))


def test_a_refusal_names_the_file_and_leaves_nothing(command):
    original_config = command.original_config(changed("setr_pup", "backbone", {"pre_norm": True}))
    answer = command.convert(command.checkpoint(case("setr_pup").state_dict()), original_config)
    command.assert_refused(answer, f"{original_config} cannot be converted. VisionTransformer has pre_norm=True")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bgr_to_rgb": False}, "SegDataPreProcessor has bgr_to_rgb=False; only True"),
        ({"rgb_to_bgr": True}, "rgb_to_bgr=True"),
        ({"test_cfg": {"size_divisor": 32}}, "test_cfg={'size_divisor': 32}"),
        ({"type": "DetDataPreprocessor"}, "type='DetDataPreprocessor'"),
    ],
)
def test_preprocessing_that_cannot_be_converted(changes, message, command):
    original_config = command.original_config(changed("setr_pup", "data_preprocessor", changes))
    answer = command.convert(command.checkpoint(case("setr_pup").state_dict()), original_config)
    command.assert_refused(answer, message)


def test_values_may_be_tuples_as_configurations_in_python_have_them():
    config = case("setr_mla").config
    config["decode_head"] |= {"in_index": (0, 1, 2, 3), "in_channels": (32, 32, 32, 32)}
    config["backbone"] |= {"out_indices": (0, 1, 2, 3), "img_size": (64, 64)}
    assert read("setr_mla", config).to_dict() == read("setr_mla", case("setr_mla").config).to_dict()
