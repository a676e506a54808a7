# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the steps of a training run change: weights, optimizer, schedule, moving average and progress."""

import copy

from accelerate import Accelerator, DistributedType
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from transformers import PreTrainedModel

from ..recipes import OptimizationRecipe
from .distribution import copy_full_weights, shard_by_layer
from .history import Progress
from .optimization import build_optimizer, build_schedule
from .tasks import ModelToTrain


class TrainingState:
    """
    A model in training, ready for the devices, and all that goes into its checkpoints.

    Args:
        start: the model, on the CPU.
        recipe: says how it is optimized.
        accelerator: prepares it, and saves and loads its checkpoints.
        ema: decay of a moving average of the weights, which is then validated and saved; `None` for none.

    Raises:
        ValueError: if the distribution cannot be had.
    """

    def __init__(
        self, start: ModelToTrain, recipe: OptimizationRecipe, accelerator: Accelerator, ema: float | None
    ) -> None:
        self.accelerator = accelerator
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

    def end_step(self) -> float:
        """Count a step of the optimizer as made; returns the learning rate it was made at."""
        learning_rate = self.optimizer.param_groups[0]["lr"]
        self.schedule.step()
        self.progress.step += 1
        if self.average is not None:
            self.average.update(self.model, self.progress.step)
        return learning_rate
