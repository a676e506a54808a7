# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The policy network of content-aware token sharing: which superpatches hold a single class?

Paper: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers",
https://arxiv.org/abs/2306.02095. Original: https://github.com/tue-mps/cts-segmenter (MIT). The backbone is timm's
EfficientNet-Lite0.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_cts_policy import CtsPolicyNetConfig
from .labels import check_shape, check_values, divisor, unify_ignored
from .layers import check_images


BACKBONE = "efficientnet_lite0"


def build_backbone() -> nn.Module:
    """timm's EfficientNet-Lite0 up to its last feature map, of 320 channels and stride 32."""
    try:
        import timm
    except ImportError as error:
        raise ImportError("The policy network of token sharing is a model of timm: pip install timm.") from error
    # Not `tf_efficientnet_lite0`, which has the same names but pads otherwise and has another epsilon.
    return timm.create_model(BACKBONE, features_only=True, out_indices=(4,))


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
    """EfficientNet-Lite0 and a 1x1 convolution, which score every superpatch of 32 x 32 pixels."""

    config: CtsPolicyNetConfig
    base_model_prefix = "cts_policy"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    # transformers' Trainer counts the superpatches that are ignored, too.
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

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """
        How many items the loss of some labels is a mean over, the superpatches that are not ignored; see `count_items`
        of a segmentation model.
        """
        ignore_index = self.config.semantic_loss_ignore_index
        return (unify_ignored(labels, 2, ignore_index) != ignore_index).sum()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | float | None = None,
        **kwargs,
    ) -> CtsPolicyNetOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 3, height, width)`):
                Images of any size, normalised to -1..1.
            labels (`torch.Tensor` of shape `(batch, ceil(height / 32), ceil(width / 32))`, *optional*):
                1 for superpatches that hold a single class, 0 for others, and 255 or
                `config.semantic_loss_ignore_index` for those to ignore, in any integer dtype.
            num_items_in_batch (`torch.Tensor`, *optional*):
                What the loss is a mean over, if this is one of several batches of a step: the sum of their
                [`count_items`]. By default it is what this batch holds.

        Raises:
            ValueError: if `pixel_values` are no such images, or `labels` do not have one value for each superpatch, or
                another than these.
        """
        check_images(pixel_values, num_channels=3)
        logits = self.head(self.backbone(pixel_values.to(self.dtype))[0])

        loss = None
        if labels is not None:
            ignore_index = self.config.semantic_loss_ignore_index
            check_shape(labels, (logits.shape[0], *logits.shape[-2:]), "superpatch of 32 x 32 pixels")
            labels = unify_ignored(labels, logits.shape[1], ignore_index)
            check_values(labels, logits.shape[1], ignore_index, "1 stands for a single class, 0 for several.")
            total = nn.functional.cross_entropy(logits.float(), labels, ignore_index=ignore_index, reduction="sum")
            loss = total / divisor(self.count_items(labels) if num_items_in_batch is None else num_items_in_batch)
        return CtsPolicyNetOutput(loss=loss, logits=logits)


__all__ = ["CtsPolicyNet"]
