# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of SCTNet.

Sources: the README and the configurations of https://github.com/xzz777/SCTNet at commit d4bd6d8. The results named
Seg50, Seg75 and Seg100 differ in the size that images are tested at; Seg50 and Seg75 share their training.
"""

from dataclasses import dataclass, replace
from typing import Any

from . import datasets
from .datasets import ADE20K, Benchmark
from .schema import EvaluationRecipe, PretrainedWeights, PublishedRecipe, PublishedResult, Weights


REPOSITORY = "https://github.com/xzz777/SCTNet"


@dataclass(frozen=True)
class Size:
    """SCTNet-S or SCTNet-B, its start, and its teacher."""

    base_channels: int
    context_channels: int
    pretrained_file: str
    teacher: str


SIZES = {
    "s": Size(32, 64, "SCT-S_Pretrain.pth", "mit-b2"),
    "b": Size(64, 128, "SCT-B_Pretrain.pth", "mit-b3"),
}


COCO_STUFF = replace(datasets.COCO_STUFF_10K, crop=640, scale=(2560, 640), limits_long_side=True)
CITYSCAPES = replace(datasets.CITYSCAPES, crop=1024, scale=(2048, 1024))
# Data set -> batch size of all processes, learning rate and its floor, weight decay.
SCHEDULES = {
    "ade20k": (32, 5e-4, 0.0, 0.01),
    "coco-stuff-10k": (16, 6e-5, 0.0, 0.01),
    "cityscapes": (16, 4e-4, 1e-6, 0.0125),
}


def _recipe(
    variant: str,
    data: Benchmark,
    miou: float,
    fps: float,
    fps_tensorrt: float | None = None,
    crop: tuple[int, int] | None = None,
    ratio_range: tuple[float, float] = (0.5, 2.0),
    test_scale: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
) -> PublishedRecipe:
    """
    A row of the README: `variant` is "s" or "b", with the size of the test where that is part of the name; `crop` and
    `test_scale` where they are not the data set's; `image_size` the height and width that speed is measured at, where
    that is not the crop.
    """
    size = SIZES[variant[0]]
    batch_size, learning_rate, min_learning_rate, weight_decay = SCHEDULES[data.name]
    crop, test_scale = crop or data.crop_size, test_scale or data.scale
    crop_name = str(crop[0]) if crop[0] == crop[1] else f"{crop[0]}x{crop[1]}"
    rules: dict[str, dict[str, float]] = {"head": {"lr_mult": 10.0}, "alignment": {"lr_mult": 10.0}}
    if data is not CITYSCAPES:
        # Those of the attention layers alone: the original's rule does not reach norms of other names.
        rules |= {"attention.norm": {"decay_mult": 0.0}, "mlp.norm": {"decay_mult": 0.0}}
    return PublishedRecipe(
        name=f"sctnet-{variant}-{data.name}-{crop_name}-160k",
        method="sctnet",
        model={
            "base_channels": size.base_channels,
            "context_channels": size.context_channels,
            "image_size": list(image_size or crop),
        },
        image_processor={
            **replace(data, scale=test_scale).image_processor,
            "do_reduce_labels": data.reduces_labels,
        },
        label_set=data.label_set,
        training=data.adamw_training(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            parameter_rules=rules,
            min_learning_rate=min_learning_rate,
            iterations=160_000,
            batch_size=batch_size,
            crop_size=crop,
            ratio_range=ratio_range,
            pretrained=PretrainedWeights(
                timm_model=None,
                url=f"{REPOSITORY}#readme",
                note=f"`{size.pretrained_file}`, in the authors' folder of pre-trained weights.",
            ),
            teacher=f"sctnet-teacher-{size.teacher}-{data.name}",
        ),
        evaluation=EvaluationRecipe(
            mode="whole",
            window_size=None,
            window_stride=None,
            scale=test_scale,
            ratios=(1.0,),
            min_short=None,
            flip=False,
        ),
        published=PublishedResult(
            miou=miou,
            miou_multi_scale=None,
            source=f"README of {REPOSITORY}",
            frames_per_second=fps,
            frames_per_second_tensorrt=fps_tensorrt,
        ),
        weights=Weights(
            status="published",
            host="Google Drive, by the authors' README",
            url=f"{REPOSITORY}#readme",
            licence="MIT",
            note="until 2025-03-31 the link led to the file of Seg75" if variant == "b-seg100" else "",
        ),
    )


_SMALL_CROP: dict[str, Any] = {"data": CITYSCAPES, "crop": (512, 1024), "ratio_range": (0.25, 1.5)}
_SEG50: dict[str, Any] = _SMALL_CROP | {"test_scale": (1024, 512)}
_SEG75: dict[str, Any] = _SMALL_CROP | {"test_scale": (1536, 768), "image_size": (768, 1536)}
RECIPES = (
    _recipe("s", ADE20K, 37.91, fps=158.4),
    _recipe("b", ADE20K, 43.04, fps=145.1),
    _recipe("b", COCO_STUFF, 35.91, fps=141.5),
    _recipe("s-seg50", miou=72.94, fps=160.3, fps_tensorrt=451.2, **_SEG50),
    _recipe("s-seg75", miou=76.33, fps=149.2, fps_tensorrt=233.3, **_SEG75),
    _recipe("b-seg50", miou=76.46, fps=144.9, fps_tensorrt=374.6, **_SEG50),
    _recipe("b-seg75", miou=79.83, fps=105.2, fps_tensorrt=186.6, **_SEG75),
    _recipe("b-seg100", CITYSCAPES, 80.51, fps=62.8, fps_tensorrt=105.0, image_size=(1024, 2048)),
)
