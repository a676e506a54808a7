# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SETR: semantic segmentation with a plain ViT encoder and convolutional decoders.

Paper: "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers",
https://arxiv.org/abs/2012.15840. Original: https://github.com/fudan-zvg/SETR (MIT); re-implemented in mmsegmentation
(Apache-2.0) with small differences in the decoders, which are configuration switches here. Where the original's code
departs from its paper, this file follows the code, because the published weights do.

All upsampling is bilinear without aligned corners, unless said otherwise.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_setr import NUM_MLA_LEVELS, SetrConfig
from .modeling_plain_vit import build_backbone, pad_to_patches
from .modeling_semantic import SegmentationOutput, SlidingWindowMixin, check_labels, pixel_cross_entropy, resize


def upsample(feature_map: torch.Tensor, scale: int, align_corners: bool = False) -> torch.Tensor:
    """`(batch, channels, h, w)` -> `(batch, channels, scale * h, scale * w)`, bilinear."""
    if scale == 1:
        return feature_map
    return nn.functional.interpolate(feature_map, scale_factor=scale, mode="bilinear", align_corners=align_corners)


class SetrChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of a feature map `(batch, channels, h, w)`."""

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return super().forward(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SetrConvLayer(nn.Module):
    """Convolution, batch norm, ReLU; the size of the feature map stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.batch_norm(self.conv(feature_map)))


class SetrUpHead(nn.Module):
    """
    Naive and PUP heads, decode and auxiliary: a norm, convolutions each followed by upsampling, a classifier.

    Takes a feature map `(batch, in_channels, h, w)`; returns logits `(batch, num_labels, s * h, s * w)`, with s the
    product of the upsampling factors.
    """

    def __init__(self, config: SetrConfig, in_channels: int, kernel_size: int, upsample_scales: list[int]):
        super().__init__()
        self.upsample_scales = upsample_scales
        hidden_size = config.decoder_hidden_size
        self.layernorm = SetrChannelLayerNorm(in_channels, eps=1e-6)
        self.layers = nn.ModuleList(
            SetrConvLayer(
                in_channels if index == 0 else hidden_size, hidden_size, kernel_size, bias=config.decoder_conv_bias
            )
            for index in range(len(upsample_scales))
        )
        self.classifier = nn.Conv2d(hidden_size, config.num_labels, kernel_size=1)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        hidden_states = self.layernorm(feature_map)
        for layer, scale in zip(self.layers, [1, *self.upsample_scales[:-1]], strict=True):
            hidden_states = layer(upsample(hidden_states, scale))
        # A 1x1 convolution and bilinear upsampling commute: fewer channels are upsampled this way.
        return upsample(self.classifier(hidden_states), self.upsample_scales[-1])


class SetrMlaNeck(nn.Module):
    """
    Multi-level feature aggregation: four feature maps of equal size, shallowest first, summed from the deepest down.

    Takes and returns four feature maps, `(batch, in_channels, h, w)` and `(batch, decoder_hidden_size, h, w)`.
    """

    def __init__(self, config: SetrConfig, in_channels: list[int]):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.layernorms = nn.ModuleList(SetrChannelLayerNorm(channels, eps=1e-6) for channels in in_channels)
        self.lateral_layers = nn.ModuleList(
            SetrConvLayer(channels, hidden_size, kernel_size=1) for channels in in_channels
        )
        self.output_layers = nn.ModuleList(
            SetrConvLayer(hidden_size, hidden_size, kernel_size=3) for _ in range(NUM_MLA_LEVELS)
        )

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        levels = [
            lateral(layernorm(feature_map))
            for feature_map, layernorm, lateral in zip(feature_maps, self.layernorms, self.lateral_layers, strict=True)
        ]
        for index in reversed(range(NUM_MLA_LEVELS - 1)):
            levels[index] = levels[index] + levels[index + 1]
        return [layer(level) for layer, level in zip(self.output_layers, levels, strict=True)]


class SetrMlaHead(nn.Module):
    """
    MLA decode head: two convolutions for each level, upsampling by 4, one classifier over all levels together.

    Takes four feature maps `(batch, decoder_hidden_size, h, w)`, shallowest first; returns logits
    `(batch, num_labels, 4 * h, 4 * w)`.
    """

    def __init__(self, config: SetrConfig):
        super().__init__()
        self.align_corners = config.mla_align_corners
        self.branches = nn.ModuleList(
            nn.Sequential(
                SetrConvLayer(config.decoder_hidden_size, config.mla_branch_size, kernel_size=3),
                SetrConvLayer(config.mla_branch_size, config.mla_branch_size, kernel_size=3),
            )
            for _ in range(NUM_MLA_LEVELS)
        )
        kernel_size = config.mla_classifier_kernel_size
        self.classifier = nn.Conv2d(
            NUM_MLA_LEVELS * config.mla_branch_size, config.num_labels, kernel_size, padding=kernel_size // 2
        )

    def forward(self, feature_maps: list[torch.Tensor]) -> torch.Tensor:
        levels = [branch(feature_map) for branch, feature_map in zip(self.branches, feature_maps, strict=True)]
        hidden_states = torch.cat(levels, dim=1)
        if self.classifier.kernel_size == (1, 1):
            # As in SetrUpHead, a 1x1 classifier may come before the upsampling.
            return upsample(self.classifier(hidden_states), 4, self.align_corners)
        return self.classifier(upsample(hidden_states, 4, self.align_corners))


class SetrPreTrainedModel(PreTrainedModel):
    """Initialisation and loading of SETR."""

    config: SetrConfig
    base_model_prefix = "setr"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # The loss is a mean over the pixels of a batch, which the Trainer must average over accumulated batches.
    accepts_loss_kwargs = False
    _no_split_modules = ["PlainVitEmbeddings", "PlainVitLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # PyTorch's own default, as in the original.
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)


class SetrForSemanticSegmentation(SlidingWindowMixin, SetrPreTrainedModel):
    """
    SETR: a backbone, a Naive, PUP or MLA decode head, and auxiliary heads that only take part in training.

    In evaluation mode an image larger than `config.window_size` is segmented in overlapping windows, as the published
    results were, unless `config.inference_mode` is `"whole"`.
    """

    _auto_class = "AutoModelForSemanticSegmentation"

    def __init__(self, config: SetrConfig):
        super().__init__(config)
        self.backbone = build_backbone(config.backbone_config)
        channels = self.backbone.channels
        self.decode_head: nn.Module
        if config.decoder_type == "mla":
            self.neck = SetrMlaNeck(config, channels)
            self.decode_head = SetrMlaHead(config)
            self.auxiliary_head = nn.ModuleList(
                nn.Conv2d(config.decoder_hidden_size, config.num_labels, kernel_size=1, bias=config.mla_auxiliary_bias)
                for _ in config.auxiliary_heads
            )
        else:
            self.decode_head = SetrUpHead(
                config,
                channels[config.decoder_in_index],
                config.decoder_kernel_size,
                config.decoder_upsample_scales,
            )
            self.auxiliary_head = nn.ModuleList(
                SetrUpHead(config, channels[head["in_index"]], head["kernel_size"], head["upsample_scales"])
                for head in config.auxiliary_heads
            )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.
            labels (`torch.LongTensor` of shape `(batch, height, width)`, *optional*):
                Class ids from 0 to `num_labels - 1`, and `config.semantic_loss_ignore_index` for ignored pixels.

        Returns:
            [`SegmentationOutput`]: `logits` of shape `(batch, num_labels, height, width)`; with `labels` also `loss`
            and `loss_dict`, whose terms are `decode.loss_seg` and `aux_0.loss_seg`, `aux_1.loss_seg`, ...

        Raises:
            ValueError: if `pixel_values` or `labels` do not fit the model or each other, or if hidden states or
                attentions are asked for where the image has to be cut into windows.

        Example:

        ```python
        >>> import torch
        >>> from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation

        >>> backbone_config = PlainVitConfig(
        ...     hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64
        ... )
        >>> model = SetrForSemanticSegmentation(SetrConfig(backbone_config=backbone_config, num_labels=5)).eval()
        >>> with torch.no_grad():
        ...     logits = model(torch.randn(1, 3, 80, 112)).logits
        >>> logits.shape
        torch.Size([1, 5, 80, 112])

        ```
        """
        return self.segment_by_protocol(pixel_values, labels, **kwargs)

    def segment(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """One pass over whole images; arguments and result as in [`forward`]."""
        if labels is not None:
            check_labels(labels, pixel_values, self.config.num_labels, self.config.semantic_loss_ignore_index)
        # The backbones of transformers leave incomplete patches out.
        patch_size = getattr(self.config.backbone_config, "patch_size", 1)
        outputs = self.backbone(pad_to_patches(pixel_values, patch_size), **kwargs)
        feature_maps = outputs.feature_maps
        if self.config.decoder_type == "mla":
            feature_maps = self.neck(feature_maps)
            logits = self.decode_head(feature_maps)
        else:
            logits = self.decode_head(feature_maps[self.config.decoder_in_index])
        logits = resize(logits, pixel_values.shape[-2:])

        loss, loss_dict = None, None
        if labels is not None:
            loss_dict = self.compute_losses(logits, feature_maps, labels)
            loss = sum(loss_dict.values())
        return SegmentationOutput(
            loss=loss,
            logits=logits,
            loss_dict=loss_dict,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def compute_losses(
        self, logits: torch.Tensor, feature_maps: list[torch.Tensor] | tuple[torch.Tensor, ...], labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The weighted loss terms of the decode head and of every auxiliary head, by name."""
        ignore_index = self.config.semantic_loss_ignore_index
        losses = {"decode.loss_seg": pixel_cross_entropy(logits, labels, ignore_index)}
        for index, (head, head_config) in enumerate(
            zip(self.auxiliary_head, self.config.auxiliary_heads, strict=True)
        ):
            head_logits = resize(head(feature_maps[head_config["in_index"]]), labels.shape[-2:])
            loss = pixel_cross_entropy(head_logits, labels, ignore_index)
            losses[f"aux_{index}.loss_seg"] = self.config.auxiliary_loss_weight * loss
        return losses


# The image-segmentation pipeline knows the models that it supports by name.
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES[SetrConfig.model_type] = SetrForSemanticSegmentation.__name__

__all__ = ["SetrForSemanticSegmentation", "SetrPreTrainedModel"]
