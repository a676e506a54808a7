# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Mask classifiers of transformers (MaskFormer, Mask2Former, OneFormer, EoMT) as segmenters that score every class.

Such a model answers with queries: a mask, and what class it is of. Its image processor's semantic post-processing
makes scores of them, the sum over the queries of class probability times mask probability.
"""

import inspect
from typing import Any

import torch
from torch import nn
from transformers import AutoProcessor, PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.modeling_outputs import SemanticSegmenterOutput


class UniversalSegmenter(nn.Module):
    """
    A universal segmentation model that is called as a semantic one: images in, a score for each class out.

    Scores are sums of probabilities, from 0 on, and no logits. An EoMT, which takes images of one size alone, is shown
    larger ones in the patches that its image processor splits them into, and smaller ones padded with black, whose
    scores are cut off.

    Args:
        model: has queries for masks and classes.
        image_processor: the model's.
        task_inputs: the tokens of "the task is semantic" `(1, length)`, for a model that is told.
    """

    task_inputs: torch.Tensor | None
    black: torch.Tensor
    patch_size: tuple[int, int] | None

    def __init__(
        self, model: PreTrainedModel, image_processor: BaseImageProcessor, task_inputs: torch.Tensor | None = None
    ):
        super().__init__()
        self.model = model
        self.image_processor = image_processor
        self.register_buffer("task_inputs", task_inputs)
        self.patch_size = None
        if hasattr(image_processor, "do_split_image"):
            size = image_processor.size
            self.patch_size = size["shortest_edge"], size["longest_edge"] or size["shortest_edge"]
            black = image_processor(
                torch.zeros(3, 1, 1, dtype=torch.uint8),
                do_resize=False,
                do_split_image=False,
                do_pad=False,
                return_tensors="pt",
            )
            self.register_buffer("black", black["pixel_values"])

    @property
    def config(self) -> PreTrainedConfig:
        """The model's."""
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """In which the model computes."""
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        """Where it does."""
        return self.model.device

    def forward(self, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
        """
        Scores of normalised images `(batch, channels, height, width)`, in `logits`: float32
        `(batch, num_labels, h, w)` of any size.

        Raises:
            ValueError: if a model that takes one size cannot be shown images of this one.
        """
        if self.patch_size is None:
            scores = self._scores(pixel_values)
        else:
            scores = self._scores_in_patches(pixel_values, *self.patch_size)
        return SemanticSegmenterOutput(logits=scores)

    def _scores(self, pixel_values: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = {}
        if self.task_inputs is not None:
            arguments["task_inputs"] = self.task_inputs.expand(len(pixel_values), -1)
        outputs = self.model(pixel_values, **arguments)
        sizes: dict[str, Any] = {}
        if self.patch_size is not None:
            sizes["target_sizes"] = [self.patch_size] * len(pixel_values)
        # The sums are of many small numbers.
        outputs.class_queries_logits = outputs.class_queries_logits.float()
        outputs.masks_queries_logits = outputs.masks_queries_logits.float()
        with torch.autocast(pixel_values.device.type, enabled=False):
            processed = self.image_processor.post_process_semantic_segmentation(
                outputs, return_segmentation_scores=True, **sizes
            )
        return torch.stack([answer.segmentation_scores for answer in processed])

    def _scores_in_patches(self, pixel_values: torch.Tensor, patch_height: int, patch_width: int) -> torch.Tensor:
        """The mean of the scores of the patches of each image."""
        height, width = pixel_values.shape[-2:]
        split = self.image_processor(
            list(pixel_values),
            do_resize=False,
            do_rescale=False,
            do_normalize=False,
            do_pad=False,
            input_data_format="channels_first",
            return_tensors="pt",
        )
        longer = max(height, width)
        offsets = split["patch_offsets"] or [(index, 0, longer) for index in range(len(pixel_values))]
        patches = split["pixel_values"].to(pixel_values)
        rows, columns = patches.shape[-2:]
        if rows > patch_height or columns > patch_width:
            raise ValueError(
                f"the model takes images of {patch_height} x {patch_width} pixels, but is shown {rows} x {columns}: "
                f"cut them into windows, --window {patch_height} {patch_width} "
                f"--stride {2 * patch_height // 3} {2 * patch_width // 3}."
            )
        padded = self.black.to(pixel_values).expand(len(patches), -1, patch_height, patch_width).clone()
        padded[..., :rows, :columns] = patches
        scores = self._scores(padded)[..., :rows, :columns]
        total = scores.new_zeros(len(pixel_values), scores.shape[1], height, width)
        count = scores.new_zeros(len(pixel_values), 1, height, width)
        for (image, start, _), of_patch in zip(offsets, scores, strict=True):
            top, left = (start, 0) if height > width else (0, start)
            total[image, :, top : top + rows, left : left + columns] += of_patch
            count[image, :, top : top + rows, left : left + columns] += 1
        return total / count


def universal_segmenter(name: str, model: PreTrainedModel, image_processor: BaseImageProcessor) -> UniversalSegmenter:
    """
    A universal segmentation model as a semantic one.

    Args:
        name: the folder, or the name on the Hub, that it is from.
        model: what was loaded from there.
        image_processor: likewise.

    Raises:
        OSError, ValueError: if it answers otherwise, or lacks the tokenizer that it needs.
    """
    if not hasattr(image_processor, "post_process_semantic_segmentation"):
        raise ValueError(f"{type(image_processor).__name__} has no semantic post-processing.")
    task_inputs = None
    if "task_inputs" in inspect.signature(model.forward).parameters:
        processor = AutoProcessor.from_pretrained(name)
        pixel = torch.zeros(3, 32, 32, dtype=torch.uint8)
        task_inputs = processor(images=[pixel], task_inputs=["semantic"], return_tensors="pt")["task_inputs"]
    return UniversalSegmenter(model, image_processor, task_inputs)
