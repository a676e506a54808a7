# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT behaves as a user of transformers expects, computes the original's losses, and takes images of any shape."""

import json
from typing import Any

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
from transformers import AutoConfig

from vitseg import PlainVitConfig, SegVitConfig, SegVitForSemanticSegmentation


VARIANTS = ["atm", "single_atm", "tpn_atm"]
DECODERS = pytest.mark.parametrize("variant", VARIANTS)


def small_config(variant: str, backbone: dict | None = None, **kwargs) -> SegVitConfig:
    """A SegViT for 64 x 64 windows with two taps, of three blocks; the shrunk one shrinks at the second block."""
    shrunk = variant == "tpn_atm"
    backbone_config = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 64,
        "use_class_token": False,
        "interpolation_mode": "bicubic",
        "shrink_layer": 2 if shrunk else None,
        "out_indices": [1, 3] if shrunk else [2, 3],
        **(backbone or {}),
    }
    settings = {
        "decoder_hidden_size": 32,
        "decoder_num_layers": 2,
        "decoder_num_attention_heads": 2,
        "num_labels": NUM_LABELS,
        **kwargs,
    }
    return SegVitConfig(backbone_config=PlainVitConfig(**backbone_config), decoder_type=variant, **settings)


def small_model(variant: str, **kwargs) -> SegVitForSemanticSegmentation:
    torch.manual_seed(0)
    return SegVitForSemanticSegmentation(small_config(variant, **kwargs)).eval()


class TestCitizenship(Citizenship):
    representative = "tpn_atm"
    # Three blocks; self- and cross-attention of two decoders of two layers, or of one; and of the up-sampling ones.
    num_adapted = {"atm": 2 * (3 + 8), "single_atm": 2 * (3 + 8), "tpn_atm": 2 * (3 + 8 + 4)}

    @pytest.fixture(params=VARIANTS)
    def variant(self, request):
        return request.param

    def small_model(self, variant, **kwargs):
        return small_model(variant, **kwargs)

    def shallow_model(self, variant):
        backbone = {"num_hidden_layers": 2, "out_indices": [1, 2]}
        return small_model(variant, backbone=backbone, decoder_num_layers=1, decoder_dropout=0.0)

    def without_dropout(self, variant):
        return small_model(variant, decoder_dropout=0.0)

    def spread_scores(self, model, pixel_values):
        # Query c says class c with probability 0.9, 0.75, ... and else "no object"; its mask is sure of each pixel, of
        # some yes and of others no. So where masks overlap, the first of them wins by at least 0.15.
        probabilities = torch.arange(0.9, 0.2, -0.15)[:NUM_LABELS]
        class_logits = torch.full((NUM_LABELS, NUM_LABELS + 1), -10.0)
        class_logits[:, :-1].diagonal().copy_(probabilities.logit())
        class_logits[:, -1] = 0
        head = model.decode_head
        with torch.no_grad():
            last_layer = head.decoders[-1].layers[-1]
            keys = last_layer.cross_attention.k_proj
            keys.weight *= 1000
            (_, tokens, _), _ = call_of(last_layer, model, pixel_values)
            keys.bias.copy_(-tokens.mean(dim=(0, 1)) @ keys.weight.T)
            _, (queries, _) = call_of(last_layer, model, pixel_values)
            head.classifier.bias.zero_()
            head.classifier.weight.copy_((torch.linalg.pinv(queries[0]) @ class_logits).T)

    def num_tokens(self, model, rows, columns):
        if model.config.decoder_type == "tpn_atm":
            return [rows * columns, rows * columns] + 2 * [-(-rows // 2) * -(-columns // 2)]
        return super().num_tokens(model, rows, columns)


def call_of(module: nn.Module, model: nn.Module, pixel_values: torch.Tensor):
    """What a module of a model is called with, and what it returns."""
    calls = []
    handle = module.register_forward_hook(lambda module, inputs, output: calls.append((inputs, output)))
    logits_of(model, pixel_values)
    handle.remove()
    return calls[0]


def predictions_of(model: Any, pixel_values: torch.Tensor, labels: torch.Tensor):
    """The outputs of a model for labelled images, and all predictions of its head."""
    captured = []
    handle = model.decode_head.register_forward_hook(lambda module, inputs, output: captured.extend(output))
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
    handle.remove()
    return outputs, captured


# Losses.


def losses_by_hand(class_logits: torch.Tensor, masks: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """The original's loss terms, one image and class after the other; `masks` are at the size of `labels`."""
    nll_sum = weight_sum = focal = dice = 0.0
    num_masks = sum(len(set(label_map.unique().tolist()) - {255}) for label_map in labels)
    for image_logits, image_masks, label_map in zip(class_logits, masks, labels, strict=True):
        for query in range(NUM_LABELS):
            target = (label_map == query).float()
            is_present = bool(target.any())
            weight = 1.0 if is_present else 0.1
            nll_sum -= weight * image_logits[query].log_softmax(dim=0)[query if is_present else NUM_LABELS]
            weight_sum += weight
            if not is_present:
                continue
            p = image_masks[query].sigmoid()
            p_t = p * target + (1 - p) * (1 - target)
            alpha = 0.25 * target + 0.75 * (1 - target)
            focal += (-alpha * (1 - p_t) ** 2 * p_t.log()).mean()
            dice += 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    num_masks = max(num_masks, 1)
    terms = {"ce": nll_sum / weight_sum, "mask": 20 * focal / num_masks, "dice": dice / num_masks}
    return {name: torch.as_tensor(value) for name, value in terms.items()}


def label_cases() -> dict[str, torch.Tensor]:
    labels = label_maps(2, 64, 64)
    one_class = torch.full((2, 64, 64), 255)
    one_class[0, 10:20, 10:40] = 3
    one_class[1] = 1
    half_ignored = labels.clone()
    half_ignored[1] = 255
    return {"many": labels, "one class": one_class, "an ignored image": half_ignored, "ignored": labels * 0 + 255}


@DECODERS
@pytest.mark.parametrize("case", label_cases())
def test_losses_by_hand(variant, case):
    model, labels = small_model(variant), label_cases()[case]
    outputs, predictions = predictions_of(model, images(2, 3, 64, 64), labels)
    assert len(predictions) == {"atm": 2, "single_atm": 4, "tpn_atm": 2}[variant]
    expected = {}
    for index, prediction in enumerate(predictions):
        suffix = "" if index == len(predictions) - 1 else f"_{index}"
        masks = nn.functional.interpolate(prediction.masks, size=(64, 64), mode="bilinear", align_corners=False)
        terms = losses_by_hand(prediction.class_logits, masks, labels)
        expected |= {f"decode.loss_{name}{suffix}": value for name, value in terms.items()}
    assert set(outputs.loss_dict) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(outputs.loss_dict[name], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(outputs.loss, sum(expected.values()), rtol=1e-4, atol=1e-6)


@DECODERS
def test_a_batch_without_labelled_pixels_trains_the_classes_alone(variant):
    model = small_model(variant).train()
    outputs = model(images(2, 3, 64, 64), labels=torch.full((2, 64, 64), 255))
    outputs.loss.backward()
    for name, term in outputs.loss_dict.items():
        assert (term > 0) == ("loss_ce" in name)
    gradients = gradients_of(model)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    # "No object" is what every query should answer.
    assert (gradients["decode_head.classifier.bias"][:-1] > 0).all()
    assert gradients["decode_head.classifier.bias"][-1] < 0


@DECODERS
def test_masks_are_compared_at_the_size_of_the_labels(variant):
    model, labels = small_model(variant, inference_mode="whole"), label_maps(2, 80, 48)
    outputs, predictions = predictions_of(model, images(2, 3, 80, 48), labels)
    # The answer is enlarged to mask_size first.
    masks = nn.functional.interpolate(predictions[-1].masks, size=(64, 64), mode="bilinear", align_corners=False)
    masks = nn.functional.interpolate(masks, size=(80, 48), mode="bilinear", align_corners=False)
    terms = losses_by_hand(predictions[-1].class_logits, masks, labels)
    for name, value in terms.items():
        torch.testing.assert_close(outputs.loss_dict[f"decode.loss_{name}"], value, rtol=1e-4, atol=1e-6)
    masks = nn.functional.interpolate(predictions[0].masks, size=(80, 48), mode="bilinear", align_corners=False)
    terms = losses_by_hand(predictions[0].class_logits, masks, labels)
    for name, value in terms.items():
        torch.testing.assert_close(outputs.loss_dict[f"decode.loss_{name}_0"], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ignore_index", [-100, 4])
def test_other_ignored_labels(ignore_index):
    # 4 is a class too, which then is not learned.
    labels = label_maps(1, 64, 64)
    labels[labels == 4] = 255
    model = small_model("atm", semantic_loss_ignore_index=ignore_index)
    with torch.no_grad():
        loss = model(images(1, 3, 64, 64), labels=labels.where(labels != 255, ignore_index)).loss
        expected = small_model("atm")(images(1, 3, 64, 64), labels=labels).loss
    torch.testing.assert_close(loss, expected)


@DECODERS
def test_weights_of_the_losses(variant):
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    weights = {"class_weight": 2, "mask_weight": 3.0, "dice_weight": 5, "auxiliary_loss_weight": 0.5}
    with torch.no_grad():
        reference = small_model(variant)(pixel_values, labels=labels).loss_dict
        weighted = small_model(variant, **weights)(pixel_values, labels=labels)
    factors = {"ce": 2, "mask": 3 / 20, "dice": 5}
    for name, value in reference.items():
        _, term, *auxiliary = name.split("_")
        factor = factors[term] * (0.5 if auxiliary else 1)
        torch.testing.assert_close(weighted.loss_dict[name], factor * value)
    torch.testing.assert_close(weighted.loss, sum(weighted.loss_dict.values()))
    equal = small_model(variant, no_object_weight=1)
    labels = labels.clamp(max=0)
    with torch.no_grad():
        outputs, predictions = predictions_of(equal, pixel_values, labels)
    classes = torch.tensor([0, 5, 5, 5, 5]).repeat(2)
    expected = nn.functional.cross_entropy(predictions[-1].class_logits.flatten(0, 1), classes)
    torch.testing.assert_close(outputs.loss_dict["decode.loss_ce"], expected)


def test_only_the_first_auxiliary_losses():
    model = small_model("single_atm", num_auxiliary_losses=1)
    with torch.no_grad():
        outputs = model(images(1, 3, 64, 64), labels=label_maps(1, 64, 64))
        reference = small_model("single_atm")(images(1, 3, 64, 64), labels=label_maps(1, 64, 64))
    terms = ("decode.loss_ce", "decode.loss_mask", "decode.loss_dice")
    assert list(outputs.loss_dict) == [*terms, *(f"{term}_0" for term in terms)]
    assert len(reference.loss_dict) == 3 * 4
    torch.testing.assert_close(outputs.loss, sum(reference.loss_dict[name] for name in outputs.loss_dict))


@DECODERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_a_large_image_in_half_precision(variant, dtype):
    # Sums over the pixels are larger than float16 can hold.
    pixel_values, labels = images(1, 3, 320, 320), label_maps(1, 320, 320)
    model = small_model(variant, decoder_dropout=0.0).train()
    expected = model(pixel_values, labels=labels).loss
    loss = model.to(dtype)(pixel_values, labels=labels).loss
    torch.testing.assert_close(loss.float(), expected, rtol=0.02, atol=0.0)


def test_dropout_takes_part_in_training_only():
    model, pixel_values = small_model("tpn_atm", decoder_dropout=0.5), images(1, 3, 64, 64)
    assert torch.equal(logits_of(model, pixel_values), logits_of(small_model("tpn_atm"), pixel_values))
    model.train()
    assert not torch.equal(logits_of(model, pixel_values), logits_of(model, pixel_values))


# Scores.


@DECODERS
def test_logits_are_scores(variant):
    logits = logits_of(small_model(variant), images(2, 3, 64, 96))
    assert (logits >= 0).all()
    assert (logits <= NUM_LABELS).all()


def test_masks_of_smaller_feature_maps_are_enlarged():
    """A backbone that shrinks under decoders which read both sizes; the original enlarges deep masks alike."""
    model = small_model("atm", backbone={"shrink_layer": 3, "out_indices": [2, 3]})
    pixel_values = images(1, 3, 64, 64)
    (deep, shallow) = (call_of(decoder, model, pixel_values) for decoder in model.decode_head.decoders)
    (_, deep_tokens, _), deep_outputs = deep
    (_, shallow_tokens, _), shallow_outputs = shallow
    assert (deep_tokens.shape[1], shallow_tokens.shape[1]) == (4, 16)
    deep_masks, shallow_masks = (
        outputs[-1][1].unflatten(2, (side, side)) for outputs, side in ((deep_outputs, 2), (shallow_outputs, 4))
    )
    expected = shallow_masks + nn.functional.interpolate(deep_masks, size=(4, 4), mode="bilinear")
    _, (prediction,) = call_of(model.decode_head, model, pixel_values)
    torch.testing.assert_close(prediction.masks, expected)


def test_smaller_feature_maps_are_enlarged_before_they_are_added():
    model = small_model("single_atm", backbone={"shrink_layer": 3, "out_indices": [2, 3]})
    pixel_values = images(1, 3, 64, 64)
    deep, shallow = (call_of(projection, model, pixel_values)[1] for projection in model.decode_head.projections)
    # Each position of the deep map becomes four.
    expected = shallow + deep.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for decoder in model.decode_head.decoders:
        (_, tokens, _), _ = call_of(decoder, model, pixel_values)
        torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2))


# Configuration.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "tpn"}, "decoder_type is 'tpn'; expected one of"),
        (
            {"decoder_num_attention_heads": 5},
            "decoder_hidden_size 32 is not a multiple of decoder_num_attention_heads",
        ),
        ({"decoder_num_layers": 0}, "decoder_num_layers is 0; expected at least 1"),
        ({"mask_size": [64, 0]}, r"mask_size is \[64, 0\]; expected positive"),
        ({"variant": "tpn_atm", "query_stride": 65}, "query_stride is 65; expected from 1 to 64"),
        ({"num_auxiliary_losses": -1}, "num_auxiliary_losses is -1"),
        ({"window_stride": 65}, r"window_stride \(65, 65\) exceeds window_size \(64, 64\)"),
        ({"backbone": {"shrink_layer": 4}}, "shrink_layer is 4; expected a block from 1 to 3"),
        ({"backbone": {"shrink_layer": 0}}, "shrink_layer is 0; expected a block from 1 to 3"),
        ({"backbone": {"interpolation_mode": "nearest"}}, "interpolation_mode is 'nearest'; expected one of"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    # The configuration classes of transformers wrap what a validation raises.
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**{"variant": "atm", **arguments})


def test_without_projections_the_decoder_is_as_wide_as_the_backbone():
    with pytest.raises(ValueError, match=r"\[48, 48\] channels and decoder_hidden_size is 32"):
        small_model("atm", decoder_use_projection=False)
    model = small_model("atm", decoder_use_projection=False, decoder_hidden_size=48)
    assert not any("projections" in name for name in model.state_dict())
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, NUM_LABELS, 64, 64)


@DECODERS
def test_configuration_round_trip(variant, tmp_path):
    config = small_config(variant, mask_size=[64, 96], query_stride=8, id2label={0: "sky", 1: "sea"}, num_labels=2)
    from_json = SegVitConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    for other in (from_json, loaded):
        assert isinstance(other, SegVitConfig)
        assert isinstance(other.backbone_config, PlainVitConfig)
        assert other.backbone_config.shrink_layer == config.backbone_config.shrink_layer
        assert other.backbone_config.out_indices == config.backbone_config.out_indices
        assert (other.mask_size, other.query_grid) == ([64, 96], (8, 12))
        assert other.id2label == {0: "sky", 1: "sea"}
        assert other.decoder_type == variant
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_published_defaults():
    """SegViT and SegViT Shrunk with ViT-L/16 as the paper trains them on ADE20K."""
    plain, shrunk = SegVitConfig(), SegVitConfig(decoder_type="tpn_atm")
    assert plain.backbone_config.out_indices == [8, 16, 24]
    assert plain.backbone_config.shrink_layer is None
    assert shrunk.backbone_config.out_indices == [8, 24]
    assert shrunk.backbone_config.shrink_layer == 9
    assert shrunk.query_grid == (40, 40)
    for config in (plain, shrunk):
        assert config.backbone_config.hidden_size == 1024
        assert config.mask_size == config.window_size == 640
        assert config.inference_mode == "slide"


@DECODERS
def test_fine_tuning_with_other_classes(variant, tmp_path):
    small_model(variant).save_pretrained(tmp_path)
    load = SegVitForSemanticSegmentation.from_pretrained
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        load(tmp_path, num_labels=7)
    model = load(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model(variant).state_dict()
    changed = {name for name, tensor in model.state_dict().items() if tensor.shape != saved[name].shape}
    assert changed == {"decode_head.class_queries", "decode_head.classifier.weight", "decode_head.classifier.bias"}
    for name, tensor in model.state_dict().items():
        assert tensor.isfinite().all()
        assert name in changed or torch.equal(tensor, saved[name]), name
    # New queries are drawn like the first ones.
    assert 0.7 < model.decode_head.class_queries.std() < 1.3
    assert model(images(1, 3, 64, 64), labels=torch.full((1, 64, 64), 6)).loss.isfinite()


def test_initial_weights():
    """
    As the original: attention that it holds in one matrix has Xavier's bound, other linear layers 0.02. But in the
    up-sampler what is attended to is not drowned by the queries.
    """
    torch.manual_seed(0)
    head = SegVitForSemanticSegmentation(small_config("tpn_atm", decoder_hidden_size=64)).decode_head.requires_grad_(
        False
    )
    bound = (6 / (4 * 64)) ** 0.5
    packed = [layer.self_attention for decoder in head.decoders for layer in decoder.layers]
    packed += [getattr(layer, name) for decoder in head.upsampler.decoders for layer in decoder.layers
               for name in ("self_attention", "cross_attention")]  # fmt: skip
    for attention in packed:
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            assert 0.9 * bound < projection.weight.abs().max() <= bound
    others = [
        head.classifier,
        packed[0].o_proj,
        head.decoders[0].layers[0].cross_attention.k_proj,
        head.decoders[0].layers[0].mlp.fc1,
    ]
    for linear in others:
        assert linear.weight.std() == pytest.approx(0.02, rel=0.2)
        assert (linear.bias == 0).all()
    assert head.class_queries.std() == pytest.approx(1.0, rel=0.2)

    images_of_two = torch.randn(2, 48, 4, 4)
    one, other = head.upsampler([images_of_two] * len(head.upsampler.decoders))
    assert (one - other).std() > 0.3 * one.std()
