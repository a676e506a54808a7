# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SETR behaves as a user of transformers expects: inputs, losses, saving, training, compiling, exporting."""

import json

import pytest
import torch
from citizenship import (
    NUM_LABELS,
    Citizenship,
    cold_compiler,  # noqa: F401
    gradients_of,
    images,
    label_maps,
    logits_of,
)
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import AutoBackbone, AutoConfig

from vitseg import PlainVitBackbone, PlainVitConfig, SetrConfig, SetrForSemanticSegmentation


VARIANTS = ["naive", "pup", "mla"]
DECODERS = pytest.mark.parametrize("decoder_type", VARIANTS)


def small_config(decoder_type: str, backbone: dict | None = None, **kwargs) -> SetrConfig:
    """A SETR for 64 x 64 windows with four taps: the stem and three blocks."""
    backbone_config = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 64,
        "use_class_token": decoder_type != "mla",
        "out_indices": [0, 1, 2, 3],
        **(backbone or {}),
    }
    settings = {"decoder_hidden_size": 16, "mla_branch_size": 8, "num_labels": NUM_LABELS, **kwargs}
    return SetrConfig(backbone_config=PlainVitConfig(**backbone_config), decoder_type=decoder_type, **settings)


def small_model(decoder_type: str, **kwargs) -> SetrForSemanticSegmentation:
    torch.manual_seed(0)
    return SetrForSemanticSegmentation(small_config(decoder_type, **kwargs)).eval()


class TestCitizenship(Citizenship):
    representative = "pup"
    # Three blocks.
    num_adapted = {"naive": 2 * 3, "pup": 2 * 3, "mla": 2 * 3}

    @pytest.fixture(params=VARIANTS)
    def variant(self, request):
        return request.param

    def small_model(self, variant, **kwargs):
        return small_model(variant, **kwargs)

    def shallow_model(self, variant):
        backbone = {} if variant == "mla" else {"num_hidden_layers": 1, "out_indices": [0, 1]}
        return small_model(variant, backbone=backbone)

    def spread_scores(self, model, pixel_values):
        classifier = model.decode_head.classifier
        with torch.no_grad():
            classifier.bias -= logits_of(model, pixel_values).mean(dim=(0, 2, 3))
            classifier.weight *= 100
            classifier.bias *= 100


# Losses.


def test_a_class_is_not_ignored_by_default(tmp_path):
    message = "Of 300 classes, 255 is one, and would be ignored by default. Give semantic_loss_ignore_index"
    with pytest.raises(ValueError, match=message):
        small_config("naive", num_labels=300)
    small_model("naive").save_pretrained(tmp_path)
    names = dict(enumerate(map(str, range(300))))
    for change in ({"num_labels": 300}, {"id2label": names, "label2id": {name: id for id, name in names.items()}}):
        with pytest.raises(ValueError, match=message):
            SetrForSemanticSegmentation.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **change)
        model = SetrForSemanticSegmentation.from_pretrained(
            tmp_path, ignore_mismatched_sizes=True, semantic_loss_ignore_index=-100, **change
        )
        assert model.config.num_labels == 300
    # What is ignored is what was said, and all else is learned.
    pixel_values, labels = images(1, 3, 64, 64), torch.full((1, 64, 64), 255)
    assert model(pixel_values, labels=labels).loss > 0
    assert model(pixel_values, labels=labels * 0 - 100).loss == 0
    model = small_model("naive", num_labels=300, semantic_loss_ignore_index=255)
    model.save_pretrained(tmp_path)
    model = SetrForSemanticSegmentation.from_pretrained(tmp_path)
    assert model(pixel_values, labels=labels).loss == 0


@DECODERS
def test_loss_is_the_mean_over_all_pixels(decoder_type):
    model, pixel_values, labels = small_model(decoder_type), images(2, 3, 50, 64), label_maps(2, 50, 64)
    auxiliary_logits = []
    for head in model.auxiliary_head:
        head.register_forward_hook(lambda module, inputs, output: auxiliary_logits.append(output))
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)

    def by_hand(logits: torch.Tensor) -> torch.Tensor:
        logits = nn.functional.interpolate(logits, size=(50, 64), mode="bilinear", align_corners=False)
        valid = labels != 255
        log_probabilities = logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
        return -log_probabilities[valid].sum() / (2 * 50 * 64)

    expected = {"decode.loss_seg": by_hand(outputs.logits)}
    for index, logits in enumerate(auxiliary_logits):
        expected[f"aux_{index}.loss_seg"] = 0.4 * by_hand(logits)
    assert len(expected) == (4 if decoder_type == "naive" else 5)
    assert set(outputs.loss_dict) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(outputs.loss_dict[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs.loss, sum(expected.values()), rtol=1e-5, atol=1e-6)


@DECODERS
def test_a_batch_without_labelled_pixels(decoder_type):
    model = small_model(decoder_type).train()
    loss = model(images(2, 3, 64, 64), labels=torch.full((2, 64, 64), 255)).loss
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients_of(model).values())


def test_other_ignored_labels_and_weights():
    model = small_model("naive", semantic_loss_ignore_index=-100, auxiliary_loss_weight=1)
    pixel_values, labels = images(1, 3, 64, 64), label_maps(1, 64, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels.where(labels != 255, -100))
        reference = small_model("naive")(pixel_values, labels=labels)
    torch.testing.assert_close(outputs.loss_dict["decode.loss_seg"], reference.loss_dict["decode.loss_seg"])
    torch.testing.assert_close(0.4 * outputs.loss_dict["aux_1.loss_seg"], reference.loss_dict["aux_1.loss_seg"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_a_large_image_in_half_precision(dtype):
    # The sum over the pixels is larger than float16 can hold.
    model, pixel_values, labels = small_model("naive").train(), images(1, 3, 256, 320), label_maps(1, 256, 320)
    expected = model(pixel_values, labels=labels).loss
    loss = model.to(dtype)(pixel_values, labels=labels).loss
    torch.testing.assert_close(loss.float(), expected, rtol=0.02, atol=0.0)


@DECODERS
def test_no_auxiliary_heads(decoder_type):
    model = small_model(decoder_type, auxiliary_heads=[])
    assert not any("auxiliary" in name for name in model.state_dict())
    with torch.no_grad():
        outputs = model(images(1, 3, 64, 64), labels=label_maps(1, 64, 64))
    assert list(outputs.loss_dict) == ["decode.loss_seg"]
    assert outputs.loss == outputs.loss_dict["decode.loss_seg"]


# Configuration.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder_type": "upernet"}, "decoder_type is 'upernet'; expected one of"),
        ({"decoder_type": "mla", "backbone": {"out_indices": [1, 2]}}, r"MLA decoder takes 4 .*\[1, 2\] names 2"),
        ({"window_stride": 65}, r"window_stride \(65, 65\) exceeds window_size \(64, 64\)"),
        ({"window_size": [64, 32], "window_stride": [32, 33]}, r"\(32, 33\) exceeds window_size \(64, 32\)"),
        ({"window_size": 0}, r"window_size is \(0, 0\); expected positive"),
        ({"window_stride": [32, 0]}, r"window_stride is \(32, 0\); expected positive"),
        ({"window_batch_size": 0}, "window_batch_size is 0; expected at least 1"),
        ({"inference_mode": "sliding"}, "inference_mode is 'sliding'; expected one of"),
        ({"auxiliary_heads": [{"index": 0}]}, "auxiliary_heads holds {'index': 0}; expected the keys"),
        ({"decoder_type": "mla", "auxiliary_heads": [{"in_index": 4}]}, "in_index from 0 to 3"),
        ({"decoder_in_index": 4}, "decoder_in_index is 4"),
        ({"backbone": {"hidden_size": 50}}, "hidden_size 50 is not a multiple of num_attention_heads 3"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    # The configuration classes of transformers wrap what a validation raises.
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**{"decoder_type": "pup", **arguments})


WRONG_PROTOCOLS = [
    ({"inference_mode": "sliding"}, "inference_mode is 'sliding'; expected one of"),
    ({"window_stride": 100}, r"window_stride \(100, 100\) exceeds window_size \(64, 64\)"),
    ({"window_size": 32, "window_stride": 33}, r"window_stride \(33, 33\) exceeds window_size \(32, 32\)"),
    ({"window_stride": [64, 65]}, r"window_stride \(64, 65\) exceeds"),
    ({"window_size": 0}, r"window_size is \(0, 0\); expected positive"),
    ({"window_size": [64]}, r"window_size is \(64,\); expected positive"),
    ({"window_stride": [32, 32, 32]}, r"window_stride is \(32, 32, 32\); expected positive"),
    ({"window_batch_size": 0}, "window_batch_size is 0; expected at least 1"),
]
# Values that the type of the field refuses on assignment.
OF_ANOTHER_TYPE = [
    ({"window_size": 32.5}, r"window_size is \(32.5, 32.5\); expected positive .* whole"),
    ({"window_stride": True}, r"window_stride is \(True, True\); expected positive .* whole"),
    ({"window_batch_size": 2.5}, "window_batch_size is 2.5; expected at least 1"),
]


@pytest.mark.parametrize(("protocol", "message"), [*WRONG_PROTOCOLS, *OF_ANOTHER_TYPE])
def test_a_wrong_protocol_is_refused_wherever_it_is_given(protocol, message, tmp_path):
    model = small_model("naive")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        SetrForSemanticSegmentation.from_pretrained(tmp_path, **protocol)
    with pytest.raises(ValueError, match=message):
        model(images(1, 3, 80, 80), **protocol)
    before = model.config.to_dict()
    if (protocol, message) in WRONG_PROTOCOLS and len(protocol) == 1:
        ((name, value),) = protocol.items()
        with pytest.raises(ValueError, match=message):
            setattr(model.config, name, value)
    assert model.config.to_dict() == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # A stride that was not given follows the window.
        ({"window_size": 32}, (32, 21)),
        ({"window_size": [32, 48]}, ([32, 48], [21, 32])),
        ({"window_size": 1}, (1, 1)),
        ({"window_stride": None}, (64, 42)),
        ({"window_stride": 32}, (64, 32)),
        # In any order, although the one alone would leave gaps.
        ({"window_stride": 100, "window_size": 128}, (128, 100)),
    ],
)
def test_another_protocol_when_loading(given, expected, tmp_path):
    small_model("naive").save_pretrained(tmp_path)
    for load in (SetrForSemanticSegmentation.from_pretrained, AutoConfig.from_pretrained):
        loaded = load(tmp_path, **given)
        config = getattr(loaded, "config", loaded)
        assert (config.window_size, config.window_stride) == expected
    model = SetrForSemanticSegmentation.from_pretrained(tmp_path, **given)
    if given.get("window_size") != 1:
        assert logits_of(model, images(1, 3, 80, 200)).isfinite().all()


def test_strides_follow_windows_unless_they_were_given():
    config = small_config("naive")
    config.window_size = 32
    assert config.window_stride == 21
    config.window_stride = 30
    config.window_size = 48
    assert config.window_stride == 30
    with pytest.raises(ValueError, match=r"window_stride \(30, 30\) exceeds window_size \(16, 16\)"):
        config.window_size = 16
    config.window_stride = None
    assert (config.window_size, config.window_stride) == (48, 32)


def test_settings_that_are_updated_fit_together_in_any_order():
    config = small_config("naive")
    config.update({"window_stride": 100, "auxiliary_loss_weight": 0.1, "window_size": 128})
    assert (config.window_size, config.window_stride, config.auxiliary_loss_weight) == (128, 100, 0.1)
    config.update({"window_size": 48, "window_stride": 20})
    assert (config.window_size, config.window_stride) == (48, 20)
    config.update({"output_attentions": True})
    assert config.output_attentions


@pytest.mark.parametrize("shape", [(0, 3, 64, 64), (1, 3, 0, 64), (0, 3, 80, 80)])
def test_no_image_at_all_is_refused(shape):
    with pytest.raises(
        ValueError, match=rf"pixel_values has shape \({shape[0]}, .*there is no image, or an empty one"
    ):
        small_model("naive")(torch.empty(shape))


def test_unknown_backbones_are_refused():
    with pytest.raises(ValueError, match="model_type None"):
        SetrConfig(backbone_config={"hidden_size": 48})
    with pytest.raises(ValueError, match="model_type 'vit_plain'"):
        SetrConfig(backbone_config={"model_type": "vit_plain"})


@DECODERS
def test_configuration_round_trip(decoder_type, tmp_path):
    config = small_config(
        decoder_type, window_size=[48, 64], window_stride=[32, 40], id2label={0: "sky", 1: "sea"}, num_labels=2
    )
    from_json = SetrConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    for other in (from_json, loaded):
        assert isinstance(other, SetrConfig)
        assert isinstance(other.backbone_config, PlainVitConfig)
        assert other.backbone_config.out_indices == [0, 1, 2, 3]
        assert other.window_size == [48, 64]
        assert other.id2label == {0: "sky", 1: "sea"}
        assert other.auxiliary_heads == config.auxiliary_heads
        assert other.decoder_type == decoder_type
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_published_defaults():
    """SETR-PUP and SETR-MLA with ViT-L/16 as the paper trains them on ADE20K."""
    pup, mla = SetrConfig(), SetrConfig(decoder_type="mla")
    assert pup.decoder_type == "pup"
    assert pup.backbone_config.out_indices == [10, 15, 20, 24]
    assert mla.backbone_config.out_indices == [6, 12, 18, 24]
    for config in (pup, mla):
        assert config.backbone_config.hidden_size == 1024
        assert config.window_size == 512
        assert config.window_stride == 341
        assert config.inference_mode == "slide"


def test_auto_backbone():
    with torch.device("meta"):
        backbone = AutoBackbone.from_config(PlainVitConfig())
    assert isinstance(backbone, PlainVitBackbone)
    assert backbone.channels == [768]


# Saving and loading.


@DECODERS
def test_fine_tuning_with_other_classes(decoder_type, tmp_path):
    small_model(decoder_type).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        SetrForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7)
    model = SetrForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model(decoder_type).state_dict()
    for name, tensor in model.state_dict().items():
        is_classifier = tensor.shape[:1] == (7,)
        assert is_classifier != (tensor.shape == saved[name].shape), name
        assert tensor.isfinite().all()
        assert is_classifier or torch.equal(tensor, saved[name]), name
    loss = model(images(1, 3, 64, 64), labels=torch.full((1, 64, 64), 6)).loss
    assert loss.isfinite()
