# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the converters of transformers' own models have in common."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..base import Converter
from ..mmseg import ENCODER_DECODER, read_preprocessing, read_test_protocol


class TransformersConverter(Converter):
    """
    A converter to a class of transformers.

    Such a class has no test protocol, and an image processor that is not quite mmsegmentation's; `notes` says so.

    Attributes:
        model_class: the class of transformers that is made of a checkpoint.
        image_processor_class: that of its image processor.
    """

    model_class: ClassVar[str]
    image_processor_class: ClassVar[str] = "SegformerImageProcessor"

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if hasattr(cls, "model_class"):
            cls.result = f"transformers' {cls.model_class}"

    @abstractmethod
    def differences(self, original: dict[str, Any]) -> list[str]:
        """What the network does otherwise than the original, a sentence each, without what `notes` says of all."""

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

    def build_image_processor(self, config: PreTrainedConfig, settings: dict[str, Any]) -> BaseImageProcessor:
        # Without a word on their size, images keep it.
        size = {} if "size" in settings else {"do_resize": False}
        return getattr(transformers, self.image_processor_class)(**size, **settings)

    def build_model(self, config: PreTrainedConfig, task: str) -> PreTrainedModel:
        # Not on the meta device: these classes have buffers that are in no checkpoint.
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return getattr(transformers, self.model_class)(config)

    def notes(self, original: dict[str, Any]) -> list[str]:
        notes = self.differences(original)
        protocol = read_test_protocol(ENCODER_DECODER.read(original)["test_cfg"])
        if protocol.get("inference_mode") == "slide":
            window, stride = (
                " ".join(map(str, protocol[key])) if isinstance(protocol[key], list | tuple) else protocol[key]
                for key in ("window_size", "window_stride")
            )
            notes.append(
                "the original is tested in windows, and this class makes one pass over an image. As the original: "
                f"vitseg validate --window {window} --stride {stride}"
            )
        notes.append("images are resized with antialiasing, as transformers does, and mmsegmentation does not.")
        return notes
