# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""mmsegmentation's DPT as transformers' own class, where that answers the same."""

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import load_case, pixels
from PIL import Image
from transformers import DPTForSemanticSegmentation, pipeline

from vitseg.conversion.transformers_models.dpt import DptConverter


CASE = load_case("transformers_models", "dpt")


def changed(part: str, changes: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The case's configuration with other arguments in a part of its model."""
    config = json.loads(json.dumps(CASE.config))
    place = config["model"] if not part else config["model"][part]
    place |= changes
    for name in without:
        del place[name]
    return config


def read(config: dict[str, Any]) -> dict[str, Any]:
    return DptConverter(CASE.state_dict()).read_config(config["model"]).to_dict()


def test_answers_as_the_original(command):
    """For images of another size than the positions are stored for."""
    command.method = "dpt"
    checkpoint = command.checkpoint({"state_dict": CASE.state_dict()})
    answer = command.convert(checkpoint, command.original_config(CASE.config), "--verify")
    assert answer.status == 0, answer.err
    assert "Verified: loaded again, it differs by 0.0e+00" in answer.out
    assert not list(command.output.glob("*.py"))
    model = DPTForSemanticSegmentation.from_pretrained(command.output)
    for output, description in CASE.description["outputs"].items():
        with torch.no_grad():
            CASE.assert_matches(output, model(pixels(description["input"])).logits)
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 90, 3), dtype=np.uint8))
    segments = pipeline("image-segmentation", model=str(command.output))(image)
    assert segments[0]["mask"].size == image.size

    with_head = DPTForSemanticSegmentation.from_pretrained(command.output, use_auxiliary_head=True)
    assert with_head(torch.zeros(1, 3, 64, 64), labels=torch.zeros(1, 64, 64, dtype=torch.long)).loss.isfinite()


def test_the_published_model_is_refused_with_what_to_change(command):
    """It was tested otherwise than transformers' class can: with corners as they are, and on images of any shape."""
    command.method = "dpt"
    checkpoint = command.checkpoint(CASE.state_dict())
    published = changed("decode_head", {"align_corners": False})
    command.assert_refused(
        command.convert(checkpoint, command.original_config(published)),
        "DPTHead has align_corners=False; only True can be converted",
        "True in a copy of the configuration",
    )
    published = changed("", {})
    published["test_pipeline"][1] |= {"scale": [2048, 512], "keep_ratio": True}
    command.assert_refused(
        command.convert(checkpoint, command.original_config(published)),
        "'shortest_edge': 512, 'longest_edge': 2048}; only squares of whole patches",
        "keep_ratio=False",
    )


@pytest.mark.parametrize(
    ("part", "changes", "without", "expected"),
    [
        ("decode_head", {}, ("readout_type",), {"readout_type": "ignore"}),
        ("decode_head", {"readout_type": "add"}, (), {"readout_type": "add"}),
        ("decode_head", {"dropout_ratio": 0.3}, (), {"semantic_classifier_dropout": 0.3}),
        ("decode_head", {"ignore_index": 0}, (), {"semantic_loss_ignore_index": 0}),
        ("backbone", {"norm_cfg": {"type": "LN", "eps": 1e-6}}, (), {"layer_norm_eps": 1e-6}),
        ("backbone", {"qkv_bias": False}, (), {"qkv_bias": False}),
        ("backbone", {"out_indices": [3, 0, 1, 2]}, (), {"backbone_out_indices": [0, 1, 2, 3]}),
    ],
)
def test_arguments_are_carried_over(part, changes, without, expected):
    config = read(changed(part, changes, without))
    assert {name: config[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("part", "changes", "without", "message"),
    [
        ("", {"test_cfg": {"mode": "slide", "crop_size": [64, 64], "stride": [32, 32]}}, (), "mode='slide'"),
        ("", {"auxiliary_head": {"type": "FCNHead"}}, (), "EncoderDecoder has auxiliary_head="),
        ("backbone", {}, ("output_cls_token",), "VisionTransformer has output_cls_token=False; only True"),
        ("backbone", {"final_norm": True}, (), "final_norm=True; only False"),
        ("backbone", {"patch_bias": True}, (), "patch_bias=True, but the checkpoint has no"),
        ("backbone", {"drop_path_rate": 0.1}, (), "drop_path_rate=0.1; only 0.0 can be converted. Only training"),
        ("backbone", {"img_size": [48, 64]}, (), "img_size=[48, 64]; only a square"),
        ("backbone", {"out_indices": [1, 3, 4]}, (), "out_indices=[1, 3, 4]; only 4"),
        ("decode_head", {"expand_channels": True}, (), "DPTHead has expand_channels=True; only False"),
        ("decode_head", {}, ("embed_dims",), "DPTHead has embed_dims=768; only 48"),
        ("decode_head", {}, ("input_transform",), "input_transform=None; only 'multiple_select'"),
        ("decode_head", {"in_index": [3, 2, 1, 0]}, (), "in_index=[3, 2, 1, 0]"),
        ("decode_head", {"norm_cfg": None}, (), "DPTHead has norm_cfg=None; only 'SyncBN'"),
        ("decode_head", {"act_cfg": {"type": "GELU"}}, (), "act_cfg={'type': 'GELU'}; only 'ReLU'"),
    ],
)
def test_arguments_are_refused_by_name_and_value(part, changes, without, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(changed(part, changes, without))
