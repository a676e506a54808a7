# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A user's own data: a folder `images`, and a folder `masks` with a mask of the same name for each image."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..image_files import describe_left_out, is_image_name, without_image_suffix
from .annotations import MaskFile
from .archives import File, FileTree
from .own_labels import read_own_labels
from .pairs import Pair, RawDataset, match_up


_TRAIN_FOLDERS = ("train", "training")
_VALIDATION_FOLDERS = ("val", "valid", "validation")
# Of the names in a list that are no image, an error message shows these.
_EXAMPLES = 5


def open_folder(
    source: str | Path,
    labels_file: str | Path,
    train_list: str | Path | None = None,
    val_list: str | Path | None = None,
    ignore: Sequence[str] = (),
) -> RawDataset:
    """
    Find the pairs in a folder of images and masks.

    Args:
        source: a folder, or an archive, with `images` and `masks` in it; below these the paths of an image and its
            mask are the same but for the suffix.
        labels_file: what the masks' values mean. JSON: a list of names, by value; an object of value -> name, whose
            train ids are in ascending order of value; an object of colour -> name ("#rrggbb" or "r,g,b") for masks
            whose colours stand for classes, whose train ids are in the order of the file; or a `labels.json`. Any
            other file: a name on each line, by value.
        train_list: a file that lists the training images, one on each line: paths below `images`, with or without
            suffix. The rest is for validation if `val_list` is not given.
        val_list: likewise for validation; the rest is for training if `train_list` is not given. Without both lists,
            folders named train and val (or training and validation) directly below `images` make the splits, or else
            a tenth of the pairs, drawn at random but always the same, is for validation.
        ignore: values or colours that stand for no class and are ignored; 255 always is, unless it is a class.

    Raises:
        ValueError: if there are no images or masks, or the labels or the lists cannot be used.
    """
    labels, train_ids = read_own_labels(labels_file, ignore)
    tree = FileTree(source)
    image_files, mask_files = _files_below(tree, "images"), _files_below(tree, "masks")
    images = _collect(image_files)
    masks = {name: MaskFile(file, train_ids.is_colored) for name, file in _collect(mask_files).items()}
    pairs = match_up(images, masks)
    if train_list is not None or val_list is not None:
        train, validation, how = _split_by_lists(pairs, train_list, val_list)
    elif _in_folders(pairs, _TRAIN_FOLDERS) and _in_folders(pairs, _VALIDATION_FOLDERS):
        train, validation = _in_folders(pairs, _TRAIN_FOLDERS), _in_folders(pairs, _VALIDATION_FOLDERS)
        how = "The splits are the folders for training and validation."
    else:
        train, validation = _split_at_random(pairs)
        how = f"There are no lists and no folders for splits: {len(validation)} pairs drawn at random validate."
    if not train or not validation:
        raise ValueError(f"There is no pair for {'validation' if train else 'training'} in {source}.")
    unused = len(pairs) - len(train) - len(validation)
    left_out = describe_left_out([*image_files, *mask_files])
    return RawDataset(
        title=Path(source).resolve().stem,
        labels=labels,
        train_ids=train_ids,
        splits={"train": train, "validation": validation},
        notes=(how, *([left_out] if left_out else []), *([f"Pairs in neither split: {unused}."] if unused else [])),
    )


def _files_below(tree: FileTree, folder: str) -> dict[str, File]:
    """All files by their path below a folder."""
    # An archive often has a folder of its own name around everything.
    matches = ((re.fullmatch(rf"(?:[^/]+/)??{folder}/(.+)", path), tree.files[path]) for path in sorted(tree.files))
    found = {match[1]: file for match, file in matches if match}
    if not any(map(is_image_name, found)):
        raise ValueError(f"There is no folder {folder!r} with image files in {tree.source}.")
    return found


def _collect(files: Mapping[str, File]) -> dict[str, File]:
    """The image files by their path without suffix."""
    found: dict[str, File] = {}
    for path, file in files.items():
        if is_image_name(path):
            name = without_image_suffix(path)
            if other := found.get(name):
                raise ValueError(f"Which is it, {other} or {file}? Names must differ in more than the suffix.")
            found[name] = file
    return found


def _split_by_lists(
    pairs: Sequence[Pair], train_list: str | Path | None, val_list: str | Path | None
) -> tuple[list[Pair], list[Pair], str]:
    known = {pair.name for pair in pairs}
    listed = [None if file is None else _read_list(Path(file), known) for file in (train_list, val_list)]
    train, validation = (known - (other or set()) if own is None else own for own, other in (listed, listed[::-1]))
    in_both = sorted(train & validation)
    if in_both:
        raise ValueError(f"Images in both lists: {len(in_both)}, for example {in_both[0]}.")
    return (
        [pair for pair in pairs if pair.name in train],
        [pair for pair in pairs if pair.name in validation],
        "The splits are those of the lists.",
    )


def _read_list(file: Path, known: set[str]) -> set[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").split("\n")]
    except (OSError, ValueError) as error:
        raise ValueError(f"Cannot read the list {file}: {error}") from error
    names = {line if line in known else without_image_suffix(line) for line in lines if line}
    unknown = sorted(names - known)
    if unknown:
        more = f" and {len(unknown) - _EXAMPLES} more" if len(unknown) > _EXAMPLES else ""
        raise ValueError(f"{file} lists what is not there: {', '.join(unknown[:_EXAMPLES])}{more}.")
    return names


def _in_folders(pairs: Sequence[Pair], folders: Sequence[str]) -> list[Pair]:
    return [pair for pair in pairs if "/" in pair.name and pair.name.split("/")[0].lower() in folders]


def _split_at_random(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    num_validation = max(1, round(len(pairs) / 10))
    chosen = set(np.random.default_rng(0).permutation(len(pairs))[:num_validation].tolist())
    train = [pair for index, pair in enumerate(pairs) if index not in chosen]
    return train, [pairs[index] for index in sorted(chosen)]
