# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
One record per published result: what conversion, training, evaluation and model cards read.

`python -m vitseg.recipes` lists them, and prints one as a file to edit.
"""

from .files import DINOV3_RECIPES, POLICY_RECIPES, RECIPES, get_recipe, load_recipe, recipe_to_json
from .labels import CLASS_LISTS, LABEL_SETS, LabelSet, load_id2label, load_label_set
from .schema import (
    ClassificationTraining,
    DetectionTraining,
    EvaluationRecipe,
    LoraRecipe,
    OhemRecipe,
    OptimizationRecipe,
    PolicyTraining,
    PretrainedWeights,
    PublishedRecipe,
    PublishedResult,
    PublishedScore,
    Recipe,
    TrainingRecipe,
    Weights,
)


__all__ = [
    "CLASS_LISTS",
    "DINOV3_RECIPES",
    "LABEL_SETS",
    "POLICY_RECIPES",
    "RECIPES",
    "ClassificationTraining",
    "DetectionTraining",
    "EvaluationRecipe",
    "LabelSet",
    "LoraRecipe",
    "OhemRecipe",
    "OptimizationRecipe",
    "PolicyTraining",
    "PretrainedWeights",
    "PublishedRecipe",
    "PublishedResult",
    "PublishedScore",
    "Recipe",
    "TrainingRecipe",
    "Weights",
    "get_recipe",
    "load_id2label",
    "load_label_set",
    "load_recipe",
    "recipe_to_json",
]
