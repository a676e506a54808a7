# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""mmsegmentation's Mask2Former, over Swin and ResNet, as transformers' own class."""

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import GoldenCase, load_case, pixels
from PIL import Image
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation, pipeline

from vitseg.conversion.transformers_models.mask2former import Mask2FormerConverter


SWIN, RESNET = (load_case("transformers_models", name) for name in ("mask2former_swin", "mask2former_resnet"))
TESTED = {"test_pipeline": [{"type": "LoadImageFromFile"}, {"type": "Resize", "scale": [128, 32], "keep_ratio": True}]}


def convert(command: Any, case: GoldenCase, *options: str) -> Any:
    command.method = case.method
    checkpoint = command.checkpoint({"state_dict": case.state_dict(), "meta": {"dataset_meta": META}})
    return command.convert(checkpoint, command.original_config({"model": case.config, **TESTED}), *options)


META = {"classes": [f"class {index}" for index in range(7)]}


def changed(path: str, value: Any, case: GoldenCase = SWIN) -> dict[str, Any]:
    """The configuration of a case with another value at a path of keys; `...` takes the key away."""
    # Converters get the names of classes without that of a package.
    config = json.loads(json.dumps(case.config).replace("mmdet.", ""))
    *keys, last = path.split(".")
    part = config
    for key in keys:
        part = part[int(key) if key.isdigit() else key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return config


def read(config: dict[str, Any], case: GoldenCase = SWIN) -> dict[str, Any]:
    return Mask2FormerConverter(case.state_dict()).read_config(config).to_dict()


@pytest.mark.parametrize("case", [SWIN, RESNET], ids=["swin", "resnet"])
def test_answers_as_the_original(case, command):
    answer = convert(command, case, "--verify")
    assert answer.status == 0, answer.err
    assert "Verified: loaded again, it differs by 0.0e+00" in answer.out
    # A folder of transformers alone.
    assert not list(command.output.glob("*.py"))
    assert "auto_map" not in json.loads((command.output / "config.json").read_text())
    model = Mask2FormerForUniversalSegmentation.from_pretrained(command.output)
    assert list(model.config.id2label.values()) == META["classes"]
    for output, description in case.description["outputs"].items():
        with torch.no_grad():
            answers = model(pixels(description["input"]))
        case.assert_matches(output, answers[output.partition(".")[2]])


def test_images_are_neither_stretched_nor_padded(command):
    """And the folder says so, where the original pads them."""
    convert(command, SWIN)
    image = Image.fromarray(np.full((40, 90, 3), 200, np.uint8))
    image_processor = AutoImageProcessor.from_pretrained(command.output)
    pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (1, 3, 32, 72)
    expected = (200 - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    assert pixel_values[0, :, 0, -1].tolist() == pytest.approx(expected, abs=1e-5)
    notes = json.loads((command.output / "conversion.json").read_text())["notes"]
    assert any("pads their sides to multiples of 32" in note for note in notes)
    segments = pipeline("image-segmentation", model=str(command.output))(image, subtask="semantic")
    assert {segment["label"] for segment in segments} <= set(META["classes"])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("decode_head.num_queries", ..., {"num_queries": 100}),
        ("decode_head.ignore_index", 0, {"ignore_value": 0}),
        ("decode_head.loss_cls.class_weight", [1.0] * 7 + [0.2], {"no_object_weight": 0.2}),
        ("decode_head.train_cfg", ..., {"train_num_points": 12544, "dice_weight": 5.0}),
        ("decode_head.train_cfg.num_points", 100, {"train_num_points": 100, "oversample_ratio": 3.0}),
        ("decode_head.enforce_decoder_input_project", True, {"enforce_input_projection": True}),
        ("backbone.drop_path_rate", ..., {"backbone_config.drop_path_rate": 0.1}),
        ("test_cfg", ..., {"decoder_layers": 5, "encoder_layers": 2, "encoder_feedforward_dim": 48}),
    ],
)
def test_arguments_are_carried_over(path, value, expected):
    config = read(changed(path, value))
    for name, carried in expected.items():
        part, _, last = name.rpartition(".")
        assert (config[part] if part else config)[last] == carried


LAYER = "decode_head.transformer_decoder.layer_cfg"
PIXEL_DECODER = "decode_head.pixel_decoder"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("test_cfg", {"mode": "slide", "crop_size": [64, 64], "stride": [32, 32]}, "test_cfg has mode='slide'"),
        ("auxiliary_head", {"type": "FCNHead"}, "EncoderDecoder has auxiliary_head={'type': 'FCNHead'}; only None"),
        ("backbone.use_abs_pos_embed", True, "use_abs_pos_embed=True"),
        ("decode_head.align_corners", True, "Mask2FormerHead has align_corners=True; only False"),
        ("decode_head.num_transformer_feat_level", 4, "num_transformer_feat_level=4; only 3"),
        ("decode_head.positional_encoding.normalize", ..., "positional_encoding has normalize=False; only True"),
        ("decode_head.loss_dice.eps", ..., "loss_dice has eps=0.001; only 1.0"),
        ("decode_head.loss_cls.class_weight", [2.0] + [1.0] * 6 + [0.1], "class_weight=[2.0, 1.0"),
        ("decode_head.loss_dice.loss_weight", 4.0, "DiceCost has weight=5.0; only 4.0 can be converted"),
        (f"{PIXEL_DECODER}.norm_cfg.num_groups", 16, "pixel_decoder's norm_cfg has num_groups=16; only 32"),
        (f"{PIXEL_DECODER}.num_points", 4, "pixel_decoder has num_points=4, an argument that is not known"),
        (f"{PIXEL_DECODER}.encoder.layer_cfg.self_attn_cfg.num_levels", ..., "num_levels=4; only 3"),
        (f"{PIXEL_DECODER}.encoder.layer_cfg.self_attn_cfg.dropout", ..., "dropout=0.1; only 0.0"),
        (f"{PIXEL_DECODER}.encoder.layer_cfg.ffn_cfg.embed_dims", ..., "ffn_cfg has embed_dims=256; only 32"),
        (f"{LAYER}.self_attn_cfg.num_heads", 2, "num_heads=[4, 2, 4]; only one value"),
        (f"{LAYER}.cross_attn_cfg.attn_drop", 0.1, "attn_drop=0.1; only 0.0 can be converted. Only training looks"),
        (f"{LAYER}.ffn_cfg.act_cfg", {"type": "GELU"}, "ffn_cfg has act_cfg={'type': 'GELU'}; only 'ReLU'"),
        (f"{LAYER}.norm_cfg", {"type": "LN", "eps": 1e-6}, "norm_cfg has eps=1e-06; only 1e-05"),
    ],
)
def test_arguments_are_refused_by_name_and_value(path, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backbone.depth", 77, "ResNet has depth=77; only [18, 34, 50, 101, 152]"),
        ("backbone.deep_stem", True, "ResNet has deep_stem=True; only False"),
        ("backbone.dilations", [1, 1, 2, 4], "dilations=[1, 1, 2, 4]"),
        ("backbone.out_indices", [1, 2, 3], "out_indices=[1, 2, 3]; only [0, 1, 2, 3]"),
    ],
)
def test_other_resnets_are_refused(path, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(changed(path, value, RESNET), RESNET)


def test_the_first_convolution_of_a_block_may_have_the_stride():
    assert read(changed("backbone.style", "caffe", RESNET), RESNET)["backbone_config"]["downsample_in_bottleneck"]
