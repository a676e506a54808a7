# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet's checkpoints and its teacher's: what the conversion makes of each form, and what it refuses."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, load_case
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.conversion.sctnet import training_head_rules
from vitseg.recipes import get_recipe


TRAINING, TEACHER = "auxiliary_head.", "auxiliary_head.1.teacher_"


@pytest.fixture
def command(command):
    command.method = "sctnet"
    return command


@pytest.fixture(scope="module")
def case() -> GoldenCase:
    """A checkpoint of the training, with auxiliary heads and teacher."""
    return load_case("sctnet", "tiny_loss_bn_eval")


def convert_with(command, state_dict: dict[str, torch.Tensor], config: dict[str, Any]):
    return command.convert(command.checkpoint({"state_dict": state_dict, "meta": {}}), command.original_config(config))


def test_what_becomes_of_a_training_checkpoint(command, case):
    """What only training needs is left out, whatever the configuration says of it."""
    answer = convert_with(command, case.state_dict(), case.config)
    assert answer.status == 0, answer.err
    names = list(case.state_dict())
    num_training = sum(name.startswith(TRAINING) for name in names)
    num_teacher = sum(name.startswith(TEACHER) for name in names)
    assert f"Converted {len(names) - num_training} of them" in answer.out
    assert f"Dropped {num_teacher} (only training needs it: the teacher, which converts by itself" in answer.out
    assert "(only training needs it: the auxiliary head): auxiliary_head.0." in answer.out
    assert "Dropped 6 (only training needs it: the alignment with the teacher): auxiliary_head.1." in answer.out
    model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "decode_head"}
    assert (model.config.auxiliary_loss_weight, model.config.inference_mode) == (0.4, "whole")


def test_names_of_what_only_training_needs(case):
    """Every tensor of the auxiliary head and of the alignment has a name in a wrapper that trains."""
    originals = [name for name in case.state_dict() if name.startswith(TRAINING) and not name.startswith(TEACHER)]
    names = {names[0] for name in originals for rule in training_head_rules() if (names := rule.rename(name))}
    assert len(names) == len(originals)
    assert {name.rpartition(".")[0] for name in names} == {
        *(f"auxiliary_head.{module}" for module in ("norm", "layer.conv", "layer.norm", "classifier")),
        *(f"alignment.{part}_projection" for part in ("shared", "stage3", "stage4")),
    }


@pytest.mark.parametrize("form", ["stripped", "module", "bare"])
def test_forms_of_files(form, command, case):
    """Distributed files may lack what only training needs; the prefix of distributed training is taken off."""
    state_dict = case.state_dict()
    if form == "stripped":
        state_dict = {name: tensor for name, tensor in state_dict.items() if not name.startswith(TRAINING)}
    elif form == "module":
        state_dict = {f"module.{name}": tensor for name, tensor in state_dict.items()}
    content = state_dict if form == "bare" else {"state_dict": state_dict, "meta": {}, "optimizer": {"state": {}}}
    answer = command.convert(command.checkpoint(content), command.original_config(case.config))
    assert answer.status == 0, answer.err
    model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    with torch.no_grad():
        logits = model.decode_head(model.backbone(case.pixel_values()).feature_maps[-1])
    case.assert_matches("decode_logits_low", logits)


def test_settings_are_read(command, case):
    config = copy.deepcopy(case.config)
    config["backbone"] |= {"drop_path_rate": 0.25, "drop_rate": 0.125, "num_heads": 4}
    config["decode_head"]["ignore_index"] = config["auxiliary_head"][0]["ignore_index"] = 254
    config["auxiliary_head"][0]["loss_decode"]["loss_weight"] = 0.5
    converted = command.converted(case.state_dict(), config).config
    assert (converted.drop_path_rate, converted.hidden_dropout_prob, converted.num_attention_heads) == (0.25, 0.125, 4)
    assert (converted.semantic_loss_ignore_index, converted.auxiliary_loss_weight) == (254, 0.5)


def test_a_wider_head(command, case):
    state_dict, config = case.state_dict(), copy.deepcopy(case.config)
    config["decode_head"]["channels"] = 40
    for name in ("conv1.weight", "conv1.bias", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"):
        tensor = state_dict[f"decode_head.{name}"]
        state_dict[f"decode_head.{name}"] = torch.ones(40, *tensor.shape[1:])
    state_dict["decode_head.conv_seg.weight"] = torch.ones(6, 40, 1, 1)
    assert command.converted(state_dict, config).config.decoder_hidden_size == 40


# The teacher.


def names_of(form: str, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The teacher of a training checkpoint under the names of another kind of file."""
    if form == "training":
        return state_dict
    teacher = {name.removeprefix(TEACHER): tensor for name, tensor in state_dict.items() if name.startswith(TEACHER)}
    if form == "teacher":
        return {f"teacher_{name}": tensor for name, tensor in teacher.items()}
    renamed = {
        name if name.startswith("backbone.") else name.replace("head.", "decode_head.", 1): tensor
        for name, tensor in teacher.items()
    }
    return renamed | {"auxiliary_head.0.conv_seg.bias": torch.zeros(6)}


@pytest.mark.parametrize("form", ["training", "teacher", "mmsegmentation"])
def test_the_teacher(form, command, case):
    command.method = "sctnet_teacher"
    config = case.config
    if form == "mmsegmentation":
        encoder = {"embed_dims": 16, "num_layers": [1, 2, 2, 1], "num_heads": [1, 2, 5, 8]}
        config = {
            "backbone": {"type": "MixVisionTransformer", **encoder},
            "test_cfg": {"mode": "whole"},
        }
    state_dict = names_of(form, case.state_dict())
    # Heads are not 64 wide in this reduced teacher, so their number has to be told.
    content = state_dict if form == "teacher" else {"state_dict": state_dict}
    answer = command.convert(command.checkpoint(content), command.original_config(config))
    assert answer.status == 0, answer.err
    teacher = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    with torch.no_grad():
        stages = teacher.encode(case.pixel_values())
        _, logits = teacher.classify(teacher.concatenate(stages))
    for index, stage in enumerate(stages):
        case.assert_matches(f"teacher_stage{index + 1}", stage)
    case.assert_matches("teacher_logits", logits)


def test_the_published_teacher_needs_no_number_of_heads(command, case):
    """Where heads are 64 wide, as in MiT-B2 and MiT-B3."""
    manifest = load_case("sctnet", "full_s_loss_b2_teacher").description["state_dict"]
    state_dict = {
        name.removeprefix("auxiliary_head.1."): torch.zeros(shape)
        for name, shape in manifest.items()
        if name.startswith(TEACHER)
    }
    command.method = "sctnet_teacher"
    answer = command.convert(command.checkpoint(state_dict), command.original_config({"backbone": {"type": "SCTNet"}}))
    assert answer.status == 0, answer.err
    config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
    encoder = config.encoder_config
    assert (list(encoder.depths), list(encoder.hidden_sizes)) == ([3, 4, 6, 3], [64, 128, 320, 512])
    assert (list(encoder.num_attention_heads), list(encoder.sr_ratios)) == ([1, 2, 5, 8], [8, 4, 2, 1])
    assert (list(encoder.mlp_ratios), config.decoder_hidden_size, config.num_labels) == ([4, 4, 4, 4], 256, 19)


def test_a_checkpoint_without_teacher(command):
    command.method = "sctnet_teacher"
    tiny = load_case("sctnet", "tiny_odd")
    answer = convert_with(command, tiny.state_dict(), tiny.config)
    command.assert_refused(answer, "There is no teacher in the checkpoint", "teacher_head.fusion_conv.conv.weight")


# What does not fit.


def test_every_tensor_that_does_not_fit_is_named(command, case):
    state_dict = case.state_dict()
    state_dict["backbone.layer9.weight"] = torch.zeros(3)
    state_dict["backbone.layer5.attn_l.kv"] = torch.zeros(64, 63, 7, 1)
    del state_dict["decode_head.bn1.bias"]
    command.assert_refused(
        convert_with(command, state_dict, case.config),
        "not known to the conversion (1)",
        "backbone.layer9.weight (3,)",
        "missing (1)",
        "decode_head.norm.bias (32,)",
        "of another shape (1)",
        "backbone.stage4.layers.1.attention.vertical_kernel (64, 63, 7, 1), expected (64, 64, 7, 1)",
    )


def test_checkpoint_of_another_method(command, case):
    other = load_case("setr", "mmseg_tiny_naive")
    command.assert_refused(
        convert_with(command, other.state_dict(), case.config), "not an SCTNet checkpoint", "backbone.convdown4"
    )


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("backbone", {"type": "DDRNet"}, "type='DDRNet'; only 'SCTNet'"),
        ("decode_head", {"type": "FCNHead"}, "type='FCNHead'; only 'SCTHead'"),
        ("decode_head", {"in_channels": 64}, "in_channels=64; only 32"),
        ("decode_head", {"in_index": -1}, "in_index=-1; only 0"),
        ("decode_head", {"input_transform": "resize_concat"}, "input_transform='resize_concat'"),
        ("backbone", {"num_head": 4}, "SCTNet has num_head=4, an argument that is not known"),
        ("decode_head", {"align_corners": True}, "align_corners=True"),
        ("decode_head", {"dropout_ratio": 0.1}, "dropout_ratio=0.1"),
        ("decode_head", {"loss_decode": {"type": "OhemLoss"}}, "only 'CrossEntropyLoss'"),
        ("decode_head", {"loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 2.0}}, "loss_weight=2.0"),
        ("backbone", {"num_heads": 7}, "not a multiple of num_attention_heads 7"),
        ("backbone", {"layer_nums": [2]}, "stage_depths is"),
    ],
)
def test_values_that_cannot_be_converted(part, changes, message, command, case):
    config = copy.deepcopy(case.config)
    config[part] |= changes
    command.assert_refused(convert_with(command, case.state_dict(), config), message)


# Recipes.


@pytest.fixture
def tiny_recipe(use_recipe) -> str:
    """The recipe of SCTNet-B-Seg75, as small as a golden case."""
    name = "sctnet-b-seg75-cityscapes-512x1024-160k"
    recipe = get_recipe(name)
    model = {**recipe.model, "base_channels": 8, "context_channels": 16}
    use_recipe(dataclasses.replace(recipe, model=model))
    return name


def test_a_recipe_is_for_inference(tiny_recipe, command, case):
    state_dict = case.state_dict()
    for name, tensor in state_dict.items():
        if "conv_seg" in name:
            state_dict[name] = torch.zeros(19, *tensor.shape[1:])
    checkpoint = command.checkpoint({"state_dict": state_dict, "meta": {"CLASSES": ["wrong"] * 19}})
    answer = command.run("--recipe", tiny_recipe, "--checkpoint", checkpoint, "--output", command.output)
    assert answer.status == 0, answer.err
    model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "decode_head"}
    assert (model.config.id2label[0], model.config.image_size) == ("road", [768, 1536])
    size = AutoImageProcessor.from_pretrained(command.output).size
    assert (size.shortest_edge, size.longest_edge) == (768, 1536)


def test_without_checkpoint_says_where_it_is(command):
    answer = command.run("--recipe", "sctnet-b-seg100-cityscapes-1024-160k")
    assert answer.status == 1
    assert "https://github.com/xzz777/SCTNet#readme" in answer.out
    assert "until 2025-03-31 the link led to the file of Seg75" in answer.out
