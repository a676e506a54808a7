# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What all segmentation models share: the one course that images take through them, and their output.

A method gives its backbone, [`predict`](SemanticSegmentationModel.predict),
[`upsample`](SemanticSegmentationModel.upsample) and [`losses`](SemanticSegmentationModel.losses).
"""

import functools
import os
from collections.abc import Callable
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
from .labels import check_shape, check_values, unify_ignored
from .layers import check_images, is_exporting, resize
from .pixel_losses import NumItems, PixelLossFunction, loss_of_upsampled, pixel_cross_entropy
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
        scores: `(batch, num_labels, rows, columns)`, of which [`upsample`](SemanticSegmentationModel.upsample) makes
            the logits.
        details: what its losses need besides.
    """

    scores: torch.Tensor
    details: Any = None


def label_maps(labels: torch.Tensor, pixel_values: torch.Tensor, config: WindowedInferenceConfig) -> torch.Tensor:
    """
    Labels of images as losses take them: int64, with `config.semantic_loss_ignore_index` where they are ignored.

    Raises:
        ValueError: if they are no integers, do not fit the images, or hold a value outside the classes.
    """
    check_shape(labels, (pixel_values.shape[0], *pixel_values.shape[-2:]), "pixel of pixel_values")
    labels = unify_ignored(labels, config.num_labels, config.ignore_index)
    check_values(
        labels,
        config.num_labels,
        config.ignore_index,
        "If 0 means 'no class' in your label maps, set do_reduce_labels=True in the image processor; else check "
        "id2label.",
    )
    return labels


class SemanticSegmentationModel(PreTrainedModel):
    """
    A segmentation model whose configuration is a [`WindowedInferenceConfig`].

    In evaluation mode an image larger than `config.window_size` is segmented in overlapping windows, as most published
    results were, unless `config.inference_mode` is `"whole"`. In training mode there is one pass over the whole image,
    whatever its size; so there is in an exported or traced program. Losses are always those of one pass. What
    `torch.compile` compiles is that pass, or the pass over windows, which are cut outside of it.
    """

    config: WindowedInferenceConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _can_compile_fullgraph = True
    _auto_class = "AutoModelForSemanticSegmentation"

    def __init__(self, config: WindowedInferenceConfig):
        super().__init__(config)
        # Of the answer and of auxiliary heads, where the method has a loss of the pixels. A training that weighs
        # classes or pixels puts another function of the same arguments here.
        self.loss_function: PixelLossFunction = pixel_cross_entropy

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As in transformers; also for a folder with an adapter, which is merged into its encoder."""
        # Imported here, so that most folders do without.
        from .adapters import find_adapter, load_adapted

        folder = find_adapter(pretrained_model_name_or_path, kwargs)
        if folder is not None:
            config = cls.config_class.from_pretrained(folder)
            kwargs["state_dict"] = load_adapted(cls(config), folder, kwargs).state_dict()
            kwargs.pop("adapter_kwargs", None)  # of the Auto classes
            if "config" not in kwargs:
                kwargs["config"], kwargs = cls.config_class.from_pretrained(
                    folder, return_unused_kwargs=True, **kwargs
                )
            pretrained_model_name_or_path = None
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    @property
    def num_channels(self) -> int:
        """Channels of the images that the model takes."""
        return self.config.num_channels

    @property
    def accepts_loss_kwargs(self) -> bool:
        """
        Whether what transformers' Trainer counts, labels other than -100, is what [`count_items`] counts. Where it is
        not, the Trainer averages the losses of accumulated batches.
        """
        return self.config.ignore_index != -100

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """
        How many items the losses of some labels are means over: here all pixels, ignored ones included.

        An optimization step over several batches, in this process and others, has the same gradient however its images
        are divided among them, if every forward pass is given the sum of their counts as `num_items_in_batch`, and
        the gradients of all are summed. Where gradients are averaged instead, give the mean of the counts.

        Args:
            labels: as in [`forward`].

        Returns:
            A tensor on the device of `labels`, to be added to those of other batches.
        """
        return labels.new_full((), labels.numel(), dtype=torch.int64)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        inference_mode: str | None = None,
        window_size: int | tuple[int, int] | None = None,
        window_stride: int | tuple[int, int] | None = None,
        window_batch_size: int | None = None,
        num_items_in_batch: NumItems = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.
            labels (`torch.Tensor` of shape `(batch, height, width)`, *optional*):
                Class ids from 0 to `num_labels - 1` in any integer dtype, and for ignored pixels
                `config.semantic_loss_ignore_index`, or 255 unless that is a class. On the CPU other values are
                refused; on an accelerator, where looking at them would stall every step, they are not noticed here.
            inference_mode, window_size, window_stride, window_batch_size (*optional*):
                The test protocol of this call, where it is not the configuration's; see [`WindowedInferenceConfig`]. A
                `window_size` without a `window_stride` has the stride that a configuration gives it.
            num_items_in_batch (`torch.Tensor`, *optional*):
                What the losses are means over, if this is one of several batches of a step: the sum of their
                [`count_items`]. By default it is what this batch holds.

        Returns:
            [`SegmentationOutput`]: `logits` of shape `(batch, num_labels, height, width)`, the same with `labels` as
            without; with `labels` also `loss` and `loss_dict`, whose terms `losses` of the method names. The losses
            are those of one pass over whole images. In evaluation mode, where windows make the logits of a larger
            image, that pass comes on top, and the logits have no gradients.

        Raises:
            ValueError: if `pixel_values` or `labels` do not fit the model or each other, if windows would leave gaps,
                or if hidden states or attentions are asked for where the image has to be cut into windows.
        """
        check_images(pixel_values, self.num_channels)
        protocol = self.config.protocol(inference_mode, window_size, window_stride, window_batch_size)
        kwargs.setdefault("output_hidden_states", self.config.output_hidden_states)
        kwargs.setdefault("output_attentions", self.config.output_attentions)
        if labels is not None:
            labels = label_maps(labels, pixel_values, self.config)
        slides = protocol.mode == "slide" and not self.training and not is_exporting()
        shown = self.enlarge(pixel_values, protocol) if slides else pixel_values
        is_one_pass = not slides or protocol.is_one_window(shown)
        answer = self.segment if is_one_pass else functools.partial(self.slide, protocol=protocol)
        if labels is None:
            return answer(shown, **kwargs)
        if is_one_pass and shown is pixel_values:
            return self.segment(pixel_values, labels, num_items_in_batch, **kwargs)
        with torch.no_grad():
            outputs = answer(shown, **kwargs)
        whole = self.segment(pixel_values, labels, num_items_in_batch)
        return SegmentationOutput(**{**outputs, "loss": whole.loss, "loss_dict": whole.loss_dict})

    def segment(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: NumItems = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        """One pass over whole images; arguments and result as in [`forward`]."""
        features = self.run_backbone(pixel_values, **kwargs)
        prediction = self.predict(features, for_losses=labels is not None)
        loss, loss_dict = None, None
        if labels is not None:
            loss_dict = self.losses(prediction, labels, num_items_in_batch)
            loss = sum(loss_dict.values())
        return SegmentationOutput(
            loss=loss,
            logits=self.upsample(prediction.scores, pixel_values.shape[-2:]),
            loss_dict=loss_dict,
            hidden_states=features.hidden_states,
            attentions=features.attentions,
        )

    def slide(
        self, pixel_values: torch.Tensor, protocol: InferenceProtocol, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """The logits of images larger than a window."""
        if kwargs["output_hidden_states"] or kwargs["output_attentions"]:
            image, window = (" x ".join(map(str, size)) for size in (pixel_values.shape[-2:], protocol.window_size))
            raise ValueError(
                f"An image of {image} pixels is segmented in windows of {window}, which have no common hidden states "
                "or attentions. Set config.inference_mode = 'whole' to get those of one pass over the image."
            )
        logits = slide_inference(
            lambda windows: self.segment(windows, **kwargs).logits,
            pixel_values,
            window_size=protocol.window_size,
            window_stride=protocol.window_stride,
            window_batch_size=protocol.window_batch_size,
        )
        return SegmentationOutput(logits=logits)

    def enlarge(self, pixel_values: torch.Tensor, protocol: InferenceProtocol) -> torch.Tensor:
        """Images as the protocol of windows shows them: as they are, unless the method enlarges small ones."""
        return pixel_values

    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> Any:
        """The output of the backbone: `feature_maps`, and on request `hidden_states` and `attentions`."""
        return self.backbone(pixel_values, **kwargs)

    def predict(self, features: Any, for_losses: bool = False) -> Prediction:
        """
        The method's answer to the output of its backbone.

        Args:
            features: see [`run_backbone`].
            for_losses: whether there will be losses, which may take more than the answer.
        """
        raise NotImplementedError

    def upsample(self, scores: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """The logits of images of a height and width, from the scores of a [`Prediction`]."""
        return resize(scores, size)

    def losses(
        self, prediction: Prediction, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> dict[str, torch.Tensor]:
        """
        The weighted terms of the loss, by the names the originals log them under.

        Here it is the cross-entropy of the pixels alone, `decode.loss_ce`.

        Args:
            prediction: see [`predict`].
            labels: int64 `(batch, height, width)`, class ids and the ignore index of the configuration.
            num_items_in_batch: see [`forward`].
        """
        return {"decode.loss_ce": self.pixel_loss(prediction.scores, labels, num_items_in_batch)}

    def pixel_loss(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: NumItems = None,
        upsample: Callable[[torch.Tensor, torch.Size], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """
        The `loss_function` of scores, which are upsampled a few images at a time if it says that it allows for that
        (`adds_up_over_images`).

        Args:
            scores: `(batch, num_labels, rows, columns)`, of the answer or of an auxiliary head.
            labels: as for [`losses`].
            num_items_in_batch: see [`forward`].
            upsample: of the scores, if it is not the model's [`upsample`].
        """
        upsample, size = upsample or self.upsample, labels.shape[-2:]
        loss_function, ignore_index = self.loss_function, self.config.ignore_index
        if loss_function is not pixel_cross_entropy and not getattr(loss_function, "adds_up_over_images", False):
            return loss_function(upsample(scores, size), labels, ignore_index, num_items_in_batch)
        num_items = labels.numel() if num_items_in_batch is None else num_items_in_batch
        return loss_of_upsampled(
            scores,
            labels,
            upsample=lambda some_scores: upsample(some_scores, size),
            loss_function=lambda logits, some_labels: loss_function(logits, some_labels, ignore_index, num_items),
        )
