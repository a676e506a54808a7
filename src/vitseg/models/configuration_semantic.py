# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the configurations of all segmentation methods share: a test protocol and a loss."""

import json
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers.configuration_utils import PreTrainedConfig

from .labels import IGNORE_INDEX
from .layers import as_pair
from .strict import strict


INFERENCE_MODES = ("whole", "slide")
PROTOCOL_FIELDS = ("inference_mode", "window_size", "window_stride", "window_batch_size")
CLASS_FIELDS = ("id2label", "label2id", "semantic_loss_ignore_index")

Size = int | list[int] | tuple[int, int]


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
        if self.window_stride[0] > self.window_size[0] or self.window_stride[1] > self.window_size[1]:
            raise ValueError(
                f"window_stride {self.window_stride} exceeds window_size {self.window_size}: pixels between the "
                "windows would get no logits."
            )
        if not is_positive(self.window_batch_size):
            raise ValueError(f"window_batch_size is {self.window_batch_size}; expected at least 1.")


def is_positive(number: Any) -> bool:
    """Whether it is a whole number of at least 1."""
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= 1


def height_and_width(name: str, size: Any) -> tuple[int, int]:
    """
    The size or stride of windows as height and width.

    Raises:
        ValueError: if it is not a positive whole number or a pair of them, with its name and value.
    """
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(is_positive(side) for side in pair):
        raise ValueError(
            f"{name} is {pair}; expected positive numbers of pixels, whole ones: a side, or height and width."
        )
    return pair


def default_stride(window_size: Size) -> Size:
    """The stride of windows where none is given: two thirds of their size, rounded down, but at least 1."""
    sides = window_size if isinstance(window_size, list | tuple) else [window_size]
    strides = [max(2 * side // 3, 1) for side in sides]
    return strides[0] if len(set(strides)) == 1 else strides


def leave_class_to_config(folder: str | PathLike) -> None:
    """
    Take the class of an image processor out of preprocessor_config.json where config.json, beside it, names its code.

    If it stood there, transformers would not look for the code, where vitseg is not installed.
    """
    config_file, processor_file = Path(folder) / "config.json", Path(folder) / "preprocessor_config.json"
    if not (config_file.is_file() and processor_file.is_file()):
        return
    code = json.loads(config_file.read_text(encoding="utf-8")).get("auto_map", {}).get("AutoImageProcessor")
    settings = json.loads(processor_file.read_text(encoding="utf-8"))
    if isinstance(code, str) and code.rpartition(".")[2] == settings.get("image_processor_type"):
        del settings["image_processor_type"]
        processor_file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@strict
class WindowedInferenceConfig(PreTrainedConfig):
    r"""
    Base of the configurations of all methods: how a model is tested, and what its losses ignore.

    Args:
        inference_mode (`str`, *optional*, defaults to `"slide"`):
            How a model in evaluation mode treats an image larger than `window_size`: `"slide"` averages the logits of
            overlapping windows, `"whole"` makes one pass over the image. In training mode and in an exported program
            there is always one pass, and a loss is always that of one.
        window_size (`int` or pair of `int`, *optional*):
            Side, or height and width, of a window in pixels. Each method has its own default.
        window_stride (`int` or pair of `int`, *optional*):
            Distance of the windows in pixels. Defaults to two thirds of `window_size`, which it follows when that is
            assigned anew.
        window_batch_size (`int`, *optional*, defaults to 8):
            How many windows go through the network at a time.
        auxiliary_loss_weight (`float`, *optional*, defaults to 0.4):
            Weight of the loss of each auxiliary head.
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label value of the pixels that the losses ignore. So is 255, which image processors and data sets write,
            unless it is a class: a model of more than 255 classes must be told what to ignore, -100 for instance.
    """

    keys_to_ignore_at_inference = ["loss_dict", "hidden_states", "attentions"]
    # Saved folders carry their code, so that they load where vitseg is not installed.
    _auto_class = "AutoConfig"

    inference_mode: str = "slide"
    window_size: Size | None = None
    window_stride: Size | None = None
    window_batch_size: int = 8
    auxiliary_loss_weight: float | int = 0.4
    semantic_loss_ignore_index: int | None = None

    def __post_init__(self, **kwargs):
        if self.window_stride is None:
            self.window_stride = default_stride(self.window_size)
        # Whatever is given is meant: classes that are assigned afterwards are looked at.
        given, self.semantic_loss_ignore_index = self.semantic_loss_ignore_index, None
        super().__post_init__(**kwargs)
        self.semantic_loss_ignore_index = given
        self.settle_ignore_index()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PROTOCOL_FIELDS and self._has_protocol():
            self.set_protocol(**{name: value})
            return
        if name == "id2label":  # which num_labels assigns, too
            self._refuse_ignored_class(value)
        super().__setattr__(name, value)

    def _refuse_ignored_class(self, id2label: dict[int, str]) -> None:
        ignored = self.__dict__.get("semantic_loss_ignore_index")
        if ignored is not None and self.num_labels <= ignored < len(id2label):
            raise ValueError(
                f"Of {len(id2label)} classes, {ignored} is one, and would be ignored. Assign "
                "semantic_loss_ignore_index first: -100, or any value that is no class."
            )

    def update(self, config_dict: dict[str, Any]) -> None:
        """As in transformers; what is of the protocol is assigned together, see [`set_protocol`]."""
        self.set_protocol(**{name: value for name, value in config_dict.items() if name in PROTOCOL_FIELDS})
        super().update({name: value for name, value in config_dict.items() if name not in PROTOCOL_FIELDS})

    def _has_protocol(self) -> bool:
        """Whether all of it is there, as it is from the end of `__init__` on."""
        return all(self.__dict__.get(name) is not None for name in PROTOCOL_FIELDS)

    def set_protocol(self, **fields: Any) -> None:
        """
        Assign several of `PROTOCOL_FIELDS` together, which may only fit together.

        A stride of `None` is the default of the window; and a stride that is not given, and was the default of the
        former window, becomes that of the new one.

        Raises:
            ValueError: as [`protocol`] does; then nothing is assigned.
        """
        fields = {**{name: getattr(self, name) for name in PROTOCOL_FIELDS}, **fields}
        stride, default = fields["window_stride"], default_stride(self.window_size)
        if stride is None or (stride is self.window_stride and as_pair(stride) == as_pair(default)):
            fields["window_stride"] = default_stride(height_and_width("window_size", fields["window_size"]))
        self.protocol(**fields)
        for name, value in fields.items():
            super().__setattr__(name, value)

    @property
    def ignore_index(self) -> int:
        """The `semantic_loss_ignore_index`, which is settled where there are label maps."""
        self.settle_ignore_index()
        assert self.semantic_loss_ignore_index is not None
        return self.semantic_loss_ignore_index

    def settle_ignore_index(self) -> None:
        """
        Ignore 255 if nothing is said.

        Raises:
            ValueError: if 255 is a class.
        """
        if self.semantic_loss_ignore_index is None:
            if self.num_labels > IGNORE_INDEX:
                raise ValueError(
                    f"Of {self.num_labels} classes, {IGNORE_INDEX} is one, and would be ignored by default. Give "
                    "semantic_loss_ignore_index, the label of ignored pixels: -100, or any value that is no class."
                )
            self.semantic_loss_ignore_index = IGNORE_INDEX

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs) -> Any:
        # What `from_pretrained` is given in place of saved values is assigned together.
        fields = {name: kwargs.pop(name) for name in PROTOCOL_FIELDS if name in kwargs}
        saved_num_labels = len(config_dict.get("id2label") or ()) or config_dict.get("num_labels", 2)
        is_given = "semantic_loss_ignore_index" in kwargs
        # So are the classes and what is ignored, as transformers does with `num_labels`.
        if "id2label" in kwargs:
            config_dict = {name: value for name, value in config_dict.items() if name != "num_labels"}
        classes = {name: kwargs.pop(name) for name in CLASS_FIELDS if name in kwargs}
        config_dict = {**config_dict, **classes}
        loaded = super().from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config.set_protocol(**fields)
        ignored = config.semantic_loss_ignore_index
        if not is_given and ignored is not None and saved_num_labels <= ignored < config.num_labels:
            # The saved value has become a class.
            config.semantic_loss_ignore_index = None
            config.settle_ignore_index()
        return loaded

    def save_pretrained(self, save_directory: str | PathLike, push_to_hub: bool = False, **kwargs) -> None:
        # The image processor's code is named here and not in preprocessor_config.json, where its mention would make
        # pipeline() ask whether to run it even when vitseg is imported.
        if self._auto_class is not None:
            class_name = type(self).__name__.replace("Config", "ImageProcessor")
            reference = f"image_processing_{self.model_type}.{class_name}"
            self.auto_map = {**getattr(self, "auto_map", {}), "AutoImageProcessor": reference}
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        leave_class_to_config(save_directory)

    def validate_architecture(self):
        super().validate_architecture()
        self.protocol()
        if not self.id2label:
            raise ValueError("num_labels is 0; expected a class at least.")
        if sorted(self.id2label) != list(range(self.num_labels)):
            raise ValueError(
                f"id2label has the ids {sorted(self.id2label)}; expected 0 to {self.num_labels - 1}, as logits are "
                "counted. That label maps count from 1 is said by do_reduce_labels of the image processor."
            )

    def protocol(
        self,
        inference_mode: str | None = None,
        window_size: Size | None = None,
        window_stride: Size | None = None,
        window_batch_size: int | None = None,
    ) -> InferenceProtocol:
        """
        The test protocol, with what is given in place of what the configuration says. A `window_size` without a
        `window_stride` has the stride that it has by default.

        Raises:
            ValueError: if there is no such mode, or windows would be empty, or leave gaps.
        """
        size = height_and_width("window_size", self.window_size if window_size is None else window_size)
        if window_stride is None:
            window_stride = self.window_stride if window_size is None else default_stride(size)
        protocol = InferenceProtocol(
            self.inference_mode if inference_mode is None else inference_mode,
            size,
            height_and_width("window_stride", window_stride),
            self.window_batch_size if window_batch_size is None else window_batch_size,
        )
        protocol.check()
        return protocol
