# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The teacher that SCTNet is trained with: its own kind, or a SegFormer of transformers."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from ..models.configuration_sctnet_teacher import SctNetTeacherConfig
from ..models.layers import resize
from ..models.modeling_sctnet_teacher import SctNetTeacherForSemanticSegmentation, encode
from ..replacing import standing


class SegformerTeacher(nn.Module):
    """
    transformers' SegFormer, such as those on the Hub, as a teacher of SCTNet: a usable one, not the published one.

    Its branches are linear, and their maps lie side by side with those of the last stage first.
    """

    def __init__(self, model: SegformerForSemanticSegmentation):
        super().__init__()
        self.model = model

    @property
    def config(self) -> SegformerConfig:
        return self.model.config

    @property
    def alignment_channels(self) -> list[int]:
        """Channels of the concatenated features, of stage 4 and of stage 3."""
        hidden_sizes = self.config.hidden_sizes
        return [len(hidden_sizes) * self.config.decoder_hidden_size, hidden_sizes[3], hidden_sizes[2]]

    def encode(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The output of each stage; see [`encode`]."""
        return encode(self.model.segformer, pixel_values)

    def concatenate(self, stages: list[torch.Tensor]) -> torch.Tensor:
        """What the classifier takes, from the output of the stages."""
        size = stages[0].shape[-2:]
        branches = self.model.decode_head.linear_projections
        maps = [
            branch(stage).transpose(1, 2).unflatten(2, stage.shape[-2:])
            for branch, stage in zip(branches, stages, strict=True)
        ]
        return torch.cat([resize(branch_maps, size) for branch_maps in maps[::-1]], dim=1)

    def classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fused features and logits, `(batch, channels, rows, columns)` at 1/4 of the image's size."""
        head = self.model.decode_head
        fused = head.activation(head.batch_norm(head.linear_fuse(features)))
        return fused, head.classifier(head.dropout(fused))


Teacher: TypeAlias = SctNetTeacherForSemanticSegmentation | SegformerTeacher


def load_teacher(source: str, id2label: Mapping[int, str]) -> Teacher:
    """
    A teacher from a model folder or a repository on the Hub.

    Args:
        source: a `sctnet_teacher` (trained with `vitseg train`, or converted), or a SegFormer of transformers.
        id2label: train id -> class name of the model to teach, whose logits are aligned with the teacher's.

    Raises:
        ValueError: if there is no such model, if it cannot teach, or if it knows other classes.
    """
    source = standing(source)
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"There is no teacher {source}: it is neither a model folder nor a model on the Hub. Train one on the "
            "same classes first, or convert one (--method sctnet_teacher), and give it with --teacher; or train "
            "without, with --teacher none."
        ) from error
    _check_classes(source, config, id2label)
    if isinstance(config, SctNetTeacherConfig):
        return AutoModelForSemanticSegmentation.from_pretrained(source, dtype=torch.float32)
    if isinstance(config, SegformerConfig):
        return SegformerTeacher(SegformerForSemanticSegmentation.from_pretrained(source, dtype=torch.float32))
    raise ValueError(f"{source} is a {config.model_type!r}; a teacher is a 'sctnet_teacher' or a 'segformer'.")


def _check_classes(source: str, config: PreTrainedConfig, id2label: Mapping[int, str]) -> None:
    ours, theirs = list(id2label.values()), list(config.id2label.values())
    if len(ours) != len(theirs):
        raise ValueError(
            f"The teacher {source} knows {len(theirs)} classes and the data set {len(ours)}. Logits are aligned, so "
            "they must be the same: train a teacher on this data set first."
        )
    # A converted teacher may not know the names.
    has_names = theirs != [f"LABEL_{index}" for index in range(len(theirs))]
    names = enumerate(zip(ours, theirs, strict=True))
    pairs = [f"{index}: {our!r}, {their!r}" for index, (our, their) in names if our != their]
    if has_names and pairs:
        raise ValueError(
            f"The teacher {source} has other classes than the data set, or in another order: {'; '.join(pairs[:3])}."
        )
