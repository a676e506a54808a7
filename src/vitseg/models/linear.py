# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Linear layers as fast as a CPU can compute them.

PyTorch computes float32 matrix products on x86 processors with MKL, which does not use AVX-512 on those that are not
Intel's; its convolutions are oneDNN's, which does. A linear layer is a convolution with kernels of a single pixel, and
as such twice as fast there, with the same results but for the rounding.
"""

import torch
from torch import nn


# With fewer rows, ordering the weight as oneDNN wants it takes longer than what is gained.
MIN_ROWS = 128


class Linear(nn.Linear):
    """`nn.Linear`, without gradients in float32 on an x86 processor computed by oneDNN."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`nn.functional.linear`: `(..., in_features)` and `(out_features, in_features)` -> `(..., out_features)`."""
    if not _suits_onednn(input, weight):
        return nn.functional.linear(input, weight, bias)
    # The rows as the pixels of an image, channels last.
    pixels = input.reshape(1, -1, 1, input.shape[-1]).permute(0, 3, 1, 2)
    # Dilation means nothing to a kernel of one pixel, but without it PyTorch gives a single thread's convolution to
    # MKL again.
    output = nn.functional.conv2d(pixels, weight[:, :, None, None], bias, dilation=2)
    return output.permute(0, 2, 3, 1).reshape(*input.shape[:-1], -1)


def _suits_onednn(input: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        # Compiled and exported programs have passes of their own for linear layers.
        and not torch.compiler.is_compiling()
        # Quantised and distributed weights compute by themselves.
        and type(weight) in (torch.Tensor, nn.Parameter)
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and input.numel() >= MIN_ROWS * input.shape[-1]
    )
