# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG answers what the repaired originals answered in its three tasks, from their checkpoints by the public path."""

import re
from collections import defaultdict
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
)

from vitseg.models.image_processing_hlg import relative_boxes
from vitseg.models.modeling_hlg_detection import PYRAMID_STRIDES, image_sizes, level_anchors


AUTO_CLASSES = {
    "classification": AutoModelForImageClassification,
    "segmentation": AutoModelForSemanticSegmentation,
    "detection": AutoModelForObjectDetection,
}
DESCRIPTIONS = {name: load_case("hlg", name).description for name in case_names("hlg")}


def cases_of(kind: str, *tasks: str) -> list:
    names = [
        name for name, case in DESCRIPTIONS.items() if case["kind"] == kind and case["task"] in (tasks or AUTO_CLASSES)
    ]
    return [pytest.param(name, marks=pytest.mark.slow) if "full" in name else name for name in names]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str, **kwargs) -> tuple[GoldenCase, nn.Module]:
        case = load_case("hlg", name)
        return case, AUTO_CLASSES[case.description["task"]].from_pretrained(converted_cases(case), **kwargs)

    return load_converted


def pixel_mask(case: GoldenCase) -> torch.Tensor:
    """1 inside each image, whose size the case states."""
    batch, _, height, width = case.description["input"]["shape"]
    mask = torch.zeros(batch, height, width, dtype=torch.int64)
    for image_mask, meta in zip(mask, case.description["img_metas"], strict=True):
        image_mask[: meta["img_shape"][0], : meta["img_shape"][1]] = 1
    return mask


def inputs_of(case: GoldenCase) -> dict[str, torch.Tensor]:
    masks = {"pixel_mask": pixel_mask(case)} if "img_metas" in case.description else {}
    return {"pixel_values": case.pixel_values(), **masks}


def tokens(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2).transpose(1, 2)


class Intermediates:
    """Outputs of a model's modules during one forward pass, by the names that the original gave them."""

    def __init__(self, model: Any, **inputs: torch.Tensor):
        self.model = model
        self.calls: dict[str, list[Any]] = defaultdict(list)
        for name, module in model.named_modules():
            if name:
                module.register_forward_hook(self.capture(name))
        with torch.no_grad():
            self.outputs = model(**inputs)

    def capture(self, name: str):
        def hook(module, inputs, output):
            self.calls[name].append(output)

        return hook

    def get(self, name: str) -> torch.Tensor:
        calls, number = self.calls, int(name[-1]) if name[-1].isdigit() else 0
        if name == "logits":
            return self.outputs.logits
        if name == "stem":
            return calls["backbone.stem"][0]
        if match := re.fullmatch(r"block(\d)\.(\d+)(?:\.(\w+))?", name):
            return self.of_block(f"backbone.stages.{int(match[1]) - 1}.layers.{match[2]}", match[3])
        if name.startswith("backbone_out_"):
            return calls["backbone"][0].feature_maps[number]
        if name in ("norm", "pooled"):
            return calls["backbone"][0].last_hidden_state if name == "norm" else calls["backbone"][0].pooler_output
        if name == "fused":
            return calls["decode_head.fusion.conv"][0]
        if name == "decode.0.attn":
            return calls["decode_head.layers.0.attention"][-1]
        if name.startswith("decode."):
            return tokens(calls[f"decode_head.layers.{number}"][0])
        if name == "cls_seg":
            return calls["decode_head.classifier"][0]
        if name == "head_out":
            return self.model.to_square(calls["decode_head"][0])
        if name == "aux_logits":
            return self.model.auxiliary_head[0](calls["backbone"][0].feature_maps[2])
        if name.startswith("fpn_"):
            return calls["neck"][0][number]
        if name.startswith("cls_score_"):
            return calls["bbox_head.classifier"][number]
        if name.startswith("bbox_pred_"):
            return calls["bbox_head.box_regressor"][number]
        assert name.startswith("anchors_"), name
        grid = tuple(calls["neck"][0][number].shape[-2:])
        return level_anchors(self.model.config, PYRAMID_STRIDES[number], grid, torch.device("cpu"))

    def of_block(self, layer: str, part: str | None) -> torch.Tensor:
        height, width = self.calls[layer][0].shape[-2:]
        attention = self.model.get_submodule(f"{layer}.attention")
        if part == "mlp":
            return tokens(self.calls[f"{layer}.mlp"][0])
        if part == "local_attn":
            return self.calls[f"{layer}.attention.local_attention"][0][0]
        if part == "global_attn":
            return self.calls[f"{layer}.attention.o_proj"][0]
        if part == "pos_local":
            return attention.local_position_bias.table(torch.zeros(()), (7, 7), 169)
        if part == "pos_global":
            length = (2 * height - 1) * (2 * width - 1)
            return attention.global_position_bias.table(torch.zeros(()), (height, width), length)
        assert part is None
        return tokens(self.calls[layer][0])


@pytest.mark.parametrize("name", cases_of("forward"))
def test_answers_as_the_original(name, load):
    case, model = load(name)
    intermediates = Intermediates(model, **inputs_of(case))
    recorded = {output for output in case.expected if not output.startswith(("pre_nms_", "det_", "argmax_"))}
    assert len(recorded) > 15
    for output in recorded:
        with torch.no_grad():
            actual = intermediates.get(output)
        case.assert_matches(output, actual)
    if "argmax_histogram" in case.expected:
        counts = intermediates.outputs.logits.argmax(dim=1).flatten().bincount(minlength=model.config.num_labels)
        assert (counts - case.expected["argmax_histogram"]).abs().sum() <= 10


@pytest.mark.parametrize("name", [name for name, case in DESCRIPTIONS.items() if "det_boxes_0" in case["outputs"]])
def test_detects_as_the_original(name, load, converted_cases):
    case, model = load(name)
    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    with torch.no_grad():
        outputs = model(**inputs_of(case))
    metas = case.description["img_metas"]
    detections = image_processor.post_process_object_detection(
        outputs, target_sizes=[meta["ori_shape"][:2] for meta in metas]
    )
    # Without suppression, the candidates; in the originals they are in the order of the levels.
    image_processor.nms_threshold, image_processor.max_detections = 1.0, 10_000
    candidates = image_processor.post_process_object_detection(
        outputs, target_sizes=[meta["img_shape"][:2] for meta in metas]
    )
    for index, (detected, considered) in enumerate(zip(detections, candidates, strict=True)):
        boxes = torch.cat((detected["boxes"], detected["scores"][:, None]), dim=1)
        case.assert_matches(f"det_boxes_{index}", boxes)
        case.assert_matches(f"det_labels_{index}", detected["labels"])
        order = case.expected[f"pre_nms_scores_{index}"].argsort(descending=True)
        for part in ("boxes", "scores", "labels"):
            case.expected[f"pre_nms_{part}_{index}"] = case.expected[f"pre_nms_{part}_{index}"][order]
            case.assert_matches(f"pre_nms_{part}_{index}", considered[part])


def assert_gradients_match(case: GoldenCase, model: Any) -> None:
    parameters: dict[str, Any] = dict(model.named_parameters())
    norms = {key: value for key, value in case.expected.items() if key.startswith("grad_norm.")}
    assert len(norms) > 7
    for key, expected in norms.items():
        names = case.our_names(key.removeprefix("grad_norm."), model.config)
        actual = torch.cat([parameters[name].grad.flatten() for name in names]).norm()
        case.assert_matches(key, actual.reshape(expected.shape))


def in_the_mode_of(case: GoldenCase, model: nn.Module) -> nn.Module:
    return model.train(case.description["batch_norm"] == "train")


@pytest.mark.parametrize("name", cases_of("loss", "classification"))
def test_classification_loss_as_the_original(name, load):
    case, model = load(name, drop_path_rate=0.0)
    spec, num_labels = case.description["targets"], model.config.num_labels
    one_hot = nn.functional.one_hot(torch.tensor(spec["labels"]), num_labels).float()
    smooth = one_hot * (1 - spec["smoothing"]) + spec["smoothing"] / num_labels
    targets = spec["lam"] * smooth + (1 - spec["lam"]) * smooth.flip(0)
    case.assert_matches("targets", targets)
    outputs = in_the_mode_of(case, model)(case.pixel_values(), labels=targets)
    outputs.loss.backward()
    case.assert_matches("logits", outputs.logits)
    case.assert_matches("loss", outputs.loss.reshape(1))
    case.assert_matches("loss", outputs.loss_dict["loss_cls"].reshape(1))
    assert_gradients_match(case, model)


@pytest.mark.parametrize("name", cases_of("loss", "segmentation"))
def test_segmentation_losses_as_the_original(name, load):
    case, model = load(name, drop_path_rate=0.0, decoder_dropout=0.0)
    labels = case.labels()
    auxiliary = []
    model.auxiliary_head[0].register_forward_hook(lambda module, inputs, output: auxiliary.append(output))
    outputs = in_the_mode_of(case, model)(case.pixel_values(), labels=labels)
    outputs.loss.backward()
    head_logits = {
        "decode": outputs.logits,
        "aux": nn.functional.interpolate(auxiliary[0], size=labels.shape[-2:], mode="bilinear", align_corners=False),
    }
    assert set(outputs.loss_dict) == {"decode.loss_seg", "aux.loss_seg"}
    for head, logits in head_logits.items():
        case.assert_matches(f"{head}.loss_seg", outputs.loss_dict[f"{head}.loss_seg"].reshape(1))
        accuracy = 100 * (logits.argmax(dim=1) == labels).float().mean()
        case.assert_matches(f"{head}.acc_seg", accuracy.reshape(1))
    case.assert_matches("loss", outputs.loss.reshape(1))
    assert_gradients_match(case, model)


@pytest.mark.parametrize("name", cases_of("loss", "detection"))
def test_detection_losses_as_the_original(name, load, monkeypatch):
    case, model = load(name, drop_path_rate=0.0)
    truth, metas = case.description["ground_truth"], case.description["img_metas"]
    labels = [
        {
            "class_labels": torch.tensor(classes),
            "boxes": relative_boxes(torch.tensor(boxes).reshape(-1, 4), meta["img_shape"][:2]),
        }
        for boxes, classes, meta in zip(truth["boxes"], truth["labels"], metas, strict=True)
    ]
    found, find_targets = [], model.find_targets
    monkeypatch.setattr(model, "find_targets", lambda *arguments: found.append(find_targets(*arguments)) or found[0])
    outputs = in_the_mode_of(case, model)(**inputs_of(case), labels=labels)
    outputs.loss.backward()

    assert set(outputs.loss_dict) == {f"loss_{kind}_{level}" for kind in ("cls", "bbox") for level in range(5)}
    for key, term in outputs.loss_dict.items():
        case.assert_matches(key, term.reshape(1))
    case.assert_matches("loss", outputs.loss.reshape(1))
    (targets,) = found
    case.assert_matches("num_total_pos", targets.num_positive.reshape(1))
    for level in range(5):
        (of_level,) = torch.nonzero(outputs.levels[0] == level, as_tuple=True)
        case.assert_matches(f"target_labels_{level}", targets.labels[:, of_level])
        case.assert_matches(f"target_label_weights_{level}", targets.counts[:, of_level])
        case.assert_matches(f"target_boxes_{level}", targets.deltas[:, of_level])
    assert_gradients_match(case, model)


def test_sizes_come_from_the_mask():
    case = load_case("hlg", "tiny_det")
    sizes = image_sizes(case.pixel_values(), pixel_mask(case))
    assert sizes.tolist() == [[150.0, 120.0], [155.0, 128.0]]
    assert image_sizes(case.pixel_values(), None).tolist() == [[160.0, 128.0]] * 2
