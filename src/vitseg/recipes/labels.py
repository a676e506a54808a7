# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The label sets of the benchmarks: names, colours, and what the values in the annotation files mean."""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .lookup import unknown_name


LABEL_SETS = ("ade20k", "cityscapes", "coco_stuff10k", "coco_stuff164k", "pascal_context59", "pascal_context60")
# What classifiers and detectors know: names alone.
CLASS_LISTS = ("coco", "imagenet1k")

# The originals read these label maps with mmsegmentation's reduce_zero_label.
REDUCED_LABEL_SETS = ("ade20k", "coco_stuff10k", "pascal_context59")


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """
    The classes of a data set. Train ids, which models predict, number them from 0.

    Args:
        name: one of `LABEL_SETS`.
        dataset: the data set in words.
        names: class names by train id, all different.
        palette: RGB colours (0..255) by train id.
        ignore_index: train id of pixels that do not count.
        raw_to_train: value in the annotation files as downloaded -> train id, or `ignore_index`.
        reduce_labels: whether the PNG label maps that the originals train on hold 0 for "no class" and train id + 1
            for the classes, so that an image processor needs `do_reduce_labels=True` for them.
        rule: where the annotation values come from, in words.
        label_ids: Cityscapes' own ids by name, those without a train id included.
        train_to_label_id: train id -> the id that Cityscapes' test server wants.
        raw_to_png: COCO-Stuff 10k's annotation value -> value in the PNG label maps made from it.
        names_in_older_mmseg: Pascal Context's class names in the wrong order that checkpoints of mmsegmentation before
            about 0.20 carry. Never to be used for `id2label`.
    """

    name: str
    dataset: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    raw_to_train: Mapping[int, int]
    reduce_labels: bool
    rule: str
    label_ids: Mapping[str, int] | None = None
    train_to_label_id: Mapping[int, int] | None = None
    raw_to_png: Mapping[int, int] | None = None
    names_in_older_mmseg: tuple[str, ...] | None = None

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def id2label(self) -> dict[int, str]:
        """Train id -> class name, as a model's configuration holds it."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Class name -> train id."""
        return {name: index for index, name in enumerate(self.names)}


@functools.cache
def load_label_set(name: str) -> LabelSet:
    """
    The label set of this name.

    Raises:
        ValueError: if `name` is not one of `LABEL_SETS`; the message names the closest.
    """
    if name not in LABEL_SETS:
        raise unknown_name("label set", name, LABEL_SETS)
    path = importlib.resources.files("vitseg.recipes") / "labels" / f"{name}.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if table.pop("num_classes") != len(table["names"]):
        raise ValueError(f"{path} names {len(table['names'])} classes, which is not its num_classes.")
    for key in ("names", "names_in_older_mmseg"):
        if key in table:
            # The published tables hold stray blanks, such as "bed ".
            table[key] = tuple(label.strip() for label in table[key])
    for key in ("raw_to_train", "train_to_label_id", "raw_to_png"):
        if key in table:
            table[key] = {int(value): target for value, target in table[key].items()}
    table["palette"] = tuple(tuple(colour) for colour in table["palette"])
    return LabelSet(name=name, reduce_labels=name in REDUCED_LABEL_SETS, **table)


def load_id2label(name: str) -> dict[int, str]:
    """
    Class id -> name of a label set, or of the 1000 classes of ImageNet-1K or the 80 of COCO (ids count the categories
    that there are), which torchvision's models carry.

    Raises:
        ValueError: if `name` is in neither `LABEL_SETS` nor `CLASS_LISTS`; the message names the closest.
    """
    if name not in CLASS_LISTS:
        return load_label_set(name).id2label
    from torchvision.models import ResNet50_Weights
    from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

    weights = ResNet50_Weights.IMAGENET1K_V1 if name == "imagenet1k" else RetinaNet_ResNet50_FPN_Weights.COCO_V1
    names = (label for label in weights.meta["categories"] if label not in ("__background__", "N/A"))
    return dict(enumerate(names))
