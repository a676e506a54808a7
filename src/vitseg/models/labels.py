# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Labels as losses take them: what models are given is checked and cast, and what is ignored becomes one value."""

from collections.abc import Sequence

import torch


# What image processors, data sets and label maps in files hold for pixels to ignore, unless it is a class.
IGNORE_INDEX = 255


def as_class_ids(labels: torch.Tensor) -> torch.Tensor:
    """
    Labels of any integer dtype in int64.

    Raises:
        ValueError: if they are no integers.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels are {labels.dtype}; expected class ids in an integer dtype. Label maps that were scaled like "
            "images (torchvision's ToTensor divides by 255) must be read as they are stored."
        )
    return labels.to(torch.int64)


def unify_ignored(labels: torch.Tensor, num_labels: int, ignore_index: int) -> torch.Tensor:
    """
    As [`as_class_ids`], and `ignore_index`, that of a model's configuration, in the place of 255, which is ignored too
    unless it is a class.
    """
    labels = as_class_ids(labels)
    if ignore_index != IGNORE_INDEX and num_labels <= IGNORE_INDEX:
        labels = labels.masked_fill(labels == IGNORE_INDEX, ignore_index)
    return labels


def check_shape(labels: torch.Tensor, shape: Sequence[int], unit: str) -> None:
    """
    Refuse labels of another shape; `unit` is what has a label each.

    Raises:
        ValueError: naming both shapes.
    """
    if tuple(labels.shape) != tuple(shape):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; expected {tuple(shape)}, a class id for each {unit}."
        )


def check_values(labels: torch.Tensor, num_labels: int, ignore_index: int, hint: str) -> None:
    """
    Refuse a value outside the classes. It is only looked for on the CPU: an accelerator would stall at every step.

    Args:
        labels: in int64.
        num_labels: number of classes.
        ignore_index: what may be there besides.
        hint: what may be wrong.

    Raises:
        ValueError: naming the value, the number of classes and the hint.
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    outside = labels[(labels != ignore_index) & ((labels < 0) | (labels >= num_labels))]
    if outside.numel():
        raise ValueError(
            f"labels hold the value {outside[0].item()}, but the model has {num_labels} classes (0 to "
            f"{num_labels - 1}, and {ignore_index} for what is ignored). {hint}"
        )


def divisor(count: torch.Tensor | int | float) -> torch.Tensor | int | float:
    """What a sum over `count` items is divided by: the count itself, but 1 where it is 0, as the sum is then."""
    return count + (count == 0)
