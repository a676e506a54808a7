# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From the scores of a model to classes and confidences at the size of an image, a band of rows at a time."""

import functools
from collections.abc import Iterator

import torch
from torch import nn


# Post-processing holds at most this many upsampled class scores at a time: 4 MB in float32, which stay in the
# processor's cache from the resizing to the choice of the highest.
MAX_SCORES = 2**20
# From so many classes on, and as long as no more than this share of the pixels lies between pixels of several classes,
# it takes less time on a CPU to find these than to resize the scores of all (AMD EPYC, one and two threads).
MIN_CLASSES, MOST_OPEN = 48, 0.35
# The logarithm of the smallest number is taken in the place of that of 0.
TINY = torch.finfo(torch.float32).tiny


def resized_bands(
    logits: torch.Tensor, size: tuple[int, int], align_corners: bool = False
) -> Iterator[tuple[slice, torch.Tensor]]:
    """
    Class scores after bilinear resizing, in bands of rows, so that those of a large image never exist all at once.

    `logits` is `(num_labels, h, w)`, `size` the new height and width; `align_corners` as PyTorch has it. Yields the
    rows of each band, from top to bottom, and their scores, float32 `(num_labels, rows, width)`.
    """
    num_labels, old_height, old_width = logits.shape
    height, width = size
    band_height = max(MAX_SCORES // (num_labels * width), 1)
    bands = [slice(top, min(top + band_height, height)) for top in range(0, height, band_height)]
    if (old_height, old_width) == (height, width):
        yield from ((rows, logits[:, rows].float()) for rows in bands)
        return
    resize = functools.partial(nn.functional.interpolate, mode="bilinear", align_corners=align_corners)
    if len(bands) == 1:
        yield bands[0], resize(logits[None].float(), size=size)[0]
        return

    low, weight = _between(old_height, height, align_corners)
    weight = weight.to(logits.device)
    for rows in bands:
        first, last = int(low[rows][0]), min(int(low[rows][-1]) + 1, old_height - 1)
        wide = resize(logits[None, :, first : last + 1].float(), size=(last + 1 - first, width))[0]
        upper = (low[rows] - first).to(logits.device)
        scores = wide[:, upper]
        yield rows, scores.lerp_(wide[:, (upper + 1).clamp_(max=last - first)], weight[rows][:, None])


def _between(old: int, new: int, align_corners: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Between which of the `old` pixels the `new` ones lie: the index of the first, and the weight of the next."""
    position = torch.arange(new, dtype=torch.float64, device="cpu")
    if align_corners:
        position *= (old - 1) / max(new - 1, 1)
    else:
        position = (position + 0.5) * (old / new) - 0.5
    position = position.clamp_(0, old - 1)
    low = position.long()
    return low, (position - low).float()


def resized_argmax(logits: torch.Tensor, size: tuple[int, int], align_corners: bool = False) -> torch.Tensor:
    """
    The class of the highest score at each pixel after bilinear resizing; see [`resized_bands`].

    `logits` is `(num_labels, h, w)`, `size` the new height and width. Returns int64 `(height, width)`.
    """
    if logits.device.type == "cpu" and len(logits) >= MIN_CLASSES and logits.shape[1:] != size:
        label_map, is_open = _classes_where_neighbours_agree(logits, size, align_corners)
        if is_open.count_nonzero() <= MOST_OPEN * is_open.numel():
            _fill_in(label_map, is_open, logits, align_corners)
            return label_map
    # `argmax` gives the same indices, but takes up to three times as long on a CPU.
    return torch.cat([scores.max(dim=0).indices for _, scores in resized_bands(logits, size, align_corners)])


def _classes_where_neighbours_agree(
    logits: torch.Tensor, size: tuple[int, int], align_corners: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Of scores that are resized, the classes of the pixels between four of the same class, which are of that, too, since
    resized scores are means of theirs; and which pixels are others: int64 and bool `(height, width)`.
    """
    classes = logits.max(dim=0).indices
    right = torch.cat([classes[:, 1:], classes[:, -1:]], dim=1)
    agrees = classes == right
    same_below = torch.cat([classes[1:] == classes[:-1], agrees.new_ones(1, agrees.shape[1])])
    agrees = agrees & same_below & torch.cat([agrees[1:], agrees[-1:]])
    rows, columns = (_between(old, new, align_corners)[0] for old, new in zip(classes.shape, size, strict=True))
    return classes[rows[:, None], columns], ~agrees[rows[:, None], columns]


def _fill_in(label_map: torch.Tensor, is_open: torch.Tensor, logits: torch.Tensor, align_corners: bool) -> None:
    """Find the classes of some pixels of a label map by resizing all their scores."""
    height, width = logits.shape[1:]
    rows, row_weights = _between(height, label_map.shape[0], align_corners)
    columns, column_weights = _between(width, label_map.shape[1], align_corners)
    flat = logits.flatten(1)

    def scores_at(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return flat.index_select(1, y.clamp(max=height - 1) * width + x.clamp(max=width - 1)).float()

    for pixels in is_open.nonzero().split(MAX_SCORES // len(logits)):
        y, x = pixels.unbind(1)
        top, left, across = rows[y], columns[x], column_weights[x]
        upper = scores_at(top, left).lerp_(scores_at(top, left + 1), across)
        lower = scores_at(top + 1, left).lerp_(scores_at(top + 1, left + 1), across)
        label_map[y, x] = upper.lerp_(lower, row_weights[y]).max(dim=0).indices


def resized_confidence(
    logits: torch.Tensor, size: tuple[int, int], temperature: float = 1.0, are_logits: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The class of the highest score at each pixel after bilinear resizing, and how sure of it the model is.

    Args:
        logits: `(num_labels, h, w)`.
        size: the new height and width.
        temperature: what logits are divided by before their softmax; above 1 the model is less sure.
        are_logits: whether scores are logits, so that the confidence is the largest softmax probability. If they are
            sums of probabilities, from 0 on, it is the share of the highest in the sum over the classes, which is the
            softmax of their logarithms.

    Returns:
        The label map of [`resized_argmax`], int64, and the confidence in it, float32 from 0 to 1, both
        `(height, width)`. Of all classes only a band of rows is held at a time.
    """
    bands = (confident_argmax(scores, temperature, are_logits) for _, scores in resized_bands(logits, size))
    label_maps, confidences = zip(*bands, strict=True)
    return torch.cat(label_maps), torch.cat(confidences)


def confident_argmax(
    scores: torch.Tensor, temperature: float = 1.0, are_logits: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """The class of the highest score, `(num_labels, height, width)`, at each pixel, and the confidence in it, as
    [`resized_confidence`] has them."""
    highest, label_map = scores.max(dim=0)
    if not are_logits:
        scores, highest = scores.clamp(min=TINY).log(), highest.clamp(min=TINY).log()
    odds = (scores - highest).div_(temperature).exp_()  # of each class against the highest
    return label_map, odds.sum(dim=0).reciprocal_()


def mean_confidence(label_map: torch.Tensor, confidence: torch.Tensor) -> dict[int, float]:
    """The mean confidence in each class that is present, where it is, by class id."""
    labels = label_map.flatten()
    sums = labels.bincount(confidence.flatten().double())
    counts = labels.bincount()
    return {index: float(sums[index] / counts[index]) for index in counts.nonzero().flatten().tolist()}
