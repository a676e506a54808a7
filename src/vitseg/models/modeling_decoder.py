# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What models share that put a decoder over a backbone, the plain ViT or one of transformers."""

from typing import Any

import torch
from transformers import AutoBackbone
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .layers import pad_to_patches, resize
from .modeling_plain_vit import PlainVitBackbone
from .modeling_semantic import SemanticSegmentationModel


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """
    The backbone of a configuration: a [`PlainVitBackbone`], or whatever AutoBackbone knows.

    The plain ViT is built by its class, because a model loaded as remote code brings it along unregistered (and its
    configuration as a class of another copy of the module, so the type's name decides).
    """
    if config.model_type == PlainVitConfig.model_type:
        return PlainVitBackbone._from_config(config)
    return AutoBackbone.from_config(config)


class DecoderModel(SemanticSegmentationModel):
    """A segmentation model whose configuration is a [`DecoderConfig`]; a method adds its decoder."""

    config: DecoderConfig
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["CtsPolicyNet", "PlainVitEmbeddings", "PlainVitLayer"]

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        self.backbone = build_backbone(config.backbone_config)

    @property
    def num_channels(self) -> int:
        return getattr(self.config.backbone_config, "num_channels", 3)

    @property
    def patch_size(self) -> int:
        """Side of the backbone's patches in pixels; 1 where it has none."""
        return getattr(self.config.backbone_config, "patch_size", None) or 1

    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> Any:
        # The backbones of transformers leave incomplete patches out.
        features = self.backbone(pad_to_patches(pixel_values, self.patch_size), **kwargs)
        stride = self.config.feature_stride
        if stride is not None:
            grid_size = -(-pixel_values.shape[-2] // stride), -(-pixel_values.shape[-1] // stride)
            features["feature_maps"] = tuple(resize(feature_map, grid_size) for feature_map in features.feature_maps)
        return features
