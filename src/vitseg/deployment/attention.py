# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Attention computed as convolutions, which on processors of AMD is faster, for the reason that `linear.py` gives.

Queries are the pixels of an image whose channels are those of all heads; keys, and then values, are the kernels of a
convolution with a group for each head.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .linear import MIN_ROWS, convolve, suits_convolution


# The name by which transformers' models choose it.
CONVOLVED = "convolved"
# Of the scores of some heads that exist at a time: 64 MB. Images whose single heads have four times as many go to
# PyTorch's own attention, which never holds all scores of a head.
MAX_SCORES = 2**24


def convolved_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    One of transformers' attention functions, which take states `(batch, heads, tokens, channels)` and return
    `(batch, queries, heads, channels)`: its `sdpa`, computed as convolutions where that may be faster.
    """
    num_scores = query.shape[2] * key.shape[2]
    is_plain = attention_mask is None and dropout == 0.0 and not getattr(module, "is_causal", True)
    if not (
        suits_convolution(query, key)
        and is_plain
        and query.shape[1] == key.shape[1]
        and query.shape[2] >= MIN_ROWS
        and num_scores <= 4 * MAX_SCORES
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    heads = max(MAX_SCORES // num_scores, 1)
    key = key * (query.shape[3] ** -0.5 if scaling is None else scaling)
    images = zip(query, key, value, strict=True)
    attended = [
        torch.cat([attend(*some) for some in zip(*(states.split(heads) for states in image), strict=True)], dim=1)
        for image in images
    ]
    return torch.stack(attended), None


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """
    The attention of some heads of an image: `(heads, queries, channels)` and twice `(heads, keys, channels)` ->
    `(queries, heads, channels)`.
    """
    num_heads, num_keys, _ = key.shape
    pixels = query.transpose(0, 1).flatten(1)[None, :, None].permute(0, 3, 1, 2)
    scores = convolve(pixels, key.flatten(0, 1), groups=num_heads)
    scores = scores.permute(0, 2, 3, 1).reshape(-1, num_heads, num_keys)
    torch.softmax(scores, dim=-1, out=scores)
    pixels = scores.flatten(1)[None, :, None].permute(0, 3, 1, 2)
    attended = convolve(pixels, value.transpose(1, 2).flatten(0, 1), groups=num_heads)
    return attended.permute(0, 2, 3, 1).reshape(len(scores), num_heads, -1)


AttentionInterface.register(CONVOLVED, convolved_attention)
