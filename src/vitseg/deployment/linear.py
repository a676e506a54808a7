# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Linear layers computed as convolutions, which on processors of AMD is faster.

PyTorch computes float32 matrix products on x86 processors with MKL, which leaves half of what an AMD processor can do
unused; its convolutions are oneDNN's, which do not. A linear layer is a convolution with kernels of a single pixel,
and as such twice as fast there, with the same results but for the rounding. On a processor of Intel it is slower.
"""

import torch
from torch import nn

from ..models.modeling_segvit import SegVitClassScores


# With fewer rows, ordering the weight as oneDNN wants it takes longer than what is gained.
MIN_ROWS = 128
# It means nothing to kernels of one pixel, but without it PyTorch gives their convolutions by one thread to MKL.
DILATION = 2


class ConvolvedLinear(nn.Linear):
    """`nn.Linear`, which without gradients in float32 on the CPU is computed as a convolution."""

    @classmethod
    def of(cls, layer: nn.Linear) -> "ConvolvedLinear":
        """A linear layer with the weights of another, which they share."""
        convolved = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        convolved.weight, convolved.bias = layer.weight, layer.bias
        return convolved.train(layer.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return convolved_linear(input, self.weight, self.bias)


class ConvolvedClassScores(SegVitClassScores):
    """SegViT's scores of the classes, whose mixing of channels is a linear layer with other weights for each image."""

    def mix_channels(self, maps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        if not suits_convolution(maps.permute(0, 2, 3, 1), weights):
            return super().mix_channels(maps, weights)
        return torch.cat([convolve(*pair) for pair in zip(maps.split(1), weights, strict=True)])


def convolved_linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """
    `nn.functional.linear`, computed as a convolution where that may be faster.

    `(..., in_features)` and `(out_features, in_features)` -> `(..., out_features)`.
    """
    if not suits_convolution(input, weight):
        return nn.functional.linear(input, weight, bias)
    # The rows as the pixels of an image with channels last.
    pixels = input.reshape(1, -1, 1, input.shape[-1]).permute(0, 3, 1, 2)
    return convolve(pixels, weight, bias).permute(0, 2, 3, 1).reshape(*input.shape[:-1], -1)


def convolve(
    maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, groups: int = 1
) -> torch.Tensor:
    """A convolution of `(batch, in_features, height, width)` with kernels of one pixel."""
    return nn.functional.conv2d(maps, weight[:, :, None, None], bias, dilation=DILATION, groups=groups)


def suits_convolution(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a product of `(..., in_features)` with a weight is better computed as a convolution, on AMD."""
    return (
        # Compilers know what linear layers are, and a comparison of sizes would fix an exported program to some.
        not torch.compiler.is_compiling()
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        # oneDNN's derivatives by the weight are slow.
        and not torch.is_grad_enabled()
        and input.numel() >= MIN_ROWS * input.shape[-1]
    )
