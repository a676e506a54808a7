# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models of recipes on a device, with random weights, and images and labels for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
)

from vitseg.models.layers import as_pair
from vitseg.recipes import RECIPES, load_recipe


SCENES = Path(__file__).parents[2] / "examples" / "recipes"
# Recipes for the drawn scenes leave them to the data.
CLASSES = {index: str(index) for index in range(13)}
AUTO_CLASSES = {
    "segmentation": AutoModelForSemanticSegmentation,
    "classification": AutoModelForImageClassification,
    "detection": AutoModelForObjectDetection,
    "policy": AutoModel,
}


def scenes_recipe(name: str) -> str:
    """The file of a recipe for the drawn scenes, small but whole."""
    return str(SCENES / f"scenes-{name}.json")


def build(recipe: str, device: torch.device, changes: Mapping[str, Any] | None = None) -> Any:
    """The model of a recipe with random weights; `changes` are to a recipe of a file."""
    if recipe in RECIPES:
        task, config = RECIPES[recipe].task, RECIPES[recipe].build_config()
    else:
        loaded = load_recipe(recipe, changes)
        task, config = loaded.task, loaded.build_config(None if loaded.task == "policy" else CLASSES)
    with device:
        return AUTO_CLASSES[task].from_config(config)


def crop_size(recipe: str) -> tuple[int, int]:
    """Height and width of the images that a recipe trains on; detectors take any."""
    return as_pair(getattr(load_recipe(recipe).training, "crop_size", None) or 128)


def batch(recipe: str, number: int, device: torch.device) -> dict[str, Any]:
    """Random images, and labels as the recipe's task has them."""
    task, (height, width) = load_recipe(recipe).task, crop_size(recipe)
    images = torch.randn(number, 3, height, width, device=device)
    if task == "detection":
        boxes = torch.tensor([[0.5, 0.5, 0.4, 0.3], [0.2, 0.3, 0.2, 0.2]], device=device)
        labels: Any = [{"class_labels": torch.tensor([0, 1], device=device), "boxes": boxes} for _ in range(number)]
        return {"pixel_values": images, "labels": labels}
    cells = {"segmentation": (height, width), "policy": (height // 32, width // 32), "classification": ()}[task]
    labels = torch.randint(2, (number, *cells), device=device)
    return {"pixel_values": images, "labels": labels}


def without_chance(model: nn.Module) -> nn.Module:
    """A model that drops nothing by chance in training."""
    for module in model.modules():
        for rate in ("p", "drop_prob", "attention_dropout"):
            if hasattr(module, rate):
                setattr(module, rate, 0.0)
    return model
