# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoders of transformers, small and random, saved as folders as their own libraries save them."""

from pathlib import Path

import torch
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BitImageProcessor,
    ConvNextConfig,
    ConvNextModel,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    PreTrainedModel,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)


_VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
_VIT_16 = {**_VIT, "intermediate_size": 64, "image_size": 64, "patch_size": 16}
_DINOV2 = {**_VIT, "mlp_ratio": 2, "image_size": 70, "patch_size": 14}
_MAE_DECODER = {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 32, "decoder_num_attention_heads": 2}
_CONVNEXT = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
_SWIN = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 4, "image_size": 64}

ENCODERS: dict[str, tuple[type, PreTrainedConfig]] = {
    "beit": (BeitForImageClassification, BeitConfig(**_VIT_16, use_relative_position_bias=True)),
    "convnext": (ConvNextModel, ConvNextConfig(**_CONVNEXT)),
    "deit": (DeiTForImageClassification, DeiTConfig(**_VIT_16)),
    "dinov2": (Dinov2Model, Dinov2Config(**_DINOV2)),
    "dinov2_with_registers": (Dinov2WithRegistersModel, Dinov2WithRegistersConfig(**_DINOV2)),
    "dinov3_convnext": (DINOv3ConvNextModel, DINOv3ConvNextConfig(**_CONVNEXT)),
    "dinov3_vit": (DINOv3ViTModel, DINOv3ViTConfig(**_VIT_16)),
    "swin": (SwinForImageClassification, SwinConfig(**_SWIN)),
    "vit": (ViTForImageClassification, ViTConfig(**_VIT_16)),
    "vit_mae": (ViTMAEForPreTraining, ViTMAEConfig(**_VIT_16, **_MAE_DECODER)),
}
PYRAMIDS = ("convnext", "dinov3_convnext", "swin")


def save_encoder(name: str, folder: Path, seed: int = 0) -> PreTrainedModel:
    """Writes one of `ENCODERS` and its image processor to a folder; returns it in evaluation mode."""
    model_class, config = ENCODERS[name]
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Many start as zeros or ones, which would hide that they were not loaded.
            parameter.add_(0.02 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    processor = ViTImageProcessor() if name.startswith("vit") else BitImageProcessor(image_mean=[0.4] * 3)
    processor.save_pretrained(folder)
    return model
