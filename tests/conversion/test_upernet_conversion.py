# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""mmsegmentation's UPerNet over Swin, ConvNeXt and BEiT, as transformers' own class."""

import copy
import json
import re
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, load_case, pixels
from transformers import SegformerImageProcessor, UperNetForSemanticSegmentation

from vitseg.conversion.base import converter_of


NAMES = ("upernet_beit", "upernet_convnext", "upernet_swin")


def case(name: str) -> GoldenCase:
    return load_case("transformers_models", name)


def changed(name: str, place: str, changes: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration of a case with other arguments in one of its parts, or on top (`""`)."""
    config = copy.deepcopy(case(name).config)
    # As what reads configurations gives it.
    config["backbone"]["type"] = config["backbone"]["type"].removeprefix("mmpretrain.")
    part = config[place] if place else config
    part |= changes
    for key in without:
        del part[key]
    return config


def read(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return converter_of(name)(case(name).state_dict()).read_config(config).to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_original(name, command):
    """Recognised by its configuration; the folder loads without vitseg, and holds nothing of it."""
    golden = case(name)
    checkpoint = command.checkpoint({"state_dict": golden.state_dict()})
    arguments = ("--original-config", command.original_config(golden.config), "--checkpoint", checkpoint)
    answer = command.run(*arguments, "--output", command.output, "--verify")
    assert answer.status == 0, answer.err
    assert "Verified: loaded again" in answer.out
    files = {"config.json", "conversion.json", "fingerprint.json", "model.safetensors", "preprocessor_config.json"}
    assert {file.name for file in command.output.iterdir()} == files
    assert "auto_map" not in json.loads((command.output / "config.json").read_text())
    model = UperNetForSemanticSegmentation.from_pretrained(command.output)
    for output, description in golden.description["outputs"].items():
        with torch.no_grad():
            golden.assert_matches(output, model(pixels(description["input"])).logits)
    image_processor = SegformerImageProcessor.from_pretrained(command.output)
    assert [255 * value for value in image_processor.image_mean] == pytest.approx([123.675, 116.28, 103.53])
    assert not image_processor.do_resize


def test_what_it_does_otherwise_is_said_and_recorded(command):
    golden = case("upernet_beit")
    whole = {
        "model": changed(
            "upernet_beit", "", {"test_cfg": {"mode": "slide", "crop_size": [64, 64], "stride": [48, 44]}}
        ),
        "test_pipeline": [{"type": "Resize", "scale": [256, 64], "keep_ratio": True}],
    }
    checkpoint = command.checkpoint(golden.state_dict())
    answer = command.run(
        "--original-config", command.original_config(whole), "--checkpoint", checkpoint, "--output", command.output
    )
    assert answer.status == 0, answer.err
    notes = json.loads((command.output / "conversion.json").read_text())["notes"]
    assert [f"Note: {note}" in answer.out for note in notes] == [True] * 4
    assert any(note.endswith("vitseg validate --window 64 64 --stride 48 44") for note in notes)
    size = SegformerImageProcessor.from_pretrained(command.output).size
    assert (size["shortest_edge"], size["longest_edge"]) == (64, 256)


@pytest.mark.parametrize(
    ("heads", "reason"),
    [
        (None, "transformers has one, not 0"),
        ({"in_index": 1}, "FCNHead has in_index=1; only 2"),
        ({"num_convs": 0}, "FCNHead has num_convs=0"),
        ({"kernel_size": 1}, "FCNHead has kernel_size=1; only 3"),
    ],
)
def test_an_auxiliary_head_that_transformers_does_not_have_is_dropped(heads, reason):
    config = case("upernet_swin").config
    config["auxiliary_head"] = None if heads is None else config["auxiliary_head"] | heads
    converter = converter_of("upernet_swin")(case("upernet_swin").state_dict())
    ours = converter.read_config(config)
    assert not ours.use_auxiliary_head
    assert reason in converter.rules(ours)[0].reason


@pytest.mark.parametrize(
    ("name", "place", "changes", "without", "expected"),
    [
        ("upernet_swin", "backbone", {}, ("drop_path_rate",), {"backbone_config.drop_path_rate": 0.1}),
        ("upernet_swin", "backbone", {"qkv_bias": False}, (), {"backbone_config.qkv_bias": False}),
        ("upernet_swin", "decode_head", {"ignore_index": 254}, (), {"loss_ignore_index": 254}),
        ("upernet_swin", "auxiliary_head", {"concat_input": True}, (), {"auxiliary_concat_input": True}),
        ("upernet_swin", "auxiliary_head", {}, ("num_convs",), {"auxiliary_num_convs": 2}),
        ("upernet_convnext", "backbone", {"arch": "base"}, (), {"backbone_config.depths": [3, 3, 27, 3]}),
        ("upernet_beit", "backbone", {"img_size": 64}, (), {"backbone_config.image_size": 64}),
        ("upernet_beit", "backbone", {}, ("norm_cfg",), {"backbone_config.layer_norm_eps": 1e-5}),
    ],
)
def test_arguments_are_carried_over(name, place, changes, without, expected):
    config = changed(name, place, changes, without)
    if place == "decode_head":
        config["auxiliary_head"]["ignore_index"] = changes["ignore_index"]
    config = read(name, config)
    for path, value in expected.items():
        actual: Any = config
        for key in path.split("."):
            actual = actual[key]
        assert actual == value


@pytest.mark.parametrize(
    ("name", "place", "changes", "message"),
    [
        ("upernet_swin", "backbone", {"use_abs_pos_embed": True}, "SwinTransformer has use_abs_pos_embed=True"),
        ("upernet_swin", "backbone", {"norm_cfg": {"type": "LN", "eps": 1e-6}}, "norm_cfg has eps=1e-06; only 1e-05"),
        ("upernet_swin", "backbone", {"out_indices": [1, 2, 3]}, "out_indices=[1, 2, 3]"),
        ("upernet_swin", "backbone", {"strides": [4, 2, 2, 1]}, "strides=[4, 2, 2, 1]"),
        ("upernet_swin", "decode_head", {"align_corners": True}, "UPerHead has align_corners=True; only False"),
        ("upernet_swin", "decode_head", {"in_index": [0, 1, 2]}, "in_index=[0, 1, 2]"),
        ("upernet_swin", "decode_head", {"pool": 1}, "UPerHead has pool=1, an argument that is not known"),
        ("upernet_swin", "", {"neck": {"type": "FPN"}}, "EncoderDecoder has neck="),
        ("upernet_convnext", "backbone", {"use_grn": True}, "use_grn=True; only False"),
        ("upernet_convnext", "backbone", {"arch": "giant"}, "arch='giant'; expected one of atto"),
        ("upernet_convnext", "backbone", {"gap_before_final_norm": True}, "gap_before_final_norm=True"),
        ("upernet_beit", "backbone", {"img_size": [64, 96]}, "img_size=[64, 96]; only a square"),
        ("upernet_beit", "backbone", {"final_norm": True}, "BEiT has final_norm=True"),
        ("upernet_beit", "backbone", {"out_indices": [1, 2, 4, 9]}, "expected four layers from 0 to 5"),
        ("upernet_beit", "neck", {"rescales": [2, 1, 0.5, 0.25]}, "neck has rescales=[2, 1, 0.5, 0.25]"),
    ],
)
def test_arguments_are_refused_by_name_and_value(name, place, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(name, changed(name, place, changes))
