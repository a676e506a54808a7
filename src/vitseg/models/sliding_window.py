# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Windowed inference: overlapping windows go through a network together and their scores are averaged.

This is mmsegmentation's "slide" test mode, which the published numbers of most plain-ViT segmentation models rely on:
windows on a regular grid, the last ones shifted back inside the image (never padded), logits (not probabilities)
averaged where windows overlap.
"""

import functools
from collections.abc import Callable

import torch


@torch.compiler.disable
def window_starts(length: int, window: int, stride: int) -> list[int]:
    """
    First pixels of the windows that cover `length` pixels, `stride` apart, the last shifted back to end at the edge.

    A length that is not larger than the window has one window, at 0.
    """
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride + window, length) - window, 0) for index in range(count)]


# The loop over windows would be another program for each size of image; `predict` is compiled nevertheless.
@functools.partial(
    torch.compiler.disable,
    recursive=False,
    reason="windows are cut and averaged outside of the compiled pass: compile without fullgraph=True",
)
def slide_inference(
    predict: Callable[[torch.Tensor], torch.Tensor],
    pixel_values: torch.Tensor,
    window_size: tuple[int, int],
    window_stride: tuple[int, int],
    window_batch_size: int,
) -> torch.Tensor:
    """
    Logits of images larger than one window, averaged over overlapping windows.

    Args:
        predict: the network, `(windows, channels, h, w)` -> logits `(windows, num_labels, h, w)`.
        pixel_values: normalised images, `(batch, channels, height, width)`.
        window_size: height and width of a window in pixels. In a direction in which the image is smaller, windows have
            the image's own size.
        window_stride: vertical and horizontal distance of the windows in pixels.
        window_batch_size: how many windows, of all images together, go through the network at a time.

    Returns:
        Logits `(batch, num_labels, height, width)`, in the dtype that `predict` returns. They are summed in float32.
    """
    batch, _, height, width = pixel_values.shape
    window_height, window_width = min(window_size[0], height), min(window_size[1], width)
    tops = window_starts(height, window_height, window_stride[0])
    lefts = window_starts(width, window_width, window_stride[1])
    windows = [
        (image, slice(top, top + window_height), slice(left, left + window_width))
        for image in range(batch)
        for top in tops
        for left in lefts
    ]

    positions = torch.arange(height * width, device=pixel_values.device).view(height, width)
    total, dtype = torch.empty(0), pixel_values.dtype
    for first in range(0, len(windows), window_batch_size):
        chunk = windows[first : first + window_batch_size]
        logits = predict(torch.stack([pixel_values[image, :, rows, columns] for image, rows, columns in chunk]))
        if first == 0:
            total = logits.new_zeros(batch, logits.shape[1], height, width, dtype=torch.float32)
            dtype = logits.dtype
        for index, (image, rows, columns) in enumerate(chunk):
            covered = positions[rows, columns].flatten()
            total[image].flatten(1).index_add_(1, covered, logits[index].flatten(1).float())
        del logits  # which would stay while the network makes the next ones

    row_count = total.new_tensor([sum(top <= y < top + window_height for top in tops) for y in range(height)])
    column_count = total.new_tensor([sum(left <= x < left + window_width for left in lefts) for x in range(width)])
    return total.div_(row_count[:, None] * column_count).to(dtype)
