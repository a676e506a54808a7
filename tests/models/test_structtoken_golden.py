# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken answers what the original answered, from its checkpoints through the public path."""

import dataclasses
import re
from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_names, fill, load_case, pixels
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.evaluation.inference import ViewInput, mean_probabilities
from vitseg.recipes import get_recipe
from vitseg.recipes.protocol import View
from vitseg.training.optimization import build_optimizer, poly_schedule


KINDS = {name: load_case("structtoken", name).description["run"]["kind"] for name in case_names("structtoken")}


def cases_of(*kinds: str) -> list:
    names = [name for name, kind in KINDS.items() if kind in kinds]
    return [pytest.param(name, marks=pytest.mark.slow) if "full" in name else name for name in names]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str) -> tuple[GoldenCase, nn.Module]:
        case = load_case("structtoken", name)
        return case, AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))

    return load_converted


def labels_of(case: GoldenCase) -> torch.Tensor:
    """The case's label maps, over all classes of its head."""
    spec, num_classes = case.description["labels"], case.config["model"]["decode_head"]["num_classes"]
    return torch.from_numpy(fill.labels(spec["seed"], tuple(spec["shape"]), num_classes))


def assert_same_histogram(case: GoldenCase, label_map: torch.Tensor) -> None:
    """Pixels for each class; as the case says, a near tie may move a few."""
    counts = label_map.flatten().bincount(minlength=len(case.expected["argmax_histogram"]))
    case.assert_matches("argmax_histogram", counts)


def channels_first(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 3, 1, 2)


class Intermediates:
    """Outputs of a model's modules during one forward pass, by the names that the original gave them."""

    def __init__(self, model: Any, pixel_values: torch.Tensor):
        self.num_blocks = model.config.backbone_config.num_hidden_layers
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        for name, module in model.named_modules():
            if name:
                module.register_forward_hook(self.capture(name))
        with torch.no_grad():
            self.logits = model(pixel_values).logits

    def capture(self, name: str):
        def hook(module, inputs, output):
            self.inputs[name], self.outputs[name] = inputs, output

        return hook

    def get(self, name: str) -> torch.Tensor:
        outputs = self.outputs
        if name == "logits":
            return self.logits
        if name == "patch_embed":
            return outputs["backbone.embeddings.patch_embeddings"].flatten(2).transpose(1, 2)
        if name == "tokens_in":
            return self.inputs["backbone.layers.0"][0]
        if match := re.fullmatch(r"backbone_layer_(\d+)", name):
            return outputs[f"backbone.layers.{match[1]}"]
        if name == "backbone_out":
            return outputs["backbone"].feature_maps[-1]
        if name == "dec_proj":
            return channels_first(outputs["decode_head.projection"])
        if name == "structure_tokens":
            return channels_first(self.inputs["decode_head.layers.0"][0])
        if name == "decoder_layer_0_attn":
            mlp = "token_mlp" if "decode_head.layers.0.token_mlp" in self.inputs else "mlp"
            return channels_first(self.inputs[f"decode_head.layers.0.{mlp}"][0])
        if match := re.fullmatch(r"decoder_layer_(\d+)_(tokens|features)", name):
            return channels_first(outputs[f"decode_head.layers.{match[1]}"][match[2] == "features"])
        assert name == "logits_low"
        return outputs["decode_head"]


@pytest.mark.parametrize("name", cases_of("whole"))
def test_answers_as_the_original(name, load):
    case, model = load(name)
    intermediates = Intermediates(model, case.pixel_values())
    for output in case.expected.keys() - {"argmax_histogram"}:
        case.assert_matches(output, intermediates.get(output))
    assert_same_histogram(case, intermediates.logits.argmax(dim=1))


@pytest.mark.parametrize("name", cases_of("slide"))
def test_slides_as_the_original(name, load, converted_cases):
    case, model = load(name)
    with torch.no_grad():
        outputs = model(case.pixel_values())
    case.assert_matches("logits", outputs.logits)
    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    target_sizes = [tuple(case.description["run"]["ori_shape"])] * len(outputs.logits)
    results = image_processor.post_process_semantic_segmentation(
        outputs, target_sizes, return_segmentation_scores=True
    )
    scores = torch.stack([result["segmentation_scores"] for result in results])
    case.assert_matches("logits_ori", scores)
    case.assert_matches("probabilities", scores.softmax(dim=1))
    assert_same_histogram(case, torch.stack([result["segmentation"] for result in results]))


@pytest.mark.parametrize("name", cases_of("tta"))
def test_multi_scale_and_flip(name, load):
    case, model = load(name)
    run = case.description["run"]
    views = []
    for spec in run["views"]:
        height, width = spec["shape"][-2:]
        views.append(ViewInput(pixels(spec), View(height=height, width=width, flip=spec["flip"])))

    def probabilities(views: list[ViewInput]) -> torch.Tensor:
        with torch.no_grad():
            return mean_probabilities(lambda images: model(images).logits, views, tuple(run["ori_shape"]))

    case.assert_matches("probabilities_view_1", probabilities(views[1:2])[None])
    mean = probabilities(views)
    case.assert_matches("probabilities", mean[None])
    assert_same_histogram(case, mean.argmax(dim=0))


@pytest.mark.parametrize("name", cases_of("loss"))
def test_losses_as_the_original(name, load):
    case, model = load(name)
    labels = labels_of(case)
    outputs = model.train()(case.pixel_values(), labels=labels)
    outputs.loss.backward()
    parameters = dict(model.named_parameters())
    for key, expected in case.expected.items():
        if key == "decode.acc_seg":
            actual = 100 * (outputs.logits.argmax(dim=1) == labels).float().mean()
        elif key == "decode.loss_ce":
            actual = outputs.loss_dict[key]
        elif key == "loss":
            actual = outputs.loss
        elif key == "logits_low":
            with torch.no_grad():
                actual = model.decode_head(model.backbone(case.pixel_values()).feature_maps[-1])
        else:
            names = case.our_names(key.removeprefix("grad_norm."), model.config)
            actual = torch.cat([parameters[name].grad.flatten() for name in names]).norm()
        case.assert_matches(key, actual.reshape(expected.shape))


@pytest.mark.parametrize("name", cases_of("recipe"))
def test_trains_as_the_original(name, load):
    """A published recipe's parameter groups and schedule, at the case's learning rate and length."""
    case, model = load(name)
    run = case.description["run"]
    recipe = dataclasses.replace(
        get_recipe("structtoken-cse-vit-b-ade20k-512-160k").training,
        learning_rate=run["optimizer"]["lr"],
        iterations=run["max_iters"],
        warmup_iterations=run["lr_config"]["warmup_iters"],
    )
    optimizer = build_optimizer(model, recipe)
    scheduler = poly_schedule(optimizer, recipe)

    parameters = dict(model.named_parameters())
    group_of = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    for original, expected in case.description["param_groups"].items():
        for ours in case.our_names(original, model.config):
            group = group_of[parameters[ours]]
            assert group["initial_lr"] == pytest.approx(expected["lr"]), ours
            assert group["weight_decay"] == pytest.approx(expected["weight_decay"]), ours

    pixel_values, labels = case.pixel_values(), labels_of(case)
    losses, rates = [], {"backbone": [], "head": []}
    model.train()
    for _ in range(run["steps"]):
        rates["backbone"].append(group_of[parameters["backbone.layers.0.mlp.fc1.weight"]]["lr"])
        rates["head"].append(group_of[parameters["decode_head.structure_tokens"]]["lr"])
        loss = model(pixel_values, labels=labels).loss
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    case.assert_matches("loss_per_step", torch.stack(losses))
    for part in ("backbone", "head"):
        torch.testing.assert_close(torch.tensor(rates[part]), case.expected[f"lr_{part}"], rtol=1e-6, atol=1e-11)
    with torch.no_grad():
        case.assert_matches("logits_low_after", model.decode_head(model.backbone(pixel_values).feature_maps[-1]))
    for original in run["norms"]:
        (ours,) = case.our_names(original, model.config)
        case.assert_matches(f"norm.{original}", parameters[ours].norm().reshape(1))
