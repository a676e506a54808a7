# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Image processing that all methods share: the originals' resizing, labels and post-processing.

The published numbers were measured on images that OpenCV decoded and resized as bytes, bilinearly and without
antialiasing. `resize_bilinear` and `resize_nearest` give exactly OpenCV's pixels (INTER_LINEAR, INTER_NEAREST), which
neither Pillow nor torchvision does.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_processing_utils import BatchFeature
from transformers.image_transforms import group_images_by_shape, reorder_images
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    ImageInput,
    PILImageResampling,
    SizeDict,
    infer_channel_dimension_format,
)
from transformers.processing_utils import ImagesKwargs, Unpack

from .configuration_semantic import leave_class_to_config
from .images import UnsuitableImageError, check_range, to_ids, to_rgb, to_upright_rgb
from .labels import IGNORE_INDEX
from .score_maps import mean_confidence, resized_argmax, resized_bands, resized_confidence


# OpenCV's fixed-point weights of a bilinear resize have this many bits.
WEIGHT_BITS = 11

IntegerArray = TypeVar("IntegerArray", torch.Tensor, np.ndarray)


def keep_ratio_size(height: int, width: int, shortest_edge: int, longest_edge: int | None = None) -> tuple[int, int]:
    """
    Height and width of an image resized to `shortest_edge` pixels, or less where the long side would exceed
    `longest_edge`; mmcv's keep-ratio rule and rounding.
    """
    # Without a bound the long side may be as long as the ratio makes it.
    bound = shortest_edge * max(height, width) / min(height, width) if longest_edge is None else longest_edge
    scale = min(max(shortest_edge, bound) / max(height, width), min(shortest_edge, bound) / min(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def output_size(height: int, width: int, size: SizeDict) -> tuple[int, int]:
    """
    Height and width that an image is resized to.

    `size` holds `shortest_edge` and perhaps `longest_edge` (the ratio of the sides is kept), or `height` and `width`.
    """
    if size.shortest_edge:
        return keep_ratio_size(height, width, size.shortest_edge, size.longest_edge)
    if size.height and size.width:
        return size.height, size.width
    raise ValueError(
        f"size is {dict(size)}; expected 'shortest_edge' (and 'longest_edge'), or 'height' and 'width', in pixels."
    )


def bilinear_taps(old: int, new: int, clamp_weights: bool) -> tuple[torch.Tensor, ...]:
    """
    The two source indices of each of `new` pixels and their integer weights, as OpenCV computes them.

    OpenCV zeroes the weights of outside columns (`clamp_weights`), but lets outside rows repeat the edge with both
    weights, which rounds differently.
    """
    scale = 1.0 / (new / old)
    position = ((torch.arange(new, dtype=torch.float64, device="cpu") + 0.5) * scale - 0.5).float()
    low = position.floor()
    fraction = position - low
    low = low.long()
    if clamp_weights:
        fraction = fraction.masked_fill((low < 0) | (low >= old - 1), 0.0)
    low_weight = ((1.0 - fraction) * 2**WEIGHT_BITS).round().int()
    high_weight = (fraction * 2**WEIGHT_BITS).round().int()
    return low.clamp(0, old - 1), (low + 1).clamp(0, old - 1), low_weight, high_weight


def resize_bilinear(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Bilinear resize without antialiasing, half-pixel centres.

    Args:
        image: `(..., channels, height, width)`. uint8 gives the very bytes of OpenCV's INTER_LINEAR; other dtypes are
            interpolated in floating point.
        size: new height and width.

    Returns:
        The resized image, in the dtype of `image` (float32 for integers other than uint8).
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    if image.dtype == torch.uint8:
        return _resize_bytes(image, size)
    image = image if image.is_floating_point() else image.float()
    batch = image.flatten(0, -4) if image.ndim > 3 else image[None]
    resized = nn.functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    return resized.reshape(*image.shape[:-2], *size)


def _resize_bytes(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A resized uint8 image."""
    height, width = image.shape[-2:]
    lines = bilinear_taps(height, size[0], clamp_weights=False)
    return blend_bytes(image, lines, bilinear_taps(width, size[1], clamp_weights=True))


def blend_bytes(image: torch.Tensor, lines: Sequence[torch.Tensor], columns: Sequence[torch.Tensor]) -> torch.Tensor:
    """
    Resized bytes in OpenCV's fixed-point arithmetic, first along rows, then across them.

    `image` is uint8 `(..., height, width)`, `lines` and `columns` are [`bilinear_taps`], which say what the rows and
    the columns of the result are made of.
    """
    low, high, low_weight, high_weight = (taps.to(image.device) for taps in columns)
    upper, lower, upper_weight, lower_weight = (taps.to(image.device) for taps in lines)
    # Along rows of bytes, gather is several times faster than indexing. Everything below is done in place: it is
    # memory that takes the time.
    rows = image.gather(-1, low.expand(*image.shape[:-1], -1)) * low_weight
    rows += image.gather(-1, high.expand(*image.shape[:-1], -1)) * high_weight
    rows >>= 4
    above = rows.index_select(-2, upper)
    above *= upper_weight[:, None]
    above >>= 16
    below = rows.index_select(-2, lower)
    below *= lower_weight[:, None]
    below >>= 16
    above += below
    above += 2
    above >>= 2
    return above.to(torch.uint8)


def resize_nearest(label_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    OpenCV's INTER_NEAREST: pixel i comes from `floor(i * old / new)`, which is not the half-pixel "nearest-exact".

    `label_map` is `(..., height, width)` of any dtype, `size` the new height and width.
    """
    rows, columns = (
        (torch.arange(new, dtype=torch.float64, device="cpu") * (1.0 / (new / old)))
        .long()
        .clamp_(max=old - 1)
        .to(label_map.device)
        for old, new in zip(label_map.shape[-2:], size, strict=True)
    )
    label_map = label_map.gather(-1, columns.expand(*label_map.shape[:-1], -1))
    return label_map.index_select(-2, rows)


def reduce_labels(label_map: IntegerArray) -> IntegerArray:
    """Class ids less one, 0 becoming 255 (ignored) and 255 staying; integer tensors or arrays of any shape."""
    reduced = label_map - 1
    reduced[(label_map == 0) | (label_map == IGNORE_INDEX)] = IGNORE_INDEX
    return reduced


def check_padding_is_no_class(label_maps: Sequence[torch.Tensor]) -> None:
    """
    Refuse label maps with so many classes that 255, which stands for pixels to ignore, is one of them.

    Raises:
        ValueError: naming the largest value.
    """
    largest = max((int(label_map.max()) for label_map in label_maps), default=0)
    if largest > IGNORE_INDEX:
        raise ValueError(
            f"A label map holds {largest}, so {IGNORE_INDEX} may be a class; but it stands for ignored pixels where "
            "label maps are padded or reduced. Process them with do_pad=False and do_reduce_labels=False."
        )


class SemanticImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    do_reduce_labels (`bool`, *optional*, defaults to `self.do_reduce_labels`):
        Whether class ids of label maps are reduced by one, 0 becoming 255 (ignored): for data sets whose 0 means "no
        class", such as ADE20K.
    """

    do_reduce_labels: bool


class SemanticImageProcessor(TorchvisionBackend):
    """
    Image processor for semantic segmentation with the preprocessing of mmsegmentation.

    Images (PIL, NumPy or tensors, with 1, 3 or 4 channels, 8 or 16 bits, or floating-point numbers from 0 to 255; with
    `do_rescale=False` of any range) are resized keeping their ratio
    (`size={"shortest_edge": 512, "longest_edge": 2048}`) or to a fixed size (`{"height": 512, "width": 512}`), scaled
    to 0..1 and normalised. Images that end up with different sizes cannot be stacked into one tensor: process them one
    by one, or set `do_pad=True` to pad them at the bottom and right to the largest, or to `pad_size`.

    It is saved with the name of its class, by which `AutoImageProcessor` finds it where vitseg is imported; beside a
    model of ours without, because config.json names class and code there. If preprocessor_config.json named the code,
    `pipeline` would ask whether to run it, even where vitseg is imported (transformers' AutoVideoProcessor takes the
    entry for its own).
    """

    _auto_class = "AutoImageProcessor"

    valid_kwargs = SemanticImageProcessorKwargs
    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"shortest_edge": 512, "longest_edge": 2048}
    default_to_square = False
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_pad = False
    do_reduce_labels = False
    # Whether the scores of the model are logits; see [`resized_confidence`].
    scores_are_logits = True

    def __init__(self, **kwargs: Unpack[SemanticImageProcessorKwargs]):
        super().__init__(**kwargs)

    @property
    def num_bands(self) -> int | None:
        """How many bands images have whose numbers are taken as they are; `None` for pictures, which become RGB."""
        takes_numbers = not self.do_convert_rgb and not self.do_rescale and isinstance(self.image_mean, Sequence)
        return len(self.image_mean) if takes_numbers else None

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[SemanticImageProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Args:
            images (`ImageInput`):
                One image or several; [`to_rgb`] says what is made of their numbers. EXIF orientations turn those that
                are given as names of files, and no others.
            segmentation_maps (`ImageInput`, *optional*):
                A label map of integer class ids, `(height, width)`, for each image; a channel of its own may follow.
            kwargs:
                Overrides of the processor's own settings for this call.

        Returns:
            `BatchFeature`: `pixel_values`, float32 `(channels, height, width)` each, and with `segmentation_maps`
            `labels`, int64 `(height, width)` each; with `return_tensors="pt"` stacked into one tensor.

        Raises:
            ValueError: if there is no image, or one is empty, or its numbers are not of the range that is expected,
                or its channels are not those of `image_mean`; if label maps hold something else than integers, or
                label maps and images differ in number or size.
        """
        check_there_are(images)
        return super().preprocess(images, segmentation_maps, **kwargs)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        images = super().fetch_images(image_url_or_urls)
        is_grey = not isinstance(images, list | Image.Image) and images.ndim == 2
        return images[None] if is_grey else images

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs,
    ) -> torch.Tensor:
        if isinstance(image, np.ndarray):
            # Flipped, read-only or from another kind of machine: torch takes only what it can write to.
            image = np.require(image, image.dtype.newbyteorder("="), ["C", "W"])
        try:
            if do_convert_rgb and isinstance(image, Image.Image):
                image = to_rgb(image)
            elif input_data_format is None and not isinstance(image, Image.Image) and image.ndim == 3:
                input_data_format = _channels_first_or_last(image, self.num_bands)
            image = super().process_image(image, do_convert_rgb=False, input_data_format=input_data_format, **kwargs)
            return to_rgb(image) if do_convert_rgb else image
        except UnsuitableImageError as error:
            raise ValueError(f"An image {error}") from error

    def resize(
        self,
        image: torch.Tensor,
        size: SizeDict,
        resample: PILImageResampling | int | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Resize `(..., channels, height, width)` as the originals do; filters but bilinear are torchvision's."""
        height, width = output_size(*image.shape[-2:], size)
        if resample in (None, PILImageResampling.BILINEAR):
            return resize_bilinear(image, (height, width))
        return super().resize(image, SizeDict(height=height, width=width), resample, antialias=False, **kwargs)

    def _preprocess_image_like_inputs(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        do_convert_rgb: bool | None,
        input_data_format: str | ChannelDimension | None,
        return_tensors: str | None,
        device: str | torch.device | None = None,
        **kwargs,
    ) -> BatchFeature:
        images = self._prepare_image_like_inputs(
            open_files(images, to_upright_rgb) if do_convert_rgb else images,
            do_convert_rgb=do_convert_rgb,
            input_data_format=input_data_format,
            device=device,
        )
        # Whoever does without this factor knows how the numbers are scaled.
        is_scaled_from_bytes = kwargs["do_rescale"] and math.isclose(kwargs["rescale_factor"], 1 / 255, rel_tol=1e-3)
        for index, image in enumerate(images):
            if 0 in image.shape:
                raise ValueError(f"Image {index} is empty: its shape is {tuple(image.shape)}.")
            if self.num_bands not in (None, image.shape[0]):
                raise ValueError(
                    f"Image {index} has {image.shape[0]} bands, but the model takes {self.num_bands}: give it images "
                    "of the bands that it was trained on, in their order."
                )
            try:
                check_range(image, is_scaled_from_bytes)
            except UnsuitableImageError as error:
                raise ValueError(f"Image {index} {error}") from error
            means = kwargs["image_mean"]
            if kwargs["do_normalize"] and isinstance(means, Sequence) and len(means) != image.shape[0]:
                raise ValueError(
                    f"Image {index} has {image.shape[0]} channels, and image_mean has {len(means)} numbers: pass "
                    "do_convert_rgb=True, or an image_mean and an image_std for each channel."
                )
        # Integers of more bits are resized like floating-point numbers, which torch cannot do with all of them.
        numbers = images if self.num_bands is None else [i if i.dtype == torch.uint8 else i.float() for i in images]
        data = {"pixel_values": self._preprocess(numbers, **kwargs)}
        sizes = {tuple(image.shape[-2:]) for image in data["pixel_values"]}
        if return_tensors is not None and len(sizes) > 1:
            raise ValueError(
                f"The images end up with different sizes, {sorted(sizes)}, and cannot be stacked. Process them one by "
                "one, or set do_pad=True to pad them to the largest."
            )
        if segmentation_maps is not None:
            label_maps = self._prepare_image_like_inputs(
                _without_channels(
                    open_files(segmentation_maps, to_ids), [tuple(image.shape[-2:]) for image in images]
                ),
                expected_ndims=2,
                do_convert_rgb=False,
                input_data_format=ChannelDimension.FIRST,
                device=device,
            )
            _check_label_maps(label_maps, images)
            data["labels"] = self._preprocess_labels(label_maps, **kwargs)
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _preprocess(
        self,
        images: list[torch.Tensor],
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling | int | None,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float] | None,
        image_std: float | list[float] | None,
        do_pad: bool | None,
        pad_size: SizeDict | None,
        disable_grouping: bool | None,
        **kwargs,
    ) -> list[torch.Tensor]:
        grouped_images, grouped_images_index = group_images_by_shape(images, disable_grouping=disable_grouping)
        for shape, stacked_images in grouped_images.items():
            if do_resize:
                stacked_images = self.resize(stacked_images, size=size, resample=resample)
            grouped_images[shape] = self.rescale_and_normalize(
                stacked_images, do_rescale, rescale_factor, do_normalize, image_mean, image_std
            )
        preprocessed = list(reorder_images(grouped_images, grouped_images_index))
        if do_pad:
            # Zero is the mean colour after normalisation.
            preprocessed = self.pad(preprocessed, pad_size=pad_size, disable_grouping=disable_grouping)
        return preprocessed

    def _preprocess_labels(
        self,
        label_maps: list[torch.Tensor],
        do_reduce_labels: bool,
        do_resize: bool,
        size: SizeDict,
        do_pad: bool | None,
        pad_size: SizeDict | None,
        disable_grouping: bool | None,
        **kwargs,
    ) -> list[torch.Tensor]:
        label_maps = [label_map.to(torch.int64) for label_map in label_maps]
        if do_reduce_labels or do_pad:
            check_padding_is_no_class(label_maps)
        if do_reduce_labels:
            label_maps = [reduce_labels(label_map) for label_map in label_maps]
        if do_resize:
            label_maps = [resize_nearest(m, output_size(*m.shape[-2:], size)) for m in label_maps]
        if do_pad:
            label_maps = self.pad(
                label_maps, pad_size=pad_size, fill_value=IGNORE_INDEX, disable_grouping=disable_grouping
            )
        return [label_map.squeeze(0) for label_map in label_maps]

    def to_dict(self) -> dict[str, Any]:
        # See the class, and WindowedInferenceConfig.save_pretrained.
        dictionary = super().to_dict()
        dictionary.pop("auto_map", None)
        return dictionary

    def save_pretrained(self, save_directory: str | os.PathLike, *args, **kwargs) -> Any:
        saved = super().save_pretrained(save_directory, *args, **kwargs)
        leave_class_to_config(save_directory)
        return saved

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: list[tuple[int, int]] | torch.Tensor | None = None,
        return_segmentation_scores: bool = False,
    ) -> list[torch.Tensor] | list[SemanticSegmentationPostProcessorOutput]:
        """
        Label maps from the output of a segmentation model.

        Args:
            outputs: a model's output; its `logits` are `(batch, num_labels, height, width)`.
            target_sizes: height and width of each image's label map, usually those of the image before processing. By
                default the maps have the size of the logits.
            return_segmentation_scores: whether to return the resized scores of all classes too, which takes
                `num_labels` times the memory.

        Returns:
            For each image an int64 tensor `(height, width)` of class ids; with `return_segmentation_scores` a
            `SemanticSegmentationPostProcessorOutput` of `segmentation`, the same, and `segmentation_scores`, float32
            `(num_labels, height, width)`, also of logits in half precision.

        Raises:
            ValueError: if there are not as many target sizes as images.
        """
        logits = outputs.logits
        sizes = _sizes(logits, target_sizes)
        if not return_segmentation_scores:
            return [resized_argmax(*arguments) for arguments in zip(logits, sizes, strict=True)]
        results = []
        for image_logits, size in zip(logits, sizes, strict=True):
            scores = image_logits.new_empty(len(image_logits), *size, dtype=torch.float32)
            for rows, band in resized_bands(image_logits, size):
                scores[:, rows] = band
            data = {"segmentation": scores.max(dim=0).indices, "segmentation_scores": scores}
            results.append(SemanticSegmentationPostProcessorOutput(data=data))
        return results

    def post_process_panoptic_segmentation(
        self, outputs: Any, target_sizes: list[tuple[int, int]] | torch.Tensor | None = None, **thresholds: float
    ) -> list[dict[str, Any]]:
        """
        The same label maps as panoptic segmentations whose classes are all "stuff": one segment for each class that is
        present, with its score. It is from here that `pipeline("image-segmentation")` has scores.

        Args:
            outputs, target_sizes: see [`post_process_semantic_segmentation`].
            thresholds: what pipelines pass for models that detect objects. Here each pixel belongs to a class,
                whatever its score, so they do not count.

        Returns:
            For each image `segmentation`, int64 `(height, width)` of class ids, and `segments_info`, a list of
            `{"id", "label_id", "score"}`, where both ids are the class id, and the score is the mean confidence of the
            model in the class at its pixels.

        Raises:
            ValueError: if there are not as many target sizes as images.
        """
        results = []
        for logits, size in zip(outputs.logits, _sizes(outputs.logits, target_sizes), strict=True):
            label_map, confidence = resized_confidence(logits, size, are_logits=self.scores_are_logits)
            segments = [
                {"id": index, "label_id": index, "score": score}
                for index, score in mean_confidence(label_map, confidence).items()
            ]
            results.append({"segmentation": label_map, "segments_info": segments})
        return results


def _sizes(logits: torch.Tensor, target_sizes: Any) -> list[tuple[int, int]]:
    """Height and width of each image's label map."""
    if target_sizes is None:
        target_sizes = [logits.shape[-2:]] * len(logits)
    if len(target_sizes) != len(logits):
        raise ValueError(f"Got {len(target_sizes)} target_sizes for {len(logits)} images; give one for each.")
    return [(int(height), int(width)) for height, width in target_sizes]


def check_there_are(images: Any) -> None:
    """
    Raises:
        ValueError: if it is a list without an image.
    """
    if isinstance(images, list | tuple) and not images:
        raise ValueError("There is no image: the list is empty.")


def open_files(inputs: Any, convert: Callable[[Image.Image], Any]) -> Any:
    """Inputs with files in the place of their names; addresses on the web are left to transformers."""
    if isinstance(inputs, list | tuple):
        return [open_files(item, convert) for item in inputs]
    if isinstance(inputs, os.PathLike):
        inputs = os.fspath(inputs)
    if not isinstance(inputs, str) or not os.path.isfile(inputs):  # noqa: PTH113 - Path fails at an image in base64.
        return inputs
    try:
        with Image.open(inputs) as image:
            return convert(image)
    except UnsuitableImageError as error:
        raise ValueError(f"{inputs} {error}") from error


def _channels_first_or_last(image: np.ndarray | torch.Tensor, num_bands: int | None) -> ChannelDimension:
    if num_bands is not None:
        if num_bands not in (image.shape[0], image.shape[-1]):
            raise UnsuitableImageError(
                f"has the shape {tuple(image.shape)}; expected {num_bands} bands, first or last: those that the model "
                "was trained on, in their order."
            )
        return infer_channel_dimension_format(image, num_channels=(num_bands,))
    if not {image.shape[0], image.shape[-1]} & {1, 3, 4}:
        raise UnsuitableImageError(
            f"has the shape {tuple(image.shape)}; expected 1 (grey), 3 (RGB) or 4 channels (with opacity), first or "
            "last. Of more, choose those that the model knows."
        )
    return infer_channel_dimension_format(image, num_channels=(1, 3, 4))


def _without_channels(segmentation_maps: Any, sizes: list[tuple[int, ...]]) -> Any:
    """Label maps `(height, width)`, of images of these sizes, from what may have a channel: files, arrays, tensors."""
    if isinstance(segmentation_maps, list | tuple):
        if len(segmentation_maps) != len(sizes):
            return segmentation_maps
        return [_without_channels(*pair) for pair in zip(segmentation_maps, ([size] for size in sizes), strict=True)]
    if isinstance(segmentation_maps, Image.Image):
        if len(segmentation_maps.getbands()) > 1:
            return segmentation_maps
        try:
            return to_ids(segmentation_maps)
        except UnsuitableImageError as error:
            raise ValueError(f"A segmentation map {error}") from error
    shape = tuple(getattr(segmentation_maps, "shape", ()))
    if len(shape) == 3 and len(sizes) == 1 and sizes[0] in (shape[:2], shape[1:]):
        channel = 2 if shape[:2] == sizes[0] else 0
        if shape[channel] == 1:
            return segmentation_maps[..., 0] if channel else segmentation_maps[0]
        raise ValueError(
            f"The segmentation map has the shape {shape}, with {shape[channel]} channels; expected one class id per "
            "pixel. Turn colours into ids first; of three equal channels take one."
        )
    if len(shape) == 4 and 1 in (shape[1], shape[-1]):
        return segmentation_maps[..., 0] if shape[-1] == 1 else segmentation_maps[:, 0]
    return segmentation_maps


def _check_label_maps(label_maps: list[torch.Tensor], images: list[torch.Tensor]) -> None:
    if len(label_maps) != len(images):
        raise ValueError(f"Got {len(label_maps)} segmentation maps for {len(images)} images; give one for each.")
    for index, (label_map, image) in enumerate(zip(label_maps, images, strict=True)):
        if label_map.shape[0] != 1:
            raise ValueError(
                f"Segmentation map {index} has {label_map.shape[0]} channels; expected one class id per pixel. Turn "
                "colours into ids first."
            )
        if label_map.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"Segmentation map {index} is {label_map.shape[-2]} x {label_map.shape[-1]} pixels, its image "
                f"{image.shape[-2]} x {image.shape[-1]}: they must have the same height and width."
            )
        if label_map.is_floating_point() and (wrong := label_map[label_map.frac() != 0]).numel():
            raise ValueError(
                f"Segmentation map {index} holds {wrong[0]:g}, which is no class id. If it was divided by 255, as "
                "torchvision's ToTensor does, use PILToTensor; if it was resized, take the nearest values."
            )
