# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Changes to a recipe by dotted keys, and what moves with the size of the training crops."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any


Values = dict[str, Any]
Size = tuple[int, int]

CROP_SIZE = "training.crop_size"
# A superpatch, four patches of which may share a token, in pixels.
SUPERPATCH = 32


def apply_changes(values: Values, changes: Mapping[str, Any]) -> None:
    """
    Replace, in place, what the plain JSON values of a recipe say.

    With `training.crop_size`, all that is as large as the old crops becomes as large as the new ones, unless `changes`
    say it, too: the test windows and, in the same proportion, their stride; the least short side of a multi-scale
    view; `image_size` of model and plain ViT, with as large a share of the tokens shared; a classifier's test crop
    and, in the same proportion, what it is cut from. Sizes that differ from the crop's stay.

    Args:
        values: of the recipe.
        changes: dotted key -> value, such as `{"training.crop_size": [640, 640]}`.

    Raises:
        ValueError: if a key leads into something that holds no keys.
    """
    old = _as_pair(_get(values, CROP_SIZE))
    for key, value in changes.items():
        _set(values, key, value)
    new = _as_pair(_get(values, CROP_SIZE))
    if CROP_SIZE not in changes or old is None or new is None:
        return
    for moved in (_windows(values, old, new), _test_crop(values, old, new), *_image_sizes(values, old, new)):
        if moved and _is_given(next(iter(moved)), changes):
            # The rest was chosen for what comes first.
            continue
        for key, value in moved.items():
            if not _is_given(key, changes):
                _set(values, key, value)


def _is_given(key: str, changes: Mapping[str, Any]) -> bool:
    """Whether `changes` say it, what it is part of, or a part of it."""
    return any(f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in changes)


def _windows(values: Values, old: Size, new: Size) -> Values:
    """Dotted key -> value of the test in windows as large as the crops."""
    stride = _as_pair(_get(values, "evaluation.window_stride"))
    if _as_pair(_get(values, "evaluation.window_size")) != old or stride is None:
        return {}
    moved: Values = {
        "evaluation.window_size": list(new),
        "evaluation.window_stride": list(map(_in_proportion, stride, old, new)),
    }
    if _get(values, "evaluation.min_short") == max(old):
        moved["evaluation.min_short"] = max(new)
    return moved


def _test_crop(values: Values, old: Size, new: Size) -> Values:
    """Dotted key -> value of an image processor that cuts out as much as the training does."""
    if _get(values, "image_processor.crop_size") != {"height": old[0], "width": old[1]}:
        return {}
    moved: Values = {"image_processor.crop_size": {"height": new[0], "width": new[1]}}
    if (side := _get(values, "image_processor.size.shortest_edge")) is not None:
        moved["image_processor.size.shortest_edge"] = side * min(new) // min(old)
    return moved


def _image_sizes(values: Values, old: Size, new: Size) -> Iterator[Values]:
    """Dotted key -> value of a model, and a backbone, for images as large as the crops."""
    for model in ("model", "model.backbone_config"):
        image_size = _get(values, f"{model}.image_size")
        if (_as_pair(image_size) or (image_size, image_size)) != old:
            continue
        if _get(values, f"{model}.model_type") not in (None, "plain_vit"):
            # What other encoders call so is the size of the images that their weights were made with.
            continue
        moved: Values = {f"{model}.image_size": new[0] if new[0] == new[1] else list(new)}
        if (shared := _get(values, f"{model}.token_sharing")) is not None:
            moved[f"{model}.token_sharing"] = shared * _superpatches(new) // max(_superpatches(old), 1)
        yield moved


def _in_proportion(stride: int, old: int, new: int) -> int:
    # The originals' strides are two thirds of a window, rounded down, or else a share of it without rounding.
    share = Fraction(2, 3) if stride == old * 2 // 3 else Fraction(stride, old)
    return max(int(share * new), 1)


def _superpatches(size: Size) -> int:
    return (size[0] // SUPERPATCH) * (size[1] // SUPERPATCH)


def _as_pair(size: Any) -> Size | None:
    """A JSON list of two positive integers, `None` for anything else."""
    is_pair = isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size)
    return (size[0], size[1]) if is_pair and min(size) > 0 else None


def _get(values: Any, dotted_key: str) -> Any:
    """What is there, `None` for nothing."""
    for key in dotted_key.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _set(values: Values, dotted_key: str, value: Any) -> None:
    *path, last = dotted_key.split(".")
    for depth, key in enumerate(path):
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
        if not isinstance(values, dict):
            raise ValueError(f"{'.'.join(path[: depth + 1])} is {values!r}, so it has no {last!r} to change.")
    values[last] = value
