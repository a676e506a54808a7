# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken's checkpoints and configurations: what the conversion makes of each form, and what it refuses."""

import dataclasses
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, load_case
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.recipes import get_recipe


NATIVE_CASES = ["tiny_cse", "tiny_sse", "tiny_pwe"]


def case(name: str) -> GoldenCase:
    return load_case("structtoken", name)


def convert_with(command, state_dict: dict[str, torch.Tensor], config: dict[str, Any]):
    checkpoint = command.checkpoint({"state_dict": state_dict, "optimizer": {"state": {}}, "meta": {"iter": 1}})
    method = ["--method", "structtoken", "--original-config", command.original_config(config)]
    return command.run(*method, "--checkpoint", checkpoint, "--output", command.output)


def converted(command, state_dict: dict[str, torch.Tensor], config: dict[str, Any]) -> nn.Module:
    answer = convert_with(command, state_dict, config)
    assert answer.status == 0, answer.err
    return AutoModelForSemanticSegmentation.from_pretrained(command.output)


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_every_tensor_is_used(name, command):
    golden = case(name)
    answer = convert_with(command, golden.state_dict(), golden.config)
    assert f"Converted {len(golden.state_dict())} of them" in answer.out
    assert "Dropped" not in answer.out


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_names_of_distributed_training(name, command):
    golden = case(name)
    state_dict = {f"module.{key}": tensor for key, tensor in golden.state_dict().items()}
    model = converted(command, state_dict, golden.config)
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


def changed(name: str, backbone: dict[str, Any] | None = None, head: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configuration of a case with other values."""
    config = case(name).config
    config["model"]["backbone"] |= backbone or {}
    config["model"]["decode_head"] |= head or {}
    return config


# Switches of the original.


def test_what_the_original_leaves_out_has_its_defaults(command):
    golden, config = case("tiny_cse"), case("tiny_cse").config
    for key in ("drop_path_rate", "norm_cfg", "dropout_ratio", "align_corners", "loss_decode", "image_h", "image_w"):
        del config["model"]["decode_head"][key]
    for key in ("patch_size", "in_channels", "mlp_ratio", "qkv_bias", "with_cls_token", "act_cfg", "interpolate_mode"):
        del config["model"]["backbone"][key]
    state_dict = golden.state_dict()
    state_dict["decode_head.kernels"] = torch.zeros(1, 13, 32, 32)
    config = converted(command, state_dict, config).config
    assert config.token_grid_size == [32, 32]
    assert (config.decoder_drop_path_rate, config.decoder_mlp_ratio) == (0.1, 4)
    assert (config.decoder_layer_norm_eps, config.decoder_mlp_layer_norm_eps) == (1e-6, 1e-5)
    assert config.backbone_config.interpolation_mode == "bicubic"
    assert config.backbone_config.interpolate_by_token_count


def test_settings_are_read(command):
    head = {"drop_path_rate": 0.3, "norm_cfg": {"type": "LN", "eps": 1e-3}, "ignore_index": 254}
    backbone = {"drop_path_rate": 0.2, "interpolate_mode": "bilinear", "norm_cfg": {"type": "LN"}}
    config = converted(command, case("tiny_sse").state_dict(), changed("tiny_sse", backbone, head)).config
    assert (config.decoder_drop_path_rate, config.decoder_mlp_layer_norm_eps) == (0.3, 1e-3)
    assert config.decoder_layer_norm_eps == 1e-6
    assert config.semantic_loss_ignore_index == 254
    vit = config.backbone_config
    assert (vit.drop_path_rate, vit.interpolation_mode, vit.layer_norm_eps) == (0.2, "bilinear", 1e-5)
    assert config.inference_mode == "whole"


def test_sliding_windows_are_read(command):
    golden = case("tiny_pwe_slide")
    config = converted(command, golden.state_dict(), golden.config).config
    assert config.protocol()[:3] == ("slide", (64, 64), (42, 42))


def test_sides_that_are_no_multiple_of_the_patch(command):
    # 105 // 16 = 6, as for 96.
    golden = case("tiny_cse")
    config = changed("tiny_cse", {"img_size": [105, 96]}, {"image_h": 105})
    model = converted(command, golden.state_dict(), config)
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


def embedded(state_dict: dict[str, torch.Tensor], pixel_values: torch.Tensor) -> torch.Tensor:
    """Patches and their positions: `(batch, patches, hidden)`."""
    weight, bias = (state_dict[f"backbone.patch_embed.projection.{leaf}"] for leaf in ("weight", "bias"))
    patches = nn.functional.conv2d(pixel_values, weight, bias, stride=16).flatten(2).transpose(1, 2)
    return patches + state_dict["backbone.pos_embed"][:, 1:]


def feature_maps(model: Any, pixel_values: torch.Tensor, depth: int) -> list[torch.Tensor]:
    """What the backbone gives out, and its hidden states `(batch, tokens, hidden)` from the first block's input on."""
    with torch.no_grad():
        outputs = model.backbone(pixel_values, output_hidden_states=True)
    assert len(outputs.hidden_states) == depth + 1
    return [outputs.feature_maps[-1].flatten(2).transpose(1, 2), *outputs.hidden_states]


def test_without_class_token(command):
    golden = case("tiny_cse")
    model = converted(command, golden.state_dict(), changed("tiny_cse", {"with_cls_token": False}))
    _, first, *_ = feature_maps(model, golden.pixel_values(), depth=3)
    torch.testing.assert_close(first, embedded(golden.state_dict(), golden.pixel_values()), rtol=1e-4, atol=1e-5)


def test_norm_after_the_patch_embedding(command):
    golden, state_dict = case("tiny_cse"), case("tiny_cse").state_dict()
    weight, bias = torch.linspace(0.5, 1.5, 32), torch.linspace(-1, 1, 32)
    state_dict |= {"backbone.patch_embed.norm.weight": weight, "backbone.patch_embed.norm.bias": bias}
    model = converted(command, state_dict, changed("tiny_cse", {"patch_norm": True}))
    _, first, *_ = feature_maps(model, golden.pixel_values(), depth=3)
    positions = state_dict["backbone.pos_embed"][:, 1:]
    patches = embedded(state_dict, golden.pixel_values()) - positions
    expected = nn.functional.layer_norm(patches, (32,), weight, bias, eps=1e-6) + positions
    torch.testing.assert_close(first[:, 1:], expected, rtol=1e-4, atol=1e-4)


def test_norm_after_the_last_block(command):
    golden, state_dict = case("tiny_cse"), case("tiny_cse").state_dict()
    weight, bias = torch.linspace(0.5, 1.5, 32), torch.linspace(-1, 1, 32)
    state_dict |= {"backbone.ln1.weight": weight, "backbone.ln1.bias": bias}
    model = converted(command, state_dict, changed("tiny_cse", {"final_norm": True}))
    features, *_, last = feature_maps(model, golden.pixel_values(), depth=3)
    expected = nn.functional.layer_norm(golden.expected["backbone_layer_2"], (32,), weight, bias, eps=1e-6)[:, 1:]
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3)
    golden.assert_matches("backbone_layer_2", last)


@pytest.mark.parametrize(
    ("out_indices", "in_index", "block"), [(-1, -1, 2), (1, -1, 1), ([0, 2], -1, 2), ([0, 2], 0, 0), ([2, 0, 1], 1, 1)]
)
def test_the_head_takes_the_feature_map_that_it_names(out_indices, in_index, block, command):
    golden = case("tiny_cse")
    config = changed("tiny_cse", {"out_indices": out_indices}, {"in_index": in_index})
    model = converted(command, golden.state_dict(), config)
    features, *_ = feature_maps(model, golden.pixel_values(), depth=3)
    expected = golden.expected[f"backbone_layer_{block}"][:, 1:]
    torch.testing.assert_close(features, expected, rtol=2e-4, atol=2e-4)


# What does not fit.


def assert_refused(command, state_dict, config, *messages: str) -> None:
    command.assert_refused(convert_with(command, state_dict, config), *messages)


def test_every_tensor_that_does_not_fit_is_named(command):
    state_dict = case("tiny_sse").state_dict()
    state_dict["decode_head.conv_seg.weight"] = torch.zeros(5, 32, 1, 1)
    state_dict["decode_head.layers.1.ffn1.norm2.weight"] = torch.zeros(3)
    del state_dict["decode_head.layers.0.cross_attn.key_map.conv1.bias"]
    assert_refused(
        command,
        state_dict,
        case("tiny_sse").config,
        "not known to the conversion (1)",
        "decode_head.conv_seg.weight (5, 32, 1, 1)",
        "missing (1)",
        "decode_head.layers.0.extraction.key_map.fc1.bias (37,)",
        "of another shape (1)",
        "decode_head.layers.1.mlp.block.layernorm2.weight (3,), expected (148,)",
    )


@pytest.mark.parametrize("other", ["PointWiseExtracStructTokenHead", "CrossSliceExtracStructTokenHead"])
def test_checkpoint_of_another_extraction(other, command):
    config = changed("tiny_sse", head={"type": other})
    assert_refused(command, case("tiny_sse").state_dict(), config, "does not fit", "decode_head.layers.0")


@pytest.mark.parametrize("recipe", ["structtoken-cse-vit-t-ade20k-512-160k", None])
def test_checkpoint_of_another_method(recipe, command):
    state_dict = load_case("setr", "mmseg_tiny_naive").state_dict()
    if recipe is None:
        answer = convert_with(command, state_dict, case("tiny_cse").config)
    else:
        checkpoint = command.checkpoint(state_dict)
        answer = command.run("--recipe", recipe, "--checkpoint", checkpoint, "--output", command.output)
    command.assert_refused(answer, "not a StructToken checkpoint", "decode_head.kernels")


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ({}, {"type": "UPerHead"}, "decode_head has type='UPerHead'; expected one of"),
        ({}, {"align_corners": True}, "align_corners=True"),
        ({}, {"drop_rate": 0.1}, "drop_rate=0.1; only 0.0"),
        ({}, {"h_stride": 8}, "h_stride=8; only 16"),
        ({}, {"num_layer": 4}, "CrossSliceExtracStructTokenHead has num_layer=4, an argument that is not known"),
        ({"num_fcs": 3}, {}, "num_fcs=3"),
        ({}, {"interpolate_mode": "bilinear"}, "interpolate_mode='bilinear'; only 'bicubic'"),
        ({}, {"norm_cfg": {"type": "BN"}}, "only 'LN' can be converted"),
        ({}, {"loss_decode": {"type": "DiceLoss"}}, "only 'CrossEntropyLoss' can be converted"),
        ({}, {"loss_decode": [{"type": "CrossEntropyLoss", "loss_weight": 0.4}]}, "loss_weight=0.4"),
        ({"qkv_bias": False}, {}, "not in the model (9)"),
        ({"act_cfg": {"type": "ReLU"}}, {}, "act_cfg={'type': 'ReLU'}; only 'GELU'"),
        ({"interpolate_mode": "nearest"}, {}, "interpolation_mode is 'nearest'"),
        ({"num_heads": 5}, {}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
    ],
)
def test_values_that_cannot_be_converted(backbone, head, message, command):
    assert_refused(command, case("tiny_cse").state_dict(), changed("tiny_cse", backbone, head), message)


# Recipes.


@pytest.fixture
def tiny_recipe(use_recipe) -> str:
    """The SSE recipe with ViT-B, whose pixels have a normalisation of their own, as small as a golden case."""
    name = "structtoken-sse-vit-b-ade20k-512-160k"
    recipe = get_recipe(name)
    size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128}
    backbone = {**recipe.model["backbone_config"], **size, "image_size": 96}
    model = {**recipe.model, "decoder_num_layers": 3, "backbone_config": backbone, "token_grid_size": [6, 6]}
    use_recipe(dataclasses.replace(recipe, model=model))
    return name


def test_a_recipe(tiny_recipe, command):
    state_dict = case("tiny_sse").state_dict()
    for name, tensor in state_dict.items():
        # 5 classes become 150.
        shape = [{5: 150, 37: 182, 148: 728}.get(size, size) for size in tensor.shape]
        state_dict[name] = torch.zeros(shape) if name.startswith("decode_head") else tensor
    checkpoint = command.checkpoint({"state_dict": state_dict, "meta": {"CLASSES": ["wrong"] * 150}})
    answer = command.run("--recipe", tiny_recipe, "--checkpoint", checkpoint, "--output", command.output)
    assert answer.status == 0, answer.err
    config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
    assert (config.id2label[0], config.id2label[149]) == ("wall", "flag")
    assert config.protocol()[1:3] == ((512, 512), (341, 341))
    image_processor = AutoImageProcessor.from_pretrained(command.output)
    assert image_processor.do_reduce_labels
    assert (image_processor.size["shortest_edge"], image_processor.size["longest_edge"]) == (512, 2048)
    assert (list(image_processor.image_mean), list(image_processor.image_std)) == ([0.5] * 3, [0.5] * 3)


def test_without_checkpoint_says_where_it_is(command):
    answer = command.run("--recipe", "structtoken-pwe-vit-l-ade20k-640-160k")
    assert answer.status == 1
    assert "StructToken/releases/download/v0.1.0/struct-token-pwe_vit-l_ade20k.pth" in answer.out
    assert "--checkpoint FILE --output DIR" in answer.out
