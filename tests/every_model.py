# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A small model of every method and task, for what holds for all of them."""

from typing import Any

import torch
from citizenship import images, label_maps
from tiny_hlg import objects
from tiny_hlg import small_model as small_hlg
from torch import nn
from transformers import PreTrainedModel

import vitseg
from vitseg import HlgForImageClassification, HlgForObjectDetection, HlgForSemanticSegmentation, PlainVitConfig


ENCODER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 2, 2]}
SMALL_DECODER = {"decoder_hidden_size": 16, "decoder_num_layers": 1, "decoder_num_attention_heads": 2}


def small_vit(**kwargs) -> PlainVitConfig:
    settings = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    return PlainVitConfig(**settings, image_size=128, patch_size=16, **kwargs)


# Class, and its configuration's settings; of every method and of each form that holds batch norms or linear layers.
MODELS = {
    "cts-policy": ("CtsPolicyNet", {}),
    "cts-segmenter": (
        "CtsSegmenterForSemanticSegmentation",
        {"backbone_config": small_vit(token_sharing=2), "decoder_num_attention_heads": 2},
    ),
    "sctnet": ("SctNetForSemanticSegmentation", {"base_channels": 8, "context_channels": 8}),
    "sctnet-teacher": (
        "SctNetTeacherForSemanticSegmentation",
        {"encoder_config": ENCODER, "decoder_hidden_size": 8},
    ),
    "segvit": ("SegVitForSemanticSegmentation", {"backbone_config": small_vit(), **SMALL_DECODER}),
    "setr-mla": (
        "SetrForSemanticSegmentation",
        {"backbone_config": small_vit(out_indices=[1, 2, 3, 4]), "decoder_type": "mla", "decoder_hidden_size": 8},
    ),
    "setr-pup": (
        "SetrForSemanticSegmentation",
        {"backbone_config": small_vit(), "decoder_type": "pup", "decoder_hidden_size": 8},
    ),
    "structtoken": (
        "StructTokenForSemanticSegmentation",
        {"backbone_config": small_vit(), "decoder_hidden_size": 16, "decoder_num_layers": 1},
    ),
}
HLG = {
    "hlg": (HlgForSemanticSegmentation, {"window_pooling": "conv"}),
    "hlg-classifier": (HlgForImageClassification, {}),
    "hlg-detector": (HlgForObjectDetection, {}),
}


def build(name: str) -> PreTrainedModel:
    """A small model whose batch norms have seen something."""
    torch.manual_seed(0)
    if name in HLG:
        model_class, settings = HLG[name]
        model = small_hlg(model_class, **settings)
    else:
        class_name, settings = MODELS[name]
        model_class = getattr(vitseg, class_name)
        model = model_class(model_class.config_class(**settings)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


def two_images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return images(2, 3, 128, 128).to(dtype)


@torch.inference_mode()
def answers(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """All tensors of a model's output for two images."""
    outputs = model(pixel_values=two_images(dtype))
    return {name: value for name, value in outputs.items() if torch.is_tensor(value)}


def labels_of(name: str) -> Any:
    """Labels for the two images, as the model's task needs them."""
    if name == "cts-policy":
        return torch.zeros(2, 4, 4, dtype=torch.int64)
    if name == "hlg-classifier":
        return torch.tensor([1, 3])
    return objects(2, 3) if name == "hlg-detector" else label_maps(2, 128, 128).clamp(max=1)
