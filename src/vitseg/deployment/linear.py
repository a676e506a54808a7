# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Linear layers as fast as a CPU can compute them.

PyTorch computes float32 matrix products on x86 processors with MKL, which leaves half of what an AMD processor can do
unused; its convolutions are oneDNN's, which do not. A linear layer is a convolution with kernels of a single pixel,
and as such twice as fast there, with the same results but for the rounding.
"""

import torch
from torch import nn


# With fewer rows, ordering the weight as oneDNN wants it takes longer than what is gained.
MIN_ROWS = 128


class Linear(nn.Linear):
    """`nn.Linear`, which without gradients in float32 on an x86 processor is computed by oneDNN."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`nn.functional.linear`: `(..., in_features)` and `(out_features, in_features)` -> `(..., out_features)`."""
    if not suits_convolution(input, weight):
        return nn.functional.linear(input, weight, bias)
    # The rows as the pixels of an image with channels last.
    pixels = input.reshape(1, -1, 1, input.shape[-1]).permute(0, 3, 1, 2)
    return convolve_pixels(pixels, weight, bias).permute(0, 2, 3, 1).reshape(*input.shape[:-1], -1)


def mix_channels(maps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    A linear map of the channels for each image: `(batch, c, height, width)` and `(batch, d, c)` -> `(batch, d, height,
    width)`. It is fastest where the channels are last in memory.
    """
    if not suits_convolution(maps.permute(0, 2, 3, 1), weights):
        return torch.einsum("bdc,bchw->bdhw", weights, maps)
    return torch.cat([convolve_pixels(*pair) for pair in zip(maps.split(1), weights, strict=True)])


def convolve_pixels(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A convolution of `(batch, c, height, width)` with kernels `(d, c)` of one pixel."""
    # Dilation means nothing to such kernels, but without it PyTorch gives the convolutions of a single thread to MKL.
    return nn.functional.conv2d(maps, weight[:, :, None, None], bias, dilation=2)


def suits_convolution(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a product of `(..., in_features)` with a weight is better computed as a convolution."""
    return (
        # Compilers know what linear layers are, and a comparison of sizes would fix an exported program to some.
        not torch.compiler.is_compiling()
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        # oneDNN's derivatives by the weight are slow.
        and not torch.is_grad_enabled()
        # Quantised and distributed weights have their own ways.
        and type(weight) in (torch.Tensor, nn.Parameter)
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and input.numel() >= MIN_ROWS * input.shape[-1]
    )
