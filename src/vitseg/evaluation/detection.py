# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring a detector: COCO's average precision, by COCO's own code (`pycocotools`)."""

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..data.objects import as_annotations
from ..extras import require
from ..progress import progress_bar


# COCO's summary, in its order.
COCO_SCORES = ("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large")


def evaluate_detector(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    examples: Dataset,
    accelerator: Accelerator,
    *,
    limit: int | None = None,
) -> dict[str, float]:
    """
    COCO's average precision of boxes at IoU 0.5 to 0.95, with 100 detections an image.

    Every process takes its share of the images, one at a time at its own size, and gets the whole result. A model that
    is being trained is put into evaluation mode for that time.

    Args:
        model: a detector on the accelerator's device.
        image_processor: resizes, normalises and pads the images, and makes detections of the model's outputs.
        examples: items with `image` (PIL), `image_id` and `objects`, as `load_images_with_objects` gives them.
        accelerator: says which share of the images is this process's, and where the model runs.
        limit: measure the first `limit` images only.

    Returns:
        The scores of `COCO_SCORES`, from 0 to 1; -1 where there is no object of such a size.
    """
    count = len(examples) if limit is None else min(limit, len(examples))
    share = range(accelerator.process_index, count, accelerator.num_processes)
    was_training = model.training
    model.eval()
    results: list[dict[str, Any]] = []
    truth: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for index in progress_bar(share, desc="Evaluating", unit="image", disable=not accelerator.is_main_process):
        example = examples[index]
        image, image_id = example["image"], example["image_id"]
        inputs = image_processor(image, return_tensors="pt").to(accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            outputs = model(**inputs)
        (detected,) = image_processor.post_process_object_detection(
            outputs, target_sizes=[(image.height, image.width)]
        )
        results += _as_results(image_id, detected)
        description = {"id": image_id, "height": image.height, "width": image.width}
        truth.append((description, as_annotations(example["objects"])))
    model.train(was_training)
    return score_detections(gather_object(truth), gather_object(results), model.config.num_labels)


def score_detections(
    truth: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]], results: list[dict[str, Any]], num_labels: int
) -> dict[str, float]:
    """
    COCO's scores of detections.

    Args:
        truth: for each image, its `id`, `height` and `width`, and COCO's annotations of its objects (`bbox`,
            `category_id`, perhaps `area` and `iscrowd`).
        results: detections as COCO has them: `image_id`, `category_id`, `bbox` and `score`.
        num_labels: number of classes.

    Raises:
        MissingExtraError: without the extra `detection`.
    """
    require("detection")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, objects in truth:
        images.append(image)
        for annotation in objects:
            area = annotation.get("area", annotation["bbox"][2] * annotation["bbox"][3])
            annotations.append(
                {
                    **annotation,
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "area": area,
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                }
            )
    # COCO's code tells what it does on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": index} for index in range(num_labels)],
        }
        reference.createIndex()
        if not results:
            return dict.fromkeys(COCO_SCORES, 0.0)
        evaluation = COCOeval(reference, reference.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_SCORES, map(float, evaluation.stats[:6]), strict=True))


def _as_results(image_id: int, detected: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    boxes = detected["boxes"].clone()
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        for box, score, category in zip(
            boxes.tolist(), detected["scores"].tolist(), detected["labels"].tolist(), strict=True
        )
    ]
