# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the benchmarks' original downloads keep their images, their annotations and their splits.

Each data set may lie unpacked or in the archives that were downloaded, with or without the folders around it. Its
validation split is what its results are published for.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..recipes.labels import load_label_set
from ..recipes.lookup import unknown_name
from .annotations import Annotation, MaskFile, MatFile, RunLengths, TrainIds
from .archives import File, FileTree
from .augmentation import IGNORE_INDEX
from .dataset_labels import DatasetLabels
from .pairs import Pair, RawDataset, match_up


DOWNLOADS = ("ade20k", "cityscapes", "coco-stuff-10k", "coco-stuff-164k", "pascal-context")


def open_download(name: str, source: str | Path, classes: int = 60) -> RawDataset:
    """
    Find the pairs of a benchmark in its original download.

    Args:
        name: one of `DOWNLOADS`.
        source: a folder that holds the download, or the archive if it is only one.
        classes: for PASCAL Context, 60 (background is a class) or 59 (it is ignored).

    Raises:
        ValueError: if the name or the number of classes is unknown, or the source is not such a download; the message
            says what was looked for.
    """
    if name not in DOWNLOADS:
        raise unknown_name("data set", name, DOWNLOADS)
    if classes not in (59, 60):
        raise ValueError(f"classes is {classes}; PASCAL Context has 59, or 60 with the background.")
    tree = FileTree(source)
    if name == "pascal-context":
        return _pascal_context(tree, classes)
    return _FINDERS[name](tree)


def _raw_dataset(
    label_set_name: str,
    splits: Mapping[str, list[Pair]],
    raw_to_train: Mapping[int, int] | None = None,
    default: int | None = None,
) -> RawDataset:
    label_set = load_label_set(label_set_name)
    return RawDataset(
        title=label_set.dataset,
        labels=DatasetLabels(names=label_set.names, palette=label_set.palette),
        train_ids=TrainIds(label_set.raw_to_train if raw_to_train is None else raw_to_train, default),
        splits=splits,
    )


def _masks(files: Mapping[str, File]) -> dict[str, MaskFile]:
    return {name: MaskFile(file) for name, file in files.items()}


def _ade20k(tree: FileTree) -> RawDataset:
    splits = {}
    for split, folder in (("train", "training"), ("validation", "validation")):
        images = tree.require(f"images/{folder}/{{name}}.jpg")
        splits[split] = match_up(images, _masks(tree.require(f"annotations/{folder}/{{name}}.png")))
    return _raw_dataset("ade20k", splits)


def _cityscapes(tree: FileTree) -> RawDataset:
    kinds = ("labelIds", "labelTrainIds")
    kind = next((kind for kind in kinds if tree.find(f"gtFine/train/*/{{name}}_gtFine_{kind}.png")), kinds[0])
    # The Cityscapes scripts make labelTrainIds from the same polygons; some people keep nothing else.
    raw_to_train = {train: train for train in (*range(19), IGNORE_INDEX)} if kind == "labelTrainIds" else None
    splits = {}
    # The test split is left out: the labels in the download are dummies.
    for split, folder in (("train", "train"), ("validation", "val")):
        images = tree.require(f"leftImg8bit/{folder}/*/{{name}}_leftImg8bit.png")
        pairs = match_up(images, _masks(tree.require(f"gtFine/{folder}/*/{{name}}_gtFine_{kind}.png")))
        splits[split] = [Pair(f"{pair.name}_leftImg8bit", pair.image, pair.annotation) for pair in pairs]
    return _raw_dataset("cityscapes", splits, raw_to_train)


def _coco_stuff_10k(tree: FileTree) -> RawDataset:
    images = tree.require("images/{name}.jpg")
    annotations = {name: MatFile(file, "S") for name, file in tree.require("annotations/{name}.mat").items()}
    lists = tree.require("imageLists/{name}.txt")
    splits = {
        "train": match_up(images, annotations, _read_list(lists, "train", "imageLists")),
        "validation": match_up(images, annotations, _read_list(lists, "test", "imageLists")),
    }
    return _raw_dataset("coco_stuff10k", splits)


def _coco_stuff_164k(tree: FileTree) -> RawDataset:
    splits = {}
    for split, folder in (("train", "train2017"), ("validation", "val2017")):
        # The archives of images and of annotations both have the folders train2017 and val2017 at their top.
        images = tree.require(f"{folder}/{{number}}.jpg")
        splits[split] = match_up(images, _masks(tree.require(f"{folder}/{{number}}.png")))
    return _raw_dataset("coco_stuff164k", splits)


def _pascal_context(tree: FileTree, classes: int) -> RawDataset:
    images = tree.require("JPEGImages/{name}.jpg")
    if detail := tree.find("{name}_merged.json").get("trainval"):
        splits = {
            split: match_up(images, annotations, names=annotations)
            for split, annotations in _read_detail(detail).items()
        }
    elif matrices := tree.find("trainval/{name}.mat"):
        annotations = {name: MatFile(file, "LabelMap") for name, file in matrices.items()}
        # The lists of PASCAL Context are VOC 2010's own; few people have them in a folder of their own.
        folder = "ImageSets/SegmentationContext"
        lists = tree.find(f"{folder}/{{name}}.txt")
        if not lists:
            folder = "ImageSets/Main"
            lists = tree.require(f"{folder}/{{name}}.txt")
        splits = {
            "train": match_up(images, annotations, _read_list(lists, "train", folder)),
            "validation": match_up(images, annotations, _read_list(lists, "val", folder)),
        }
    else:
        raise ValueError(
            f"There are no annotations in {tree.source}: neither trainval_merged.json nor trainval/{{name}}.mat."
        )
    background = 0 if classes == 60 else IGNORE_INDEX
    return _raw_dataset(f"pascal_context{classes}", splits, default=background)


def _read_list(lists: Mapping[str, File], name: str, folder: str) -> list[str]:
    if name not in lists:
        raise ValueError(f"There is no {name}.txt beside {next(iter(lists.values()))}; it lists a split's images.")
    return lists[name].read().decode().split()


def _read_detail(file: File) -> dict[str, dict[str, Annotation]]:
    """
    The annotations of each split in PASCAL in Detail's `trainval_merged.json`, by image.

    Of its tables two matter here. `images` has an `image_id`, the `file_name`, the `height` and `width` and, as
    `phase`, the split of each image. `annos_segmentation` has, in the order in which to paint, the `image_id`, the
    `category_id` and the mask of each segment: a `segmentation` with its `size` and the `counts` of its run lengths.
    """
    splits: dict[str, dict[str, Annotation]] = {"train": {}, "validation": {}}
    try:
        tables: dict[str, Any] = json.loads(file.read())
        segments = defaultdict(list)
        for segment in tables["annos_segmentation"]:
            segments[segment["image_id"]].append((segment["category_id"], segment["segmentation"]["counts"]))
        for image in tables["images"]:
            split = {"train": "train", "val": "validation"}.get(image["phase"])
            if split is not None:
                splits[split][Path(image["file_name"]).stem] = RunLengths(
                    source=f"{image['file_name']} in {file}",
                    height=image["height"],
                    width=image["width"],
                    segments=tuple(segments[image["image_id"]]),
                )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not the annotation file of PASCAL in Detail: {error!r}") from error
    return splits


_FINDERS: dict[str, Callable[[FileTree], RawDataset]] = {
    "ade20k": _ade20k,
    "cityscapes": _cityscapes,
    "coco-stuff-10k": _coco_stuff_10k,
    "coco-stuff-164k": _coco_stuff_164k,
}
