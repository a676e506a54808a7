# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The teacher that SCTNet is trained with."""

from collections.abc import Mapping

from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from ..models.configuration_sctnet_teacher import SctNetTeacherConfig
from ..models.modeling_sctnet_teacher import SegformerTeacher


def load_teacher(source: str, id2label: Mapping[int, str]) -> nn.Module:
    """
    A teacher from a model folder or a repository on the Hub.

    Args:
        source: a `sctnet_teacher` (trained with `examples/train.py`, or converted), or a SegFormer of transformers.
        id2label: train id -> class name of the model to teach, whose logits are aligned with the teacher's.

    Raises:
        ValueError: if there is no such model, if it cannot teach, or if it knows other classes.
    """
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
        return AutoModelForSemanticSegmentation.from_pretrained(source)
    if isinstance(config, SegformerConfig):
        return SegformerTeacher(SegformerForSemanticSegmentation.from_pretrained(source))
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
