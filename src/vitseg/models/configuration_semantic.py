# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the configurations of all segmentation methods share: a test protocol and a loss."""

from os import PathLike
from typing import NamedTuple

import torch
from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .layers import as_pair


INFERENCE_MODES = ("whole", "slide")


class InferenceProtocol(NamedTuple):
    """How a model in evaluation mode treats images; see [`WindowedInferenceConfig`]. Sizes are height and width."""

    mode: str
    window_size: tuple[int, int]
    window_stride: tuple[int, int]
    window_batch_size: int

    def is_one_window(self, pixel_values: torch.Tensor) -> bool:
        """Whether images `(batch, channels, height, width)` are no larger than a window."""
        return pixel_values.shape[-2] <= self.window_size[0] and pixel_values.shape[-1] <= self.window_size[1]

    def check(self) -> None:
        """
        Raises:
            ValueError: if there is no such mode, or windows would be empty, or leave gaps.
        """
        if self.mode not in INFERENCE_MODES:
            raise ValueError(f"inference_mode is {self.mode!r}; expected one of {INFERENCE_MODES}.")
        for name in ("window_size", "window_stride"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected positive numbers of pixels.")
        if self.window_stride[0] > self.window_size[0] or self.window_stride[1] > self.window_size[1]:
            raise ValueError(
                f"window_stride {self.window_stride} exceeds window_size {self.window_size}: pixels between the "
                "windows would get no logits."
            )
        if self.window_batch_size < 1:
            raise ValueError(f"window_batch_size is {self.window_batch_size}; expected at least 1.")


def default_stride(window_size: tuple[int, int]) -> tuple[int, int]:
    """The stride of windows where none is given: two thirds of their size, rounded down."""
    return 2 * window_size[0] // 3, 2 * window_size[1] // 3


@strict
class WindowedInferenceConfig(PreTrainedConfig):
    r"""
    Base of the configurations of all methods: how a model is tested, and what its losses ignore.

    Args:
        inference_mode (`str`, *optional*, defaults to `"slide"`):
            How a model in evaluation mode treats an image larger than `window_size`: `"slide"` averages the logits of
            overlapping windows, `"whole"` makes one pass over the image. In training mode, with labels, and in an
            exported program there is always one pass.
        window_size (`int` or pair of `int`, *optional*):
            Side, or height and width, of a window in pixels. Each method has its own default.
        window_stride (`int` or pair of `int`, *optional*):
            Distance of the windows in pixels. Defaults to two thirds of `window_size`.
        window_batch_size (`int`, *optional*, defaults to 8):
            How many windows go through the network at a time.
        auxiliary_loss_weight (`float`, *optional*, defaults to 0.4):
            Weight of the loss of each auxiliary head.
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label value of the pixels that the losses ignore.
    """

    keys_to_ignore_at_inference = ["loss_dict", "hidden_states", "attentions"]
    # Saved folders carry their code, so that they load where vitseg is not installed.
    _auto_class = "AutoConfig"

    inference_mode: str = "slide"
    window_size: int | list[int] | tuple[int, int] | None = None
    window_stride: int | list[int] | tuple[int, int] | None = None
    window_batch_size: int = 8
    auxiliary_loss_weight: float | int = 0.4
    semantic_loss_ignore_index: int = 255

    def __post_init__(self, **kwargs):
        if self.window_stride is None:
            height, width = default_stride(as_pair(self.window_size))
            self.window_stride = height if height == width else [height, width]
        super().__post_init__(**kwargs)

    def save_pretrained(self, save_directory: str | PathLike, push_to_hub: bool = False, **kwargs) -> None:
        # The image processor's code is named here and not in preprocessor_config.json, where its mention would make
        # pipeline() ask whether to run it even when vitseg is imported.
        if self._auto_class is not None:
            class_name = type(self).__name__.replace("Config", "ImageProcessor")
            reference = f"image_processing_{self.model_type}.{class_name}"
            self.auto_map = {**getattr(self, "auto_map", {}), "AutoImageProcessor": reference}
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def validate_architecture(self):
        super().validate_architecture()
        self.protocol()

    def protocol(
        self,
        inference_mode: str | None = None,
        window_size: int | list[int] | tuple[int, int] | None = None,
        window_stride: int | list[int] | tuple[int, int] | None = None,
        window_batch_size: int | None = None,
    ) -> InferenceProtocol:
        """
        The test protocol, with what is given in place of what the configuration says. A `window_size` without a
        `window_stride` has the stride that it has by default.

        Raises:
            ValueError: if there is no such mode, or windows would be empty, or leave gaps.
        """
        if window_stride is None:
            window_stride = self.window_stride if window_size is None else default_stride(as_pair(window_size))
        protocol = InferenceProtocol(
            self.inference_mode if inference_mode is None else inference_mode,
            as_pair(self.window_size if window_size is None else window_size),
            as_pair(window_stride),
            self.window_batch_size if window_batch_size is None else window_batch_size,
        )
        protocol.check()
        return protocol
