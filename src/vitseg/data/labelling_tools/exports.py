# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a labelling tool exported, and the data set that it is: classes, background, overlaps and splits."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...image_files import is_image_name, printable, without_image_suffix
from ..annotations import TrainIds
from ..archives import File, FileTree
from ..augmentation import IGNORE_INDEX
from ..dataset_labels import DatasetLabels
from ..layouts import common_depth, normalize, split_of
from ..own_folder import draw_validation
from ..own_labels import read_own_labels
from ..pairs import Pair, RawDataset
from .drawing import Boxes, Canvas, DrawnAnnotation, Overlaps, Reader


# LabelMe's name for what is of no class.
_IGNORED = "__ignore__"
# How many names a message shows.
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    What a person may decide.

    Args:
        background: the class of pixels in no segment, which is added as the first one if there is none of this name;
            "ignore" ignores them; `None` is the export's own class called background, or else a new one.
        overlaps: which of several segments a pixel is of; `None` is as suits the tool.
        boxes: what becomes of objects that have a box and no outline; `None` refuses them in COCO's and YOLO's files,
            where they tell of detection, and fills them where a tool's own conversion does.
        ignore: labels whose pixels are ignored.
        labels: a file of class names, which decides on their order, as in `read_own_labels`.
    """

    background: str | None = None
    overlaps: Overlaps | None = None
    boxes: Boxes | None = None
    ignore: Sequence[str] = ()
    labels: str | Path | None = None


@dataclass(frozen=True)
class Entry:
    """
    An image in an export.

    Args:
        image: the image file; `None` for one that is missing.
        content: its label file, or the part of one that is about it.
        source: where that stands, in words.
        split: "train", "validation", "test", or `None` if nothing says so.
        reference: what the export calls the image.
    """

    image: File | None
    content: File | bytes
    source: str
    split: str | None
    reference: str


@dataclass(frozen=True, kw_only=True)
class Export:
    """
    What a tool exported.

    Args:
        names: the classes in their order.
        order: what that order is, in words.
        entries: the images.
        reader: how segments are written down.
        overlaps: which of several segments a pixel is of, if nobody says otherwise.
        notes: what a person should know of it.
    """

    names: Sequence[str]
    order: str
    entries: Sequence[Entry]
    reader: Reader
    overlaps: Overlaps
    notes: Sequence[str] = ()


class Images:
    """The image files of an export, found by what label files call them."""

    def __init__(self, tree: FileTree) -> None:
        self.files = {path: file for path, file in tree.files.items() if is_image_name(path)}
        self._by_name = defaultdict(list)
        self._by_stem = {}
        for path, file in self.files.items():
            self._by_name[normalize(path).rpartition("/")[2]].append(path)
            self._by_stem[without_image_suffix(path)] = file

    def beside(self, path: str) -> File | None:
        """The image beside a label file, whose name is the same but for the suffix."""
        return self._by_stem.get(path.removesuffix(PurePosixPath(path).suffix))

    def find(self, reference: str, near: str = "", split: str | None = None) -> File | None:
        """
        The image that is meant by a path, perhaps one of another machine. It is looked up among the files of the
        export alone, by its name and as many of its folders as there are.

        Args:
            reference: the path.
            near: path of the label file: of several images of the name, the one nearest to it counts.
            split: the one that the image is of; it is not taken from the folder of another.

        Raises:
            ValueError: if several fit equally well.
        """
        *folders, name = normalize(reference.replace("\\", "/")).split("/")
        split = split or split_in(folders)
        ranks = {}
        for path in self._by_name.get(name, ()):
            own = normalize(path).split("/")[:-1]
            own_split = split_in(own)
            if split is None or own_split in (None, split):
                same = own_split == split
                ranks[path] = _common(own[::-1], folders[::-1]), same, _common(own, near.split("/")[:-1])
        best = [path for path, rank in ranks.items() if rank == max(ranks.values())]
        if len(best) > 1:
            raise ValueError(f"Which image is {reference} in {near}, {best[0]} or {best[1]}?")
        return self.files[best[0]] if best else None

    def without(self, entries: Iterable[Entry]) -> list[str]:
        """The paths of the images that are in no entry."""
        known = {entry.image.name for entry in entries if entry.image}
        return [path for path, file in self.files.items() if file.name not in known]


def split_in(names: Iterable[str]) -> str | None:
    """The split that the last of several names is one of, if any is."""
    return next((split for name in reversed([*names]) if (split := split_of(name))), None)


def split_of_file(path: str) -> str | None:
    """The split that the path of a label file says: its folders, or a word of its name, `instances_train2017.json`."""
    *folders, name = path.split("/")
    return split_in([*folders, *re.split(r"[-_.\s]+", name)])


def listed(names: Sequence[str]) -> str:
    """Some of several names."""
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more


def check_named(labels: Iterable[str], names: Sequence[str], file: str | Path | None) -> None:
    """
    Refuse the names of a file, which is to decide on the order of classes, if labels of the export are not among them.

    Raises:
        ValueError: if so.
    """
    if missing := [label for label in labels if label not in names]:
        raise ValueError(f"The export has labels that {file} does not: {listed(missing)}. Add or --ignore them.")


def to_dataset(source: Path, export: Export, options: Options) -> RawDataset:
    """
    The data set that an export is.

    Raises:
        ValueError: if options do not fit it, an image is there twice, or a split would be empty.
    """
    if not export.entries:
        raise ValueError(" ".join([f"There is no image with annotations in {source}.", *export.notes]))
    if all(entry.image is None for entry in export.entries):
        raise ValueError(
            f"None of the {len(export.entries)} images of which {source} tells is in it, such as "
            f"{export.entries[0].reference}: put them into one folder with the label files, and name that."
        )
    if not export.names and not options.labels:
        raise ValueError(f"Nothing in {source} names a class. Name those that it has in a file of --labels.")
    names, canvas = _classes(export, options)
    pairs = []
    for entry, name in zip(export.entries, _pair_names(export.entries), strict=True):
        annotation = DrawnAnnotation(entry.source, entry.content, entry.image, export.reader, canvas)
        pairs.append((Pair(name, entry.image, annotation), entry.split))
    splits, note = split_up(pairs, source)
    return RawDataset(
        title=source.resolve().stem,
        labels=DatasetLabels(names=tuple(names)),
        train_ids=TrainIds({index: index for index in range(len(names))} | {IGNORE_INDEX: IGNORE_INDEX}),
        splits=splits,
        notes=(*export.notes, _describe_classes(names, canvas, export.order), note),
    )


def split_up(pairs: Sequence[tuple[Pair, str | None]], source: Path) -> tuple[dict[str, list[Pair]], str]:
    """
    The pairs of each split, sorted by name, and what they are, in words.

    Args:
        pairs: pairs, each with its split, or `None` if nothing says so.
        source: where they come from, for messages.

    Raises:
        ValueError: if there is no pair for training or for validation.
    """
    pairs = sorted(pairs, key=lambda item: item[0].name)
    # One name for everything tells nothing apart.
    is_split = len({split for _, split in pairs}) > 1
    by_split: dict[str, list[Pair]] = {split: [] for split in _SPLITS}
    for pair, split in pairs:
        by_split[split if split and is_split else "train"].append(pair)
    note = "The splits are those of the export."
    if not by_split["validation"]:
        by_split["train"], by_split["validation"] = draw_validation(by_split["train"])
        note = f"The export has no validation split: {len(by_split['validation'])} pairs drawn at random validate."
    for split, purpose in (("train", "training"), ("validation", "validation")):
        if not by_split[split]:
            raise ValueError(
                f"There is no image for {purpose} in {source}: of its {len(pairs)}, training and validation need one "
                "each at least."
            )
    return {split: own for split, own in by_split.items() if own}, note


_SPLITS = ("train", "validation", "test")


def _classes(export: Export, options: Options) -> tuple[list[str], Canvas]:
    known = list(dict.fromkeys(export.names))
    names = list(read_own_labels(options.labels)[0].names) if options.labels else known
    if unknown := sorted({*options.ignore} - {*known}):
        raise ValueError(f"To be ignored, but no label of the export: {listed(unknown)}. It has {', '.join(known)}.")
    ignored = {_IGNORED, *options.ignore}
    check_named([name for name in known if name not in ignored], names, options.labels)
    names = [name for name in names if name not in ignored]
    background = options.background
    if background is None:
        background = background_of(names) or "background"
    if background not in (*names, "ignore"):
        names.insert(0, background)
    values = {name: index for index, name in enumerate(names)} | dict.fromkeys(ignored, IGNORE_INDEX)
    unlabelled = IGNORE_INDEX if background == "ignore" else values[background]
    return names, Canvas(tuple(values.items()), unlabelled, options.overlaps or export.overlaps)


def background_of(names: Iterable[str]) -> str | None:
    """The class that is called background, if there is one."""
    return next((name for name in names if name.strip("_ ").lower() == "background"), None)


def _describe_classes(names: Sequence[str], canvas: Canvas, order: str) -> str:
    how = "the one drawn last counts" if canvas.overlaps == "order" else "the smaller one counts"
    unlabelled = "ignored" if canvas.background == IGNORE_INDEX else names[canvas.background]
    return f"{len(names)} classes, {order}. Pixels in no segment are {unlabelled}. Where segments overlap, {how}."


def _pair_names(entries: Sequence[Entry]) -> list[str]:
    """What a data set calls its images: their paths without the folders that all share, and without suffix."""
    paths = [
        normalize(entry.image.name if entry.image else entry.reference.replace("\\", "/")).lstrip("/")
        for entry in entries
    ]
    depth = common_depth([PurePosixPath(path).parts[:-1] for path in paths])
    names = [without_image_suffix("/".join(PurePosixPath(path).parts[depth:])) for path in paths]
    seen: dict[str, Entry] = {}
    for name, entry in zip(names, entries, strict=True):
        if name in seen:
            first, second = (f"{same.reference} ({same.source})" for same in (seen[name], entry))
            raise ValueError(f"The image {name} is there twice: {first} and {second}.")
        if printable(name) != name:
            raise ValueError(
                f"The name of the image {printable(name)} is not UTF-8, as names in a data set are: rename it."
            )
        seen[name] = entry
    return names


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many of two lists' elements are the same from the start."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
