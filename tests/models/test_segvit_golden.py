# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT answers what the original implementation answered, from its checkpoints through the public path."""

import re
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case, pixels
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

import vitseg  # noqa: F401
from vitseg.evaluation.inference import ViewInput, mean_probabilities
from vitseg.recipes.protocol import View


# Modules whose outputs have names in the cases.
CAPTURED = (
    r"backbone(\.embeddings\.patch_embeddings|\.layers\.\d+)?|"
    r"decode_head(\.projections\.\d+|(\.upsampler)?\.decoders\.\d+\.layers\.\d+)?"
)


def cases(run: str) -> list:
    names = [name for name in case_names("segvit") if load_case("segvit", name).description["run"] == run]
    return [pytest.param(name, marks=pytest.mark.slow) if "full" in name else name for name in names]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str) -> tuple[GoldenCase, nn.Module]:
        case = load_case("segvit", name)
        return case, AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))

    return load_converted


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def tokens(feature_map: torch.Tensor) -> torch.Tensor:
    return feature_map.flatten(2).transpose(1, 2)


def centred(maps: torch.Tensor) -> torch.Tensor:
    return maps - maps.mean(dim=(2, 3), keepdim=True)


class Intermediates:
    """Outputs of a model's modules during one forward pass, by the names that the original gave them."""

    def __init__(self, model: Any, pixel_values: torch.Tensor):
        self.captured: dict[str, Any] = {}
        self.captured_inputs: dict[str, Any] = {}
        handles = [
            module.register_forward_hook(self.hook(name))
            for name, module in model.named_modules()
            if re.fullmatch(CAPTURED, name)
        ]
        with torch.no_grad():
            self.scores = model(pixel_values).logits
            answer = self.captured["decode_head"][-1]
            # Evaluation leaves out the masks of earlier layers, which the original's answers include.
            self.captured = {name: self.captured[name] for name in self.captured if "decode_head" not in name}
            (*_, last) = model.decode_head(self.captured["backbone"].feature_maps, return_all=True)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(answer, last, rtol=1e-5, atol=1e-5)
        self.class_logits = last.class_logits
        side = model.config.mask_size
        self.masks = resize(last.masks, (side, side))
        self.last_layer = model.config.decoder_num_layers - 1

    def hook(self, name: str):
        def capture(module, inputs, output):
            if name not in self.captured:
                self.captured[name], self.captured_inputs[name] = output, inputs

        return capture

    def head_out(self) -> torch.Tensor:
        """The formula as it is printed."""
        probabilities = self.class_logits.softmax(dim=2)[..., :-1]
        return (probabilities[..., None, None] * self.masks.sigmoid()[:, :, None]).sum(dim=1)

    def layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and masks after a decoder, or one of its layers: `decoder_1`, `atm_decoder_1_layer_2`."""
        match = re.fullmatch(r"(?:atm_)?decoder_(\d)(?:_layer_(\d))?", name)
        assert match, name
        stage, layer = match.groups()
        index = self.last_layer if layer is None else int(layer)
        return self.captured[f"decode_head.decoders.{int(stage) - 1}.layers.{index}"]

    def get(self, name: str) -> torch.Tensor:
        captured = self.captured
        stem, _, last = name.rpartition("_")
        if name == "scores":
            return self.scores
        if name == "head_out":
            return self.head_out()
        if name == "pred_logits":
            return self.class_logits
        if name == "pred_masks":
            return self.masks
        if last == "centred":
            return centred(self.get(stem))
        if name == "patch_embed":
            return tokens(captured["backbone.embeddings.patch_embeddings"])
        if name == "tokens":
            return self.captured_inputs["backbone.layers.0"][0]
        if stem == "layer":
            return captured[f"backbone.layers.{last}"]
        if stem == "lateral":
            return tokens(captured[f"decode_head.projections.{int(last) - 1}"])
        if stem == "tpn_decoder":
            return captured[f"decode_head.upsampler.decoders.{int(last) - 1}.layers.{self.last_layer}"][0]
        return self.layer(stem)[{"q": 0, "attn": 1}[last]]


@pytest.mark.parametrize("name", cases("forward"))
def test_answers_as_the_original(name, load):
    case, model = load(name)
    intermediates = Intermediates(model, case.pixel_values())
    for output, expected in case.expected.items():
        if output.endswith("argmax_histogram"):
            scores = intermediates.scores if output == "argmax_histogram" else centred(intermediates.scores)
            histogram = scores.argmax(dim=1).flatten().bincount(minlength=model.config.num_labels)
            # A few pixels may differ where classes tie.
            assert (histogram - expected).abs().sum() <= case.description["outputs"][output]["atol"]
        else:
            case.assert_matches(output, intermediates.get(output))


@pytest.mark.parametrize("name", cases("slide"))
def test_windows_and_views(name, load, converted_cases):
    case, model = load(name)
    test = case.config["test"]
    model.config.inference_mode = test["mode"]
    model.config.window_size, model.config.window_stride = test["crop_size"], test["stride"]
    size = tuple(test["ori_shape"])

    def predict(pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(pixel_values).logits

    views = []
    for key in ("input", "input_2"):
        pixel_values = pixels(case.description[key])
        height, width = pixel_values.shape[-2:]
        views += [
            ViewInput(pixel_values.flip(-1) if flip else pixel_values, View(height=height, width=width, flip=flip))
            for flip in (False, True)
        ]
    window_mean = predict(case.pixel_values())
    case.assert_matches("window_mean", window_mean)
    case.assert_matches("resized", resize(window_mean, size))
    case.assert_matches("softmax", mean_probabilities(predict, views[:1], size)[None])
    case.assert_matches("softmax_flip", mean_probabilities(predict, views[1:2], size)[None])
    case.assert_matches("augmented_mean", mean_probabilities(predict, views, size)[None])

    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    with torch.no_grad():
        outputs = model(case.pixel_values())
    (label_map,) = image_processor.post_process_semantic_segmentation(outputs, target_sizes=[size])
    expected = case.expected["softmax"].argmax(dim=1)[0]
    # The case holds every third pixel.
    assert (label_map[::3, ::3] != expected).float().mean() < 1e-3


@pytest.mark.parametrize("name", cases("loss"))
def test_losses_as_the_original(name, load):
    case, model = load(name)
    model.train()
    for module in model.modules():
        for rate in ("p", "drop_prob", "attention_dropout"):
            if hasattr(module, rate):
                setattr(module, rate, 0.0)
    predictions = []
    model.decode_head.register_forward_hook(lambda module, inputs, output: predictions.extend(output))
    labels = case.labels()
    outputs = model(case.pixel_values(), labels=labels)
    outputs.loss.backward()

    side = model.config.mask_size
    parameters = dict(model.named_parameters())
    for key in case.expected:
        kind, _, rest = key.partition("/")
        if key == "loss/decode.acc_seg":
            counted = labels != 255
            hits = (outputs.logits.argmax(dim=1) == labels) & counted
            actual = 100 * hits.sum() / counted.sum()
        elif key == "loss/total":
            actual = outputs.loss
        elif kind == "loss":
            actual = outputs.loss_dict[rest]
        elif kind == "grad":
            gradients = [parameters[ours].grad.flatten() for ours in case.our_names(rest, model.config)]
            actual = torch.cat(gradients).norm()
        elif kind.startswith("aux_"):
            prediction = predictions[int(kind[4])]
            actual = prediction.class_logits if kind.endswith("logits") else prediction.masks
        else:
            actual = predictions[-1].class_logits
            if kind == "pred_masks":
                actual = resize(predictions[-1].masks, (side, side))
        case.assert_matches(key, actual.reshape(case.description["outputs"][key]["shape"]))
    terms = {key.removeprefix("loss/") for key in case.expected if key.startswith("loss/decode.loss")}
    assert set(outputs.loss_dict) == terms
