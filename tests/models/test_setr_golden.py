# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SETR answers what the original implementations answered, from their checkpoints through the public path."""

from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case, pixels
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

import vitseg  # noqa: F401


CASES = [name for name in case_names("setr") if not name.startswith("tiny_pretrained")]
LOSS_CASES = [name for name in CASES if "_loss" in name]
MULTI_SCALE_CASES = ["tiny_mla_ms_flip"]
FORWARD_CASES = [name for name in CASES if name not in LOSS_CASES + MULTI_SCALE_CASES]


def by_size(names: list[str]) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if "full" in name else name for name in names]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str) -> tuple[GoldenCase, nn.Module]:
        case = load_case("setr", name)
        return case, AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))

    return load_converted


def upsample(feature_map: torch.Tensor, **kwargs) -> torch.Tensor:
    return nn.functional.interpolate(feature_map, mode="bilinear", align_corners=False, **kwargs)


def tokens(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.flatten(2).transpose(1, 2)


class Intermediates:
    """Outputs of a model's modules during one forward pass, by the names that the originals gave them."""

    def __init__(self, model: Any, pixel_values: torch.Tensor):
        self.model, self.config = model, model.config
        self.size = pixel_values.shape[-2:]
        self.mmseg = self.config.backbone_config.interpolate_by_token_count
        self.captured: dict[str, Any] = {}
        self.captured_inputs: dict[str, Any] = {}
        handles = [
            module.register_forward_hook(self.hook(name)) for name, module in model.named_modules() if name != ""
        ]
        with torch.no_grad():
            self.logits = model(pixel_values).logits
            # Evaluation skips the auxiliary heads, which the originals' answers include.
            features = (
                self.captured["neck"] if self.config.decoder_type == "mla" else self.captured["backbone"].feature_maps
            )
            self.auxiliary_logits = [
                head(features[head_config["in_index"]])
                for head, head_config in zip(model.auxiliary_head, self.config.auxiliary_heads, strict=True)
            ]
        for handle in handles:
            handle.remove()

    def hook(self, name: str):
        def capture(module, inputs, output):
            if name not in self.captured:
                self.captured[name], self.captured_inputs[name] = output, inputs

        return capture

    def mla_level(self, index: int) -> int:
        return 3 - index if self.mmseg else index

    def get(self, name: str) -> torch.Tensor:
        stem, _, last = name.rpartition("_")
        index = int(last) if last.isdigit() else -1
        captured, mla = self.captured, self.config.decoder_type == "mla"
        if name == "logits":
            return self.logits
        if name == "patch_embed":
            patches = captured["backbone.embeddings.patch_embeddings"]
            return tokens(patches) if self.mmseg else patches
        if name == "positions_added":
            return self.captured_inputs["backbone.layers.0"][0]
        if stem in ("block", "layer"):
            return captured[f"backbone.layers.{index}"]
        if stem == "aux_logits":
            logits = self.auxiliary_logits[index]
            return logits if self.mmseg else upsample(logits, size=self.size)
        if stem in ("mla_out", "neck_out"):
            return captured["neck"][self.mla_level(index)]
        if stem == "backbone.norm":
            return captured[f"neck.layernorms.{index}"].flatten(1, 2)
        if name.startswith("decode_head.mlahead.head"):
            return captured[f"decode_head.branches.{int(name[-1]) - 2}"]
        if name in ("head_norm", "decode_head.norm"):
            return captured["decode_head.layernorm"].flatten(1, 2)
        if name == "decode_head.cls":
            return captured["decode_head.classifier"]
        if name == "head_logits":
            return upsample(captured["decode_head"], scale_factor=self.model.last_scale)
        if stem == "decode_head.conv":
            is_classifier = index == len(self.config.decoder_upsample_scales)
            return captured["decode_head.classifier" if is_classifier else f"decode_head.layers.{index}.conv"]
        if stem == "up_convs" and mla:
            return upsample(captured[f"decode_head.branches.{self.mla_level(index)}"], scale_factor=4)
        if stem == "up_convs":
            scale = self.config.decoder_upsample_scales[index]
            return upsample(captured[f"decode_head.layers.{index}"], scale_factor=scale)
        raise KeyError(name)


@pytest.mark.parametrize("name", by_size(FORWARD_CASES))
def test_answers_as_the_original(name, load):
    case, model = load(name)
    intermediates = Intermediates(model, case.pixel_values())
    for output in case.expected:
        if output in ("logits_ori", "argmax", "argmax_histogram"):
            continue
        actual = intermediates.get(output)
        if output == "positions_added" and not model.config.backbone_config.use_class_token:
            # The original adds a position to a class token that it cuts off next.
            class_token = case.tensor("backbone.cls_token") + case.tensor("backbone.pos_embed")[:, :1]
            actual = torch.cat((class_token.expand(actual.shape[0], -1, -1), actual), dim=1)
        case.assert_matches(output, actual)
    if "argmax_histogram" in case.expected:
        histogram = intermediates.logits.argmax(dim=1).flatten().bincount(minlength=model.config.num_labels)
        assert (histogram - case.expected["argmax_histogram"]).abs().sum() <= 20


@pytest.mark.parametrize("name", [name for name in FORWARD_CASES if "slide" in name])
def test_label_maps_at_the_original_size(name, load, converted_cases):
    case, model = load(name)
    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    with torch.no_grad():
        outputs = model(case.pixel_values())
    size = tuple(case.config["ori_shape"])
    (label_map,) = image_processor.post_process_semantic_segmentation(outputs, target_sizes=[size])
    expected = case.expected.get("argmax", case.expected["logits_ori"].argmax(dim=1)).long()[0]
    if "argmax" not in case.expected:
        # The case holds a slice of the logits.
        label_map = label_map[::2, ::2]
    assert (label_map != expected).float().mean() < 1e-3


@pytest.mark.parametrize("name", MULTI_SCALE_CASES)
def test_multi_scale_and_flip(name, load):
    case, model = load(name)
    total = 0
    for view in case.description["input"]["list"]:
        with torch.no_grad():
            logits = upsample(model(pixels(view)).logits, size=case.config["ori_shape"])
        probabilities = logits.softmax(dim=1)
        total = total + (probabilities.flip(-1) if view["flip"] else probabilities)
    mean = total / len(case.description["input"]["list"])
    case.assert_matches("probabilities", mean)
    assert (mean.argmax(dim=1) != case.expected["argmax"]).float().mean() < 1e-3


@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_as_the_original(name, load):
    case, model = load(name)
    model.train()
    if "bn_eval" in name:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    labels = case.labels()
    captured = []
    for head in (model.decode_head, *model.auxiliary_head):
        head.register_forward_hook(lambda module, inputs, output: captured.append(output))
    outputs = model(case.pixel_values(), labels=labels)
    outputs.loss.backward()

    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    counted = (labels != 255).sum() if name.startswith("mmseg") else labels.numel()
    for key, expected in case.expected.items():
        kind, _, rest = key.partition(".")
        if rest == "acc_seg":
            logits = captured[0 if kind == "decode" else 1 + int(kind.removeprefix("aux_"))]
            hits = (upsample(logits, size=labels.shape[-2:]).argmax(dim=1) == labels).sum()
            # A few pixels may differ where classes tie.
            assert abs(100 * hits / counted - expected.item()) <= 100 * 3 / counted, key
            continue
        if key == "loss":
            actual = outputs.loss
        elif rest.startswith("loss"):
            actual = outputs.loss_dict[f"{kind}.loss_seg"]
        elif kind == "grad_norm":
            gradients = [parameters[ours].grad.flatten() for ours in case.our_names(rest, model.config)]
            actual = torch.cat(gradients).norm()
        else:
            (ours,) = case.our_names(rest, model.config)
            actual = buffers[ours]
        case.assert_matches(key, actual.reshape(expected.shape))
