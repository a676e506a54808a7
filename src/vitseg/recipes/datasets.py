# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks as most models are trained and tested on them; a method that departs says so in its own file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .labels import REDUCED_LABEL_SETS
from .schema import EvaluationRecipe, TrainingRecipe


# The factors of mmsegmentation's multi-scale test.
SIX_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """
    A data set as models are trained and tested on it.

    Args:
        name: in the names of recipes.
        label_set: one of `LABEL_SETS`.
        crop: side of training crops in pixels; test windows and the images that a backbone is made for are as large.
        scale: long and short side that images are resized within.
        limits_long_side: whether that holds for the long side of test images at a single scale, too.
    """

    name: str
    label_set: str
    crop: int
    scale: tuple[int, int]
    limits_long_side: bool = True

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.crop, self.crop

    @property
    def reduces_labels(self) -> bool:
        """Whether 0 means "no class" in its label maps."""
        return self.label_set in REDUCED_LABEL_SETS

    @property
    def image_processor(self) -> dict[str, Any]:
        """Its settings for the single-scale test, and for label maps as they are downloaded."""
        long_side, short_side = self.scale
        size = {"shortest_edge": short_side, **({"longest_edge": long_side} if self.limits_long_side else {})}
        return {"size": size, **({"do_reduce_labels": True} if self.reduces_labels else {})}

    def adamw_training(self, **settings: Any) -> TrainingRecipe:
        """Training by AdamW as mmsegmentation has it, with a linear decay after a warm-up, and these `settings`."""
        common: dict[str, Any] = {
            "power": 1.0,
            "min_learning_rate": 0.0,
            "warmup_iterations": 1500,
            "warmup_ratio": 1e-6,
            "batch_size": 16,
            "crop_size": self.crop_size,
            "scale": self.scale,
        }
        return TrainingRecipe(optimizer="adamw", **{**common, **settings})

    def sliding_test(
        self,
        stride: int | None = None,
        ratios: Sequence[float] = SIX_RATIOS,
        min_short: int | None = None,
        flip: bool = True,
    ) -> EvaluationRecipe:
        """The test in windows of the crop's size, two thirds of which is the stride unless another is given."""
        stride = stride or self.crop * 2 // 3
        return EvaluationRecipe(
            mode="slide",
            window_size=self.crop_size,
            window_stride=(stride, stride),
            scale=self.scale,
            ratios=tuple(ratios),
            min_short=min_short,
            flip=flip,
        )


ADE20K = Benchmark(name="ade20k", label_set="ade20k", crop=512, scale=(2048, 512))
ADE20K_640 = Benchmark(name="ade20k", label_set="ade20k", crop=640, scale=(2560, 640))
CITYSCAPES = Benchmark(name="cityscapes", label_set="cityscapes", crop=768, scale=(2049, 1025))
COCO_STUFF_10K = Benchmark(
    name="coco-stuff-10k", label_set="coco_stuff10k", crop=512, scale=(2048, 512), limits_long_side=False
)
PASCAL_CONTEXT = Benchmark(
    name="pascal-context", label_set="pascal_context60", crop=480, scale=(520, 520), limits_long_side=False
)
