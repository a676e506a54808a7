# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The options of a training run, the same for all tasks, each stated once for Python and for the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arguments import positive_int
from ..data.sources import DataSource


def option(default: Any, help: str, **argument: Any) -> Any:
    """A field with its default, and its option on the command line as `argparse` has it; "{}" is the default."""
    return field(default=default, metadata={"help": help.format(default), **argument})


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """
    What is trained on what, and how the run goes. The help of each field, that of `vitseg train`, says what it is.

    `changes` has dotted key -> value, what is to be other than in the recipe; see [`load_recipe`]. What `init` may be,
    [`initial_model`] and [`initial_policy_net`] say. `policy="none"` leaves a random policy network, `ema=None` takes
    the recipe's decay, if it has one, and `per_device_batch_size=None` a device's whole part of a step.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)

    recipe: str | Path = field(metadata={"metavar": "NAME_OR_FILE", "help": "see `vitseg list`"})
    dataset: str | DataSource = field(
        metadata={"metavar": "DIR_OR_ID", "help": "prepared folder, or data set on the Hub"}
    )
    output: Path = field(metadata={"type": Path, "metavar": "DIR", "help": "folder of this run"})
    backbone: str | None = option(
        None, "pretrained backbone of transformers to put the recipe's decoder over", metavar="DIR_OR_ID"
    )
    init: str | None = option(
        None, "weights at the start (default: the recipe's)", metavar="pretrained|none|FILE|MODEL"
    )
    save_adapter: bool = option(False, "save heads and adapters alone, beside a pretrained backbone's name")
    policy: str | None = option(None, "trained policy network, for a model that shares tokens", metavar="MODEL")
    labels: Path | None = field(
        default=None,
        metadata={"type": Path, "metavar": "FILE", "help": "class names, if the data set does not bring them"},
    )
    reduce_labels: bool = option(False, "0 means 'no class' in the data set's label maps")
    train_split: str = option("train", "({})", metavar="NAME")
    validation_split: str = option("validation", "'none' to do without ({})", metavar="NAME")

    ema: float | None = option(None, "validate and save a moving average of the weights", type=float, metavar="DECAY")
    seed: int = option(0, "({})", type=int)

    per_device_batch_size: int | None = option(None, "images at a time on a device", type=positive_int)
    attention: str | None = option(
        None, "implementation of transformers: eager, flash_attention_2, ... (default: sdpa)", metavar="NAME"
    )
    gradient_checkpointing: bool = option(False, "recompute activations to save memory")
    compile: bool = option(False, "compile the model with torch.compile")
    workers: int | None = option(None, "loading processes of each device (default: up to 4)", type=int)
    shuffle_buffer: int = option(1000, "samples ({})", type=positive_int)
    cache: bool = option(False, "copy the data set to the local cache and shuffle it fully")

    resume: str | None = option(
        None, "go on from the newest checkpoint, or from this one", nargs="?", const="latest", metavar="latest|DIR"
    )
    validate_every: int | None = option(
        None, "steps (default: a tenth of the run, but 50 at least)", type=positive_int
    )
    validation_limit: int | None = option(None, "images to validate on (all)", type=positive_int)
    checkpoint_every: int = option(1000, "steps ({})", type=positive_int)
    keep: int = option(2, "how many checkpoints remain ({})", type=positive_int)
    log_every: int = option(50, "steps ({})", type=positive_int)
    report_to: Sequence[str] | None = option(
        None, "trackers of Accelerate, such as tensorboard", nargs="*", metavar="NAME"
    )
