# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring a model on labelled images by its own protocol."""

from typing import Any

import datasets
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from .metric import MeanIoU


@torch.no_grad()
def evaluate_model(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    examples: datasets.Dataset,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """
    Mean IoU of a model, one image at a time at its original size, as the published figures are measured.

    Every process takes its share of the images, none twice, and gets the whole result.

    Args:
        model: a segmentation model; its configuration holds the protocol (windows or whole images).
        image_processor: resizes and normalises the images.
        examples: items with `image` (PIL) and `label_map` (integer array of train ids, `(height, width)`), as
            `vitseg.data.streaming.load_examples` gives them.
        accelerator: says which share of the images is this process's, and where the model runs.

    Returns:
        The scores of [`MeanIoU.compute`].
    """
    was_training = model.training
    model.eval()
    metric = MeanIoU(num_labels=model.config.num_labels, ignore_index=model.config.semantic_loss_ignore_index)
    share = range(accelerator.process_index, len(examples), accelerator.num_processes)
    for index in tqdm(share, desc="Evaluating", unit="image", disable=not accelerator.is_main_process):
        example = examples[index]
        inputs = image_processor(example["image"], return_tensors="pt").to(accelerator.device)
        with accelerator.autocast():
            outputs = model(**inputs)
        (prediction,) = image_processor.post_process_semantic_segmentation(
            outputs, target_sizes=[example["label_map"].shape]
        )
        metric.add(prediction=prediction, reference=example["label_map"])
    model.train(was_training)
    return metric.compute()
