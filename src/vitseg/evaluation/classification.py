# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring a classifier: how often the right class is the first, or among the first five."""

import torch
from accelerate import Accelerator
from datasets import Dataset
from timm.utils import accuracy
from torch import nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..progress import progress_bar
from .totals import sum_over_processes


def evaluate_classifier(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    examples: Dataset,
    accelerator: Accelerator,
    *,
    batch_size: int = 32,
    limit: int | None = None,
) -> dict[str, float]:
    """
    Top-1 and top-5 accuracy, and the mean cross-entropy.

    Every process takes its share of the images and gets the whole result. A model that is being trained is put into
    evaluation mode for that time.

    Args:
        model: a classifier on the accelerator's device.
        image_processor: resizes, crops and normalises the images.
        examples: items with `image` (PIL) and `label`, as `load_labelled_images` gives them.
        accelerator: says which share of the images is this process's, and where the model runs.
        batch_size: images at a time.
        limit: measure the first `limit` images only.

    Returns:
        `top1` and `top5`, from 0 to 1, and `cross_entropy`.
    """
    count = len(examples) if limit is None else min(limit, len(examples))
    share = list(range(accelerator.process_index, count, accelerator.num_processes))
    totals = [0.0] * 4
    was_training = model.training
    model.eval()
    batches = [share[first : first + batch_size] for first in range(0, len(share), batch_size)]
    for indices in progress_bar(batches, desc="Evaluating", unit="batch", disable=not accelerator.is_main_process):
        batch = examples[indices]
        inputs = image_processor(batch["image"], return_tensors="pt").to(accelerator.device)
        labels = torch.tensor(batch["label"], device=accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            logits = model(**inputs).logits.float()
        shares = accuracy(logits, labels, topk=(1, 5))
        entropy = nn.functional.cross_entropy(logits, labels)
        means = torch.stack((shares[0] / 100, shares[1] / 100, entropy, torch.ones_like(entropy))).tolist()
        totals = [total + len(labels) * mean for total, mean in zip(totals, means, strict=True)]
    model.train(was_training)
    top1, top5, total_entropy, total = sum_over_processes(totals, accelerator)
    return {"top1": top1 / total, "top5": top5 / total, "cross_entropy": total_entropy / total}
