# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The conversion of CTS Segmenter reads every family of checkpoints, and refuses what does not fit."""

import dataclasses
from typing import Any

import pytest
import torch
from golden_cases import case_names, load_case
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation

from vitseg import CtsPolicyNet
from vitseg.recipes import get_recipe


CLASSIFIER = "Dropped 2 (ImageNet's classifier, which segmentation never uses): encoder.head.weight, encoder.head.bias"


def case(name: str):
    return load_case("cts_segmenter", name)


@pytest.fixture(autouse=True)
def method(command) -> None:
    command.method = "cts_segmenter"


def changed(name: str, **changes: Any) -> dict[str, Any]:
    """The configuration of a case with other values of its `net`, or of `decoder` there."""
    config = case(name).config
    decoder = changes.pop("decoder", {})
    config["net"] |= changes
    config["net"]["decoder"] |= decoder
    return config


def assert_refused(command, state_dict: dict[str, torch.Tensor], config: dict[str, Any], *messages: str) -> None:
    answer = command.convert(command.checkpoint({"model": state_dict}), command.original_config(config))
    command.assert_refused(answer, *messages)


MODEL_CASES = [
    name
    for name in case_names("cts_segmenter")
    if "full" not in name and {"net", "backbone"} & case(name).config.keys()
]


@pytest.mark.parametrize("name", MODEL_CASES)
def test_every_tensor_is_used_or_dropped_for_a_reason(name, command):
    golden = case(name)
    state_dict = golden.state_dict()
    answer = command.convert(
        command.checkpoint({"model": state_dict}), command.original_config(golden.original_config)
    )
    assert answer.status == 0, answer.err
    dropped = sum(key.startswith("encoder.head") for key in state_dict)
    assert f"Converted {len(state_dict) - dropped} of them" in answer.out
    assert (CLASSIFIER in answer.out) == (dropped == 2)


@pytest.mark.parametrize("name", ["tiny_linear_policy", "mmseg_tiny_mask"])
def test_names_of_distributed_training(name, command):
    golden = case(name)
    model = command.converted({f"module.{key}": value for key, value in golden.state_dict().items()}, golden.config)
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


VARIANT = """\
world_batch_size: 8
version: normal
resume: true
dataset_kwargs:
  dataset: {dataset}
  image_size: 64
  crop_size: 64
  batch_size: 8
  normalization: {normalization}
algorithm_kwargs: {{batch_size: 8, num_epochs: 64}}
optimizer_kwargs: {{opt: sgd, lr: 0.001}}
net_kwargs:
  backbone: vit_tiny_patch16_384
  image_size: !!python/tuple [128, 128]
  patch_size: 16
  d_model: 128
  n_heads: 4
  n_layers: 3
  normalization: {normalization}
  distilled: false
  dropout: 0.0
  drop_path_rate: 0.1
  n_cls: 5
  policy_method: policy_net
  policy_schedule: !!python/tuple [28, 9]
  policynet_ckpt: /somewhere/model.pth
  decoder: {{name: linear, n_cls: 5}}
amp: false
log_dir: seg
inference_kwargs: {{im_size: 520, window_size: 480, window_stride: 320}}
"""


@pytest.mark.parametrize(
    ("dataset", "normalization", "longest", "mean"),
    [("ade20k", "vit", 2080, 0.5), ("pascal_context", "deit", 4160, 123.68 / 255), ("cityscapes", "vit", 1040, 0.5)],
)
def test_variant_file(dataset, normalization, longest, mean, command):
    golden = case("tiny_linear_policy")
    variant = command.folder / "variant.yml"
    variant.write_text(VARIANT.format(dataset=dataset, normalization=normalization))
    content = {"model": golden.state_dict(), "optimizer": {"state": {}}, "n_cls": 5, "epoch": 63, "lr_scheduler": {}}
    answer = command.convert(command.checkpoint(content), variant)
    assert answer.status == 0, answer.err
    image_processor = AutoImageProcessor.from_pretrained(command.output)
    assert (image_processor.size["shortest_edge"], image_processor.size["longest_edge"]) == (520, longest)
    assert image_processor.image_mean[0] == pytest.approx(mean)
    assert image_processor.do_reduce_labels == (dataset == "ade20k")
    model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
    config = model.config
    assert (config.inference_mode, config.window_size, config.window_stride) == ("slide", 480, 320)
    config.inference_mode = "whole"
    with torch.no_grad():
        golden.assert_matches("logits", model(golden.pixel_values()).logits)


def test_variant_files_cannot_run_code(command):
    variant = command.folder / "variant.yml"
    variant.write_text("net_kwargs: !!python/object/apply:os.system ['true']\n")
    answer = command.convert(command.checkpoint({"model": case("tiny_linear_policy").state_dict()}), variant)
    command.assert_refused(answer, "variant.yml is not a readable YAML file", "python/object/apply")


def test_what_plain_segmenter_leaves_out(command):
    golden = case("plain_tiny_mask_interpolated")
    config = golden.config
    for key in ("distilled", "normalization", "dropout"):
        config["net"].pop(key, None)
    converted = command.converted(golden.state_dict(), config).config
    vit = converted.backbone_config
    assert (vit.token_sharing, vit.use_distillation_token, vit.hidden_dropout_prob) == (None, False, 0.1)
    assert (vit.layer_norm_eps, vit.drop_path_rate, vit.interpolation_mode) == (1e-5, 0.1, "bilinear")
    assert (converted.decoder_dropout, converted.decoder_num_attention_heads) == (0.1, 2)
    assert converted.inference_mode == "whole"


def test_no_sharing_needs_no_schedule(command):
    config = changed("tiny_mask_nosharing", policy_schedule=[None, None])
    model = command.converted(case("tiny_mask_nosharing").state_dict(), config)
    assert model.config.backbone_config.token_sharing is None


def test_a_policy_network_that_shares_nothing(command):
    golden = case("tiny_linear_policy")
    model = command.converted(golden.state_dict(), changed("tiny_linear_policy", policy_schedule=[64, 0]))
    plain = {key: value for key, value in golden.state_dict().items() if not key.startswith("policy_net.")}
    command.output.rename(command.folder / "first")
    unshared = command.converted(plain, changed("tiny_linear_policy", policy_method="no_sharing"))
    with torch.no_grad():
        logits = [each(golden.pixel_values()).logits for each in (model, unshared)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-5, atol=1e-5)


def test_settings_of_mmsegmentation(command):
    golden = case("mmseg_tiny_mask_slide")
    config = golden.original_config
    config["decode_head"] |= {"drop_path_rate": 0.2, "ignore_index": 254, "drop_rate": 0.3, "attn_drop_rate": 0.3}
    converted = command.converted(golden.state_dict(), config).config
    assert (converted.decoder_drop_path_rate, converted.decoder_dropout) == (0.2, 0.3)
    assert not converted.decoder_drop_path_on_attention
    assert not converted.backbone_config.drop_path_on_attention
    assert converted.semantic_loss_ignore_index == 254
    assert (converted.window_size, converted.window_stride) == ([64, 64], [60, 60])
    switches = (converted.crop_padding, converted.enlarge_small_images, converted.average_valid_pixels)
    assert switches == (False, False, False)


def test_a_policy_network_alone(command):
    golden = case("tiny_policy_training")
    checkpoint = command.checkpoint(golden.state_dict())
    answer = command.run("--method", "cts_segmenter", "--checkpoint", checkpoint, "--output", command.output)
    assert answer.status == 0, answer.err
    model = AutoModel.from_pretrained(command.output)
    assert isinstance(model, CtsPolicyNet)
    with torch.no_grad():
        golden.assert_matches("logits_eval", model(golden.pixel_values()).logits)
    size = AutoImageProcessor.from_pretrained(command.output).size
    assert (size["height"], size["width"]) == (512, 512)


# What does not fit.


def test_every_tensor_that_does_not_fit_is_named(command):
    state_dict = case("tiny_mask_policy").state_dict()
    state_dict["decoder.extra.weight"] = torch.zeros(5)
    state_dict["decoder.mask_norm.weight"] = torch.zeros(3)
    del state_dict["policy_net.head.bias"]
    assert_refused(
        command,
        state_dict,
        case("tiny_mask_policy").config,
        "not known to the conversion (1)",
        "decoder.extra.weight (5,)",
        "missing (1)",
        "backbone.policy_net.head.bias (2,)",
        "of another shape (1)",
        "decode_head.class_norm.weight (3,), expected (7,)",
    )


def test_a_segmenter_without_its_configuration(command):
    checkpoint = command.checkpoint({"model": case("tiny_linear_policy").state_dict()})
    answer = command.run("--method", "cts_segmenter", "--checkpoint", checkpoint, "--output", command.output)
    command.assert_refused(answer, "--original-config with the variant.yml")


@pytest.mark.parametrize("recipe", ["segmenter-mask-vit-t-ade20k-512", None])
def test_checkpoint_of_another_method(recipe, command):
    state_dict = load_case("setr", "mmseg_tiny_naive").state_dict()
    if recipe is None:
        assert_refused(command, state_dict, case("tiny_linear_policy").config, "not a Segmenter checkpoint")
        return
    answer = command.run(
        "--recipe", recipe, "--checkpoint", command.checkpoint(state_dict), "--output", command.output
    )
    command.assert_refused(answer, "not a Segmenter checkpoint", "encoder.pos_embed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_schedule": [28, 8]}, "policy_schedule is (28, 8)"),
        ({"policy_method": "random"}, "policy_method is 'random'"),
        ({"decoder": {"name": "conv"}}, "The decoder is 'conv'"),
        ({"normalization": "clip"}, "normalization is 'clip'"),
        ({"n_layer": 3}, "net_kwargs has n_layer=3, an argument that is not known"),
        ({"decoder": {"name": "linear", "n_heads": 2}}, "decoder has n_heads=2, an argument that is not known"),
        ({"n_heads": 5}, "hidden_size 128 is not a multiple of num_attention_heads 5"),
    ],
)
def test_values_that_cannot_be_converted(changes, message, command):
    assert_refused(command, case("tiny_linear_policy").state_dict(), changed("tiny_linear_policy", **changes), message)


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("mmseg_tiny_mask", {"qkv_bias": False}, "qkv_bias=False"),
        ("mmseg_tiny_mask", {"norm_cfg": {"type": "BN"}}, "only 'LN' can be converted"),
        ("mmseg_tiny_mask", {"act_cfg": {"type": "ReLU"}}, "act_cfg={'type': 'ReLU'}; only 'GELU'"),
        ("mmseg_tiny_linear", {"num_convs": 1}, "num_convs=1"),
        ("mmseg_tiny_linear", {"type": "UPerHead"}, "type='UPerHead'; only 'FCNHead'"),
    ],
)
def test_values_of_mmsegmentation_that_cannot_be_converted(name, head, message, command):
    golden = case(name)
    config = golden.config
    config["decode_head"] |= head
    assert_refused(command, golden.state_dict(), config, message)


# Recipes.


def test_a_recipe_takes_as_many_decoder_blocks_as_the_checkpoint_has(command, use_recipe):
    name = "segmenter-mask-vit-l-cityscapes-768"
    recipe = get_recipe(name)
    size = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512}
    vit = {**recipe.model["backbone_config"], **size, "image_size": 128}
    small = dataclasses.replace(recipe, model={**recipe.model, "backbone_config": vit})
    use_recipe(small)
    state_dict = case("tiny_mask_nosharing").state_dict()
    # 7 classes become 19.
    for key, tensor in state_dict.items():
        if 7 in tensor.shape:
            state_dict[key] = torch.zeros([19 if side == 7 else side for side in tensor.shape])
    checkpoint = command.checkpoint({"model": state_dict})
    answer = command.run("--recipe", name, "--checkpoint", checkpoint, "--output", command.output)
    assert answer.status == 0, answer.err
    config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
    assert (recipe.model["decoder_num_layers"], config.decoder_num_layers) == (1, 2)
    assert config.id2label[0] == "road"
    assert list(config.window_stride) == [736, 736]


def test_without_checkpoint_says_where_it_is(command):
    answer = command.run("--recipe", "segmenter-mask-vit-b-ade20k-512")
    assert answer.status == 1
    assert "ade20k/seg_base_mask/checkpoint.pth" in answer.out
    answer = command.run("--recipe", "cts-segmenter-mask-30-vit-s-ade20k-512")
    assert answer.status == 1
    assert "never released" in answer.out
