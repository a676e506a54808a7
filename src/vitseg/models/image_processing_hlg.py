# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image processor of HLG, for all of its tasks."""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import batched_nms, box_convert
from torchvision.transforms.v2.functional import center_crop
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput, PILImageResampling, SizeDict
from transformers.processing_utils import Unpack

from .image_processing_semantic import (
    SemanticImageProcessor,
    SemanticImageProcessorKwargs,
    check_padding_is_no_class,
    check_there_are,
    open_files,
)
from .images import to_upright_rgb
from .labels import IGNORE_INDEX


class HlgImageProcessorKwargs(SemanticImageProcessorKwargs, total=False):
    r"""
    size_divisor (`int`, *optional*, defaults to `self.size_divisor`):
        With `do_pad`, images are padded to the smallest multiple of this that holds all of them.
    return_pixel_mask (`bool`, *optional*, defaults to `self.return_pixel_mask`):
        With `do_pad`, whether `pixel_mask` is returned, 1 where the image is and 0 where it was padded.
    score_threshold (`float`, *optional*, defaults to `self.score_threshold`):
        Detections of this score or less are left out.
    nms_threshold (`float`, *optional*, defaults to `self.nms_threshold`):
        A detection whose IoU with a better one of its class is greater is left out.
    num_candidates (`int`, *optional*, defaults to `self.num_candidates`):
        How many detections of each level of the feature pyramid are considered, the best ones.
    max_detections (`int`, *optional*, defaults to `self.max_detections`):
        How many detections of an image are returned at most, the best ones.
    """

    size_divisor: int | None
    return_pixel_mask: bool
    score_threshold: float
    nms_threshold: float
    num_candidates: int
    max_detections: int


class HlgImageProcessor(SemanticImageProcessor):
    """
    Image processor of the HLG models. The defaults are those for [`HlgForSemanticSegmentation`] on ADE20K.

    For [`HlgForImageClassification`] the published settings are `size={"shortest_edge": 256}`, `resample=3` (bicubic,
    antialiased), `do_center_crop=True` and `crop_size={"height": 224, "width": 224}`; for [`HlgForObjectDetection`]
    `size={"shortest_edge": 800, "longest_edge": 1333}`, `do_pad=True`, `size_divisor=32` and `return_pixel_mask=True`.
    """

    valid_kwargs = HlgImageProcessorKwargs
    model_input_names = ["pixel_values", "pixel_mask"]
    do_center_crop = False
    size_divisor = None
    return_pixel_mask = False
    score_threshold = 0.05
    nms_threshold = 0.5
    num_candidates = 1000
    max_detections = 100

    def __init__(self, **kwargs: Unpack[HlgImageProcessorKwargs]):
        super().__init__(**kwargs)

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        annotations: dict[str, Any] | list[dict[str, Any]] | None = None,
        **kwargs: Unpack[HlgImageProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Args:
            images (`ImageInput`):
                One image or several.
            segmentation_maps (`ImageInput`, *optional*):
                For segmentation, a label map of integer class ids, `(height, width)`, for each image.
            annotations (`dict` or `list[dict]`, *optional*):
                For detection, what each image shows: `annotations`, a list of dictionaries with `bbox` (x, y, width
                and height in pixels), `category_id` (the class id) and perhaps `area` and `iscrowd`, as COCO has them;
                and perhaps `image_id`. See [`read_objects`] for those that are left out.
            kwargs:
                Overrides of the processor's own settings for this call.

        Returns:
            `BatchFeature`: `pixel_values`, float32 `(channels, height, width)` each; with `return_tensors="pt"`
            stacked into one tensor. With `return_pixel_mask` also `pixel_mask`, int64 `(height, width)` each. With
            `segmentation_maps` also `labels`, int64 `(height, width)` each; with `annotations` also `labels`, a list
            of dictionaries as [`HlgForObjectDetection`] takes them, with `orig_size` (height and width of the image)
            and `image_id`.

        Raises:
            ValueError: if there is no image, or one is empty, or label maps, annotations and images differ in number
                or size.
        """
        check_there_are(images)
        return TorchvisionBackend.preprocess(self, images, segmentation_maps, annotations, **kwargs)

    def resize(
        self, image: torch.Tensor, size: SizeDict, resample: PILImageResampling | int | None = None, **kwargs
    ) -> torch.Tensor:
        """Resize `(..., channels, height, width)`: bilinear as the originals do it, other filters as Pillow does."""
        if resample in (None, PILImageResampling.BILINEAR):
            return super().resize(image, size, resample)
        return TorchvisionBackend.resize(self, image, size, resample, antialias=True)

    def _preprocess_image_like_inputs(  # type: ignore[override]
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        annotations: dict[str, Any] | list[dict[str, Any]] | None,
        do_pad: bool | None,
        pad_size: SizeDict | None,
        size_divisor: int | None,
        return_pixel_mask: bool,
        return_tensors: str | None,
        disable_grouping: bool | None,
        **kwargs,
    ) -> BatchFeature:
        sizes: list[tuple[int, int]] = []
        if annotations is not None:
            image_options = {key: kwargs[key] for key in ("do_convert_rgb", "input_data_format")}
            if kwargs["do_convert_rgb"]:
                images = open_files(images, to_upright_rgb)
            prepared = self._prepare_image_like_inputs(images, **image_options)
            sizes = [(image.shape[-2], image.shape[-1]) for image in prepared]
        # Padding is left for later: masks tell where it is.
        data = super()._preprocess_image_like_inputs(
            images,
            segmentation_maps,
            do_pad=False,
            pad_size=None,
            return_tensors=None if do_pad else return_tensors,
            disable_grouping=disable_grouping,
            **kwargs,
        )
        if do_pad:
            pad_size = pad_size or _common_size(data["pixel_values"], size_divisor or 1)
            data["pixel_values"], mask = self.pad(
                data["pixel_values"], pad_size, return_mask=True, disable_grouping=disable_grouping
            )
            if return_pixel_mask:
                data["pixel_mask"] = mask
            if "labels" in data:
                maps = [label_map[None] for label_map in data["labels"]]
                check_padding_is_no_class(maps)
                maps = self.pad(maps, pad_size, fill_value=IGNORE_INDEX, disable_grouping=disable_grouping)
                data["labels"] = [label_map.squeeze(0) for label_map in maps]
            data = BatchFeature(data=dict(data), tensor_type=return_tensors)
        if annotations is not None:
            data["labels"] = _to_labels(annotations, sizes)
        return data

    def _preprocess(  # type: ignore[override]
        self,
        images: list[torch.Tensor],
        do_center_crop: bool | None = None,
        crop_size: SizeDict | None = None,
        **kwargs,
    ) -> list[torch.Tensor]:
        images = super()._preprocess(images, **kwargs)
        if do_center_crop:
            images = [center_crop(image, [crop_size.height, crop_size.width]) for image in images]
        return images

    def _preprocess_labels(  # type: ignore[override]
        self,
        label_maps: list[torch.Tensor],
        do_center_crop: bool | None = None,
        crop_size: SizeDict | None = None,
        **kwargs,
    ) -> list[torch.Tensor]:
        label_maps = super()._preprocess_labels(label_maps, **kwargs)
        if do_center_crop:
            # Where the crop is larger, it pads with zeros: of what is left of the padding's value.
            size = [crop_size.height, crop_size.width]
            label_maps = [center_crop(label_map - IGNORE_INDEX, size) + IGNORE_INDEX for label_map in label_maps]
        return label_maps

    def post_process_object_detection(
        self,
        outputs: Any,
        threshold: float | None = None,
        target_sizes: Sequence[tuple[int, int]] | torch.Tensor | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Detections from the output of [`HlgForObjectDetection`], as the originals make them: of each level of the
        feature pyramid the best candidates above a score, of those of a class that overlap the best.

        Args:
            outputs: a model's output.
            threshold: detections of this score or less are left out; `score_threshold` by default.
            target_sizes: height and width of each image, usually before processing, in whose pixels the boxes are
                given. By default they are shares of the image's height and width.

        Returns:
            For each image a dictionary of `scores` (float32 `(detections,)`, falling), `labels` (int64) and `boxes`
            (float32 `(detections, 4)`, x1, y1, x2, y2).

        Raises:
            ValueError: if there are not as many target sizes as images.
        """
        scores, num_labels = outputs.logits.float().sigmoid(), outputs.logits.shape[-1]
        boxes = box_convert(outputs.pred_boxes.float(), "cxcywh", "xyxy")
        if target_sizes is not None:
            if len(target_sizes) != len(scores):
                raise ValueError(f"Got {len(target_sizes)} target_sizes for {len(scores)} images; give one for each.")
            sizes = torch.as_tensor(target_sizes, device=boxes.device).to(boxes.dtype)
            boxes = boxes * sizes.flip(1).repeat(1, 2)[:, None]

        # Of each level, the best pairs of an anchor and a class.
        first, candidates = 0, []
        for length in outputs.levels[0].long().bincount().tolist():
            level_scores = scores[:, first : first + length].flatten(1)
            best, pairs = level_scores.topk(min(self.num_candidates, level_scores.shape[1]))
            candidates.append((best, pairs + first * num_labels))
            first += length
        best, pairs = (torch.cat(parts, dim=1) for parts in zip(*candidates, strict=True))  # (batch, candidates) each
        is_kept = best > (self.score_threshold if threshold is None else threshold)

        results = []
        for image_boxes, image_scores, image_pairs, kept in zip(boxes, best, pairs, is_kept, strict=True):
            image_scores, labels = image_scores[kept], image_pairs[kept] % num_labels
            image_boxes = image_boxes[image_pairs[kept] // num_labels]
            chosen = batched_nms(image_boxes, image_scores, labels, self.nms_threshold)[: self.max_detections]
            results.append({"scores": image_scores[chosen], "labels": labels[chosen], "boxes": image_boxes[chosen]})
        return results


def read_objects(annotations: Sequence[dict[str, Any]], size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The objects of an image that the originals train with.

    Crowds are left out, boxes without a part inside the image, narrower or lower than a pixel, or without an area.

    Args:
        annotations: COCO's, with `bbox` and `category_id` and perhaps `area` and `iscrowd`.
        size: height and width of the image.

    Returns:
        Boxes, float32 `(objects, 4)` as x1, y1, x2, y2 in pixels, not clipped; and class ids, int64 `(objects,)`.
    """
    height, width = size
    boxes, classes = [], []
    for annotation in annotations:
        x, y, box_width, box_height = annotation["bbox"]
        inside = min(x + box_width, width) > max(x, 0) and min(y + box_height, height) > max(y, 0)
        is_small = min(box_width, box_height) < 1 or annotation.get("area", 1) <= 0
        if inside and not is_small and not annotation.get("iscrowd", 0):
            boxes.append((x, y, x + box_width, y + box_height))
            classes.append(annotation["category_id"])
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(classes, dtype=torch.int64)


def relative_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Boxes `(n, 4)`, x1, y1, x2, y2 in pixels, as centre and size in shares of an image's height and width `size`."""
    height, width = size
    return box_convert(boxes, "xyxy", "cxcywh") / boxes.new_tensor([width, height, width, height])


def _to_labels(annotations: dict[str, Any] | list[dict[str, Any]], sizes: list[tuple[int, int]]) -> list[dict]:
    if isinstance(annotations, dict):
        annotations = [annotations]
    if len(annotations) != len(sizes):
        raise ValueError(f"Got annotations of {len(annotations)} images for {len(sizes)} images; give one for each.")
    labels = []
    for image_annotations, size in zip(annotations, sizes, strict=True):
        boxes, classes = read_objects(image_annotations["annotations"], size)
        objects = {
            "class_labels": classes,
            "boxes": relative_boxes(boxes, size),
            "orig_size": torch.tensor(size),
        }
        if "image_id" in image_annotations:
            objects["image_id"] = torch.tensor(image_annotations["image_id"])
        labels.append(objects)
    return labels


def _common_size(images: list[torch.Tensor], divisor: int) -> SizeDict:
    """The smallest multiple of a number of pixels that holds all images."""
    height, width = (-(-max(image.shape[dim] for image in images) // divisor) * divisor for dim in (-2, -1))
    return SizeDict(height=height, width=width)


__all__ = ["HlgImageProcessor"]
