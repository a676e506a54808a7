# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipes over DINOv3: what they build, and that they are recipes like all others."""

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation, DINOv3ViTConfig

from vitseg.cli import main
from vitseg.recipes import DINOV3_RECIPES, load_recipe, recipe_to_json


LABELS = {0: "cat", 1: "dog"}


@pytest.mark.parametrize("name", DINOV3_RECIPES)
def test_a_recipe_builds_its_model_and_is_the_same_in_a_file(name, tmp_path):
    file = tmp_path / f"{name}.json"
    file.write_text(recipe_to_json(DINOV3_RECIPES[name]))
    recipe = load_recipe(file)
    assert recipe == load_recipe(name)
    config = recipe.build_config(LABELS)
    assert isinstance(config.backbone_config, DINOv3ViTConfig)
    with torch.device("meta"):
        model = AutoModelForSemanticSegmentation.from_config(config)
    # facebook's ViT-S, B and L, without heads: 21.6, 85.7 and 303.1 million.
    millions = model.backbone.num_parameters() / 1e6
    assert millions == pytest.approx({"s": 21.6, "b": 85.7, "l": 303.1}[name[-1]], abs=0.1)
    assert recipe.training.pretrained.model == f"facebook/dinov3-vit{name[-1]}16-pretrain-lvd1689m"
    assert recipe.build_image_processor().image_mean == pytest.approx((0.485, 0.456, 0.406))


def test_the_list_names_them(capsys):
    assert main(["list", "--method", "segvit"]) == 0
    assert "Without published results: dinov3-segvit-vit-s, dinov3-segvit-vit-b, dinov3-segvit-vit-l" in (
        capsys.readouterr().out
    )
