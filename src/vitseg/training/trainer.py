# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer for whole steps: a recipe's batch on any number of devices, and losses that are its means."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer, TrainingArguments


def share_of_batch(batch_size: int, arguments: TrainingArguments) -> int:
    """
    How many images of a step each device takes, for `per_device_train_batch_size`.

    Args:
        batch_size: images of a step on all devices together.
        arguments: say how many devices there are.

    Raises:
        ValueError: if the devices cannot share the batch evenly.
    """
    devices = arguments.world_size * max(arguments.n_gpu, 1)
    if batch_size % devices:
        raise ValueError(
            f"A batch of {batch_size} images cannot be shared by {devices} devices. Use a number of devices that "
            "divides it, or change training.batch_size in a copy of the recipe."
        )
    return batch_size // devices


class StepTrainer(Trainer):
    """
    A `Trainer` whose steps have the same gradient however their images are divided among batches and processes.

    The losses of the batches of a step are means over what the whole step holds, as the model counts it
    (`count_items`). The `Trainer` itself counts labels, which is the same for some methods; for SegViT, Segmenter and
    the policy network of token sharing it takes the mean of the batches' means. Models in `nn.DataParallel`, which
    divides batches by itself, are trained as the `Trainer` does it.

    Args:
        kwargs: those of `Trainer`; `model` is one of vitseg for segmentation or classification, or an adapted one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Otherwise what the Trainer counts would be given to the model in an evaluation.
        self.model_accepts_loss_kwargs = False

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches or self.args.n_gpu > 1:
            return batches, None
        model: Any = self.model
        items = torch.stack([model.count_items(batch["labels"].to(device)) for batch in batches]).sum(dim=0)
        # The mean, because the Trainer averages losses over batches, and gradients over processes.
        return batches, self.accelerator.reduce(items) / (len(batches) * self.accelerator.num_processes)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        return super().compute_loss(model, {**inputs, "num_items_in_batch": num_items_in_batch}, return_outputs)
