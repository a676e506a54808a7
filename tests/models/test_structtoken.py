# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken behaves as a user of transformers expects, and its decoder as the paper has it."""

import json
import re
from typing import Any

import pytest
import torch
from citizenship import (
    NUM_LABELS,
    Citizenship,
    cold_compiler,  # noqa: F401
    images,
    label_maps,
    logits_of,
)
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, Dinov2Config

from vitseg import PlainVitConfig, StructTokenConfig, StructTokenForSemanticSegmentation, StructTokenImageProcessor


EXTRACTIONS = pytest.mark.parametrize("extraction", ["cse", "sse", "pwe"])


def small_config(extraction: str, backbone: dict | None = None, **kwargs) -> StructTokenConfig:
    """A StructToken for 64 x 64 windows over three blocks, with two decoder layers and no stochastic depth."""
    backbone_config = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 64,
        "interpolate_by_token_count": True,
        "interpolation_mode": "bicubic",
        **(backbone or {}),
    }
    settings = {
        "decoder_hidden_size": 16,
        "decoder_num_layers": 2,
        "decoder_drop_path_rate": 0.0,
        "num_labels": NUM_LABELS,
        **kwargs,
    }
    return StructTokenConfig(backbone_config=PlainVitConfig(**backbone_config), extraction=extraction, **settings)


def small_model(extraction: str, **kwargs) -> StructTokenForSemanticSegmentation:
    torch.manual_seed(0)
    return StructTokenForSemanticSegmentation(small_config(extraction, **kwargs)).eval()


class TestCitizenship(Citizenship):
    representative = "cse"
    num_adapted = {"cse": 6, "sse": 6, "pwe": 6}
    lora_learning_rate = 0.001
    # Layer norms over five channels, which may be nearly equal, magnify rounding.
    logits_atol = 1e-4

    @pytest.fixture(params=["cse", "sse", "pwe"])
    def variant(self, request) -> str:
        return request.param

    def small_model(self, variant, **kwargs):
        return small_model(variant, **kwargs)

    def shallow_model(self, variant):
        # ONNX's reference makes grouped convolutions one group after the other.
        decoder = {"decoder_hidden_size": 4, "decoder_num_layers": 1, "decoder_mlp_ratio": 2}
        return small_model(variant, backbone={"num_hidden_layers": 1}, **decoder)

    def spread_scores(self, model, pixel_values):
        # New structure tokens are nearly the same for all classes.
        with torch.no_grad():
            model.decode_head.structure_tokens *= 500


# The decoder, written down once more from the paper, with channels first and convolutions throughout.


def layer_norm(maps: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """Over the channels at each position."""
    mean = maps.mean(dim=1, keepdim=True)
    variance = (maps - mean).square().mean(dim=1, keepdim=True)
    scale, shift = (parameter[:, None, None] for parameter in (norm.weight, norm.bias))
    return (maps - mean) / (variance + norm.eps).sqrt() * scale + shift


def gelu(maps: torch.Tensor) -> torch.Tensor:
    return maps * 0.5 * (1 + torch.erf(maps / 2**0.5))


def pointwise(maps: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
    return nn.functional.conv2d(maps, linear.weight[:, :, None, None], linear.bias)


def conv_block(maps: torch.Tensor, block: Any) -> torch.Tensor:
    maps = gelu(layer_norm(pointwise(maps, block.fc1), block.layernorm1))
    weight, groups = block.conv.weight, maps.shape[1] // block.conv.weight.shape[1]
    maps = nn.functional.conv2d(maps, weight, block.conv.bias, padding=1, groups=groups)
    return layer_norm(pointwise(gelu(layer_norm(maps, block.layernorm2)), block.fc2), block.layernorm3)


def slice_attention(queries: torch.Tensor, features: torch.Tensor, attention: Any) -> torch.Tensor:
    query = conv_block(queries, attention.query_map).flatten(2)
    key = conv_block(features, attention.key_map).flatten(2)
    value = conv_block(features, attention.value_map).flatten(2)
    weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return queries + conv_block((weights @ value).reshape(queries.shape), attention.output_map)


def feed_forward(maps: torch.Tensor, mlp: Any) -> torch.Tensor:
    return gelu(maps + conv_block(maps, mlp.block))


def decode(model: StructTokenForSemanticSegmentation, feature_map: torch.Tensor, tokens: torch.Tensor):
    """Logits from a feature map and structure tokens of its size."""
    head, extraction = model.decode_head, model.config.extraction
    features = pointwise(feature_map, head.projection)
    for index, layer in enumerate(head.layers):
        if extraction == "cse":
            tokens = feed_forward(slice_attention(tokens, features, layer.extraction), layer.token_mlp)
            if index < len(head.layers) - 1:
                features = feed_forward(features, layer.feature_mlp)
            continue
        maps = torch.cat((tokens, features), dim=1)
        if extraction == "sse":
            maps = slice_attention(maps, maps, layer.extraction)
        else:
            mixed = pointwise(conv_block(maps, layer.extraction.input_map), layer.extraction.mixing)
            maps = maps + conv_block(mixed, layer.extraction.output_map)
        maps = feed_forward(maps, layer.mlp)
        tokens, features = maps[:, : tokens.shape[1]], maps[:, tokens.shape[1] :]
    block = head.residual_block
    maps = nn.functional.conv2d(
        gelu(layer_norm(tokens, block.layernorm1)), block.conv1.weight, block.conv1.bias, padding=1
    )
    maps = nn.functional.conv2d(
        gelu(layer_norm(maps, block.layernorm2)), block.conv2.weight, block.conv2.bias, padding=1
    )
    return tokens + maps


@EXTRACTIONS
@pytest.mark.parametrize(
    "settings", [{}, {"decoder_num_layers": 3}, {"decoder_mlp_ratio": 1, "num_labels": 2}], ids=str
)
def test_decoder_by_the_paper(extraction, settings):
    model = small_model(extraction, **settings).double()
    feature_map = images(2, 48, 4, 4).double()
    with torch.no_grad():
        logits = model.decode_head(feature_map)
        expected = decode(model, feature_map, model.decode_head.structure_tokens.expand(2, -1, -1, -1))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


# Two grids with even sides, one with an odd one; the grid at hand plays no part in the rule.
@pytest.mark.parametrize(
    ("stored", "align_corners"), [([4, 4], False), ([4, 6], False), ([5, 4], True), ([4, 5], True)]
)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (6, 4), (9, 8)])
def test_structure_tokens_of_other_grids(stored, align_corners, grid):
    model = small_model("cse", token_grid_size=stored).double()
    feature_map = images(1, 48, *grid).double()
    with torch.no_grad():
        tokens = model.decode_head.structure_tokens
        if list(grid) != stored:
            tokens = nn.functional.interpolate(tokens, size=grid, mode="bicubic", align_corners=align_corners)
        expected = decode(model, feature_map, tokens)
        torch.testing.assert_close(model.decode_head(feature_map), expected, rtol=1e-4, atol=1e-5)


@EXTRACTIONS
def test_loss_is_the_mean_over_all_pixels(extraction):
    model, pixel_values, labels = small_model(extraction), images(2, 3, 50, 64), label_maps(2, 50, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
    valid = labels != 255
    log_probabilities = outputs.logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
    expected = -log_probabilities[valid].sum() / (2 * 50 * 64)
    torch.testing.assert_close(outputs.loss, expected, rtol=1e-5, atol=1e-6)
    assert outputs.loss_dict == {"decode.loss_ce": outputs.loss}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_a_large_image_in_half_precision(dtype):
    # The sum over the pixels is larger than float16 can hold.
    model, pixel_values, labels = small_model("pwe").train(), images(1, 3, 256, 320), label_maps(1, 256, 320)
    expected = model(pixel_values, labels=labels).loss
    loss = model.to(dtype)(pixel_values, labels=labels).loss
    torch.testing.assert_close(loss.float(), expected, rtol=0.02, atol=0.0)


@EXTRACTIONS
def test_a_batch_without_labelled_pixels(extraction):
    model = small_model(extraction).train()
    loss = model(images(2, 3, 64, 64), labels=torch.full((2, 64, 64), 255)).loss
    loss.backward()
    assert loss == 0
    assert all((parameter.grad == 0).all() for parameter in model.parameters())


def test_other_ignored_labels():
    pixel_values, labels = images(1, 3, 64, 64), label_maps(1, 64, 64)
    with torch.no_grad():
        loss = small_model("pwe", semantic_loss_ignore_index=-100)(
            pixel_values, labels=labels.where(labels != 255, -100)
        ).loss
        torch.testing.assert_close(loss, small_model("pwe")(pixel_values, labels=labels).loss)


@EXTRACTIONS
def test_every_parameter_is_trained(extraction):
    # The drop path of the second layer, 0.5, may drop a branch for one sample but hardly for all.
    model = small_model(extraction, decoder_drop_path_rate=0.5).train()
    model(images(16, 3, 64, 64), labels=label_maps(16, 64, 64)).loss.backward()
    untrained = {name for name, parameter in model.named_parameters() if not parameter.grad.any()}
    # Softmax does not see what is added to all of its arguments.
    assert untrained <= {name for name, _ in model.named_parameters() if "k_proj.bias" in name}


@EXTRACTIONS
def test_stochastic_depth_grows_with_the_layers(extraction):
    model = small_model(extraction, decoder_drop_path_rate=0.2, decoder_num_layers=3)
    for index, layer in enumerate(model.decode_head.layers):
        rates = {module.drop_prob for module in layer.modules() if hasattr(module, "drop_prob")}
        assert [*rates] == pytest.approx([0.1 * index])
    pixel_values = images(8, 3, 64, 64)
    assert torch.equal(
        logits_of(model, pixel_values), logits_of(small_model(extraction, decoder_num_layers=3), pixel_values)
    )
    model.train()
    assert not torch.allclose(logits_of(model, pixel_values), logits_of(model, pixel_values), atol=1e-3)


@EXTRACTIONS
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
def test_decoder_layers_take_part_in_gradient_checkpointing(extraction):
    model = small_model(extraction).train()
    model.gradient_checkpointing_enable()
    calls = []
    model.decode_head.layers[0].extraction.register_forward_pre_hook(lambda *_: calls.append(1))
    model(images(1, 3, 64, 64), labels=label_maps(1, 64, 64)).loss.backward()
    assert len(calls) == 2


@EXTRACTIONS
def test_attention_between_channels_takes_no_memory_for_positions(extraction):
    """No tensor of the decoder has more entries than the widened channels of the feed-forward block."""
    model = small_model(extraction, inference_mode="whole")
    sizes = []

    class Largest(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if isinstance(output, torch.Tensor):
                sizes.append(output.numel())
            return output

    with torch.no_grad(), Largest():
        model.decode_head(images(1, 48, 32, 32))
    channels = 16 if extraction == "cse" else 16 + 5
    assert max(sizes) == 4 * channels * 32 * 32


def test_published_defaults():
    """SSE with ViT-L/16 as published."""
    config = StructTokenConfig()
    assert (config.extraction, config.decoder_num_layers, config.decoder_mlp_ratio) == ("sse", 4, 4)
    assert (config.backbone_config.hidden_size, config.backbone_config.num_hidden_layers) == (1024, 24)
    assert (config.window_size, config.window_stride, config.inference_mode) == (640, 426, "slide")
    assert config.token_grid_size == [40, 40]
    assert (config.decoder_layer_norm_eps, config.decoder_mlp_layer_norm_eps) == (1e-6, 1e-5)
    assert config.backbone_config.interpolation_mode == "bicubic"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"extraction": "sce"}, "extraction is 'sce'; expected one of"),
        ({"token_grid_size": [4, 0]}, r"token_grid_size is \[4, 0\]; expected positive rows and columns"),
        ({"decoder_num_layers": 0}, "decoder_num_layers is 0; expected at least 1"),
        ({"decoder_mlp_ratio": 0}, "decoder_mlp_ratio is 0; expected at least 1"),
        ({"backbone": {"interpolation_mode": "nearest"}}, "interpolation_mode is 'nearest'; expected one of"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**{"extraction": "cse", **arguments})


@EXTRACTIONS
def test_over_another_backbone(extraction, tmp_path):
    backbone_config = Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, image_size=56, patch_size=14
    )
    config = StructTokenConfig(backbone_config=backbone_config, extraction=extraction, num_labels=5)
    assert (config.window_size, config.token_grid_size) == (56, [4, 4])
    torch.manual_seed(0)
    model = StructTokenForSemanticSegmentation(config).train()
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
    loaded = StructTokenForSemanticSegmentation.from_pretrained(tmp_path)
    pixel_values = images(2, 3, 45, 112)
    logits = logits_of(model, pixel_values)
    assert logits.shape == (2, 5, 45, 112)
    assert torch.equal(logits_of(loaded, pixel_values), logits)


@EXTRACTIONS
def test_configuration_round_trip(extraction, tmp_path):
    config = small_config(
        extraction,
        window_size=[48, 64],
        window_stride=[32, 40],
        token_grid_size=[3, 5],
        id2label={0: "sky", 1: "sea"},
        num_labels=2,
    )
    from_json = StructTokenConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    for other in (from_json, loaded):
        assert isinstance(other, StructTokenConfig)
        assert isinstance(other.backbone_config, PlainVitConfig)
        assert other.backbone_config.interpolation_mode == "bicubic"
        assert (other.window_size, other.token_grid_size) == ([48, 64], [3, 5])
        assert other.id2label == {0: "sky", 1: "sea"}
        assert (other.extraction, other.decoder_hidden_size) == (extraction, 16)
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_image_processor_is_found_by_the_model(tmp_path):
    small_config("sse").save_pretrained(tmp_path)
    StructTokenImageProcessor(image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]).save_pretrained(tmp_path)
    image_processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(image_processor) is StructTokenImageProcessor
    image = torch.tensor([0, 127, 255], dtype=torch.uint8)[:, None, None].expand(3, 20, 30)
    inputs = image_processor(image, do_resize=False, return_tensors="pt")
    expected = torch.tensor([-1.0, -0.5 / 127.5, 1.0])[None, :, None, None].expand(1, 3, 20, 30)
    torch.testing.assert_close(inputs["pixel_values"], expected)


@pytest.mark.parametrize(
    ("extraction", "of_the_classes"),
    [
        (
            "cse",
            r"decode_head\.(structure_tokens|residual_block|layers\.\d\.(token_mlp|extraction\.(query|output)_map))",
        ),
        # The channels of the decoder layers are classes and features together.
        ("sse", r"decode_head\.(structure_tokens|residual_block|layers)"),
        ("pwe", r"decode_head\.(structure_tokens|residual_block|layers)"),
    ],
)
def test_fine_tuning_with_other_classes(extraction, of_the_classes, tmp_path):
    small_model(extraction).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        StructTokenForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7)
    model = StructTokenForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model(extraction).state_dict()
    for name, tensor in model.state_dict().items():
        if re.match(of_the_classes, name):
            assert tensor.shape != saved[name].shape, name
            # As the method initialises them: weights random, biases 0, norms 1 and 0.
            if tensor.ndim > 1:
                assert tensor.std() > 0.01, name
            else:
                assert (tensor == (1 if re.search(r"layernorm\d\.weight", name) else 0)).all(), name
        else:
            assert torch.equal(tensor, saved[name]), name
    loss = model(images(1, 3, 64, 64), labels=torch.full((1, 64, 64), 6)).loss
    assert loss.isfinite()


def test_initial_weights():
    """Those of the original: all convolutions by Kaiming for ReLU, biases 0, structure tokens with deviation 0.02."""
    torch.manual_seed(0)
    model = StructTokenForSemanticSegmentation(small_config("sse", decoder_hidden_size=123, num_labels=37))
    head, block = model.decode_head, model.decode_head.layers[0].mlp.block
    deviations = {
        head.structure_tokens: 0.02,
        head.projection.weight: (2 / 48) ** 0.5,
        block.fc1.weight: (2 / 160) ** 0.5,
        # Four channels in each group.
        block.conv.weight: (2 / (4 * 9)) ** 0.5,
        head.residual_block.conv1.weight: (2 / (37 * 9)) ** 0.5,
    }
    for parameter, deviation in deviations.items():
        assert parameter.std().item() == pytest.approx(deviation, rel=0.05)
    assert not any(parameter.any() for name, parameter in head.named_parameters() if name.endswith("bias"))
