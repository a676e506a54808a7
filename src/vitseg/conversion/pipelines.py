# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What whole configurations of mmsegmentation, of releases 0.x and 1.x, say of a model beside its network: how images are
prepared for a test, and what the classes are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..recipes.labels import load_label_set
from .arguments import OriginalClass, refuse_unless


# Data sets of mmsegmentation that are known here.
LABEL_SETS = {
    "ADE20KDataset": "ade20k",
    "CityscapesDataset": "cityscapes",
    "COCOStuffDataset": "coco_stuff164k",
    "PascalContextDataset": "pascal_context60",
    "PascalContextDataset59": "pascal_context59",
}
# Those whose label maps hold 0 for "no class", unless they are told otherwise.
REDUCED_DATASETS = {"ADE20KDataset", "PascalContextDataset59", "ISPRSDataset", "LoveDADataset", "PotsdamDataset"}

# The steps of a test. A step that is none of them may change pixels.
RESIZE = OriginalClass(
    ("Resize",),
    carried={"scale": None, "keep_ratio": False},
    fixed={"scale_factor": None, "backend": "cv2", "interpolation": "bilinear"},
    ignored=("clip_object_border",),
)
# Of releases 0.x, within `MultiScaleFlipAug`, which says the scale.
OLD_RESIZE = OriginalClass(
    ("Resize",),
    carried={"keep_ratio": True},
    fixed={"ratio_range": None, "min_size": None},
    ignored=("img_scale", "multiscale_mode"),
)
FLIP_AUGMENTATION = OriginalClass(
    ("MultiScaleFlipAug",),
    required=("transforms", "img_scale"),
    carried={"img_ratios": None, "flip": False},
    fixed={"flip_direction": "horizontal"},
)
NORMALIZE = OriginalClass(("Normalize",), required=("mean", "std"), carried={"to_rgb": True})
LOAD_IMAGE = OriginalClass(
    ("LoadImageFromFile",),
    fixed={"to_float32": False, "color_type": "color"},
    ignored=("imdecode_backend", "backend_args", "file_client_args", "ignore_empty"),
)
LOAD_ANNOTATIONS = OriginalClass(
    ("LoadAnnotations",),
    carried={"reduce_zero_label": None},
    ignored=("imdecode_backend", "backend_args", "file_client_args"),
)
WITHOUT_EFFECT = ("RandomFlip", "ImageToTensor", "DefaultFormatBundle", "Collect", "PackSegInputs")


@dataclass(frozen=True)
class TestSettings:
    """
    What a configuration says beside the network.

    Args:
        processing: settings of an image processor.
        ratios: the scales of a test that shows images at several, factors on the size.
        flip: whether its test also shows them flipped.
        names: of the classes, if it tells.
        palette: their colours, if it tells.
    """

    # So that pytest takes it for no test.
    __test__ = False

    processing: dict[str, Any] = field(default_factory=dict)
    ratios: tuple[float, ...] = ()
    flip: bool = False
    names: tuple[str, ...] | None = None
    palette: list[list[int]] | None = None


def read_test_settings(config: Mapping[str, Any], meta: Mapping[str, Any]) -> TestSettings:
    """
    What a configuration, and the record of a checkpoint, say beside the network.

    Args:
        config: a whole configuration, merged; the model dictionary alone says nothing.
        meta: the record of mmcv or mmengine beside the weights, which knows the classes better.

    Raises:
        ValueError: if the test prepares images in a way that our image processor does not, naming step and argument.
        KeyError, TypeError, AttributeError: if it lacks a value, or holds one of the wrong kind.
    """
    dataset = _test_dataset(config)
    steps = _read_steps(dataset.get("pipeline", config.get("test_pipeline", [])))
    processing: dict[str, Any] = {}
    if (scale := steps.get("scale")) is not None:
        processing["size"] = _read_size(scale, steps["keep_ratio"])
    if "mean" in steps:
        processing["image_mean"] = [value / 255 for value in steps["mean"]]
        processing["image_std"] = [value / 255 for value in steps["std"]]
    stated = {**dataset.get("metainfo", {}), **meta.get("dataset_meta", {})}
    if (is_reduced := _is_reduced(steps, stated, dataset)) is not None:
        processing["do_reduce_labels"] = is_reduced
    names, palette = _read_classes(stated, meta, dataset)
    return TestSettings(processing, tuple(steps.get("img_ratios") or ()), steps.get("flip", False), names, palette)


def _test_dataset(config: Mapping[str, Any]) -> dict[str, Any]:
    """The data set of the test, or of the validation; empty where there is none."""
    loaders = [config.get(name) or {} for name in ("test_dataloader", "val_dataloader")]
    data = config.get("data") or {}
    found = [*(loader.get("dataset") for loader in loaders), data.get("test"), data.get("val")]
    dataset: Any = next((item for item in found if item), {})
    # Several in a row, or one in a wrapper that repeats it.
    while isinstance(dataset, list) or "datasets" in dataset or "dataset" in dataset:
        dataset = dataset[0] if isinstance(dataset, list) else dataset.get("datasets", dataset.get("dataset"))
    return dataset


def _read_steps(pipeline: list[dict[str, Any]], scale: Any = None) -> dict[str, Any]:
    """The arguments of all steps of a test that matter, together; `scale` is that of the step around these."""
    arguments: dict[str, Any] = {}
    for step in pipeline:
        kind = step["type"]
        if kind == "MultiScaleFlipAug":
            outer = FLIP_AUGMENTATION.read(step)
            arguments |= outer | _read_steps(outer.pop("transforms"), outer.pop("img_scale"))
        elif kind == "Resize" and scale is not None:
            arguments |= OLD_RESIZE.read(step) | {"scale": scale}
        elif kind == "Resize":
            arguments |= RESIZE.read(step)
        elif kind == "Normalize":
            arguments |= NORMALIZE.read(step)
            refuse_unless(arguments, to_rgb=True)
        elif kind == "LoadAnnotations":
            arguments |= LOAD_ANNOTATIONS.read(step)
        elif kind == "LoadImageFromFile":
            LOAD_IMAGE.read(step)
        elif kind not in WITHOUT_EFFECT:
            known = ("Resize", "Normalize", "MultiScaleFlipAug", "LoadImageFromFile", "LoadAnnotations")
            raise ValueError(
                f"The test pipeline has a {step['type']}, and may do to images what ours does not; only "
                f"{', '.join((*known, *WITHOUT_EFFECT))} can be converted. The model dictionary alone, as JSON with "
                "--original-config, converts without the pipeline."
            )
    return arguments


def _read_size(scale: Any, keep_ratio: bool) -> dict[str, int]:
    """The size of an image processor for a scale: (width, height), or the long and the short side in any order."""
    if isinstance(scale, list) and len(scale) == 1:
        scale = scale[0]
    if not isinstance(scale, list) or len(scale) != 2 or not all(isinstance(side, int) for side in scale):
        raise ValueError(f"The test resizes images to scale={scale!r}; only two whole numbers can be converted.")
    if keep_ratio:
        return {"shortest_edge": min(scale), "longest_edge": max(scale)}
    return {"height": scale[1], "width": scale[0]}


def _is_reduced(steps: dict[str, Any], stated: Mapping[str, Any], dataset: dict[str, Any]) -> bool | None:
    """Whether label maps hold 0 for "no class", `None` where nothing tells."""
    told = (steps.get("reduce_zero_label"), stated.get("reduce_zero_label"), dataset.get("reduce_zero_label"))
    if any(value is not None for value in told):
        return bool(next(value for value in told if value is not None))
    return dataset["type"] in REDUCED_DATASETS if "type" in dataset else None


def _read_classes(
    stated: Mapping[str, Any], meta: Mapping[str, Any], dataset: dict[str, Any]
) -> tuple[tuple[str, ...] | None, list[list[int]] | None]:
    """Names and colours of the classes, of what tells them."""
    names = stated.get("classes", meta.get("CLASSES", dataset.get("classes")))
    palette = stated.get("palette", meta.get("PALETTE", dataset.get("palette")))
    if names is None and dataset.get("type") in LABEL_SETS:
        label_set = load_label_set(LABEL_SETS[dataset["type"]])
        names, palette = label_set.names, palette or label_set.palette
    is_named = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_named else None, None if palette is None else np.asarray(palette).tolist()
