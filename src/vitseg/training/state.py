# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the steps of a training run change: weights, optimizer, schedule, moving average and progress, and how fast."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import nn
from transformers import PreTrainedModel

from ..recipes import OptimizationRecipe
from .distribution import copy_full_weights, shard_by_layer
from .optimization import build_optimizer, build_schedule
from .tasks import ModelToTrain


class RunningLosses:
    """Means of the named losses since they were last read. Adding waits for no device."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Count one batch; `losses` are scalars by name, the same names each time."""
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss.detach().float()
        self._count += 1

    def synchronize(self, accelerator: Accelerator) -> None:
        """Make the sums those of all processes together, divided by their number. All processes call this."""
        self._sums = {name: accelerator.reduce(value, "mean") for name, value in self._sums.items()}

    def means(self) -> dict[str, float]:
        """The means so far, of the batches of this process alone unless the sums are synchronized."""
        return {name: value.item() / self._count for name, value in self._sums.items()}

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over all batches of all processes, which are then forgotten. All processes call this."""
        self.synchronize(accelerator)
        means = self.means()
        self._sums, self._count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._count = state["count"]


class Progress:
    """What a checkpoint holds besides weights, optimizer, schedule and random states. `device` is where losses are."""

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self.best_score = -1.0  # Less than any score: there is none yet.
        self.losses = RunningLosses()
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "best_score": self.best_score, "losses": self.losses.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step, self.best_score = state["step"], state["best_score"]
        self.losses.load_state_dict(state["losses"], self._device)


class Stopwatch:
    """Images per second, and the share of the time that the training waits for data."""

    def __init__(self, step: int) -> None:
        self.restart(step)

    def restart(self, step: int) -> None:
        """Forget the time so far; `step` is the number of steps made."""
        self._step, self._started, self._waited = step, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    def read(self, step: int, batch_size: int) -> tuple[float, float]:
        """Images per second and the share of waiting since the last reading, at the end of `step`."""
        seconds = time.perf_counter() - self._started
        speed, share = (step - self._step) * batch_size / seconds, self._waited / seconds
        self.restart(step)
        return speed, share


class TrainingState:
    """
    A model in training, ready for the devices, and all that goes into its checkpoints.

    Args:
        start: the model, on the CPU.
        frozen: its modules that stay in evaluation mode.
        recipe: says how it is optimized.
        accelerator: prepares it, and saves and loads its checkpoints.
        ema: decay of a moving average of the weights, which is then validated and saved; `None` for none.

    Raises:
        ValueError: if the distribution cannot be had.
    """

    def __init__(
        self,
        start: ModelToTrain,
        frozen: Sequence[nn.Module],
        recipe: OptimizationRecipe,
        accelerator: Accelerator,
        ema: float | None,
    ) -> None:
        self.accelerator = accelerator
        self.frozen = frozen
        self.image_processor = start.image_processor
        self.model, trained = start.model, start.trained
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            # timm's, which keeps the activations that its batch norms hold.
            trained = convert_sync_batchnorm(trained)
        self.average = None if ema is None else ModelEmaV3(self.model, decay=ema).to(accelerator.device)
        self.whole: PreTrainedModel | None = None
        if accelerator.distributed_type == DistributedType.FSDP:
            if self.average is not None or not accelerator.is_fsdp2:
                raise ValueError("With FSDP, use fsdp_version 2 of Accelerate, and no --ema.")
            # Before the weights become shards, which no copy can be made of.
            self.whole = copy.deepcopy(self.model).to(accelerator.device)
            shard_by_layer(accelerator, trained)

        optimizer = build_optimizer(trained, recipe, fused=accelerator.device.type == "cuda")
        self.trained, self.optimizer = accelerator.prepare(trained, optimizer)
        self.schedule = build_schedule(self.optimizer.optimizer, recipe)
        self.progress = Progress(accelerator.device)
        accelerator.register_for_checkpointing(self.schedule, self.progress)
        if self.average is not None:
            accelerator.register_for_checkpointing(self.average)

    def evaluated_model(self) -> PreTrainedModel:
        """What is validated and saved: the model, its average, or a copy of what is in shards. All call this."""
        if self.average is not None:
            return self.average.module
        if self.whole is not None:
            copy_full_weights(self.model, self.whole)
            return self.whole
        return self.model

    def begin_step(self) -> None:
        """Training mode, but for what is frozen: nothing is dropped there, and no statistics change."""
        self.trained.train()
        for module in self.frozen:
            module.eval()

    def end_step(self) -> float:
        """Count a step of the optimizer as made; returns the learning rate it was made at."""
        learning_rate = self.optimizer.param_groups[0]["lr"]
        self.schedule.step()
        self.progress.step += 1
        if self.average is not None:
            self.average.update(self.model, self.progress.step)
        return learning_rate
