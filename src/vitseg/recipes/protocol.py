# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How a model is tested: the sizes that an image is shown at, flipped or not, and the windows that it is cut into.

A figure means nothing without its protocol. A model folder holds the single-scale one (the image processor's `size`,
the configuration's windows); the multi-scale one is the recipe's, or that of mmsegmentation's examples.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor

from ..models.image_processing_semantic import SemanticImageProcessor, keep_ratio_size
from ..models.layers import as_pair
from .schema import Recipe


def holds_protocol(config: PreTrainedConfig) -> bool:
    """
    Whether a configuration says how its model is tested: that of every segmentation model of vitseg does, also where
    it was loaded with the code of its folder.
    """
    return hasattr(config, "inference_mode")


def cuts(image_processor: BaseImageProcessor) -> dict[str, bool]:
    """
    The switches, off, of what an image processor of another library may do to an image beside resizing and normalising
    it: the pixels would lose their places.
    """
    if isinstance(image_processor, SemanticImageProcessor):
        return {}
    switches = ("do_center_crop", "do_split_image", "do_pad")
    return {switch: False for switch in switches if getattr(image_processor, switch, None)}


@dataclass(frozen=True, kw_only=True)
class View:
    """
    One way that a model is shown an image.

    Args:
        height: of the resized image, in pixels.
        width: likewise.
        flip: whether it is then flipped horizontally.
        weight: how often it counts in the mean of all views. Scales that lead to the same size are one view.
    """

    height: int
    width: int
    flip: bool = False
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """
    A test protocol.

    Args:
        mode: `"slide"` (overlapping windows) or `"whole"`.
        window_size: height and width of a window in pixels, `None` when `mode` is `"whole"`.
        window_stride: vertical and horizontal distance of the windows, `None` when `mode` is `"whole"`.
        size: what images are resized to, as an image processor's `size` says it: `shortest_edge` and perhaps
            `longest_edge` (the ratio of the sides is kept), or `height` and `width`; empty if images keep their size.
        ratios: the scales of the test, factors on `size`.
        min_short: if given, images are resized to a short side of at least this many pixels, and their long side
            follows without bound.
        flip: whether every scale is also shown flipped horizontally.
        align_corners: how logits are resized to the image, as PyTorch has it. No method here was published with it on,
            but other models of mmsegmentation were.

    Raises:
        ValueError: if there is no ratio, or one is not positive, or `min_short` is given without `shortest_edge`.
    """

    mode: str
    window_size: tuple[int, int] | None = None
    window_stride: tuple[int, int] | None = None
    size: Mapping[str, int]
    ratios: tuple[float, ...] = (1.0,)
    min_short: int | None = None
    flip: bool = False
    align_corners: bool = False

    def __post_init__(self) -> None:
        if not self.ratios or not all(0 < ratio < math.inf for ratio in self.ratios):
            raise ValueError(f"ratios are {self.ratios}; expected one positive factor or more.")
        if self.min_short is not None and "shortest_edge" not in self.size:
            raise ValueError(f"min_short is {self.min_short}, but size {dict(self.size)} has no shortest_edge.")

    @classmethod
    def of_model(
        cls,
        config: PreTrainedConfig,
        image_processor: BaseImageProcessor,
        *,
        ratios: Sequence[float] = (1.0,),
        flip: bool = False,
    ) -> "Protocol":
        """
        The protocol of a model folder, at its single scale or at several; of a model of another library, one pass over
        the image as its image processor resizes it.
        """
        slides = holds_protocol(config) and config.inference_mode == "slide"
        size = image_processor.size if image_processor.do_resize else {}
        return cls(
            mode="slide" if slides else "whole",
            window_size=as_pair(config.window_size) if slides else None,
            window_stride=as_pair(config.window_stride) if slides else None,
            size={key: value for key, value in dict(size).items() if value is not None},
            ratios=tuple(ratios),
            flip=flip,
        )

    @classmethod
    def of_recipe(cls, recipe: Recipe, *, multi_scale: bool = False, flip: bool = False) -> "Protocol":
        """The protocol that a recipe's figures were measured with, at a single scale or at several."""
        evaluation = recipe.evaluation
        if evaluation is None:
            raise ValueError(f"{recipe.name} is a recipe for {recipe.task}, which has no test protocol to choose.")
        if multi_scale:
            size = {"shortest_edge": min(evaluation.scale), "longest_edge": max(evaluation.scale)}
        else:
            size = {
                key: value for key, value in dict(recipe.build_image_processor().size).items() if value is not None
            }
        return cls(
            mode=evaluation.mode,
            window_size=evaluation.window_size,
            window_stride=evaluation.window_stride,
            size=size,
            ratios=evaluation.ratios if multi_scale else (1.0,),
            min_short=evaluation.min_short if multi_scale else None,
            flip=flip,
        )

    def views(self, height: int, width: int) -> list[View]:
        """How an image of this height and width is shown: scale by scale, each as it is and then flipped."""
        return self.views_of([self._view_size(height, width, ratio) for ratio in self.ratios])

    def views_of(self, sizes: Sequence[tuple[int, int]]) -> list[View]:
        """The same of an image that has these heights and widths at the scales of the test."""
        flips = (False, True) if self.flip else (False,)
        return [
            View(height=view_height, width=view_width, flip=flip, weight=sizes.count((view_height, view_width)))
            for view_height, view_width in dict.fromkeys(sizes)
            for flip in flips
        ]

    def scaled_size(self, height: int, width: int, ratio: float) -> dict[str, int]:
        """What an image of this height and width is resized to at a scale, as an image processor's `size` says it."""
        return {
            key: max(int(edge * ratio), 1) for key, edge in (self.size or {"height": height, "width": width}).items()
        }

    def _view_size(self, height: int, width: int, ratio: float) -> tuple[int, int]:
        # The originals truncate a scaled size, and round what keeping the ratio makes of it.
        if "shortest_edge" not in self.size:
            fixed_height, fixed_width = self.size.get("height", height), self.size.get("width", width)
            return max(int(fixed_height * ratio), 1), max(int(fixed_width * ratio), 1)
        edges = [int(self.size[key] * ratio) for key in ("shortest_edge", "longest_edge") if key in self.size]
        if self.min_short is not None:
            edges = [max(min(edges), self.min_short)]
        return keep_ratio_size(height, width, *edges)

    def forward_arguments(self, config: PreTrainedConfig, window_batch_size: int | None = None) -> dict[str, Any]:
        """
        The keyword arguments with which a model follows this protocol in a call, whatever its configuration says.

        Args:
            config: the model's. A model of another library knows no such arguments, and gets none: it makes one pass
                over what it is given.
            window_batch_size: how many windows go through the network at a time, by default what `config` says.
        """
        if not holds_protocol(config):
            return {}
        return {
            "inference_mode": self.mode,
            "window_size": self.window_size,
            "window_stride": self.window_stride,
            "window_batch_size": window_batch_size,
        }

    def describe(self) -> str:
        """All of it in one line."""
        parts = [self._describe_size()]
        if len(self.ratios) > 1 or self.ratios[0] != 1:
            parts[0] += " times " + ", ".join(f"{ratio:g}" for ratio in self.ratios)
        if self.min_short is not None:
            parts[0] += f" (short side at least {self.min_short}, long side free)"
        if self.window_size and self.window_stride:
            window, stride = (" x ".join(map(str, pair)) for pair in (self.window_size, self.window_stride))
            parts.append(f"windows of {window} at a stride of {stride}")
        else:
            parts.append("whole images")
        parts.append("with flip" if self.flip else "no flip")
        return "; ".join(parts)

    def _describe_size(self) -> str:
        if "shortest_edge" in self.size:
            bound = f" (long side at most {self.size['longest_edge']})" if "longest_edge" in self.size else ""
            return f"short side {self.size['shortest_edge']}{bound}"
        if self.size:
            return f"resized to {self.size['height']} x {self.size['width']}"
        return "original size"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return dataclasses.asdict(self) | {"size": dict(self.size)}
