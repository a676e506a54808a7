# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models to measure, by name: recipes, model folders, and peers from transformers and timm."""

from pathlib import Path
from typing import Any

import timm
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    EomtConfig,
    Mask2FormerConfig,
    PreTrainedConfig,
    SegformerConfig,
    SwinConfig,
    UperNetConfig,
)

from vitseg.deployment.tuning import tune
from vitseg.recipes import RECIPES, get_recipe
from vitseg.recipes.lookup import unknown_name


NUM_LABELS = 150
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SEGFORMER: dict[str, dict[str, Any]] = {
    "segformer-b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "segformer-b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "segformer-b2": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "segformer-b3": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 18, 3], "decoder_hidden_size": 768},
    "segformer-b4": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 8, 27, 3], "decoder_hidden_size": 768},
    "segformer-b5": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}
UPERNET_SWIN: dict[str, dict[str, Any]] = {
    "upernet-swin-tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "upernet-swin-small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "upernet-swin-base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
    "upernet-swin-large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12},
}
MASK2FORMER_SWIN = {name.replace("upernet", "mask2former"): settings for name, settings in UPERNET_SWIN.items()}
EOMT: dict[str, dict[str, Any]] = {
    "eomt-small": {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "num_blocks": 3},
    "eomt-base": {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "num_blocks": 3},
    "eomt-large": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "num_blocks": 4},
}


def check_name(name: str) -> None:
    """Raises ValueError if `name` is nothing that `build_model` can build."""
    is_timm = name.startswith("timm:") and timm.is_model(name.removeprefix("timm:"))
    recipes = (key for key, recipe in RECIPES.items() if recipe.task == "segmentation")
    known = (*recipes, *SEGFORMER, *UPERNET_SWIN, *MASK2FORMER_SWIN, *EOMT)
    if not (is_timm or name in known or Path(name).is_dir()):
        raise unknown_name("recipe, model folder or peer", name, known)


def tune_ours(model: nn.Module, name: str) -> nn.Module:
    """A model tuned for this machine, if it is one of vitseg's; peers stay as they are built."""
    return tune(model) if name in RECIPES or Path(name).is_dir() else model


def own_input_size(name: str) -> tuple[int, int]:
    """The size that a model was trained for, where its configuration tells."""
    return getattr(load_config(name), "window_size", None) or (512, 512)


def load_config(name: str) -> PreTrainedConfig:
    labels: dict[str, Any] = {"num_labels": NUM_LABELS}
    if name in SEGFORMER:
        return SegformerConfig(**SEGFORMER[name], **labels)
    if name in UPERNET_SWIN:
        backbone_config = SwinConfig(**UPERNET_SWIN[name], out_features=STAGES)
        return UperNetConfig(backbone_config=backbone_config, use_auxiliary_head=False, **labels)
    if name in MASK2FORMER_SWIN:
        backbone_config = SwinConfig(**MASK2FORMER_SWIN[name], out_features=STAGES)
        return Mask2FormerConfig(backbone_config=backbone_config, **labels)
    if name in EOMT:
        return EomtConfig(**EOMT[name], num_queries=100, **labels)
    if Path(name).is_dir():
        return AutoConfig.from_pretrained(name)
    return get_recipe(name).build_config()


def build_model(name: str, input_size: tuple[int, int]) -> Any:
    """A model by its name, on the default device: with its weights if it is a folder, else with random ones."""
    if name.startswith("timm:"):
        timm_name = name.removeprefix("timm:")
        pretrained = timm.get_pretrained_cfg(timm_name)
        size: dict[str, Any] = {"img_size": input_size} if pretrained and pretrained.fixed_input_size else {}
        return timm.create_model(timm_name, num_classes=0, global_pool="", **size)
    config = load_config(name)
    if name in MASK2FORMER_SWIN:
        return AutoModelForUniversalSegmentation.from_config(config)
    if name in EOMT:
        return build_eomt(config, input_size)
    config.inference_mode = "whole"
    if Path(name).is_dir():
        return AutoModelForSemanticSegmentation.from_pretrained(name, config=config)
    return AutoModelForSemanticSegmentation.from_config(config)


def build_eomt(config: EomtConfig, input_size: tuple[int, int]) -> nn.Module:
    """As it is after training, when no masks are left in its attention: a ViT with queries."""
    height, width = input_size
    if height != width:
        raise ValueError(f"EoMT takes square images; --input-size is {height} x {width}.")
    config.image_size = height
    model = AutoModelForUniversalSegmentation.from_config(config)
    model.attn_mask_probs.zero_()
    return model
