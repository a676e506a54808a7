# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The policy network of content-aware token sharing: which superpatches hold a single class?

Paper: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers",
https://arxiv.org/abs/2306.02095. Original: https://github.com/tue-mps/cts-segmenter (MIT). The backbone is timm's
EfficientNet-Lite0.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_cts_policy import CtsPolicyNetConfig


BACKBONE = "efficientnet_lite0"


def build_backbone(pretrained: bool = False) -> nn.Module:
    """timm's EfficientNet-Lite0 up to its last feature map, of 320 channels and stride 32."""
    try:
        import timm
    except ImportError as error:
        raise ImportError("The policy network of token sharing is a model of timm: pip install timm.") from error
    # Not `tf_efficientnet_lite0`, which has the same names but pads otherwise and has another epsilon.
    return timm.create_model(BACKBONE, pretrained=pretrained, features_only=True, out_indices=(4,))


@dataclass
class CtsPolicyNetOutput(ModelOutput):
    r"""
    Output of the policy network.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*, returned with `labels`):
            Cross-entropy, averaged over the superpatches that are not ignored.
        logits (`torch.Tensor` of shape `(batch, 2, ceil(height / 32), ceil(width / 32))`):
            Scores of each superpatch before softmax: it holds several classes, or a single one.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class CtsPolicyNet(PreTrainedModel):
    """
    EfficientNet-Lite0 and a 1x1 convolution, which score every superpatch of 32 x 32 pixels.

    In evaluation mode the batch norms are folded into the convolutions, which changes nothing but the rounding.
    """

    config: CtsPolicyNetConfig
    base_model_prefix = "cts_policy"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    # The loss is a mean over the superpatches of a batch, which the Trainer must average over accumulated batches.
    accepts_loss_kwargs = False
    _auto_class = "AutoModel"
    _no_split_modules = ["CtsPolicyNet"]
    _can_compile_fullgraph = True
    # There is no attention here: whatever the model around it asks for will do.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: CtsPolicyNetConfig):
        super().__init__(config)
        self.backbone = build_backbone()
        self.head = nn.Conv2d(320, 2, kernel_size=1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.head:
            # PyTorch's own default, as in the original.
            init.kaiming_uniform_(module.weight, a=5**0.5)
            init.uniform_(module.bias, -(320**-0.5), 320**-0.5)
        elif isinstance(module, nn.Conv2d):
            # timm's: the gain of ReLU over what leaves the kernel.
            fan_out = module.weight[:, 0].numel() // module.groups
            init.normal_(module.weight, std=(2 / fan_out) ** 0.5)

    def _can_set_attn_implementation(self) -> bool:
        return True

    @can_return_tuple
    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs) -> CtsPolicyNetOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 3, height, width)`):
                Images of any size, normalised to -1..1.
            labels (`torch.LongTensor` of shape `(batch, ceil(height / 32), ceil(width / 32))`, *optional*):
                1 for superpatches that hold a single class, 0 for others, and `config.semantic_loss_ignore_index`.

        Raises:
            ValueError: if `labels` do not have one value for each superpatch.
        """
        pixel_values = pixel_values.to(self.head.weight.dtype)
        features = self.backbone(pixel_values)[0] if self.training else self.folded_backbone(pixel_values)
        logits = self.head(features)

        loss = None
        if labels is not None:
            expected_shape = (logits.shape[0], *logits.shape[-2:])
            if tuple(labels.shape) != expected_shape:
                raise ValueError(
                    f"labels have shape {tuple(labels.shape)}; expected {expected_shape}, a target for each "
                    "superpatch of 32 x 32 pixels."
                )
            loss = nn.functional.cross_entropy(
                logits.float(), labels.long(), ignore_index=self.config.semantic_loss_ignore_index
            )
        return CtsPolicyNetOutput(loss=loss, logits=logits)

    def folded_backbone(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The last feature map of the backbone, `(batch, 320, h, w)`, without a pass for each batch norm."""
        weights = self.fold_batch_norms()
        # Depth-wise convolutions are faster with the channels last.
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        if pixel_values.device.type == "cpu" and not torch.compiler.is_compiling():
            # The features of one image at a time stay in the processor's cache, those of a batch do not.
            return torch.cat([self.convolve(image, weights) for image in pixel_values.split(1)])
        return self.convolve(pixel_values, weights)

    def fold_batch_norms(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of each convolution of the backbone together with its batch norm."""
        layers = [layer for block in self.blocks for layer in _layers_of(block)]
        norms = [norm for _, norm in layers]
        # Of all batch norms at once: they are many and small.
        weight, bias, mean, variance = (
            torch.cat([getattr(norm, name) for norm in norms])
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (variance + norms[0].eps).rsqrt()
        sizes = [norm.num_features for norm in norms]
        scales, biases = scale.split(sizes), (bias - mean * scale).split(sizes)
        return [
            (convolution.weight * scale[:, None, None, None], bias)
            for (convolution, _), scale, bias in zip(layers, scales, biases, strict=True)
        ]

    def convolve(self, hidden_states: torch.Tensor, weights: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """The backbone with these weights and biases in place of its own and its batch norms."""
        remaining = iter(weights)
        for block in self.blocks:
            shortcut = hidden_states
            for layer, norm in _layers_of(block):
                weight, bias = next(remaining)
                hidden_states = nn.functional.conv2d(
                    hidden_states, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
                )
                hidden_states = norm.act(hidden_states)
            if getattr(block, "has_skip", False):
                hidden_states = hidden_states + shortcut
        return hidden_states

    @property
    def blocks(self) -> list[nn.Module]:
        """What holds the backbone's convolutions: itself (the first one) and its blocks."""
        return [self.backbone, *(block for stage in self.backbone.blocks.children() for block in stage.children())]


def _layers_of(block: nn.Module) -> list[tuple[Any, Any]]:
    """The convolutions of a block of timm's, in the order in which it applies them, each with its batch norm."""
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    norms = [module for module in block.children() if isinstance(module, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


__all__ = ["CtsPolicyNet"]
