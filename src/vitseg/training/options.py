# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The options of a training run, the same for all tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """
    What is trained on what, and how the run goes.

    Args:
        recipe: name of a recipe, or a file with one.
        dataset: folder with Parquet files, or a data set on the Hub.
        output: folder of the run.
        changes: dotted key -> value, what is to be other than in the recipe; see [`load_recipe`].
        init: weights at the start, see [`initial_model`] and [`initial_policy_net`]; `None` for the recipe's.
        policy: folder or Hub repository of a trained policy network, for a model that shares tokens; `"none"` to leave
            a random one.
        labels: file with the class names, if the data set does not bring them.
        reduce_labels: whether 0 means "no class" in the data set's label maps.
        train_split, validation_split: names of the splits; `"none"` to train without validation.
        ema: decay of a moving average of the weights, which is validated and saved in their place; `None` for the
            recipe's, if it has one.
        seed: of everything random.
        per_device_batch_size: images at a time on a device; `None` for its whole part of a step.
        gradient_checkpointing: whether activations are computed again to save memory.
        compile: whether the model is compiled with `torch.compile`.
        workers: loading processes of each training process; `None` for up to four.
        shuffle_buffer: samples that wait to be drawn.
        cache: whether the data set is copied to the local cache first, and shuffled fully.
        resume: `"latest"` to go on from the newest intact checkpoint, or the folder of one; `None` to start.
        validate_every: steps; `None` for ten times in all.
        validation_limit: images to validate on; `None` for all.
        checkpoint_every: steps.
        keep: how many checkpoints remain.
        log_every: steps.
        report_to: trackers of Accelerate.
    """

    recipe: str | Path
    dataset: str
    output: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    policy: str | None = None
    labels: Path | None = None
    reduce_labels: bool = False
    train_split: str = "train"
    validation_split: str = "validation"
    ema: float | None = None
    seed: int = 0
    per_device_batch_size: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: int | None = None
    shuffle_buffer: int = 1000
    cache: bool = False
    resume: str | None = None
    validate_every: int | None = None
    validation_limit: int | None = None
    checkpoint_every: int = 1000
    keep: int = 2
    log_every: int = 50
    report_to: Sequence[str] | None = None
