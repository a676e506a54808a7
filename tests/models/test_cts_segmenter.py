# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""CTS Segmenter behaves as a user of transformers expects, shares tokens or not, and decodes as the papers have it."""

import json
import re
from typing import Any

import pytest
import torch
from citizenship import (
    NUM_LABELS,
    Citizenship,
    average_of_windows,
    cold_compiler,  # noqa: F401
    images,
    label_maps,
    logits_of,
)
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, Dinov2Config

from vitseg import (
    CtsSegmenterConfig,
    CtsSegmenterForSemanticSegmentation,
    CtsSegmenterImageProcessor,
    PlainVitConfig,
)


# Decoder and backbone of each form.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mask": ("mask_transformer", {}),
    "mask_shared": ("mask_transformer", {"token_sharing": 2}),
    "linear_shared": ("linear", {"token_sharing": 3, "use_distillation_token": True}),
}
EACH = pytest.mark.parametrize("name", VARIANTS)


def small_config(name: str, backbone: dict | None = None, **kwargs) -> CtsSegmenterConfig:
    """A model for 64 x 64 windows over three blocks, without dropout; small images stay small."""
    decoder_type, settings = VARIANTS[name]
    backbone_config: dict[str, Any] = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 64,
        "layer_norm_eps": 1e-5,
        "interpolate_by_token_count": True,
        "use_final_norm": True,
        **settings,
        **(backbone or {}),
    }
    settings = {
        "decoder_num_attention_heads": 2,
        "decoder_dropout": 0.0,
        "enlarge_small_images": False,
        "num_labels": NUM_LABELS,
        **kwargs,
    }
    return CtsSegmenterConfig(backbone_config=PlainVitConfig(**backbone_config), decoder_type=decoder_type, **settings)


def small_model(name: str, **kwargs) -> CtsSegmenterForSemanticSegmentation:
    torch.manual_seed(0)
    return CtsSegmenterForSemanticSegmentation(small_config(name, **kwargs)).eval()


class TestCitizenship(Citizenship):
    representative = "linear_shared"
    # ONNX's reference takes minutes over the policy network's convolutions; see test_token_sharing.py.
    num_adapted = {"mask": 10, "linear_shared": 6}
    lora_learning_rate = 0.003
    # The norm over five cosines, which may be nearly equal, magnifies rounding.
    logits_atol = 2e-4

    @pytest.fixture(params=["mask", "linear_shared"])
    def variant(self, request) -> str:
        return request.param

    def small_model(self, variant, **kwargs):
        return small_model(variant, **kwargs)

    def shallow_model(self, variant):
        return small_model(variant, backbone={"num_hidden_layers": 1}, decoder_num_layers=1)

    def without_dropout(self, variant):
        # The batch norms of the policy network take other statistics in each batch.
        return small_model(variant, backbone={"freeze_policy": True})

    def spread_scores(self, model, pixel_values):
        # New patches are nearly alike.
        with torch.no_grad():
            model.backbone.embeddings.patch_embeddings.weight *= 5

    def num_tokens(self, model, rows, columns):
        config = model.config.backbone_config
        # No superpatch is complete beyond the last even row and column.
        shared = 0
        if config.token_sharing is not None:
            shared = config.token_sharing * (rows // 2) * (columns // 2) // 4
        number = rows * columns - 3 * shared + 1 + config.use_distillation_token
        return [number] * (config.num_hidden_layers + 1)


# Images that are smaller than a window.


@EACH
@pytest.mark.parametrize(
    ("size", "enlarged"), [((40, 64), (64, 102)), ((50, 30), (106, 64)), ((64, 70), (64, 70)), ((33, 90), (64, 174))]
)
def test_small_images_are_enlarged_for_windows(name, size, enlarged):
    model = small_model(name, enlarge_small_images=True)
    pixel_values = images(2, 3, *size)
    assert logits_of(model, pixel_values).shape == (2, NUM_LABELS, *enlarged)
    resized = nn.functional.interpolate(pixel_values, size=enlarged, mode="bilinear", align_corners=False)
    assert torch.equal(logits_of(model, pixel_values), logits_of(model, resized))
    # One pass shows the image as it is, and so does that of the loss.
    outputs = model(pixel_values, labels=label_maps(2, *size))
    assert outputs.logits.equal(logits_of(model, pixel_values))
    assert outputs.loss.equal(model(pixel_values, labels=label_maps(2, *size), inference_mode="whole").loss)
    assert logits_of(model.train(), pixel_values).shape == (2, NUM_LABELS, *size)
    model.eval().config.inference_mode = "whole"
    assert logits_of(model, pixel_values).shape == (2, NUM_LABELS, *size)


def test_the_quotient_is_rounded_before_the_product():
    """60 x 123 pixels at a window of 480 are 480 x 983 in the original, not 984."""
    model = small_model("mask", enlarge_small_images=True, window_size=480)
    protocol = model.config.protocol()
    assert model.enlarge(images(1, 3, 60, 123), protocol).shape == (1, 3, 480, 983)
    assert model.enlarge(images(1, 3, 123, 60), protocol).shape == (1, 3, 983, 480)


def test_windows_of_an_enlarged_image():
    model = small_model("mask_shared", enlarge_small_images=True, window_stride=48)
    pixel_values = images(1, 3, 48, 90)
    resized = nn.functional.interpolate(pixel_values, size=(64, 120), mode="bilinear", align_corners=False)
    expected = average_of_windows(model, resized, tops=[0], lefts=[0, 48, 56])
    torch.testing.assert_close(logits_of(model, pixel_values), expected, rtol=1e-4, atol=2e-4)


# The decoders, written down once more from the papers.


def attention_block(tokens: torch.Tensor, layer: Any, num_heads: int) -> torch.Tensor:
    def norm(values, module):
        return nn.functional.layer_norm(values, values.shape[-1:], module.weight, module.bias, eps=1e-5)

    def heads(values):
        return values.unflatten(2, (num_heads, -1)).transpose(1, 2)

    states, attention = norm(tokens, layer.layernorm_before), layer.attention
    query, key, value = (heads(project(states)) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
    tokens = tokens + attention.o_proj((weights @ value).transpose(1, 2).flatten(2))
    states = layer.mlp.fc1(norm(tokens, layer.layernorm_after))
    states = states * 0.5 * (1 + torch.erf(states / 2**0.5))
    return tokens + layer.mlp.fc2(states)


@pytest.mark.parametrize(
    "settings", [{}, {"decoder_num_layers": 3, "decoder_hidden_size": 32, "decoder_mlp_ratio": 2}], ids=str
)
def test_mask_transformer_by_the_paper(settings):
    model = small_model("mask", **settings).double()
    head, features = model.decode_head, images(2, 12, 48).double()
    with torch.no_grad():
        states = torch.cat((head.projection(features), head.class_embeddings.expand(2, -1, -1)), dim=1)
        for layer in head.layers:
            states = attention_block(states, layer, num_heads=2)
        mean, variance = states.mean(-1, keepdim=True), states.var(-1, keepdim=True, unbiased=False)
        states = (states - mean) / (variance + 1e-5).sqrt() * head.layernorm.weight + head.layernorm.bias
        tokens, classes = head.token_projection(states[:, :12]), head.class_projection(states[:, 12:])
        tokens, classes = (values / values.square().sum(-1, keepdim=True).sqrt() for values in (tokens, classes))
        cosines = torch.einsum("btc,bkc->btk", tokens, classes)
        mean, variance = cosines.mean(-1, keepdim=True), cosines.var(-1, keepdim=True, unbiased=False)
        expected = (cosines - mean) / (variance + 1e-5).sqrt() * head.class_norm.weight + head.class_norm.bias
        torch.testing.assert_close(head(features), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("crop_padding", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (40, 50), (72, 101)])
def test_padding_of_the_logits(crop_padding, size):
    model = small_model("mask", crop_padding=crop_padding, inference_mode="whole")
    pixel_values = images(1, 3, *size)
    scores = []
    model.decode_head.register_forward_hook(lambda module, inputs, output: scores.append(output))
    logits = logits_of(model, pixel_values)
    rows, columns = -(-size[0] // 16), -(-size[1] // 16)
    maps = scores[0].transpose(1, 2).unflatten(2, (rows, columns))
    final = (16 * rows, 16 * columns) if crop_padding else size
    expected = nn.functional.interpolate(maps, size=final, mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected[..., : size[0], : size[1]], rtol=1e-5, atol=1e-5)


# Losses.


@EACH
@pytest.mark.parametrize("average_valid_pixels", [True, False])
def test_loss(name, average_valid_pixels):
    model = small_model(name, average_valid_pixels=average_valid_pixels)
    pixel_values, labels = images(2, 3, 50, 64), label_maps(2, 50, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
    valid = labels != 255
    log_probabilities = outputs.logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
    count = valid.sum() if average_valid_pixels else valid.numel()
    torch.testing.assert_close(outputs.loss, -log_probabilities[valid].sum() / count, rtol=1e-5, atol=1e-6)
    assert outputs.loss_dict == {"decode.loss_ce": outputs.loss}


@EACH
def test_a_batch_without_labelled_pixels(name):
    model = small_model(name).train()
    loss = model(images(2, 3, 64, 64), labels=torch.full((2, 64, 64), 255)).loss
    loss.backward()
    assert loss == 0
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.requires_grad)


def test_other_ignored_labels():
    pixel_values, labels = images(1, 3, 64, 64), label_maps(1, 64, 64)
    with torch.no_grad():
        loss = small_model("mask", semantic_loss_ignore_index=-100)(
            pixel_values, labels=labels.where(labels != 255, -100)
        ).loss
        torch.testing.assert_close(loss, small_model("mask")(pixel_values, labels=labels).loss)


@EACH
def test_every_parameter_but_the_policy_network_is_trained(name):
    model = small_model(name).train()
    model(images(4, 3, 64, 64), labels=label_maps(4, 64, 64)).loss.backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    untrained = {key for key, gradient in gradients.items() if gradient is None or not gradient.any()}
    # Softmax does not see what is added to all of its arguments.
    assert {key for key in untrained if "k_proj.bias" not in key} == {
        key for key, _ in model.named_parameters() if "policy_net" in key
    }


def test_dropout_and_stochastic_depth_of_the_mask_transformer():
    pixel_values = images(8, 3, 64, 64)
    expected = logits_of(small_model("mask"), pixel_values)
    for settings in ({"decoder_dropout": 0.3}, {"decoder_drop_path_rate": 0.5}):
        model = small_model("mask", **settings)
        assert torch.equal(logits_of(model, pixel_values), expected)
        model.train()
        assert not torch.allclose(logits_of(model, pixel_values), logits_of(model, pixel_values), atol=1e-3)
    model = small_model("mask", decoder_drop_path_rate=0.2, decoder_num_layers=3, decoder_drop_path_on_attention=False)
    for index, layer in enumerate(model.decode_head.layers):
        assert layer.drop_path.drop_prob == pytest.approx(0.1 * index)
        assert layer.attention_drop_path.drop_prob == 0


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
def test_decoder_layers_take_part_in_gradient_checkpointing():
    model = small_model("mask_shared").train()
    model.gradient_checkpointing_enable()
    calls = []
    model.decode_head.layers[0].attention.register_forward_pre_hook(lambda *_: calls.append(1))
    model(images(1, 3, 64, 64), labels=label_maps(1, 64, 64)).loss.backward()
    assert len(calls) == 2


def test_the_decoder_attends_as_the_configuration_says():
    model = small_model("mask")
    with torch.no_grad():
        # Of the encoder alone: the decoder's attentions are over other tokens.
        model.set_attn_implementation("eager")
        outputs = model(images(1, 3, 64, 64), output_attentions=True)
    assert len(outputs.attentions) == 3
    assert all(layer.attention.config._attn_implementation == "eager" for layer in model.decode_head.layers)


# The policy network inside the model.


def test_a_frozen_policy_network_stays_as_it_is():
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    for freeze in (True, False):
        model = small_model("mask_shared", backbone={"freeze_policy": freeze}).train()
        before = {key: tensor.clone() for key, tensor in model.backbone.policy_net.state_dict().items()}
        model(pixel_values, labels=labels).loss.backward()
        after = model.backbone.policy_net.state_dict()
        changed = {key.rpartition(".")[2] for key in before if not torch.equal(before[key], after[key])}
        assert changed == (set() if freeze else {"running_mean", "running_var", "num_batches_tracked"})


def test_loaded_policy_networks_ask_for_no_gradient(tmp_path):
    small_model("mask_shared").save_pretrained(tmp_path)
    model = CtsSegmenterForSemanticSegmentation.from_pretrained(tmp_path)
    for mode in (False, True):
        assert not any(parameter.requires_grad for parameter in model.train(mode).backbone.policy_net.parameters())


# Configuration and files.


def test_published_defaults():
    """ViT-S/16 with 612 patches that share no token, and 103 superpatches that do."""
    config = CtsSegmenterConfig()
    vit = config.backbone_config
    assert (vit.hidden_size, vit.num_hidden_layers, vit.num_attention_heads) == (384, 12, 6)
    assert (vit.token_sharing, vit.num_shared(32, 32), vit.layer_norm_eps) == (103, 103, 1e-5)
    assert (config.decoder_num_layers, config.decoder_num_attention_heads, config.decoder_dropout) == (2, 6, 0.1)
    assert (config.window_size, config.inference_mode) == (512, "slide")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder_num_layers": 0}, "decoder_num_layers is 0; expected at least 1"),
        ({"decoder_num_attention_heads": 5}, "decoder_hidden_size 48 is not a multiple"),
        ({"backbone": {"token_sharing": 5}}, "token_sharing is 5; an image of 4 x 4 patches has 4 superpatches"),
        ({"backbone": {"token_sharing": -1}}, "token_sharing is -1"),
        ({"backbone": {"patch_size": 8}}, "patch_size 8.*patches must be of 16 pixels"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config("mask_shared", **arguments)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="decoder_type is 'conv'; expected one of"):
        CtsSegmenterConfig(decoder_type="conv")


@pytest.mark.parametrize("decoder_type", ["mask_transformer", "linear"])
def test_over_another_backbone(decoder_type, tmp_path):
    backbone_config = Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, image_size=56, patch_size=14
    )
    config = CtsSegmenterConfig(
        backbone_config=backbone_config, decoder_type=decoder_type, num_labels=5, enlarge_small_images=False
    )
    assert (config.window_size, config.decoder_hidden_size, config.decoder_num_attention_heads) == (56, 48, 1)
    torch.manual_seed(0)
    model = CtsSegmenterForSemanticSegmentation(config).train()
    labels = label_maps(2, 56, 56)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = model(images(2, 3, 56, 56), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval().save_pretrained(tmp_path)
    loaded = CtsSegmenterForSemanticSegmentation.from_pretrained(tmp_path)
    pixel_values = images(2, 3, 45, 112)
    logits = logits_of(model, pixel_values)
    assert logits.shape == (2, 5, 45, 112)
    assert torch.equal(logits_of(loaded, pixel_values), logits)


@EACH
def test_configuration_round_trip(name, tmp_path):
    config = small_config(
        name, window_size=[48, 64], window_stride=[32, 40], id2label={0: "sky", 1: "sea"}, num_labels=2
    )
    from_json = CtsSegmenterConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    for other in (from_json, loaded):
        assert isinstance(other, CtsSegmenterConfig)
        assert isinstance(other.backbone_config, PlainVitConfig)
        assert other.backbone_config.token_sharing == config.backbone_config.token_sharing
        assert (other.window_size, other.window_stride) == ([48, 64], [32, 40])
        assert other.id2label == {0: "sky", 1: "sea"}
        assert (other.decoder_type, other.enlarge_small_images) == (config.decoder_type, False)
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_image_processor_is_found_by_the_model(tmp_path):
    small_config("mask").save_pretrained(tmp_path)
    CtsSegmenterImageProcessor().save_pretrained(tmp_path)
    image_processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(image_processor) is CtsSegmenterImageProcessor
    image = torch.tensor([0, 127, 255], dtype=torch.uint8)[:, None, None].expand(3, 20, 30)
    inputs = image_processor(image, do_resize=False, return_tensors="pt")
    expected = torch.tensor([-1.0, -0.5 / 127.5, 1.0])[None, :, None, None].expand(1, 3, 20, 30)
    torch.testing.assert_close(inputs["pixel_values"], expected)


@pytest.mark.parametrize(
    ("name", "of_the_classes"),
    [
        ("mask_shared", r"decode_head\.(class_embeddings|class_norm\.(weight|bias))"),
        ("linear_shared", r"decode_head\.(weight|bias)"),
    ],
)
def test_fine_tuning_with_other_classes(name, of_the_classes, tmp_path):
    small_model(name).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        CtsSegmenterForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7)
    model = CtsSegmenterForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model(name).state_dict()
    for key, tensor in model.state_dict().items():
        if re.fullmatch(of_the_classes, key):
            assert tensor.shape != saved[key].shape, key
        else:
            assert torch.equal(tensor, saved[key]), key
    loss = model(images(1, 3, 64, 64), labels=torch.full((1, 64, 64), 6)).loss
    assert loss.isfinite()


def test_initial_weights():
    """Those of the original: linear layers and embeddings with deviation 0.02, last projections with width^-1/2."""
    torch.manual_seed(0)
    backbone = {"hidden_size": 192, "num_hidden_layers": 1, "image_size": 256, "use_distillation_token": True}
    model = CtsSegmenterForSemanticSegmentation(
        small_config("mask_shared", backbone=backbone, num_labels=37, decoder_num_attention_heads=3)
    )
    head, policy_net = model.decode_head, model.backbone.policy_net
    deviations = {
        model.backbone.layers[0].attention.q_proj.weight: 0.02,
        model.backbone.embeddings.position_embeddings: 0.02,
        model.backbone.embeddings.distillation_token: 0.02,
        head.class_embeddings: 0.02,
        head.projection.weight: 0.02,
        head.layers[1].mlp.fc1.weight: 0.02,
        head.token_projection.weight: 192**-0.5,
        head.class_projection.weight: 192**-0.5,
        # PyTorch's own, a uniform distribution.
        policy_net.head.weight: (1 / (3 * 320)) ** 0.5,
        policy_net.backbone.conv_stem.weight: (2 / (32 * 9)) ** 0.5,
        policy_net.backbone.blocks[5][1].conv_dw.weight: (2 / 25) ** 0.5,
        policy_net.backbone.blocks[5][1].conv_pwl.weight: (2 / 192) ** 0.5,
    }
    for parameter, deviation in deviations.items():
        assert parameter.std().item() == pytest.approx(deviation, rel=0.1)
    assert not any(parameter.any() for key, parameter in head.named_parameters() if key.endswith("bias"))
