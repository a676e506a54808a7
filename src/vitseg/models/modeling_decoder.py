# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What models share that put a decoder over a backbone, the plain ViT or one of transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoBackbone
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_decoder import DecoderConfig
from .configuration_plain_vit import PlainVitConfig
from .layers import as_pair, crop, pad_to_multiple, resize
from .modeling_plain_vit import PlainVitBackbone
from .modeling_semantic import SegmentationOutput, SemanticSegmentationModel
from .pixel_losses import NumItems


# Side of an image whose feature maps are measured, in patches: a multiple of what the stages of backbones shrink by.
MEASURED_PATCHES = 32


def build_backbone(config: PreTrainedConfig) -> PreTrainedModel:
    """
    The backbone of a configuration: a [`PlainVitBackbone`], or whatever AutoBackbone knows.

    The plain ViT is built by its class, because a model loaded as remote code brings it along unregistered (and its
    configuration as a class of another copy of the module, so the type's name decides).
    """
    if config.model_type == PlainVitConfig.model_type:
        return PlainVitBackbone._from_config(config)
    return AutoBackbone.from_config(config)


def plain_vit_strides(config: PlainVitConfig) -> list[int]:
    """How many pixels a position of each of a plain ViT's feature maps stands for."""
    first_shrunk = config.shrink_layer or config.num_hidden_layers + 1
    stages = [config.stage_names.index(name) for name in config.out_features]
    return [config.patch_size * (2 if stage >= first_shrunk else 1) for stage in stages]


def trace_feature_maps(backbone: PreTrainedModel, size: int) -> tuple[Sequence[torch.Tensor], dict[str, torch.Tensor]]:
    """
    The feature maps that a backbone has in evaluation mode of a square image of so many pixels, without values: on the
    meta device, where nothing is computed, which takes next to no time or memory. With them, its parameters and
    buffers by their names, as they depend on them.
    """
    weights = {key: weight.to("meta") for key, weight in (*backbone.named_parameters(), *backbone.named_buffers())}
    pixel_values = torch.empty(1, getattr(backbone.config, "num_channels", 3), size, size, device="meta")
    was_training = backbone.training
    backbone.eval()
    try:
        return torch.func.functional_call(backbone, weights, (pixel_values,)).feature_maps, weights
    finally:
        backbone.train(was_training)


@torch.no_grad()
def measure_strides(backbone: PreTrainedModel) -> list[int]:
    """
    How many pixels a position of each of a backbone's feature maps stands for: the patch size of a ViT, and from 4 to
    32 in a hierarchical backbone. Configurations have no common word for it, so the maps of an image are looked at.

    Raises:
        ValueError: if they cannot be told.
    """
    config = backbone.config
    # Its own size, for those that take no other, or else one that the strides of all stages divide.
    divisible = MEASURED_PATCHES * as_pair(getattr(config, "patch_size", None) or 16)[0]
    for size in (as_pair(getattr(config, "image_size", None) or divisible)[0], divisible):
        rows = [feature_map.shape[-2] for feature_map in trace_feature_maps(backbone, size)[0]]
        if all(size % number == 0 for number in rows):
            return [size // number for number in rows]
    name = type(config).__name__
    raise ValueError(f"The feature maps of {name} have {rows} rows for {size} pixels: their strides cannot be told.")


class DecoderModel(SemanticSegmentationModel):
    """
    A segmentation model whose configuration is a [`DecoderConfig`]; a method adds its decoder.

    What its decoder gets are maps of `backbone.channels` with `strides`, in pixels.
    """

    config: DecoderConfig
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["CtsPolicyNet", "PlainVitEmbeddings", "PlainVitLayer"]

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        self.backbone = build_backbone(config.backbone_config)
        backbone_config = config.backbone_config
        if backbone_config.model_type == PlainVitConfig.model_type:
            strides, self.size_divisor = plain_vit_strides(backbone_config), backbone_config.patch_size
        else:
            strides = measure_strides(self.backbone)
            self.size_divisor = max(strides)
        self.strides = [config.feature_stride or stride for stride in strides]

    @property
    def num_channels(self) -> int:
        return getattr(self.config.backbone_config, "num_channels", 3)

    def check_equal_strides(self, decoder: str, remedy: str) -> None:
        """
        For decoders whose feature maps must be of one size.

        Raises:
            ValueError: if they are not, with what to choose.
        """
        if len(set(self.strides)) > 1:
            raise ValueError(
                f"{decoder} takes feature maps of one size, but those of backbone_config, a "
                f"{type(self.config.backbone_config).__name__}, have strides of {self.strides} pixels: {remedy}"
            )

    def segment(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: NumItems = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        """
        As in the base class. Images are padded to what the strides of the backbone divide, and the logits of the
        padding are cut off: the backbones of transformers leave incomplete patches out, and what the last stage makes
        of them. Only over the plain ViT does the method say what becomes of it, as its original does.
        """
        if self.config.backbone_config.model_type == PlainVitConfig.model_type:
            return super().segment(pixel_values, labels, num_items_in_batch, **kwargs)
        padded = pad_to_multiple(pixel_values, self.size_divisor)
        if labels is not None:
            if num_items_in_batch is None:
                num_items_in_batch = self.count_items(labels)
            padding = (0, padded.shape[-1] - labels.shape[-1], 0, padded.shape[-2] - labels.shape[-2])
            labels = nn.functional.pad(labels, padding, value=self.config.ignore_index)
        outputs = super().segment(padded, labels, num_items_in_batch, **kwargs)
        outputs["logits"] = crop(outputs.logits, pixel_values.shape[-2:])
        return outputs

    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> Any:
        pixel_values = pad_to_multiple(pixel_values, self.size_divisor)
        features = self.backbone(pixel_values, **kwargs)
        stride = self.config.feature_stride
        if stride is not None:
            grid_size = -(-pixel_values.shape[-2] // stride), -(-pixel_values.shape[-1] // stride)
            features["feature_maps"] = tuple(resize(feature_map, grid_size) for feature_map in features.feature_maps)
        return features
