# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Content-aware token sharing: superpatches of 2 x 2 patches that show a single class get one token in place of four.

Paper: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers",
https://arxiv.org/abs/2306.02095. Original: https://github.com/tue-mps/cts-segmenter (MIT).

A *candidate* is what a token may stand for: one of the patches, in raster order, or one of the superpatches, in raster
order behind them. The superpatches begin at the top left; in a grid with an odd side, those of the last row or column
are incomplete and never shared. Each image shares other superpatches, but all the same number of them.

Nothing here is a loop over images or patches, waits for an accelerator, or depends on the size of the grid being even,
so that a compiled or exported program works for any size.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from .layers import pad_to_multiple


# Rows and columns of patches in a superpatch.
SIDE = 2


class SharedTokens(NamedTuple):
    """
    Who has which token. Tokens are in the order of their candidates: patches that share none, then superpatches.

    Args:
        candidates: the candidate of each token, `(batch, tokens)`.
        tokens: the token of each patch, `(batch, rows, columns)`.
    """

    candidates: torch.Tensor
    tokens: torch.Tensor

    def select(self, candidates: torch.Tensor) -> torch.Tensor:
        """Values of candidates, `(batch or 1, candidates, channels)` -> of the tokens, `(batch, tokens, channels)`."""
        return take_rows(candidates, self.candidates)

    def restore(self, tokens: torch.Tensor, num_prefix_tokens: int = 0) -> torch.Tensor:
        """Values of the tokens, `(batch, tokens, channels)`, the first of which may stand for no patch -> of the
        patches, `(batch, rows, columns, channels)`."""
        rows = take_rows(tokens, self.tokens.flatten(1) + num_prefix_tokens)
        return rows.unflatten(1, tuple(self.tokens.shape[1:]))


def share_tokens(policy_logits: torch.Tensor, grid_size: tuple[int, int], num_shared: int) -> SharedTokens:
    """
    Let the `num_shared` superpatches of each image that most probably hold a single class share a token each.

    Args:
        policy_logits: scores of the superpatches, `(batch, 2, ceil(rows / 2), ceil(columns / 2))`, the second of them
            for a single class.
        grid_size: rows and columns of patches.
        num_shared: at most `(rows // 2) * (columns // 2)`.
    """
    rows, columns = (torch.arange(side, device=policy_logits.device) for side in grid_size)
    super_rows, super_columns = (torch.arange(side, device=rows.device) for side in policy_logits.shape[-2:])
    complete = (SIDE * super_rows + 1 < grid_size[0])[:, None] & (SIDE * super_columns + 1 < grid_size[1])
    # By the probability in float32, not by the difference of the logits: the original's saturates alike.
    scores = policy_logits.float().softmax(dim=1)[:, 1].masked_fill(~complete, -1.0).flatten(1)
    chosen = scores.topk(num_shared, dim=1).indices
    shared = torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, torch.ones_like(chosen, dtype=torch.bool))

    superpatch = (rows[:, None] // SIDE * policy_logits.shape[-1] + columns // SIDE).flatten()
    patch_shared = shared.index_select(1, superpatch)
    num_patches = grid_size[0] * grid_size[1]
    num_tokens = num_patches - (SIDE**2 - 1) * num_shared
    alone = (~patch_shared).long().cumsum(dim=1) - 1
    together = shared.long().cumsum(dim=1) - 1 + (num_tokens - num_shared)
    tokens = torch.where(patch_shared, together.index_select(1, superpatch), alone)

    # The candidates that have a token, in their order: the first has the largest key.
    present = torch.cat((~patch_shared, shared), dim=1)
    keys = torch.arange(num_patches + scores.shape[1], 0, -1, device=present.device) * present
    return SharedTokens(keys.topk(num_tokens, dim=1).indices, tokens.unflatten(1, grid_size))


def candidate_pixels(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """
    The pixels of all candidates, `(batch, candidates, channels * patch_size**2)`, of images `(batch, channels, height,
    width)` whose sides are multiples of the even `patch_size`. A superpatch is halved: four pixels become their mean.
    """
    halved = pad_to_multiple(nn.functional.avg_pool2d(pixel_values, SIDE), patch_size)
    return torch.cat((_to_rows(pixel_values, patch_size), _to_rows(halved, patch_size)), dim=1)


def candidate_positions(positions: torch.Tensor) -> torch.Tensor:
    """The position embedding of all candidates, `(1, candidates, hidden)`, from that of the grid, `(1, rows, columns,
    hidden)`. A superpatch has the mean of its four patches."""
    missing = [side % SIDE for side in positions.shape[1:3]]
    halved = nn.functional.pad(positions, (0, 0, 0, missing[1], 0, missing[0]))
    halved = halved.unflatten(2, (-1, SIDE)).unflatten(1, (-1, SIDE)).mean(dim=(2, 4))
    return torch.cat((positions.flatten(1, 2), halved.flatten(1, 2)), dim=1)


def take_rows(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`values[b, index[b, i]]`: `(batch, n, channels)` and `(batch, m)` -> `(batch, m, channels)`. If `values` are the
    same for all images, they may have a batch of 1."""
    # Whole rows are copied much faster than by `gather`.
    first_rows = torch.arange(values.shape[0], device=index.device)[:, None] * values.shape[1]
    rows = (first_rows + index).flatten()
    return values.flatten(0, 1).index_select(0, rows).unflatten(0, tuple(index.shape))


def take_shared(
    config: Any, pixel_values: torch.Tensor, positions: torch.Tensor, policy_logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, SharedTokens]:
    """
    The patches and superpatches that have a token.

    Args:
        config: the plain ViT's [`PlainVitConfig`].
        pixel_values: images, `(batch, channels, height, width)`, whose sides are multiples of the patch size.
        positions: the position embedding of the prefix tokens and of the patches, `(1, prefix and patches, hidden)`.
        policy_logits: see [`share_tokens`].

    Returns:
        Their pixels as images of a single row of patches, `(batch, channels, patch_size, tokens * patch_size)`; the
        positions of the prefix tokens and of these, `(batch, prefix and tokens, hidden)`; and who has which token.
    """
    patch_size = config.patch_size
    grid_size = (pixel_values.shape[-2] // patch_size, pixel_values.shape[-1] // patch_size)
    shared_tokens = share_tokens(policy_logits, grid_size, config.num_shared(*grid_size))
    patches = shared_tokens.select(candidate_pixels(pixel_values, patch_size))
    # Side by side, which convolutions are faster at than one below the other.
    patches = patches.unflatten(2, (-1, patch_size, patch_size)).permute(0, 2, 3, 1, 4).flatten(3, 4)
    prefix, grid = positions[:, : config.num_prefix_tokens], positions[:, config.num_prefix_tokens :]
    grid = shared_tokens.select(candidate_positions(grid.unflatten(1, grid_size)))
    return patches, torch.cat((prefix.expand(grid.shape[0], -1, -1), grid), dim=1), shared_tokens


def _to_rows(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """`(batch, channels, height, width)` -> `(batch, patches, channels * patch_size**2)`, in the order of the kernel
    of a convolution."""
    # One dimension at a time, which torch.export follows several times as fast.
    patches = pixel_values.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
