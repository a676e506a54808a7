# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Label maps of images by a test protocol, one image after the other, at the size of each image.

Each view (a scale, perhaps flipped) is resized from the original image; its logits are resized back to the original
size, become probabilities, and are averaged over the views. Threads read and resize the next images meanwhile.
Scores of all classes at the original size exist once, as the sum over the views, and not at all for a single view.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..bands import check_bands, size_of
from ..models.image_processing_semantic import SemanticImageProcessor
from ..models.layers import resize
from ..models.score_maps import resized_argmax, resized_bands
from ..models.sliding_window import slide_inference
from ..overlapping import overlapping
from ..recipes.protocol import Protocol, View, cuts, holds_protocol


# Images by number: items hold `image` (PIL, or an array `(bands, height, width)`) and perhaps `file_name` and
# `label_map` (`(height, width)`).
Examples: TypeAlias = datasets.Dataset | Sequence[dict[str, Any]]


@dataclass(frozen=True)
class ViewInput:
    """
    A view as a model sees it.

    Args:
        pixel_values: the normalised image, flipped if the view is, `(1, channels, height, width)`. What is beyond the
            view's own size, at the bottom and right, is padding, whose scores are dropped.
        view: how it was made.
    """

    pixel_values: torch.Tensor
    view: View


@dataclass(frozen=True)
class Prediction:
    """
    What a model says about one of the images.

    Args:
        index: which image.
        file_name: its name.
        label_map: class ids, int64 `(height, width)`, on the model's device; `None` if the image cannot be used.
        reference: its annotation as stored, `(height, width)` on the CPU, or `None` if it has none.
        error: why the image cannot be used, or `None`.
        seconds: from the resized image to the label map; a GPU may still be at work on it.
        summaries: what `summarize` made of each band of the image.
    """

    index: int
    file_name: str
    label_map: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    error: str | None = None
    seconds: float = 0.0
    summaries: list[dict[str, torch.Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Band:
    """
    Some rows of an image, with the scores that are never all held at once.

    Args:
        rows: which.
        scores: of all classes, float32 `(num_labels, rows, width)`: logits, or probabilities averaged over views.
        label_map: the class of the highest, int64 `(rows, width)`.
        reference: the annotation as stored, `(rows, width)` on the CPU.
        size: height and width of the whole image.
    """

    rows: slice
    scores: torch.Tensor
    label_map: torch.Tensor
    reference: torch.Tensor
    size: tuple[int, int]


# What is to be kept of a band.
Summarize = Callable[[Band], dict[str, torch.Tensor]]


@torch.no_grad()
def predict_images(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    examples: Examples,
    indices: Sequence[int],
    accelerator: Accelerator,
    protocol: Protocol,
    *,
    num_workers: int = 0,
    window_batch_size: int | None = None,
    scores_dtype: torch.dtype = torch.float32,
    scores_device: torch.device | str | None = None,
    summarize: Summarize | None = None,
    class_ids: torch.Tensor | None = None,
) -> Iterator[Prediction]:
    """
    Segment some of the images, in the given order. While it runs, the model is in evaluation mode.

    Args:
        model: a segmentation model on the accelerator's device, in any dtype.
        image_processor: resizes and normalises the images.
        examples: see `Examples`. They are asked for an item in the threads.
        indices: which of the examples.
        accelerator: says where the model runs, and in which precision.
        protocol: the test protocol.
        num_workers: number of threads that read and resize the next images meanwhile; 0 does it when it is due.
        window_batch_size: how many windows go through the model at a time, by default what its configuration says; of
            a model of another library, one.
        scores_dtype: in which the probabilities of several views are summed; float16 halves the memory they take.
        scores_device: where they are summed, by default where the model is.
        summarize: is given the scores of annotated images, for the `summaries` of their predictions.
        class_ids: what each class id of the model is called in the predictions, `(num_labels,)`.

    Raises:
        ValueError: if the precision cannot be had.
    """
    require_precision(accelerator)
    arguments = protocol.forward_arguments(model.config, window_batch_size)
    images = ResizedImages(examples, image_processor, protocol)

    def answer(pixel_values: torch.Tensor) -> torch.Tensor:
        with accelerator.autocast():
            return model(pixel_values.to(model.dtype), **arguments).logits

    predict: Callable[[torch.Tensor], torch.Tensor] = answer
    if protocol.window_size and protocol.window_stride and not holds_protocol(model.config):
        predict = in_windows(answer, protocol.window_size, protocol.window_stride, window_batch_size or 1)
    with _evaluation_mode(model):
        for item in overlapping(images.read, indices, num_workers, waiting=num_workers):
            if item["error"] is not None:
                yield Prediction(item["index"], item["file_name"], error=item["error"])
                continue
            started = time.monotonic()
            size = item["size"]
            views = item["views"]
            inputs = _view_inputs(views, item["resized"], image_processor, accelerator.device)
            if len(views) == 1 and not views[0].flip:
                # The largest logit has the largest probability.
                scores = _view_logits(predict, next(inputs))
            else:
                scores = mean_probabilities(predict, inputs, size, scores_dtype, scores_device, protocol.align_corners)
            reference = item["reference"]
            label_map, summaries = _summarized(scores, size, protocol.align_corners, reference, summarize)
            del scores  # which would stay while the model makes the next ones
            label_map = label_map.to(accelerator.device)
            if class_ids is not None:
                label_map = class_ids.to(label_map.device)[label_map]
            seconds = time.monotonic() - started
            yield Prediction(item["index"], item["file_name"], label_map, reference, None, seconds, summaries)


def _summarized(
    scores: torch.Tensor,
    size: tuple[int, int],
    align_corners: bool,
    reference: torch.Tensor | None,
    summarize: Summarize | None,
) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """
    The class of the highest score at each pixel after resizing, as `resized_argmax` has it, and what is to be kept of
    the scores, if the annotation fits them.
    """
    if summarize is None or reference is None or tuple(reference.shape) != size:
        return resized_argmax(scores, size, align_corners), []
    label_maps, summaries = [], []
    for rows, band in resized_bands(scores, size, align_corners):
        label_maps.append(band.max(dim=0).indices)
        summaries.append(summarize(Band(rows, band, label_maps[-1], reference[rows], size)))
    return torch.cat(label_maps), summaries


def in_windows(
    predict: Callable[[torch.Tensor], torch.Tensor],
    window_size: tuple[int, int],
    window_stride: tuple[int, int],
    window_batch_size: int,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    A model that makes one pass over what it is given, made to cut images into windows; see [`slide_inference`].

    Args:
        predict: the model, normalised images -> logits `(batch, num_labels, h, w)` at any size.
        window_size: height and width of a window in pixels.
        window_stride: vertical and horizontal distance of the windows in pixels.
        window_batch_size: how many windows go through the model at a time.
    """

    def predict_window(pixel_values: torch.Tensor) -> torch.Tensor:
        return resize(predict(pixel_values), pixel_values.shape[-2:])

    return functools.partial(
        slide_inference,
        predict_window,
        window_size=window_size,
        window_stride=window_stride,
        window_batch_size=window_batch_size,
    )


def require_precision(accelerator: Accelerator) -> None:
    """
    Check that the mixed precision can be had.

    Raises:
        ValueError: for fp16 on a CPU, where Accelerate would say fp16 and compute in float32.
    """
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError(
            "On a CPU there is no mixed precision fp16. Choose bf16 or no: `accelerate launch --mixed_precision bf16`."
        )


def mean_probabilities(
    predict: Callable[[torch.Tensor], torch.Tensor],
    inputs: Iterable[ViewInput],
    size: tuple[int, int],
    scores_dtype: torch.dtype = torch.float32,
    scores_device: torch.device | str | None = None,
    align_corners: bool = False,
) -> torch.Tensor:
    """
    Class probabilities of an image, averaged over its views.

    Args:
        predict: the model, normalised images -> logits `(1, num_labels, h, w)`. Padded images must get logits of
            their own size, others may get them at any size.
        inputs: the views; asked for one after the other.
        size: height and width of the image.
        scores_dtype: in which the probabilities are summed and returned.
        scores_device: where they are summed, by default where the logits are.
        align_corners: how logits are resized, as PyTorch has it.

    Returns:
        `(num_labels, height, width)`; memory for one such tensor and for the logits of one view is needed.
    """
    total, weight = torch.empty(0), 0
    for view_input in inputs:
        logits, view = _view_logits(predict, view_input), view_input.view
        if weight == 0:
            device = logits.device if scores_device is None else scores_device
            total = torch.zeros(len(logits), *size, dtype=scores_dtype, device=device)
        for rows, scores in resized_bands(logits, size, align_corners):
            probabilities = scores.softmax(dim=0)
            total[:, rows].add_((probabilities.flip(-1) if view.flip else probabilities).to(total), alpha=view.weight)
        weight += view.weight
        del logits  # which would stay while the model makes the next ones
    return total.div_(weight)


@dataclass(frozen=True)
class ResizedImages:
    """Images, resized for each view but not yet normalised: bytes, of which several images may wait."""

    examples: Examples
    image_processor: BaseImageProcessor
    protocol: Protocol

    def read(self, index: int) -> dict[str, Any]:
        """One of the images, or why it cannot be used."""
        item: dict[str, Any] = {"index": index, "file_name": f"image {index}", "error": None}
        try:
            example = self.examples[index]
            item["file_name"] = example.get("file_name", item["file_name"])
            image, label_map = example["image"], example.get("label_map")
            check_bands(image, self.image_processor, item["file_name"])
            views, resized = self._shown(image)
            return item | {
                "size": size_of(image),
                "views": views,
                "resized": resized,
                "reference": None if label_map is None else torch.tensor(label_map),
            }
        except (OSError, ValueError) as error:
            return item | {"error": str(error)}

    def _shown(self, image: Image.Image | np.ndarray) -> tuple[list[View], dict[tuple[int, int], torch.Tensor]]:
        """The views of an image, and the image at each of their sizes."""
        protocol, size = self.protocol, size_of(image)
        if isinstance(self.image_processor, SemanticImageProcessor):
            views = protocol.views(*size)
            sizes = dict.fromkeys((view.height, view.width) for view in views)
            return views, {(high, wide): self._resize(image, {"height": high, "width": wide}) for high, wide in sizes}
        # Others keep ratios, and round, in ways of their own.
        resized = [self._resize(image, protocol.scaled_size(*size, ratio)) for ratio in protocol.ratios]
        scaled = [(pixels.shape[-2], pixels.shape[-1]) for pixels in resized]
        return protocol.views_of(scaled), dict(zip(scaled, resized, strict=True))

    def _resize(self, image: Image.Image | np.ndarray, size: Mapping[str, int]) -> torch.Tensor:
        flips_channels = hasattr(self.image_processor, "do_flip_channel_order")
        return self.image_processor(
            image,
            do_resize=True,
            size=size,
            do_rescale=False,
            do_normalize=False,
            **{"do_pad": False} | cuts(self.image_processor),
            **{"do_flip_channel_order": False} if flips_channels else {},  # which is done with normalising
            input_data_format=None if isinstance(image, Image.Image) else "channels_first",
            return_tensors="pt",
        )["pixel_values"][0]


def _view_inputs(
    views: Iterable[View],
    resized: Mapping[tuple[int, int], torch.Tensor],
    image_processor: BaseImageProcessor,
    device: torch.device,
) -> Iterator[ViewInput]:
    """Flips, normalises and pads each view when it is due."""
    for view in views:
        image = resized[view.height, view.width].to(device, non_blocking=True)
        pixel_values = image_processor(
            image.flip(-1) if view.flip else image,
            do_resize=False,
            **cuts(image_processor),
            input_data_format="channels_first",
            return_tensors="pt",
        )["pixel_values"]
        yield ViewInput(pixel_values.to(device), view)


def _view_logits(predict: Callable[[torch.Tensor], torch.Tensor], view_input: ViewInput) -> torch.Tensor:
    """Logits of a view without its padding, `(num_labels, h, w)`."""
    view = view_input.view
    logits = predict(view_input.pixel_values)[0]
    if view_input.pixel_values.shape[-2:] != (view.height, view.width):
        logits = logits[:, : view.height, : view.width]
    return logits


@contextmanager
def _evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
