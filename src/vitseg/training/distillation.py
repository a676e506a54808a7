# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How SCTNet is taught: the losses of its training, beside that of its own answer, and what they need.

"SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation",
https://arxiv.org/abs/2312.17071. The model itself knows nothing of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..models.layers import resize
from ..models.modeling_sctnet import SctNetForSemanticSegmentation, SctNetHead
from ..models.modeling_semantic import SegmentationOutput, label_maps
from ..models.pixel_losses import NumItems
from .teacher import Teacher


# Of the divergences of logits, of the features before them, of stage 4 and of stage 3.
ALIGNMENT_LOSS_WEIGHTS = (3.0, 15.0, 15.0, 15.0)
TEMPERATURE = 4.0
# Added to the standard deviation that the student's features are divided by.
ALIGNMENT_EPS = 1e-6


class Distillation(nn.Module):
    """
    An SCTNet in its published training: a second classifier, on stage 2, and with a teacher the alignment of features.

    The student is what is validated and saved. The teacher is frozen, stays in evaluation mode, and is no part of the
    state dict: whoever builds this again gives it again.

    Args:
        student: the model to train.
        teacher: knows the same classes; `None` to train without.
        auxiliary_hidden_size: width of the second classifier's head; by default that of the stage.
        auxiliary_loss_weight: of its loss; by default the one in the student's configuration.
        alignment_loss_weights: of the divergences of logits, of the features before them, of stage 4 and of stage 3.
        temperature: by which features are divided before their divergence is taken.

    Raises:
        ValueError: if the teacher knows another number of classes.
    """

    def __init__(
        self,
        student: SctNetForSemanticSegmentation,
        teacher: Teacher | None = None,
        *,
        auxiliary_hidden_size: int | None = None,
        auxiliary_loss_weight: float | None = None,
        alignment_loss_weights: Sequence[float] = ALIGNMENT_LOSS_WEIGHTS,
        temperature: float = TEMPERATURE,
    ) -> None:
        super().__init__()
        config = student.config
        if teacher is not None and teacher.config.num_labels != config.num_labels:
            raise ValueError(
                f"The teacher knows {teacher.config.num_labels} classes and the model {config.num_labels}. Their "
                "logits are aligned, so they must know the same: train a teacher on the same data set first."
            )
        self.auxiliary_loss_weight = (
            config.auxiliary_loss_weight if auxiliary_loss_weight is None else auxiliary_loss_weight
        )
        width = 2 * config.base_channels
        self.student = student
        self.auxiliary_head = SctNetHead(width, auxiliary_hidden_size or width, config.num_labels)
        self.alignment = None
        self.teacher = None
        if teacher is not None:
            channels = teacher.alignment_channels
            self.alignment = Alignment(config.base_channels, channels, alignment_loss_weights, temperature)
            self.teacher = teacher.requires_grad_(False).eval()
        self.to(device=student.device, dtype=student.dtype)
        self.register_state_dict_post_hook(_leave_teacher_out)
        self.register_load_state_dict_post_hook(_do_not_miss_teacher)

    def train(self, mode: bool = True) -> "Distillation":
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def names_of_heads(self) -> list[str]:
        """The names of the parameters that are neither the student's nor the teacher's."""
        names = (name for name, _ in self.named_parameters())
        return [name for name in names if not name.startswith(("student.", "teacher."))]

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> SegmentationOutput:
        """
        Args:
            pixel_values: normalised images `(batch, channels, height, width)`.
            labels: as the student takes them.
            num_items_in_batch: what the losses are means over, if this is one of several batches of a step: the sum of
                the student's `count_items` of their labels. Images count by their pixels.

        Returns:
            [`SegmentationOutput`]: the student's `logits`, `(batch, num_labels, height, width)`; `loss`, and its terms
            in `loss_dict`: `decode.loss_ce`, `aux_0.loss_ce`, and with a teacher `aux_1.loss_guidance`.

        Raises:
            ValueError: if `pixel_values` or `labels` do not fit the model or each other.
        """
        student, size = self.student, pixel_values.shape[-2:]
        labels = label_maps(labels, pixel_values, student.config)
        stage2, stage3, stage4, fused = student.backbone(pixel_values).feature_maps
        scores = student.decode_head(fused)
        auxiliary_loss = student.pixel_loss(self.auxiliary_head(stage2), labels, num_items_in_batch)
        loss_dict = {
            "decode.loss_ce": student.pixel_loss(scores, labels, num_items_in_batch),
            "aux_0.loss_ce": self.auxiliary_loss_weight * auxiliary_loss,
        }
        if self.alignment is not None and self.teacher is not None:
            images = pixel_values.to(student.dtype)
            guidance = self.alignment(images, stage3, stage4, fused, self.teacher)
            share = 1 if num_items_in_batch is None else labels.numel() / num_items_in_batch
            loss_dict["aux_1.loss_guidance"] = guidance * share
        loss = sum(loss_dict.values(), torch.zeros_like(auxiliary_loss))
        return SegmentationOutput(loss=loss, logits=student.upsample(scores, size), loss_dict=loss_dict)


def _leave_teacher_out(module: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Of a state dict, which is kept to go on from: the teacher never changes, and comes from its own folder."""
    for name in [name for name in state_dict if name.startswith(f"{prefix}teacher.")]:
        del state_dict[name]


def _do_not_miss_teacher(module: nn.Module, incompatible_keys: Any) -> None:
    missing = incompatible_keys.missing_keys
    missing[:] = [name for name in missing if "teacher" not in name.split(".")]


class Alignment(nn.Module):
    """
    The loss that makes a student's features like those of its teacher ("semantic information alignment").

    It holds the projections of the student's features to the channels of the teacher's.

    Args:
        base_channels: of the student.
        teacher_channels: of the teacher's concatenated features, of its stage 4 and of its stage 3.
        loss_weights, temperature: see [`Distillation`].
    """

    def __init__(
        self, base_channels: int, teacher_channels: Sequence[int], loss_weights: Sequence[float], temperature: float
    ) -> None:
        super().__init__()
        shared, stage4, stage3 = teacher_channels
        self.loss_weights = loss_weights
        self.temperature = temperature
        self.shared_projection = nn.Conv2d(4 * base_channels, shared, 1)
        self.stage4_projection = nn.Conv2d(8 * base_channels, stage4, 1)
        self.stage3_projection = nn.Conv2d(4 * base_channels, stage3, 1)

    def forward(
        self,
        pixel_values: torch.Tensor,
        stage3: torch.Tensor,
        stage4: torch.Tensor,
        fused: torch.Tensor,
        teacher: Teacher,
    ) -> torch.Tensor:
        """
        The weighted sum of four divergences.

        Args:
            pixel_values: normalised images `(batch, channels, height, width)`, which the teacher looks at too.
            stage3, stage4, fused: the student's feature maps, `(batch, channels, rows, columns)`.
            teacher: see [`Distillation`].
        """
        with torch.no_grad():
            stages = teacher.encode(pixel_values)
            teacher_features = teacher.concatenate(stages)
            teacher_fused, teacher_logits = teacher.classify(teacher_features)
        features = resize(self.shared_projection(fused), teacher_features.shape[-2:])
        # The teacher's own classifier, through which gradients reach the student's features.
        student_fused, student_logits = teacher.classify(match_statistics(features, teacher_features))
        pairs = (
            (teacher_logits, student_logits),
            (teacher_fused, student_fused),
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


def channel_divergence(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    Kullback-Leibler divergence of the student's maps from the teacher's, each a distribution over its positions,
    averaged over images and channels ("Channel-wise Knowledge Distillation", https://arxiv.org/abs/2011.13256).

    Maps are `(batch, channels, rows, columns)`; the student's are resized if theirs is another size.
    """
    if student.shape[-2:] != teacher.shape[-2:]:
        student = resize(student, teacher.shape[-2:])
    expected, actual = (
        (maps.flatten(0, 1).flatten(1).float() / temperature).log_softmax(dim=-1) for maps in (teacher, student)
    )
    divergence = functional.kl_div(actual, expected, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
