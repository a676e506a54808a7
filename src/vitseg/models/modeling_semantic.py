# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What all segmentation models share: the one course that images take through them, their output and the originals'
pixel loss.

A method gives its backbone, [`predict`](SemanticSegmentationModel.predict) and
[`losses`](SemanticSegmentationModel.losses).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_semantic import InferenceProtocol, WindowedInferenceConfig
from .layers import check_images, is_exporting
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


class Prediction(NamedTuple):
    """
    What a method makes of the backbone's output.

    Args:
        logits: `(batch, num_labels, height, width)`, at the size of the image.
        details: what its losses need besides.
    """

    logits: torch.Tensor
    details: Any = None


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


class SemanticSegmentationModel(PreTrainedModel):
    """
    A segmentation model whose configuration is a [`WindowedInferenceConfig`].

    In evaluation mode an image larger than `config.window_size` is segmented in overlapping windows, as most published
    results were, unless `config.inference_mode` is `"whole"`. In training mode and with labels, there is one pass over
    the whole image, whatever its size; so there is in an exported program.
    """

    config: WindowedInferenceConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # The loss is a mean over what a batch holds, which the Trainer must average over accumulated batches.
    accepts_loss_kwargs = False
    _can_compile_fullgraph = True
    _auto_class = "AutoModelForSemanticSegmentation"

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    @property
    def num_channels(self) -> int:
        """Channels of the images that the model takes."""
        return self.config.num_channels

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        inference_mode: str | None = None,
        window_size: int | tuple[int, int] | None = None,
        window_stride: int | tuple[int, int] | None = None,
        window_batch_size: int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.
            labels (`torch.LongTensor` of shape `(batch, height, width)`, *optional*):
                Class ids from 0 to `num_labels - 1`, and `config.semantic_loss_ignore_index` for ignored pixels. With
                labels there is always one pass over whole images, whose logits differ from those of windows.
            inference_mode, window_size, window_stride, window_batch_size (*optional*):
                The test protocol of this call, where it is not the configuration's; see [`WindowedInferenceConfig`]. A
                `window_size` without a `window_stride` has the stride that a configuration gives it.

        Returns:
            [`SegmentationOutput`]: `logits` of shape `(batch, num_labels, height, width)`; with `labels` also `loss`
            and `loss_dict`, whose terms `losses` of the method names.

        Raises:
            ValueError: if `pixel_values` or `labels` do not fit the model or each other, if windows would leave gaps,
                or if hidden states or attentions are asked for where the image has to be cut into windows.
        """
        check_images(pixel_values, self.num_channels)
        protocol = self.config.protocol(inference_mode, window_size, window_stride, window_batch_size)
        kwargs.setdefault("output_hidden_states", self.config.output_hidden_states)
        kwargs.setdefault("output_attentions", self.config.output_attentions)
        if labels is not None:
            check_labels(labels, pixel_values, self.config.num_labels, self.config.semantic_loss_ignore_index)
        slides = labels is None and protocol.mode == "slide" and not self.training and not is_exporting()
        if slides:
            pixel_values = self.enlarge(pixel_values, protocol)
        if not slides or protocol.is_one_window(pixel_values):
            return self.segment(pixel_values, labels, **kwargs)
        if kwargs["output_hidden_states"] or kwargs["output_attentions"]:
            raise ValueError(
                f"An image of {pixel_values.shape[-2]} x {pixel_values.shape[-1]} pixels is segmented in windows of "
                f"{window_size or self.config.window_size}, which have no common hidden states or attentions. Set "
                "config.inference_mode = 'whole' to get those of one pass over the image."
            )
        logits = slide_inference(
            lambda windows: self.segment(windows, **kwargs).logits,
            pixel_values,
            window_size=protocol.window_size,
            window_stride=protocol.window_stride,
            window_batch_size=protocol.window_batch_size,
        )
        return SegmentationOutput(logits=logits)

    def segment(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """One pass over whole images; arguments and result as in [`forward`]."""
        features = self.run_backbone(pixel_values, **kwargs)
        prediction = self.predict(features, pixel_values.shape[-2:], for_losses=labels is not None)
        loss, loss_dict = None, None
        if labels is not None:
            loss_dict = self.losses(prediction, labels)
            loss = sum(loss_dict.values())
        return SegmentationOutput(
            loss=loss,
            logits=prediction.logits,
            loss_dict=loss_dict,
            hidden_states=features.hidden_states,
            attentions=features.attentions,
        )

    def enlarge(self, pixel_values: torch.Tensor, protocol: InferenceProtocol) -> torch.Tensor:
        """Images as the protocol of windows shows them: as they are, unless the method enlarges small ones."""
        return pixel_values

    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> Any:
        """The output of the backbone: `feature_maps`, and on request `hidden_states` and `attentions`."""
        return self.backbone(pixel_values, **kwargs)

    def predict(self, features: Any, size: torch.Size, for_losses: bool = False) -> Prediction:
        """
        The method's answer to the output of its backbone.

        Args:
            features: see [`run_backbone`].
            size: height and width of the image, and of the logits.
            for_losses: whether there will be losses, which may take more than the answer.
        """
        raise NotImplementedError

    def losses(self, prediction: Prediction, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        The weighted terms of the loss, by the names the originals log them under.

        Here it is the cross-entropy of the pixels alone, `decode.loss_ce`.
        """
        return {
            "decode.loss_ce": pixel_cross_entropy(prediction.logits, labels, self.config.semantic_loss_ignore_index)
        }
