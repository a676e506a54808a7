# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring a model on labelled images by a test protocol."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..models.labels import IGNORE_INDEX
from ..progress import progress_bar
from ..recipes.protocol import Protocol
from .boundary import boundary_areas
from .failures import failure_counts
from .image_counts import rows_of_image
from .inference import Examples, Prediction, Summarize, predict_images
from .metric import MeanIoU, areas, mean_iou
from .progress import EvaluationProgress, summed


SAVE_EVERY = 50  # images


def evaluate_model(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    examples: Examples,
    accelerator: Accelerator,
    *,
    protocol: Protocol | None = None,
    metric: MeanIoU | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
    progress: EvaluationProgress | None = None,
    boundary: bool = False,
    summarize: Summarize | None = None,
    failures: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """
    Mean IoU of a model, one image at a time at its original size, as the published figures are measured.

    Every process takes its share of the images, none twice, and gets the whole result. A model that is being trained
    is put into evaluation mode for that time.

    Args:
        model: a segmentation model on the accelerator's device, in any dtype.
        image_processor: resizes and normalises the images.
        examples: items with `image` (PIL) and `label_map` (integer array of train ids, `(height, width)`), as
            `vitseg.data.streaming.load_examples` gives them, and perhaps `file_name`.
        accelerator: says which share of the images is this process's, and where the model runs.
        protocol: the test protocol, by default the single-scale one of the model's configuration and image processor.
        metric: what counts, by default that of [`metric_of`].
        limit: measure the first `limit` images only.
        skip_broken: leave images out that cannot be decoded, instead of stopping at the first.
        progress: an earlier one continues where it was. It is kept up to date and saved every now and then, and when
            something goes wrong.
        boundary: count the pixels of boundaries and around borders, too, for the `rows` of `progress`.
        failures: count [`failure_counts`], too, for the `sums` of `progress`.
        summarize: what to keep of the scores, for the `sums` of `progress`; see [`predict_images`].
        options: keyword arguments of [`predict_images`]: `num_workers`, `window_batch_size`, `scores_dtype` and
            `scores_device`.

    Returns:
        The scores of [`MeanIoU.compute`].

    Raises:
        ValueError: naming the image, if one cannot be decoded, has no label map, or one with unknown values; or if
            no image is left.
    """
    if protocol is None:
        protocol = Protocol.of_model(model.config, image_processor)
    if metric is None:
        metric = metric_of(model.config)
    if progress is None:
        progress = EvaluationProgress()
    if progress.counts is not None:
        metric.counts = progress.counts
    count = len(examples) if limit is None else min(limit, len(examples))
    share = range(accelerator.process_index, count, accelerator.num_processes)
    todo = share[progress.position :]
    predictions = predict_images(
        model, image_processor, examples, todo, accelerator, protocol, summarize=summarize, **options
    )
    bar = progress_bar(
        predictions,
        desc="Evaluating",
        unit="image",
        initial=progress.position,
        total=len(share),
        disable=not accelerator.is_main_process,
    )
    try:
        _count(bar, metric, progress, skip_broken, boundary, failures)
    finally:
        progress.save()
    try:
        return metric.compute()
    except ValueError as error:  # In no process was an image counted.
        reason = progress.broken[0] if progress.broken else "There is none."
        raise ValueError(f"None of the {count} images can be measured. {reason}") from error


def metric_of(config: PreTrainedConfig) -> MeanIoU:
    """The metric for a model's classes, which ignores what the losses do, and 255 unless that is a class."""
    ignore_index = getattr(config, "semantic_loss_ignore_index", None)
    others = {IGNORE_INDEX: ignore_index} if ignore_index is not None and config.num_labels <= IGNORE_INDEX else None
    return MeanIoU(config.num_labels, ignore_index=ignore_index, label_map=others)


def _count(
    predictions: Iterable[Prediction],
    metric: MeanIoU,
    progress: EvaluationProgress,
    skip_broken: bool,
    boundary: bool,
    failures: bool,
) -> None:
    started = time.monotonic() - progress.seconds
    for prediction in predictions:
        if prediction.error is None:
            counts = _add(prediction, metric)
            progress.image_scores.append((prediction.index, prediction.file_name, mean_iou(counts).item()))
            progress.rows.append(
                rows_of_image(prediction.index, _areas_of_image(prediction, metric, counts, boundary))
            )
            progress.sums = summed([progress.sums, *prediction.summaries])
            if failures:
                progress.sums = summed([progress.sums, failure_counts(*_maps(prediction, metric), metric.num_labels)])
        elif skip_broken:
            progress.broken.append(prediction.error)
        else:
            raise ValueError(f"{prediction.error} (Such images can be left out, with skip_broken.)")
        progress.position += 1
        progress.counts = metric.counts
        progress.seconds = time.monotonic() - started
        if progress.position % SAVE_EVERY == 0:
            progress.save()


def _add(prediction: Prediction, metric: MeanIoU) -> torch.Tensor:
    """Counts an image; returns its own counts."""
    if prediction.reference is None:
        raise ValueError(f"{prediction.file_name} has no label map, so nothing can be measured on it.")
    before = metric.counts
    try:
        metric.add(prediction=prediction.label_map, reference=prediction.reference)
    except ValueError as error:
        raise ValueError(f"{prediction.file_name}: {error}") from error
    return metric.counts - before.to(metric.counts.device)


def _areas_of_image(prediction: Prediction, metric: MeanIoU, counts: torch.Tensor, boundary: bool) -> torch.Tensor:
    """Pixels of each class that are right, predicted and true: of all, and perhaps of boundaries and at borders."""
    of_image = areas(counts)[None]
    if not boundary:
        return of_image
    boundaries = boundary_areas(*_maps(prediction, metric), metric.num_labels)
    return torch.cat((of_image.cpu(), torch.from_numpy(boundaries)))


def _maps(prediction: Prediction, metric: MeanIoU) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true class ids of an image that was counted."""
    assert prediction.label_map is not None
    assert prediction.reference is not None
    return prediction.label_map.cpu().numpy(), metric.class_ids(prediction.reference).numpy()
