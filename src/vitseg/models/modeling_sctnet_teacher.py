# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The SegFormer that teaches SCTNet: transformers' encoder under the head that mmsegmentation gives it.

Paper: "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
https://arxiv.org/abs/2105.15203. transformers' own SegFormer, whose head has other branches, teaches too.
"""

import torch
from torch import nn
from transformers import SegformerModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.modeling_outputs import BackboneOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_sctnet_teacher import SctNetTeacherConfig
from .layers import resize
from .modeling_semantic import Prediction, SemanticSegmentationModel
from .pipelines import known_to_pipelines


# Of every layer norm in the encoder; transformers leaves PyTorch's 1e-5.
ENCODER_LAYER_NORM_EPS = 1e-6


def encode(encoder: SegformerModel, pixel_values: torch.Tensor) -> list[torch.Tensor]:
    """
    The normalised output of each stage, `(batch, channels, rows, columns)`, at 1/4 to 1/32 of the image's size.

    Raises:
        ValueError: if the image is too small for the reduction of keys and values, with the size that it needs.
    """
    config = encoder.config
    stride, smallest = 1, 1
    for stage_stride, ratio in zip(config.strides, config.sr_ratios, strict=True):
        stride *= stage_stride
        smallest = max(smallest, stride * (ratio - 1) + 1)
    height, width = pixel_values.shape[-2:]
    if height < smallest or width < smallest:
        raise ValueError(f"The image is {height} x {width} pixels; SegFormer needs {smallest} or more on each side.")
    stages, maps = [], pixel_values
    for stage in encoder.stages:
        maps = stage(maps)
        stages.append(maps)
    return stages


class SctNetTeacherConvLayer(nn.Module):
    """1x1 convolution without bias, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv(maps)))


class SctNetTeacherHead(nn.Module):
    """A branch for each stage, whose results are fused and classified at the size of the first stage."""

    def __init__(self, config: SctNetTeacherConfig):
        super().__init__()
        stage_channels, hidden_size = config.encoder_config.hidden_sizes, config.decoder_hidden_size
        self.branches = nn.ModuleList(SctNetTeacherConvLayer(channels, hidden_size) for channels in stage_channels)
        self.fusion = SctNetTeacherConvLayer(len(stage_channels) * hidden_size, hidden_size)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(hidden_size, config.num_labels, 1)

    def concatenate(self, stages: list[torch.Tensor]) -> torch.Tensor:
        """The branches' maps side by side, the first stage's first."""
        size = stages[0].shape[-2:]
        return torch.cat(
            [resize(branch(stage), size) for branch, stage in zip(self.branches, stages, strict=True)], dim=1
        )

    def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fused features and logits, from the branches' maps."""
        fused = self.fusion(features)
        return fused, self.classifier(self.dropout(fused))


@known_to_pipelines
class SctNetTeacherForSemanticSegmentation(SemanticSegmentationModel):
    """
    SegFormer as the teacher of SCTNet: a segmentation model like any other, to be trained on the same classes first.

    Its encoder is transformers', with the epsilon of the original in the layer norms. Images have sides of at least 29
    pixels.
    """

    config: SctNetTeacherConfig
    base_model_prefix = "encoder"
    _no_split_modules = ["SegformerStage"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: SctNetTeacherConfig):
        super().__init__(config)
        self.encoder = SegformerModel(config.encoder_config)
        for module in self.encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = ENCODER_LAYER_NORM_EPS
        self.decode_head = SctNetTeacherHead(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # By the convolutions themselves: of modules without weights of their own, transformers does not ask.
        if module is self.decode_head.classifier:
            init.normal_(module.weight, std=0.01)
        elif isinstance(module, nn.Conv2d) and module in self.decode_head.modules():
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_submodule("stages.0.patch_embeddings.proj")

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.stages[0].patch_embeddings.proj = value

    @property
    def num_channels(self) -> int:
        return self.config.encoder_config.num_channels

    @property
    def alignment_channels(self) -> list[int]:
        """Channels of the concatenated features, of stage 4 and of stage 3."""
        hidden_sizes = self.config.encoder_config.hidden_sizes
        return [len(hidden_sizes) * self.config.decoder_hidden_size, hidden_sizes[3], hidden_sizes[2]]

    def encode(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The output of each stage; see [`encode`]."""
        return encode(self.encoder, pixel_values)

    def concatenate(self, stages: list[torch.Tensor]) -> torch.Tensor:
        """What the classifier takes, from the output of the stages."""
        return self.decode_head.concatenate(stages)

    def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fused features and logits, `(batch, channels, rows, columns)` at 1/4 of the image's size."""
        return self.decode_head.classify(features)

    @filter_output_hidden_states
    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        stages = tuple(self.encode(pixel_values.to(self.dtype)))
        return BackboneOutput(feature_maps=stages, hidden_states=stages)

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        _, scores = self.classify(self.concatenate(features.feature_maps))
        return Prediction(scores)


__all__ = ["SctNetTeacherForSemanticSegmentation"]
