# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the segmentation models share: their output, the originals' pixel loss and windowed inference."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_plain_vit import as_pair
from .configuration_semantic import WindowedInferenceConfig
from .modeling_plain_vit import check_images, is_exporting
from .sliding_window import slide_inference


@dataclass
class SegmentationOutput(SemanticSegmenterOutput):
    r"""
    Output of a segmentation model.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*, returned with `labels`):
            The training loss, a weighted sum of the terms in `loss_dict`.
        logits (`torch.Tensor` of shape `(batch, num_labels, height, width)`):
            Class scores before softmax, at the size of `pixel_values`.
        loss_dict (`dict[str, torch.Tensor]`, *optional*, returned with `labels`):
            The terms of the loss, already weighted, by the names the originals log them under.
        hidden_states, attentions:
            The backbone's, on request.
    """

    loss_dict: dict[str, torch.Tensor] | None = None


def check_labels(labels: torch.Tensor, pixel_values: torch.Tensor, num_labels: int, ignore_index: int) -> None:
    """
    Refuse label maps that do not fit the images, or that hold a value outside the classes.

    Values are only looked at on the CPU: on an accelerator that would stall every step.

    Raises:
        ValueError: naming the shapes, or the offending value, the number of classes and what to do.
    """
    expected_shape = (pixel_values.shape[0], *pixel_values.shape[-2:])
    if tuple(labels.shape) != expected_shape:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; expected {expected_shape}, a class id for each pixel of "
            "pixel_values."
        )
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    outside = labels[(labels != ignore_index) & ((labels < 0) | (labels >= num_labels))]
    if outside.numel():
        raise ValueError(
            f"labels hold the value {outside[0].item()}, but the model has {num_labels} classes (0 to "
            f"{num_labels - 1}, and {ignore_index} for ignored pixels). If 0 means 'no class' in your label maps, set "
            "do_reduce_labels=True in the image processor; else check id2label."
        )


def pixel_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int) -> torch.Tensor:
    """
    Cross-entropy averaged over *all* pixels: ignored ones add nothing to the sum but count in the mean.

    This is mmsegmentation's default reduction, which the published models were trained with; PyTorch's own mean
    divides by the pixels that are not ignored. `logits` is `(batch, num_labels, height, width)`, `labels` an integer
    tensor `(batch, height, width)`.
    """
    # In float32: the sum over the pixels of an image is more than float16 can hold.
    total = nn.functional.cross_entropy(logits.float(), labels.long(), ignore_index=ignore_index, reduction="sum")
    return total / labels.numel()


def resize(maps: torch.Tensor, size: tuple[int, int] | torch.Size, mode: str = "bilinear") -> torch.Tensor:
    """Maps `(batch, channels, h, w)` of another height and width, without aligned corners."""
    # A branch on the size would fix the exported program to the one it was traced with.
    if not is_exporting() and maps.shape[-2:] == tuple(size):
        return maps
    align_corners = None if mode == "nearest" else False
    return nn.functional.interpolate(maps, size=size, mode=mode, align_corners=align_corners)


class SlidingWindowMixin:
    """Windowed inference for a model whose configuration is a [`WindowedInferenceConfig`]."""

    config: WindowedInferenceConfig
    training: bool

    def needs_windows(self, pixel_values: torch.Tensor) -> bool:
        """Whether the configured protocol cuts images of this size into windows."""
        if self.training or self.config.inference_mode != "slide" or is_exporting():
            return False
        window_height, window_width = as_pair(self.config.window_size)
        return pixel_values.shape[-2] > window_height or pixel_values.shape[-1] > window_width

    def segment(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """One pass over whole images."""
        raise NotImplementedError

    def segment_by_protocol(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """
        The output for images of any size: one pass over them, or the logits of the configured windows.

        Raises:
            ValueError: if `pixel_values` does not fit the backbone, or hidden states or attentions are asked for where
                the image has to be cut into windows.
        """
        check_images(pixel_values, getattr(getattr(self.config, "backbone_config", self.config), "num_channels", 3))
        kwargs.setdefault("output_hidden_states", self.config.output_hidden_states)
        kwargs.setdefault("output_attentions", self.config.output_attentions)
        if labels is not None or not self.needs_windows(pixel_values):
            return self.segment(pixel_values, labels, **kwargs)
        if kwargs["output_hidden_states"] or kwargs["output_attentions"]:
            raise ValueError(
                f"An image of {pixel_values.shape[-2]} x {pixel_values.shape[-1]} pixels is segmented in windows of "
                f"{self.config.window_size}, which have no common hidden states or attentions. Set "
                "config.inference_mode = 'whole' to get those of one pass over the image."
            )
        logits = self.predict_windows(lambda windows: self.segment(windows, **kwargs).logits, pixel_values)
        return SegmentationOutput(logits=logits)

    def predict_windows(
        self, predict: Callable[[torch.Tensor], torch.Tensor], pixel_values: torch.Tensor
    ) -> torch.Tensor:
        """Logits `(batch, num_labels, height, width)` by the configured windows; see [`slide_inference`]."""
        return slide_inference(
            predict,
            pixel_values,
            window_size=as_pair(self.config.window_size),
            window_stride=as_pair(self.config.window_stride),
            window_batch_size=self.config.window_batch_size,
        )
