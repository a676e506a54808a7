# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Semantic information alignment: how SCTNet learns features like those of its teacher. Only training needs it."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .configuration_sctnet import SctNetConfig
from .layers import resize


# Added to the standard deviation that the model's features are divided by when they are aligned with the teacher's.
ALIGNMENT_EPS = 1e-6


class SctNetAlignment(nn.Module):
    """
    The losses that make a model's features like those of its teacher.

    It holds the projections of the model's features to the channels of the teacher's, and no part of the teacher.
    """

    def __init__(self, config: SctNetConfig):
        super().__init__()
        channels = config.base_channels
        shared, stage4, stage3 = config.alignment_channels
        self.loss_weights = config.alignment_loss_weights
        self.temperature = config.alignment_temperature
        self.shared_projection = nn.Conv2d(4 * channels, shared, 1)
        self.stage4_projection = nn.Conv2d(8 * channels, stage4, 1)
        self.stage3_projection = nn.Conv2d(4 * channels, stage3, 1)

    def forward(
        self,
        pixel_values: torch.Tensor,
        stage3: torch.Tensor,
        stage4: torch.Tensor,
        fused: torch.Tensor,
        teacher: Any,
    ) -> torch.Tensor:
        """
        The weighted sum of four divergences.

        Args:
            pixel_values: normalised images, which the teacher looks at too.
            stage3, stage4, fused: the model's feature maps.
            teacher: see [`SctNetForSemanticSegmentation.add_training_heads`].
        """
        with torch.no_grad():
            stages = teacher.encode(pixel_values)
            teacher_features = teacher.concatenate(stages)
            teacher_fused, teacher_logits = teacher.classify(teacher_features)
        features = resize(self.shared_projection(fused), teacher_features.shape[-2:])
        # The teacher's own classifier, through which gradients reach the model's features.
        model_fused, model_logits = teacher.classify(match_statistics(features, teacher_features))
        pairs = (
            (teacher_logits, model_logits),
            (teacher_fused, model_fused),
            (stages[3], self.stage4_projection(stage4)),
            (stages[2], self.stage3_projection(stage3)),
        )
        first, *others = (
            weight * channel_divergence(*pair, temperature=self.temperature)
            for weight, pair in zip(self.loss_weights, pairs, strict=True)
        )
        return sum(others, start=first)


def match_statistics(maps: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`maps` with the mean and (unbiased) standard deviation of `reference`, for each channel over batch and space."""
    dims, dtype = (0, 2, 3), maps.dtype
    maps, reference = maps.float(), reference.float()
    deviation, mean = torch.std_mean(maps, dim=dims, keepdim=True)
    reference_deviation, reference_mean = torch.std_mean(reference, dim=dims, keepdim=True)
    return ((maps - mean) / (deviation + ALIGNMENT_EPS) * reference_deviation + reference_mean).to(dtype)


def channel_divergence(teacher: torch.Tensor, model: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    Kullback-Leibler divergence of the model's maps from the teacher's, each a distribution over its positions,
    averaged over images and channels ("Channel-wise Knowledge Distillation", https://arxiv.org/abs/2011.13256).

    Maps are `(batch, channels, rows, columns)`; the model's are resized if theirs is another size.
    """
    if model.shape[-2:] != teacher.shape[-2:]:
        model = resize(model, teacher.shape[-2:])
    expected, actual = (
        (maps.flatten(0, 1).flatten(1).float() / temperature).log_softmax(dim=-1) for maps in (teacher, model)
    )
    divergence = functional.kl_div(actual, expected, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
