# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Small parts that several networks share: checks, padding, resizing, drop path, attention, convolutions."""

import torch
from torch import nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs


def is_exporting() -> bool:
    """Whether `torch.export` or `torch.jit.trace` is at work, whose program should take images of other sizes too."""
    if torch.jit.is_tracing():
        return True
    # Before torch 2.14, `torch.compile` is taken for an export (pytorch#176347).
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


def as_pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """A size given as one number or as height and width, as height and width."""
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, width


def check_images(pixel_values: torch.Tensor, num_channels: int) -> None:
    """
    Refuse what is no images, none at all, or of another shape than `(batch, num_channels, height, width)`.

    Raises:
        TypeError: if it is no tensor.
        ValueError: naming the shape or dtype and the one expected.
    """
    if not isinstance(pixel_values, torch.Tensor):
        raise TypeError(f"pixel_values is a {type(pixel_values).__name__}; expected what the image processor returns.")
    if pixel_values.ndim != 4 or pixel_values.shape[1] != num_channels:
        raise ValueError(
            f"pixel_values has shape {tuple(pixel_values.shape)}; expected (batch, {num_channels}, height, width)."
        )
    if not torch.compiler.is_compiling() and 0 in pixel_values.shape:
        raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}: there is no image, or an empty one.")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values are {pixel_values.dtype}; expected floats, as the image processor normalises images."
        )


def channels_last(maps: torch.Tensor) -> torch.Tensor:
    """`(batch, channels, h, w)` -> `(batch, h, w, channels)`."""
    return maps.permute(0, 2, 3, 1)


def channels_first(maps: torch.Tensor) -> torch.Tensor:
    """`(batch, h, w, channels)` -> `(batch, channels, h, w)`."""
    return maps.permute(0, 3, 1, 2)


def pad_to_multiple(maps: torch.Tensor, multiple: int | list[int] | tuple[int, int]) -> torch.Tensor:
    """Zeros at the bottom and right of `(batch, channels, h, w)`, up to a multiple of a number of positions, or of one
    of rows and one of columns (mmsegmentation's rule)."""
    (height, width), (of_height, of_width) = maps.shape[-2:], as_pair(multiple)
    # In this form torch.export knows that the new height and width can be divided.
    padded_height = (height + of_height - 1) // of_height * of_height
    padded_width = (width + of_width - 1) // of_width * of_width
    # A branch on the padding would fix the exported program to the size it was traced with.
    if is_exporting() or padded_height != height or padded_width != width:
        maps = nn.functional.pad(maps, (0, padded_width - width, 0, padded_height - height))
    return maps


def crop(maps: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """The first rows and columns of maps `(batch, channels, h, w)`, as many as `size`, height and width, says."""
    height, width = size
    if is_exporting():
        # A slice would fix the program to sizes that need padding, or to those that do not.
        rows, columns = (torch.arange(side, device=maps.device) for side in (height, width))
        return maps.index_select(2, rows).index_select(3, columns)
    # Itself rather than a view, which FSDP warns of.
    return maps if maps.shape[-2:] == size else maps[..., :height, :width]


def resize(maps: torch.Tensor, size: tuple[int, int] | torch.Size, mode: str = "bilinear") -> torch.Tensor:
    """Maps `(batch, channels, h, w)` of another height and width, without aligned corners."""
    # A branch on the size would fix the exported program to the one it was traced with.
    if not is_exporting() and maps.shape[-2:] == tuple(size):
        return maps
    align_corners = None if mode == "nearest" else False
    return nn.functional.interpolate(maps, size=size, mode=mode, align_corners=align_corners)


def copy_tokens(hidden_states: torch.Tensor, first: int, end: int) -> torch.Tensor:
    """
    `hidden_states[:, first:end]`, as linear layers take it for several images: they would copy a slice.

    For a single image they would not, and an exported program would be fixed to one or the other.
    """
    return hidden_states.index_select(1, torch.arange(first, end, device=hidden_states.device))


class DropPath(nn.Module):
    """Stochastic depth: a residual branch is dropped for a whole sample (https://arxiv.org/abs/1603.09382)."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return hidden_states
        keep_prob = 1.0 - self.drop_prob
        mask = hidden_states.new_empty(hidden_states.shape[0], *(1,) * (hidden_states.ndim - 1)).bernoulli_(keep_prob)
        return hidden_states * mask / keep_prob


class ConvLayer(nn.Module):
    """Convolution, batch norm, ReLU; the size of the feature map stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.batch_norm(self.conv(feature_map)))


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention that returns its probabilities; all tensors are `(batch, heads, tokens, head_dim)`."""
    attention = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attention = attention + attention_mask
    attention = nn.functional.softmax(attention, dim=-1, dtype=torch.float32).to(query.dtype)
    attention = nn.functional.dropout(attention, p=dropout, training=module.training)
    output = torch.matmul(attention, value).transpose(1, 2).contiguous()
    return output, attention
