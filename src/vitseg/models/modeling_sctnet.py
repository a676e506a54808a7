# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SCTNet: real-time semantic segmentation by one convolutional branch, which a transformer teaches in training.

Paper: "SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation",
https://arxiv.org/abs/2312.17071. Original: https://github.com/xzz777/SCTNet (MIT). Where the original's code departs
from its paper, this file follows the code, because the published weights do.

Feature maps are `(batch, channels, rows, columns)`. Each convolution of stride 2 gives ceil(n / 2) rows or columns of
n, and nothing is padded beforehand, so images of any size are taken.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_sctnet import SctNetConfig
from .layers import DropPath, check_images, is_exporting, resize
from .modeling_semantic import Prediction, SemanticSegmentationModel
from .pipelines import known_to_pipelines


# Of the norm in the feed-forward blocks; all others have PyTorch's 1e-5.
MLP_NORM_EPS = 1e-6
# Added to the denominator of attention's second normalisation.
ATTENTION_EPS = 1e-6
# Standard deviation of new attention kernels. The original's, zero, would keep the maps of a head identical for ever.
ATTENTION_KERNEL_STD = 0.001


class SctNetConvLayer(nn.Module):
    """Convolution, batch norm and, if wanted, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, activation: bool = True
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv(maps)))

    def fuse(self) -> None:
        """Fold the norm into the convolution, for evaluation. An adapted one, which is a class of its own, stays."""
        if type(self.conv) is nn.Conv2d:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class SctNetPreActivation(nn.Module):
    """Batch norm, ReLU and convolution, in this order."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.activation = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.conv(self.activation(self.norm(maps)))


class SctNetResidualLayer(GradientCheckpointingLayer):
    """
    Two 3x3 convolutions beside a shortcut.

    With gradient checkpointing, batch norms see each batch twice, so that their running statistics forget faster.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, activation: bool):
        super().__init__()
        self.layer1 = SctNetConvLayer(in_channels, out_channels, 3, stride=stride)
        self.layer2 = SctNetConvLayer(out_channels, out_channels, 3, activation=False)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else SctNetConvLayer(in_channels, out_channels, 1, stride=stride, activation=False)
        )
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.activation(self.layer2(self.layer1(maps)) + self.shortcut(maps))


def residual_layers(in_channels: int, out_channels: int, depth: int, stride: int) -> nn.Sequential:
    """
    A stage's residual layers, the first with `stride`. The last of several ends with a plain sum, on which a ReLU has
    yet to follow; the only one of a stage ends with the ReLU.
    """
    return nn.Sequential(
        *(
            SctNetResidualLayer(
                out_channels if index else in_channels,
                out_channels,
                stride=1 if index else stride,
                activation=depth == 1 or index < depth - 1,
            )
            for index in range(depth)
        )
    )


class SctNetAttention(nn.Module):
    """
    Convolutional attention: a vertical and a horizontal branch, whose results are added.

    Each branch compares the features with learned kernels (a convolution into `attention_channels` maps), normalises,
    and makes features of the same kernels again (a convolution with the kernel's first two axes swapped). Returns the
    features and the normalised maps `(batch, 2 * num_attention_heads, attention_channels / num_attention_heads, rows,
    columns)`, the vertical ones first.
    """

    def __init__(self, config: SctNetConfig, channels: int):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.norm = nn.BatchNorm2d(channels)
        self.vertical_kernel = nn.Parameter(torch.zeros(config.attention_channels, channels, 7, 1))
        self.horizontal_kernel = nn.Parameter(torch.zeros(config.attention_channels, channels, 1, 7))
        # The kernels with swapped axes; `fuse` stores them.
        self.output_kernels: nn.ParameterList | None = None

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.norm(maps)
        scores = torch.cat(
            (
                functional.conv2d(maps, self.vertical_kernel, padding=(3, 0)),
                functional.conv2d(maps, self.horizontal_kernel, padding=(0, 3)),
            ),
            dim=1,
        )
        attention = normalize_twice(scores, 2 * self.num_heads)
        vertical, horizontal = attention.flatten(1, 2).chunk(2, dim=1)
        vertical_kernel, horizontal_kernel = (
            self.swapped_kernels() if self.output_kernels is None else self.output_kernels
        )
        output = functional.conv2d(vertical, vertical_kernel, padding=(3, 0))
        output = output + functional.conv2d(horizontal, horizontal_kernel, padding=(0, 3))
        return output, attention

    def swapped_kernels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The kernels that make features of the vertical and of the horizontal maps."""
        return self.vertical_kernel.transpose(0, 1), self.horizontal_kernel.transpose(0, 1)

    def fuse(self) -> None:
        """Store the swapped kernels, which are otherwise laid out anew in every call."""
        self.output_kernels = nn.ParameterList(kernel.contiguous() for kernel in self.swapped_kernels())


def normalize_twice(scores: torch.Tensor, num_groups: int) -> torch.Tensor:
    """
    Grouped double normalisation: a softmax of each map over its positions, then at each position a division by the sum
    over the maps of the same group.

    `(batch, channels, rows, columns)` -> `(batch, num_groups, channels / num_groups, rows, columns)`.
    """
    # In float32: the values of the softmax are about one over the number of positions, and an epsilon is added.
    weights = scores.flatten(2).softmax(dim=-1, dtype=torch.float32)
    weights = weights.unflatten(1, (num_groups, -1))
    weights = weights / (weights.sum(dim=2, keepdim=True) + ATTENTION_EPS)
    return weights.to(scores.dtype).unflatten(-1, scores.shape[-2:])


class SctNetMLP(nn.Module):
    """Batch norm and two 3x3 convolutions with an exact GELU between them; the number of channels stays."""

    def __init__(self, config: SctNetConfig, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=MLP_NORM_EPS)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation_fn = nn.GELU()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.dropout(self.activation_fn(self.conv1(self.norm(maps))))
        return self.dropout(self.conv2(maps))


class SctNetAttentionLayer(GradientCheckpointingLayer):
    """
    Convolutional attention and a feed-forward block, each with its residual connection (the paper's CFBlock).

    Takes features before their ReLU. With gradient checkpointing, batch norms see each batch twice, so that their
    running statistics forget faster.
    """

    def __init__(self, config: SctNetConfig, channels: int):
        super().__init__()
        self.activation = nn.ReLU()
        self.attention = SctNetAttention(config, channels)
        self.mlp = SctNetMLP(config, channels)
        self.drop_path = DropPath(config.drop_path_rate)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.activation(maps)
        output, _ = self.attention(maps)
        maps = maps + self.drop_path(output)
        return maps + self.drop_path(self.mlp(maps))


class SctNetStage(nn.Module):
    """Convolutions that change size and width, and attention layers."""

    def __init__(self, convolutions: nn.Module, attention_layers: list[SctNetAttentionLayer]):
        super().__init__()
        self.convolutions = convolutions
        self.layers = nn.ModuleList(attention_layers)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.convolutions(maps)
        for layer in self.layers:
            maps = layer(maps)
        return maps


class SctNetAveragePool(nn.Module):
    """Average over `kernel_size` x `kernel_size` positions, `stride` apart; zeros beyond the edge count."""

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        size, padding = self.kernel_size, self.kernel_size // 2
        if torch.jit.is_tracing() or not is_exporting():
            return functional.avg_pool2d(maps, size, self.stride, padding)
        # The same as a convolution: of pooling, torch.export of PyTorch 2.11 would fix the program to sizes that leave
        # the same remainder when divided by the stride.
        channels = maps.shape[1]
        kernel = maps.new_full((channels, 1, size, size), 1 / size**2)
        return functional.conv2d(maps, kernel, stride=self.stride, padding=padding, groups=channels)


class SctNetPyramidPooling(nn.Module):
    """
    The context of each position at five scales: as it is, averaged over 5, 9 and 17 positions, and over the map (DAPPM
    of "Deep Dual-Resolution Networks", https://arxiv.org/abs/2101.06085).

    `(batch, in_channels, rows, columns)` -> `(batch, out_channels, rows, columns)`.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int):
        super().__init__()
        self.pools = nn.ModuleList(
            [
                nn.Identity(),
                SctNetAveragePool(5, stride=2),
                SctNetAveragePool(9, stride=4),
                SctNetAveragePool(17, stride=8),
                nn.AdaptiveAvgPool2d(1),
            ]
        )
        self.scales = nn.ModuleList(SctNetPreActivation(in_channels, hidden_channels, 1) for _ in self.pools)
        self.processes = nn.ModuleList(SctNetPreActivation(hidden_channels, hidden_channels, 3) for _ in range(4))
        self.compression = SctNetPreActivation(5 * hidden_channels, out_channels, 1)
        self.shortcut = SctNetPreActivation(in_channels, out_channels, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        global_norm = self.scales[-1].norm
        if global_norm.training and isinstance(global_norm, nn.BatchNorm2d) and maps.shape[0] == 1:
            raise ValueError(
                "SCTNet trains on two images or more at a time: of each, the batch norm after the global average sees "
                "one value. Enlarge the batch, or synchronise batch norms over several processes."
            )
        first, *pooled = (scale(pool(maps)) for pool, scale in zip(self.pools, self.scales, strict=True))
        outputs = [first]
        for pooled_map, process in zip(pooled, self.processes, strict=True):
            outputs.append(process(resize(pooled_map, maps.shape[-2:]) + outputs[-1]))
        return self.compression(torch.cat(outputs, dim=1)) + self.shortcut(maps)


class SctNetFusion(nn.Module):
    """The last stage: the features of stage 2 beside the context of stage 4, at the size of stage 2."""

    def __init__(self, config: SctNetConfig):
        super().__init__()
        channels = config.base_channels
        self.pooling = SctNetPyramidPooling(8 * channels, config.context_channels, 2 * channels)

    def forward(self, deep_maps: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return torch.cat((maps, resize(self.pooling(deep_maps), maps.shape[-2:])), dim=1)


class SctNetHead(nn.Module):
    """Classifier of feature maps: `(batch, in_channels, rows, columns)` -> `(batch, num_labels, rows, columns)`."""

    def __init__(self, in_channels: int, hidden_size: int, num_labels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.layer = SctNetConvLayer(in_channels, hidden_size, 3)
        self.activation = nn.ReLU()
        self.classifier = nn.Conv2d(hidden_size, num_labels, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.layer(self.activation(self.norm(maps))))


class SctNetPreTrainedModel(PreTrainedModel):
    """Initialisation and loading of SCTNet."""

    config: SctNetConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # Folders written by vitseg 0.1 may hold what only training needs.
    _keys_to_ignore_on_load_unexpected = [r"auxiliary_head\.", r"alignment\."]
    _no_split_modules = ["SctNetStage", "SctNetFusion", "SctNetHead"]
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": [SctNetStage, SctNetFusion],
        "attentions": OutputRecorder(SctNetAttention, index=1),
    }
    # Whether norms are folded into convolutions, as `SctNetForSemanticSegmentation.fuse` does.
    is_fused = False

    def save_pretrained(self, *args, **kwargs) -> None:
        if self.is_fused:
            raise ValueError("A fused model is only for inference: save the model that it was made of.")
        super().save_pretrained(*args, **kwargs)

    def push_to_hub(self, *args, **kwargs) -> Any:
        if self.is_fused:  # before there is an empty repository
            raise ValueError("A fused model is only for inference: push the model that it was made of.")
        return super().push_to_hub(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # PyTorch's own, as in the original.
            bound = (module.weight[0].numel()) ** -0.5
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, SctNetAttention):
            init.trunc_normal_(module.vertical_kernel, std=ATTENTION_KERNEL_STD)
            init.trunc_normal_(module.horizontal_kernel, std=ATTENTION_KERNEL_STD)


class SctNetBackbone(BackboneMixin, SctNetPreTrainedModel):
    """
    SCTNet's convolutional branch, which returns the feature maps named by `config.out_features`.

    Attention and pooling look at all of an image, so images of different sizes must not be padded to one.
    """

    _auto_class = "AutoBackbone"

    def __init__(self, config: SctNetConfig):
        super().__init__(config)
        channels, depths = config.base_channels, config.stage_depths
        self.num_features = [channels * factor for factor in (1, 1, 2, 4, 8, 4)]
        self.stem = nn.Sequential(
            SctNetConvLayer(config.num_channels, channels, 3, stride=2),
            SctNetConvLayer(channels, channels, 3, stride=2),
        )
        self.activation = nn.ReLU()
        self.stage1 = SctNetStage(residual_layers(channels, channels, depths[0], stride=1), [])
        self.stage2 = SctNetStage(residual_layers(channels, 2 * channels, depths[1], stride=2), [])
        self.stage3 = SctNetStage(
            residual_layers(2 * channels, 4 * channels, depths[2], stride=2),
            [SctNetAttentionLayer(config, 4 * channels)],
        )
        self.stage4 = SctNetStage(
            SctNetConvLayer(4 * channels, 8 * channels, 3, stride=2),
            [SctNetAttentionLayer(config, 8 * channels) for _ in range(2)],
        )
        self.stage5 = SctNetFusion(config)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.stem[0].conv

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.stem[0].conv = value

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.

        Returns:
            `BackboneOutput`: `feature_maps`, a tuple of `(batch, channels, rows, columns)`, see
            [`SctNetConfig`]'s `out_features`; on request `hidden_states`, the maps of the stem and of all stages, and
            `attentions`, those of the three attention layers, see [`SctNetAttention`].

        Raises:
            ValueError: if `pixel_values` does not have 4 dimensions or the configured number of channels.
        """
        check_images(pixel_values, self.config.num_channels)
        stem = self.stem(pixel_values.to(self.dtype))
        stage1 = self.stage1(stem)
        # Stages 1 and 2 end without a ReLU: the fusion takes their sums as they are.
        stage2 = self.stage2(self.activation(stage1))
        stage3 = self.stage3(self.activation(stage2))
        stage4 = self.stage4(stage3)
        stage5 = self.stage5(stage4, stage2)
        maps = dict(zip(self.stage_names, (stem, stage1, stage2, stage3, stage4, stage5), strict=True))
        return BackboneOutput(feature_maps=tuple(maps[name] for name in self.stage_names if name in self.out_features))


@known_to_pipelines
class SctNetForSemanticSegmentation(SctNetPreTrainedModel, SemanticSegmentationModel):
    """
    SCTNet: a convolutional backbone and a small decode head.

    As published, an image goes through the network whole, whatever its size. With labels it gives the loss of its
    pixels; the published training, with a teacher, is `vitseg.training.distillation`'s. [`fuse`] makes a copy for the
    fastest inference.

    Example:

    ```python
    >>> import torch
    >>> from vitseg import SctNetConfig, SctNetForSemanticSegmentation

    >>> model = SctNetForSemanticSegmentation(SctNetConfig(base_channels=8, num_labels=5)).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 81, 113)).logits
    >>> logits.shape
    torch.Size([1, 5, 81, 113])

    ```
    """

    def __init__(self, config: SctNetConfig):
        super().__init__(config)
        channels = config.base_channels
        backbone_config = copy.deepcopy(config)
        backbone_config.out_features = ["stage2", "stage3", "stage4", "stage5"]
        self.backbone = SctNetBackbone(backbone_config)
        self.decode_head = SctNetHead(4 * channels, config.decoder_hidden_size, config.num_labels)
        self.post_init()

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        return Prediction(self.decode_head(features.feature_maps[-1]))

    def fuse(self) -> "SctNetForSemanticSegmentation":
        """
        A copy for the fastest inference, with the same answers up to rounding; this model stays as it is.

        Every batch norm that follows a convolution is folded into it (those before a convolution with padding cannot
        be), attention's kernels are stored in both orders that they are used in, ReLUs work in place, and weights are
        laid out channels last. Fuse a model in float32 and take the copy to another dtype afterwards. The copy can
        neither be trained nor saved; fused again, it gives a copy like itself.
        """
        model = copy.deepcopy(self).eval()
        if self.is_fused:
            return model
        for module in list(model.modules()):
            if isinstance(module, SctNetConvLayer | SctNetAttention):
                module.fuse()
            # The maps before other ReLUs are needed as they are.
            if isinstance(module, SctNetConvLayer | SctNetPreActivation | SctNetHead):
                module.activation.inplace = True
        model.is_fused = model.backbone.is_fused = True
        return model.requires_grad_(False).to(memory_format=torch.channels_last)


__all__ = ["SctNetBackbone", "SctNetForSemanticSegmentation", "SctNetPreTrainedModel"]
