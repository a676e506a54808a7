# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Golden cases on the device, from checkpoints in the originals' format through the conversion command: what models
answer, their losses and gradients, in float32 at the cases' tolerance, and how many pixels keep their class in half
precision.

Cases of data, optimizers, single parts and test protocols are none of the device's.
"""

import copy
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from golden_cases import ConvertedCases, GoldenCase, case_names, load_case, pixels
from torch import nn
from transformers import AutoModelForImageClassification, AutoModelForObjectDetection, AutoModelForSemanticSegmentation

from vitseg.extras import MissingExtraError
from vitseg.models.image_processing_hlg import relative_boxes

from .device import use_exact_float32
from .models import without_chance
from .running import Settings, Tell


METHODS = ("setr", "segvit", "structtoken", "sctnet", "cts_segmenter", "hlg", "mmsegmentation")
FULL_SIZE_METHODS = METHODS[:-1]
AUTO_CLASSES = {"classification": AutoModelForImageClassification, "detection": AutoModelForObjectDetection}
# The answers of a whole model, by the names that the cases have for them.
ANSWERS = re.compile(r"logits|wide_logits|scores|window_mean|(cls_score|bbox_pred)_\d")
HALF = ("bfloat16", "float16")

Answers = Iterator[tuple[str, torch.Tensor]]


def check_small_cases(settings: Settings, tell: Tell, method: str) -> None:
    """The small cases of a method."""
    cases = [case for case in cases_of(method) if "full" not in case.folder.name]
    if settings.is_small:
        cases = [next(case for case in cases if is_loss(case) == kind) for kind in {*map(is_loss, cases)}]
    check_cases(settings, tell, f"golden cases of {method}", cases)


def check_full_size_cases(settings: Settings, tell: Tell, method: str) -> None:
    """The full-size cases of a method, and half precision on the first that segments images."""
    size = "tiny" if settings.is_small else "full"
    cases = settings.few(case for case in cases_of(method) if size in case.folder.name)
    key = f"full-size cases of {method}"
    check_cases(settings, tell, key, cases)
    case = next(case for case in cases if not is_loss(case) and case.description.get("task") in (None, "segmentation"))
    check_agreement(settings, tell, method, case)


def cases_of(method: str) -> Iterator[GoldenCase]:
    """The cases of a method that have answers or losses of whole models."""
    for name in case_names(method):
        case = load_case(method, name)
        is_part = case.description.get("kind") == "policy_training"
        if not is_part and (is_loss(case) or any(ANSWERS.fullmatch(output) for output in case.expected)):
            yield case


def check_cases(settings: Settings, tell: Tell, key: str, cases: list[GoldenCase]) -> None:
    """Tells how many of some cases hold."""
    use_exact_float32()
    folders = ConvertedCases(settings.folder / key)
    held, wrong, left_out = 0, [], []
    for case in cases:
        try:
            if is_loss(case):
                compare(case, losses_and_gradients(case, folders, settings.device))
            else:
                compare(case, model_answers(case, load_model(case, folders).to(settings.device), settings.device))
            held += 1
        except MissingExtraError as error:
            left_out.append(f"{case.folder.name}: {error}")
        except Exception as error:
            wrong.append(f"{case.folder.name}: {''.join(traceback.format_exception(error, limit=-2))}")
    number = len(cases) - len(left_out)
    text = f"{held} of {number} cases" + (f"; {len(left_out)} left out, {left_out[0]}" if left_out else "")
    tell(key, held / max(number, 1), text, wrong=wrong, left_out=left_out)


def is_loss(case: GoldenCase) -> bool:
    return any(re.fullmatch(r"loss(/total)?", name) for name in case.description["outputs"])


def check_agreement(settings: Settings, tell: Tell, method: str, case: GoldenCase) -> None:
    """Tells the share of the pixels of a segmented image that keep the class that they have in float32."""
    folders = ConvertedCases(settings.folder / f"half precision of {method}")
    model, images = load_model(case, folders).to(settings.device), case.pixel_values().to(settings.device)
    with torch.no_grad():
        expected = model(images).logits.argmax(dim=1)
        for name in HALF:
            with tell.failures(f"{name} {method}"):
                dtype = getattr(torch, name)
                answer = copy.deepcopy(model).to(dtype)(images.to(dtype)).logits
                share = (answer.argmax(dim=1) == expected).float().mean().item()
                text = f"{share:.2%} of {expected.numel()} pixels, {case.folder.name}"
                tell(f"{name} {method}", share if answer.isfinite().all() else float("nan"), text)


def load_model(case: GoldenCase, folders: ConvertedCases) -> Any:
    auto_class = AUTO_CLASSES.get(case.description.get("task", ""), AutoModelForSemanticSegmentation)
    return auto_class.from_pretrained(folders(case))


def compare(case: GoldenCase, answers: Answers) -> None:
    """Raises AssertionError for an answer that is not as near to the original's as the case demands."""
    number = 0
    for name, actual in answers:
        if actual.ndim == 0:  # which some cases hold as a list of one
            actual = actual.reshape(case.description["outputs"][name]["shape"])
        case.assert_matches(name, actual.cpu())
        number += 1
    assert number, f"{case.folder.name} holds nothing to compare"


def model_answers(case: GoldenCase, model: Any, device: torch.device) -> Answers:
    """What a model answers, of all that a case has of it."""
    names = [name for name in case.expected if ANSWERS.fullmatch(name)]
    test = case.config.get("test") or {}
    if "window_mean" in names:
        model.config.inference_mode = test["mode"]
        model.config.window_size, model.config.window_stride = test["crop_size"], test["stride"]
    if case.description.get("task") == "detection":
        yield from detection_answers(case, model, names, device)
        return
    for name in names:
        spec = case.description["outputs"][name].get("input") or case.description["input"]
        with torch.no_grad():
            yield name, model(pixels(spec).to(device)).logits


def detection_answers(case: GoldenCase, model: Any, names: list[str], device: torch.device) -> Answers:
    """Scores and boxes of each level, as the heads make them."""
    made: dict[str, list[torch.Tensor]] = {"cls_score": [], "bbox_pred": []}
    heads = {"cls_score": model.bbox_head.classifier, "bbox_pred": model.bbox_head.box_regressor}
    for kind, head in heads.items():
        head.register_forward_hook(lambda _, inputs, output, kind=kind: made[kind].append(output))
    with torch.no_grad():
        model(**detection_inputs(case, device))
    for name in names:
        kind, _, level = name.rpartition("_")
        yield name, made[kind][int(level)]


def detection_inputs(case: GoldenCase, device: torch.device) -> dict[str, torch.Tensor]:
    """Images, and 1 inside each of them."""
    pixel_values = case.pixel_values()
    mask = torch.zeros(len(pixel_values), *pixel_values.shape[2:], dtype=torch.int64)
    for image_mask, meta in zip(mask, case.description["img_metas"], strict=True):
        image_mask[: meta["img_shape"][0], : meta["img_shape"][1]] = 1
    return {"pixel_values": pixel_values.to(device), "pixel_mask": mask.to(device)}


def losses_and_gradients(case: GoldenCase, folders: ConvertedCases, device: torch.device) -> Answers:
    """The terms of the loss, their sum, and norms of gradients."""
    if case.method == "sctnet":
        from distillation_cases import load_distillation, our_name

        model: Any = load_distillation(case, folders, with_teacher=True)
        model.teacher.requires_grad_(True)
        find: Callable[[str], list[str]] = lambda original: [our_name(case, original, model)]  # noqa: E731
    else:
        model = load_model(case, folders)
        find = lambda original: case.our_names(original, model.config)  # noqa: E731
    without_chance(set_mode(case, model)).to(device)
    outputs = model(**inputs_and_labels(case, device))
    outputs.loss.backward()
    parameters = dict(model.named_parameters())
    for key in case.expected:
        name = key.removeprefix("loss/")
        term = name if name in outputs.loss_dict else name.replace("loss_ce", "loss_seg")
        if name in ("loss", "total"):
            yield key, outputs.loss
        elif term in outputs.loss_dict:
            yield key, outputs.loss_dict[term]
        elif gradient := re.fullmatch(r"grad(?:_norm)?[./](.*)", key):
            yield key, torch.cat([parameters[ours].grad.flatten() for ours in find(gradient[1])]).norm()


def set_mode(case: GoldenCase, model: nn.Module) -> nn.Module:
    """The model in the mode in which the original computed the losses of a case."""
    mode = case.description.get("batch_norm") or case.description.get("mode", {}).get("batch_norm")
    model.train(mode in (None, "train"))
    if case.method == "setr" and "bn_eval" in case.folder.name:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return model


def inputs_and_labels(case: GoldenCase, device: torch.device) -> dict[str, Any]:
    description = case.description
    if "ground_truth" in description:
        truth, labels = description["ground_truth"], []
        for boxes, classes, meta in zip(truth["boxes"], truth["labels"], description["img_metas"], strict=True):
            relative = relative_boxes(torch.tensor(boxes).reshape(-1, 4), meta["img_shape"][:2])
            labels.append({"class_labels": torch.tensor(classes).to(device), "boxes": relative.to(device)})
        return {**detection_inputs(case, device), "labels": labels}
    pixel_values = case.pixel_values().to(device)
    if "targets" in description:
        return {"pixel_values": pixel_values, "labels": soft_targets(description["targets"], case).to(device)}
    if case.method == "structtoken":
        num_classes = case.config["model"]["decode_head"]["num_classes"]
        description["labels"] |= {"num_labels": num_classes, "ignore_index": 255}
    return {"pixel_values": pixel_values, "labels": case.labels().to(device)}


def soft_targets(spec: dict[str, Any], case: GoldenCase) -> torch.Tensor:
    """Smoothed and mixed classes."""
    one_hot = nn.functional.one_hot(torch.tensor(spec["labels"]), case.expected["logits"].shape[-1]).float()
    smooth = one_hot * (1 - spec["smoothing"]) + spec["smoothing"] / one_hot.shape[-1]
    return spec["lam"] * smooth + (1 - spec["lam"]) * smooth.flip(0)
