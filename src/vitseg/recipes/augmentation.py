# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Augmentation of one's own: transforms of torchvision (`torchvision.transforms.v2`) by name and arguments, as recipes
list them: `[{"name": "RandomRotation", "degrees": 10}, {"name": "ColorJitter", "brightness": 0.2}]`.

Those of `TRANSFORMS` move an image and its mask together, the mask without mixing its ids, or change the colours of
the image alone, and bytes stay bytes. `transforms` of RandomApply, RandomChoice and RandomOrder is such a list, too.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torchvision import tv_tensors
from torchvision.transforms import v2

from .lookup import unknown_name


TRANSFORMS = (
    # Places and sizes.
    "ElasticTransform",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "ScaleJitter",
    # Colours.
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
    # Which of several.
    "Identity",
    "RandomApply",
    "RandomChoice",
    "RandomOrder",
)
# Why others are refused, and what to say instead.
_SINGLE_ONES = "moves the image without its mask. Name what it is made of, such as RandomAffine and ColorJitter."
_LEAVE_OUT = (
    "Leave it out: images are bytes until the image processor's mean and deviation normalise them, at the end."
)
_FOR_BOXES = "is for boxes and points."
_SEVERAL = "mixes several images, whose masks cannot be mixed. Leave it out."
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"), _SINGLE_ONES),
    **dict.fromkeys(("ConvertImageDtype", "ToDtype"), f"changes the type of the numbers. {_LEAVE_OUT}"),
    **dict.fromkeys(("LinearTransformation", "Normalize"), f"normalises. {_LEAVE_OUT}"),
    **dict.fromkeys(("PILToTensor", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor"), f"converts. {_LEAVE_OUT}"),
    **dict.fromkeys(("CutMix", "MixUp"), _SEVERAL),
    **dict.fromkeys(("FiveCrop", "TenCrop"), "makes several images of one. Use RandomCrop."),
    **dict.fromkeys(("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat"), _FOR_BOXES),
    **dict.fromkeys(("SanitizeBoundingBoxes", "SanitizeKeyPoints", "SetClampingMode"), _FOR_BOXES),
    "CenterCrop": "fills small masks with class 0. Use RandomCrop.",
    "Compose": "is what the list is. List its transforms.",
    "Grayscale": "leaves one channel of three. Use RandomGrayscale with p 1.",
    "JPEG": "is deprecated in torchvision. Leave it out.",
    "Lambda": "takes a function, which a recipe cannot hold. Give TrainingTransform one of your own, in Python.",
    "RandomErasing": "erases the image and leaves its mask. Leave it out.",
    "RandomIoUCrop": "crops by boxes. Use RandomResizedCrop.",
    "RGB": "makes RGB of images, which are RGB already. Leave it out.",
    "UniformTemporalSubsample": "is for videos.",
}
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")
# torchvision's own default refuses images that are too small, once their turn comes.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"RandomCrop": {"pad_if_needed": True}}


def build_augmentation(entries: Sequence[Mapping[str, Any]], fill: Mapping[type, Any]) -> list[v2.Transform]:
    """
    The transforms of a recipe's `training.augmentation`.

    Args:
        entries: each the `name` of one of [`TRANSFORMS`], with the arguments that torchvision documents.
            `interpolation` is a word such as `"bilinear"`, and `fill`, for images alone, a number or three.
        fill: `tv_tensors.Image` and `tv_tensors.Mask` -> what new pixels are filled with.

    Raises:
        ValueError: naming the transform, if there is none of the name, or it cannot be used here, or an argument is
            unknown, missing or wrong.
    """
    return [_build(entry, fill) for entry in entries]


def _build(entry: Any, fill: Mapping[type, Any]) -> v2.Transform:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ValueError(
            f"augmentation holds {entry!r}; expected a transform with its arguments, such as "
            '{"name": "RandomRotation", "degrees": 10}.'
        )
    arguments = dict(entry)
    name = arguments.pop("name")
    if name in REFUSED:
        raise ValueError(f"augmentation has {name}, which cannot be used for segmentation: it {REFUSED[name]}")
    if name not in TRANSFORMS:
        raise unknown_name("transform of torchvision for images with masks", name, TRANSFORMS)
    transform_class = getattr(v2, name)
    parameters = inspect.signature(transform_class).parameters
    for argument in arguments:
        if argument not in parameters:
            raise unknown_name(f"argument of {name}", argument, parameters)
    arguments = {**_DEFAULTS.get(name, {}), **arguments}
    if "transforms" in arguments:
        arguments["transforms"] = build_augmentation(arguments["transforms"], fill)
    if "interpolation" in arguments:
        if arguments["interpolation"] not in INTERPOLATIONS:
            raise unknown_name(f"interpolation of {name}", str(arguments["interpolation"]), INTERPOLATIONS)
        arguments["interpolation"] = v2.InterpolationMode(arguments["interpolation"])
    if "fill" in parameters:
        arguments["fill"] = {**fill, **({tv_tensors.Image: arguments["fill"]} if "fill" in arguments else {})}
    try:
        return transform_class(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"augmentation: {name}: {error}") from error
