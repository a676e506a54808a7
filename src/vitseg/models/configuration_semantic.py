# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the configurations of segmentation methods share: a backbone, a test protocol and a loss."""

from os import PathLike
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig

from .configuration_plain_vit import as_pair, resolve_backbone_config


INFERENCE_MODES = ("whole", "slide")


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
            height, width = as_pair(self.window_size)
            self.window_stride = 2 * height // 3 if height == width else [2 * height // 3, 2 * width // 3]
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
        if self.inference_mode not in INFERENCE_MODES:
            raise ValueError(f"inference_mode is {self.inference_mode!r}; expected one of {INFERENCE_MODES}.")
        for name in ("window_size", "window_stride"):
            if min(as_pair(getattr(self, name))) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected positive numbers of pixels.")
        window, stride = as_pair(self.window_size), as_pair(self.window_stride)
        if stride[0] > window[0] or stride[1] > window[1]:
            raise ValueError(
                f"window_stride {stride} exceeds window_size {window}: pixels between the windows would get no logits."
            )
        if self.window_batch_size < 1:
            raise ValueError(f"window_batch_size is {self.window_batch_size}; expected at least 1.")


@strict
class SemanticSegmentationConfig(WindowedInferenceConfig):
    r"""
    Base of the configurations of methods that put a decoder over a backbone.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the backbone: a [`PlainVitConfig`], or that of any transformers backbone. Each method has
            its published one as default.
        kwargs:
            Arguments of [`WindowedInferenceConfig`]. `window_size` defaults to the backbone's `image_size`.
    """

    sub_configs = {"backbone_config": AutoConfig}

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs):
        if self.backbone_config is None:
            self.backbone_config = self.default_backbone_config()
        self.backbone_config = resolve_backbone_config(self.backbone_config)
        if self.window_size is None:
            self.window_size = getattr(self.backbone_config, "image_size", None)
        if self.window_size is None:
            name = type(self.backbone_config).__name__
            raise ValueError(f"backbone_config, a {name}, has no image_size: pass window_size, in pixels.")
        super().__post_init__(**kwargs)

    def default_backbone_config(self) -> PreTrainedConfig:
        """The backbone of the method's best-known published model."""
        raise NotImplementedError(f"{type(self).__name__} has no default backbone: pass backbone_config.")
