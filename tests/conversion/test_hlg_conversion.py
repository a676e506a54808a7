# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG's checkpoints and configurations of three tasks: what the conversion makes of each form, and what it refuses."""

import copy
import dataclasses
import re
import sys
import types
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, load_case
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
)

from vitseg.conversion.hlg import HlgConverter
from vitseg.recipes import get_recipe
from vitseg.training.initialization import initial_model


NATIVE_CASES = ["tiny_cls", "tiny_cls_dwconv", "tiny_seg", "tiny_det"]
AUTO_CLASSES = {
    "classification": AutoModelForImageClassification,
    "segmentation": AutoModelForSemanticSegmentation,
    "detection": AutoModelForObjectDetection,
}


def case(name: str) -> GoldenCase:
    return load_case("hlg", name)


@pytest.fixture
def hlg_command(command):
    command.method = "hlg"
    return command


def converted(command, content: Any, config: dict[str, Any], task: str, *options: str) -> torch.nn.Module:
    arguments = ["--method", "hlg", "--original-config", command.original_config(config), *options]
    answer = command.run(*arguments, "--checkpoint", command.checkpoint(content), "--output", command.output)
    assert answer.status == 0, answer.err
    model = AUTO_CLASSES[task].from_pretrained(command.output)
    model.conversion_said = answer.out
    return model


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_every_tensor_is_used(name, hlg_command):
    golden = case(name)
    answer = hlg_command.convert(
        hlg_command.checkpoint({"state_dict": golden.state_dict()}), hlg_command.original_config(golden.config)
    )
    assert f"Converted {len(golden.state_dict())} of them" in answer.out
    assert "Dropped" not in answer.out
    assert "Going by the file" not in answer.out


class CfgNode(dict):
    """As `yacs.config.CfgNode`, which files of Swin's trainer hold."""


@pytest.mark.parametrize(
    ("entry", "prefix"),
    [("model", ""), ("model_ema", "module."), ("state_dict", ""), ("state_dict_ema", ""), (None, "module.")],
)
def test_files_of_the_trainers(entry, prefix, hlg_command, monkeypatch):
    golden = case("tiny_cls")
    weights = {f"{prefix}{name}": tensor for name, tensor in golden.state_dict().items()}
    content: Any = weights
    if entry is not None:
        content = {entry: weights, "epoch": 299, "max_accuracy": 81.1, "optimizer": {"state": {}}}
    if entry in ("model", "model_ema"):
        yacs = types.ModuleType("yacs.config")
        yacs.CfgNode = CfgNode
        monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        monkeypatch.setitem(sys.modules, "yacs.config", yacs)
        monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
        content["config"] = CfgNode(MODEL=CfgNode(TYPE="hlg", DROP_PATH_RATE=0.2))
        vars(content["config"])["__immutable__"] = True
        # The plain weights are of no use where there is their moving average.
        if entry == "model_ema":
            content["model"] = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    model = converted(hlg_command, content, golden.config, "classification")
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)
    if entry:
        assert f"under {entry!r}" in model.conversion_said


@pytest.mark.parametrize("name", NATIVE_CASES)
def test_missing_extra_and_misshaped_tensors_are_listed(name, hlg_command):
    golden = case(name)
    state_dict = golden.state_dict()
    prefix = "" if "cls" in name else "backbone."
    del state_dict[f"{prefix}block2.1.aux_q.bias"]
    state_dict[f"{prefix}block2.1.aux_k.bias"] = torch.zeros(64)
    state_dict[f"{prefix}block4.1.norm1.weight"] = torch.zeros(7)
    answer = hlg_command.convert(
        hlg_command.checkpoint({"state_dict": state_dict}), hlg_command.original_config(golden.config)
    )
    hlg_command.assert_refused(
        answer,
        "missing (1):\n    backbone.stages.1.layers.1.attention.query_conv.bias (64,)",
        f"not known to the conversion (1):\n    {prefix}block2.1.aux_k.bias (64,)",
        "backbone.stages.3.layers.1.attention.layernorm.weight (7,), expected (128,)",
    )


def test_the_file_tells_depths_and_widths(hlg_command):
    """The published configuration of Large and its published size disagree."""
    golden = case("tiny_cls_dwconv")
    config = {**golden.config, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 4], "h0_h1_method": "mean"}
    model = converted(hlg_command, {"model": golden.state_dict()}, config, "classification")
    for message in ("depths [2, 2, 3, 2]", "num_attention_heads [1, 2, 4, 8]", "window_pooling conv"):
        assert f"The file has {message}" in model.conversion_said
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


def test_unused_tensors_of_the_last_stage(hlg_command):
    golden = case("tiny_cls_hidden_dim")
    model = converted(hlg_command, {"model": golden.state_dict()}, golden.config, "classification")
    assert model.config.mlp_width == "output"
    assert "Dropped 42 (never applied by the original): block4.0.spatial_smooth" in model.conversion_said


@pytest.mark.parametrize("method", ["mean", "avgpool", "maxpool"])
def test_window_pooling_is_read(method):
    golden = case("tiny_cls")
    converter = HlgConverter(golden.state_dict())
    config = converter.adapt_config(converter.read_config({**golden.config, "h0_h1_method": method}))
    assert config.window_pooling == ("max" if method == "maxpool" else "mean")


def test_classifier_settings(hlg_command):
    golden = case("tiny_cls")
    config = {**golden.config, "norm_eps": 1e-6, "drop_path_rate": 0.4}
    model = converted(
        hlg_command, {"model": golden.state_dict()}, config, "classification", "--task", "classification"
    )
    assert (model.config.layer_norm_eps, model.config.drop_path_rate) == (1e-6, 0.4)
    assert (model.config.global_bias, model.config.use_stage_norm) == ("prefix", False)
    processor = AutoImageProcessor.from_pretrained(hlg_command.output)
    image = torch.zeros(3, 300, 400, dtype=torch.uint8)
    assert processor(image, return_tensors="pt")["pixel_values"].shape == (1, 3, 224, 224)


def test_segmentation_settings(hlg_command):
    golden = case("tiny_seg_96x160")
    config = copy.deepcopy(golden.config)
    config["test_cfg"] = {"mode": "slide", "crop_size": [96, 128], "stride": [64, 80]}
    config["decode_head"]["ignore_index"] = config["auxiliary_head"]["ignore_index"] = 254
    config["auxiliary_head"]["loss_decode"]["loss_weight"] = 0.2
    model = converted(hlg_command, {"state_dict": golden.state_dict()}, config, "segmentation")
    assert (model.config.window_size, model.config.window_stride) == ([96, 128], [64, 80])
    assert model.config.inference_mode == "slide"
    assert (model.config.semantic_loss_ignore_index, model.config.auxiliary_loss_weight) == (254, 0.2)
    assert (model.config.decoder_num_layers, model.config.decoder_num_attention_heads) == (3, 2)
    assert len(model.auxiliary_head) == 1


def test_what_a_configuration_leaves_out_has_the_default_of_the_class():
    golden = case("tiny_seg")
    config = copy.deepcopy(golden.config)
    for key in ("depths", "num_heads", "qkv_bias", "drop_path_rate", "sr_ratios", "crs_interval", "img_size"):
        del config["backbone"][key]
    del config["decode_head"]["sr_ratio"]
    read = HlgConverter(golden.state_dict()).read_config(config)
    assert (read.depths, read.num_attention_heads) == ([3, 4, 6, 3], [1, 2, 4, 8])
    assert (read.qkv_bias, read.drop_path_rate, read.window_size) == (False, 0.0, 224)
    assert read.decoder_interval == 4


@pytest.mark.parametrize(
    ("name", "part", "argument", "message"),
    [
        ("tiny_seg", "backbone", "dynamic_position_bias", "dynamic_position_bias=False; only True"),
        ("tiny_seg", "decode_head", "in_index", "in_index=-1; only"),
        ("tiny_seg", "auxiliary_head", "num_convs", "num_convs=2; only 1"),
        ("tiny_seg", "auxiliary_head", "concat_input", "concat_input=True; only False"),
        ("tiny_seg", "auxiliary_head", "norm_cfg", "norm_cfg=None; only 'SyncBN'"),
        ("tiny_det", "neck", "start_level", "start_level=0; only 1"),
        ("tiny_det", "neck", "add_extra_convs", "add_extra_convs=False; only 'on_input'"),
        ("tiny_det", "bbox_head", "loss_cls", "loss_cls=None; only 'FocalLoss'"),
    ],
)
def test_defaults_that_cannot_be_converted(name, part, argument, message):
    golden = case(name)
    config = copy.deepcopy(golden.config)
    del config[part][argument]
    with pytest.raises(ValueError, match=re.escape(message)):
        HlgConverter(golden.state_dict()).read_config(config)


def test_a_file_without_its_auxiliary_head(hlg_command):
    golden = case("tiny_seg")
    state_dict = {name: tensor for name, tensor in golden.state_dict().items() if "auxiliary" not in name}
    model = converted(hlg_command, {"state_dict": state_dict}, golden.config, "segmentation")
    assert len(model.auxiliary_head) == 0
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


def test_detection_settings(hlg_command):
    golden = case("tiny_det_threshold")
    converted(hlg_command, {"state_dict": golden.state_dict(), "meta": {}}, golden.config, "detection")
    processor = AutoImageProcessor.from_pretrained(hlg_command.output)
    assert (processor.score_threshold, processor.nms_threshold) == (0.8, 0.5)
    assert (processor.num_candidates, processor.max_detections) == (1000, 100)
    image = torch.zeros(3, 300, 400, dtype=torch.uint8)
    inputs = processor(image, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 800, 1088)
    assert inputs["pixel_mask"].sum() == 800 * 1067


@pytest.mark.parametrize(("task", "name"), [("segmentation", "tiny_seg"), ("detection", "tiny_det")])
def test_a_classifier_becomes_a_start_for_other_tasks(task, name, hlg_command):
    classifier, other = case("tiny_cls"), case(name)
    model = converted(hlg_command, {"model": classifier.state_dict()}, other.config, task, "--task", task)
    assert "Dropped 2 (the classifier of images" in model.conversion_said
    assert "therefore as before any training" in model.conversion_said
    state_dict, originals = model.state_dict(), classifier.state_dict()
    assert torch.equal(state_dict["backbone.stem.conv1.weight"], originals["s0_conv.0.0.weight"])
    assert torch.equal(state_dict["backbone.stages.3.layernorm.bias"], originals["norm.bias"])
    assert (state_dict["backbone.stages.0.layernorm.weight"] == 1).all()
    assert model.config.global_bias == "key_grid"
    # The encoder must be all there.
    del originals["block3.1.q.weight"]
    arguments = ["--method", "hlg", "--original-config", hlg_command.original_config(other.config)]
    arguments += ["--checkpoint", hlg_command.checkpoint({"model": originals}), "--output", hlg_command.folder / "x"]
    answer = hlg_command.run(*arguments)
    assert answer.status == 1
    assert "missing (1):\n    backbone.stages.2.layers.1.attention.q_proj.weight" in answer.err


def test_a_converted_classifier_initialises_a_recipe(hlg_command, tmp_path):
    golden = case("tiny_cls")
    converted(hlg_command, {"model": golden.state_dict()}, golden.config, "classification")
    recipe = get_recipe("hlg-setr-small-ade20k-512-160k")
    with pytest.raises(ValueError, match="does not fit hlg-setr-small"):
        initial_model(str(hlg_command.output), recipe, {0: "a", 1: "b"})
    with pytest.raises(ValueError, match=r"starts from the weights of hlg-small-imagenet1k-224-300e.*--init DIR"):
        initial_model("timm", recipe, {0: "a", 1: "b"})
    small = {"hidden_sizes": [64, 64, 128, 128], "depths": [2, 2, 2, 2], "num_attention_heads": [2, 2, 4, 4]}
    small |= {"decoder_hidden_size": 32}
    recipe = dataclasses.replace(recipe, model=small)
    model, processor, random = initial_model(str(hlg_command.output), recipe, {0: "a", 1: "b"})
    assert torch.equal(model.backbone.stem.conv2.weight, golden.state_dict()["s0_conv.1.0.weight"])
    assert processor.do_reduce_labels
    assert {name.split(".")[0] for name in random} == {"backbone", "decode_head", "auxiliary_head"}
    assert all(".layernorm." in name for name in random if name.startswith("backbone."))


@pytest.mark.parametrize(
    ("name", "part", "changes", "message"),
    [
        ("tiny_cls", None, {"dynamic_position_bias": False}, "dynamic_position_bias=False"),
        ("tiny_cls", None, {"use_cls_token": True}, "use_cls_token=True"),
        ("tiny_cls", None, {"depth": [2, 2, 2, 2]}, "HLGTransformer has depth=[2, 2, 2, 2], an argument that is not"),
        ("tiny_seg", "backbone", {"attn_drop_rate": 0.1}, "attn_drop_rate=0.1"),
        ("tiny_det", "neck", {"norm_cfg": {"type": "BN"}}, "FPN has norm_cfg"),
        ("tiny_det", "bbox_head", {"loss_cls": {"type": "CrossEntropyLoss"}}, "only 'FocalLoss' can be converted"),
        ("tiny_cls", None, {"h0_h1_method": "median"}, "h0_h1_method='median'"),
        ("tiny_cls", None, {"sr_ratios": [8, 4, 1, 1]}, "sr_ratios=[8, 4, 1, 1]"),
        ("tiny_seg", "backbone", {"h0_att": True}, "h0_att=True"),
        ("tiny_seg", "decode_head", {"type": "FCNHead"}, "HLGUPHead"),
        ("tiny_seg", "decode_head", {"fuse_level": 1}, "fuse_level=1"),
        ("tiny_seg", "decode_head", {"sr_ratio": 1}, "sr_ratio=1"),
        ("tiny_seg", "auxiliary_head", {"num_convs": 2}, "num_convs=2"),
        ("tiny_det", "neck", {"start_level": 0}, "start_level=0"),
        ("tiny_det", "neck", {"num_outs": 4}, "num_outs=4"),
        ("tiny_det", "bbox_head", {"type": "ATSSHead"}, "RetinaHead"),
        ("tiny_det", "test_cfg", {"nms": {"type": "soft_nms"}}, "soft_nms"),
    ],
)
def test_what_cannot_be_converted_is_named(name, part, changes, message, hlg_command):
    golden = case(name)
    config = copy.deepcopy(golden.config)
    (config[part] if part else config).update(changes)
    answer = hlg_command.convert(
        hlg_command.checkpoint({"state_dict": golden.state_dict()}), hlg_command.original_config(config)
    )
    hlg_command.assert_refused(answer, message)


def test_the_task_is_said_once(hlg_command):
    golden = case("tiny_cls")
    arguments = ["--method", "hlg", "--original-config", hlg_command.original_config(golden.config)]
    arguments += ["--checkpoint", hlg_command.checkpoint({"model": golden.state_dict()})]
    answer = hlg_command.run(*arguments, "--output", hlg_command.output, "--task", "detection")
    hlg_command.assert_refused(answer, "--task is detection, but the configuration is for classification")


def test_other_methods_have_one_task(hlg_command):
    golden = case("tiny_det")
    arguments = ["--method", "setr", "--original-config", hlg_command.original_config(golden.config)]
    answer = hlg_command.run(
        *arguments, "--checkpoint", hlg_command.checkpoint(golden.state_dict()), "--output", hlg_command.output
    )
    hlg_command.assert_refused(answer, "setr has no models for detection")


def test_other_checkpoints_are_refused(hlg_command):
    golden = case("tiny_cls")
    content = {"state_dict": {"backbone.layers.0.ln1.weight": torch.zeros(3)}}
    answer = hlg_command.convert(hlg_command.checkpoint(content), hlg_command.original_config(golden.config))
    hlg_command.assert_refused(answer, "This is not an HLG checkpoint", "backbone.layers.0.ln1.weight")


def test_a_recipe_converts_too(hlg_command):
    """A classifier of the recipe's method and of other widths: the file counts."""
    golden = case("tiny_cls")
    state_dict = golden.state_dict()
    state_dict["head.weight"], state_dict["head.bias"] = torch.zeros(1000, 128), torch.zeros(1000)
    arguments = ["--recipe", "hlg-tiny-imagenet1k-224-300e", "--output", hlg_command.output]
    answer = hlg_command.run(*arguments, "--checkpoint", hlg_command.checkpoint({"model": state_dict}))
    assert answer.status == 0, answer.err
    model = AutoModelForImageClassification.from_pretrained(hlg_command.output)
    assert model.config.id2label[0] == "tench"
    assert list(model.config.hidden_sizes) == [64, 64, 128, 128]
