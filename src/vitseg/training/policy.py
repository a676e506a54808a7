# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training the policy network of token sharing: targets of superpatches, and how often it is right about them."""

import dataclasses
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers.image_processing_utils import BaseImageProcessor

from ..data.augmentation import IGNORE_INDEX
from ..data.policy_targets import PolicyTransform
from ..data.streaming import ExampleStream, SegmentationStream
from ..evaluation.inference import Examples
from ..evaluation.totals import sum_over_processes
from ..recipes import PolicyTraining
from .label_maps import LabelMapTask
from .policy_networks import initial_policy_net
from .tasks import ModelToTrain, Validation


class PolicyTask(LabelMapTask):
    """Whether superpatches hold one class or several; see [`Task`]."""

    scores = ("accuracy", "single_class")
    score_name = "share of superpatches right"
    training: PolicyTraining

    def open_stream(self, image_processor: BaseImageProcessor | None, **arguments: Any) -> ExampleStream:
        """As [`Task.open_stream`]; images are normalised in the network's own way, and labels are always targets."""
        return SegmentationStream(
            self.options.dataset,
            self.options.train_split,
            PolicyTransform(recipe=self.training),
            do_reduce_labels=self.options.reduce_labels,
            **arguments,
        )

    def describe(self, stream: ExampleStream) -> str:
        targets = torch.cat([example["labels"].flatten() for example in islice(stream, 16)])
        single, ignored = ((targets == value).float().mean() for value in (1, IGNORE_INDEX))
        return f"Superpatches of 16 images: a single class in {single:.1%}, ignored {ignored:.1%}."

    def build_model(self, init: str, resumes: bool) -> ModelToTrain:
        model = initial_policy_net(init)
        return ModelToTrain(model, self.recipe.build_image_processor(), random_names=[], trained=model)

    def measure(self, given: Validation) -> Mapping[str, float]:
        transform = PolicyTransform(recipe=self.training)
        return policy_accuracy(given.model, given.examples, transform, given.accelerator, given.limit)


@torch.no_grad()
def policy_accuracy(
    model: nn.Module,
    examples: Examples,
    transform: PolicyTransform,
    accelerator: Accelerator,
    limit: int | None = None,
) -> dict[str, float]:
    """
    How often a policy network is right about the superpatches of labelled images. All processes call this.

    Args:
        model: on the accelerator's device. It is put into evaluation mode for that time.
        examples: items with `image` (PIL) and `label_map`.
        transform: makes the targets; images are not flipped, and crops are the same each time.
        accelerator: says which share of the images is this process's.
        limit: look at the first `limit` images only.

    Returns:
        `accuracy`: the share of superpatches classified right, ignored ones left out; `single_class`: the share of
        those that hold a single class, what always saying so would reach. NaN if all are ignored.
    """
    transform = dataclasses.replace(transform, recipe=dataclasses.replace(transform.recipe, flip_probability=0.0))
    was_training = model.training
    model.eval()
    counts = [0] * 3
    count = len(examples) if limit is None else min(limit, len(examples))
    for index in range(accelerator.process_index, count, accelerator.num_processes):
        example = examples[index]
        image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
        label_map = torch.from_numpy(np.array(example["label_map"]))
        made = transform(image, label_map, np.random.default_rng(index))
        answer = model(made["pixel_values"][None].to(accelerator.device)).logits.argmax(dim=1)[0].cpu()
        targets = made["labels"]
        valid = targets != IGNORE_INDEX
        image_counts = ((answer == targets)[valid].sum(), (targets == 1).sum(), valid.sum())
        counts = [count + int(image_count) for count, image_count in zip(counts, image_counts, strict=True)]
    model.train(was_training)
    right, single, total = sum_over_processes(counts, accelerator)
    return {
        "accuracy": right / total if total else math.nan,
        "single_class": single / total if total else math.nan,
    }
