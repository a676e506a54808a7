# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A user's own data: a folder `images`, a folder `masks` with a mask of the same name for each image, and splits."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..bands import read_bands
from ..extras import MissingExtraError
from ..image_files import (
    describe_left_out,
    is_array_name,
    is_band_file_name,
    is_image_name,
    printable,
    without_image_suffix,
)
from ..images import open_header
from .annotations import MaskFile, TrainIds
from .archives import FileTree
from .bands import Bands, choose_bands, count_bands
from .layouts import SPLITS, FoundPair, find_pairs, normalize, place_of
from .own_labels import read_own_labels
from .pairs import Pair, RawDataset
from .texts import decode_text


Drawn = TypeVar("Drawn")

# Of the names in a list that are no image, an error message shows these.
_EXAMPLES = 5
# Images without colours have modes that begin so: one bit, grey, integers.
_GREY_MODES = ("1", "L", "I")
# Lists that lie with the images, such as those of VOC's layout, which labelling tools export.
_LIST_FILE = re.compile(
    rf"(?:(?:.*/)?(?:imagesets|splits|lists)/(?:segmentation/)?|(?:[^/]+/)?)({'|'.join(SPLITS)})\.txt"
)


def open_folder(
    source: str | Path,
    labels_file: str | Path | Mapping[str, str],
    train_list: str | Path | None = None,
    val_list: str | Path | None = None,
    ignore: Sequence[str] = (),
    test_list: str | Path | None = None,
    bands: Sequence[str] | None = None,
) -> RawDataset:
    """
    Find the pairs in a folder of images and masks.

    Args:
        source: a folder, or an archive, with `images` and `masks` in it, or laid out in another of the ways of
            `vitseg.data.layouts`; without these folders the paths of an image and its mask are the same but for the
            suffix.
        labels_file: what the masks' values mean; see [`read_own_labels`].
        train_list: a file that lists the training images, one on each line: paths below `images`, with or without
            suffix. The rest is for validation if `val_list` is not given.
        val_list: likewise for validation; the rest is for training if `train_list` is not given. Without both lists,
            folders for training and validation make the splits, or else lists in the source, such as
            `ImageSets/Segmentation/train.txt`. If nothing says what is for validation, a tenth of the pairs for
            training, drawn at random but always the same, is.
        ignore: values or colours that stand for no class and are ignored; 255 always is, unless it is a class.
        test_list: likewise for a test split. Without it that is what lies in a folder for testing. Images for testing
            of which none has a mask are left out.
        bands: "all", or the numbers of those that are taken of images that are TIFF files or NumPy's; `None` for
            pictures.

    Raises:
        ValueError: if there are no images or masks, or the labels or the lists cannot be used.
    """
    tree = FileTree(source)
    found, others = find_pairs(tree, is_image_name if bands is None else is_band_file_name)
    labels, train_ids, unnamed = read_own_labels(labels_file, ignore, _has_colors(found))
    files = {"train": train_list, "validation": val_list, "test": test_list}
    lists = {split: _read_list(Path(file), found) for split, file in files.items() if file is not None}
    split_of, by = (_by_lists(found, lists), "the lists") if lists else _as_found(tree, found)
    splits = {split: [pair for pair in found if split_of[pair.name] == split] for split in files}
    notes = [f"The splits are those of {by}." if by else "There are no lists and no folders for splits."]
    if not splits["validation"] and not lists.keys() & {"train", "validation"}:
        splits["train"], splits["validation"] = draw_validation(splits["train"])
        notes.append(f"{len(splits['validation'])} pairs drawn at random validate.")
    for split, purpose in (("train", "training"), ("validation", "validation")):
        if not splits[split]:
            raise ValueError(
                f"There is no pair for {purpose} in {source}: of its {len(found)}, training and validation need one "
                "each at least."
            )
    if unused := len(found) - sum(map(len, splits.values())):
        notes.append(f"Pairs in no split: {unused}.")
    if not any(pair.mask for pair in splits["test"]) and (unlabelled := len(splits.pop("test"))):
        notes.append(
            f"Left out: {unlabelled} images for testing, without masks. `vitseg predict --images` takes them."
        )
    if left_out := describe_left_out(others):
        notes.append(left_out)
    chosen = None if bands is None else choose_bands(bands, _count_bands(found, train_ids.is_colored))
    return RawDataset(
        title=Path(source).resolve().stem,
        labels=labels,
        train_ids=train_ids,
        splits={split: [_pair(pair, train_ids, chosen) for pair in pairs] for split, pairs in splits.items()},
        notes=tuple(notes),
        unnamed=unnamed,
        bands=chosen,
    )


def _count_bands(pairs: Sequence[FoundPair], is_colored: bool) -> int:
    """How many bands the images have, by the first that can be read; the preparation refuses others."""
    reasons = []
    for pair in pairs:
        if pair.image is None or pair.mask is None:
            continue
        try:
            height, width = MaskFile(pair.mask, is_colored).read().shape
            return count_bands(read_bands(pair.image.read(), str(pair.image)).shape, (height, width))
        except MissingExtraError:
            raise
        except Exception as error:  # The preparation says what is wrong with each.
            reasons.append(f"{pair.image}: {error}")
    raise ValueError(f"The bands of no image can be read; the first: {reasons[0] if reasons else 'none has a mask'}")


def _has_colors(pairs: Sequence[FoundPair]) -> bool:
    """Whether masks have colours, by the first one."""
    first = next(pair.mask for pair in pairs if pair.mask)
    if is_array_name(first.name):
        return False
    try:
        with first.open() as file, open_header(file) as image:
            return not image.mode.startswith(_GREY_MODES)
    except Exception:
        return True  # The preparation will say what is wrong with it.


def _pair(found: FoundPair, train_ids: TrainIds, bands: Bands | None) -> Pair:
    if (name := printable(found.name)) != found.name:
        raise ValueError(f"The name of the image {name} is not UTF-8, as the names in a data set are: rename it.")
    mask = MaskFile(found.mask, train_ids.is_colored) if found.mask else None
    return Pair(found.name, found.image, mask, bands=bands)


def _as_found(tree: FileTree, pairs: Sequence[FoundPair]) -> tuple[dict[str, str | None], str | None]:
    """The split of each pair as the source has it, and by what; all are for training if it does not say."""
    named = {pair.split for pair in pairs if pair.split}
    # A folder "train" among others that are no splits may hold pictures of trains.
    if named - {"train"} or all(pair.split for pair in pairs):
        folders = sorted({pair.split_folder for pair in pairs if pair.split_folder})
        rest = None if "train" in named else "train"
        return {pair.name: pair.split or rest for pair in pairs}, f"the folders {', '.join(folders)}"
    files = {path: SPLITS[match[1]] for path in tree.files if (match := _LIST_FILE.fullmatch(path.lower()))}
    if files:
        try:
            lists = {split: _names_in(tree.files[path].read(), path, pairs) for path, split in files.items()}
            return _by_lists(pairs, lists), f"the lists {', '.join(sorted(files))}"
        except ValueError as error:
            raise ValueError(f"{error} Mend or delete it, or name other lists (--train-list, --val-list).") from error
    return {pair.name: "train" for pair in pairs}, None


def _by_lists(pairs: Sequence[FoundPair], lists: Mapping[str, set[str]]) -> dict[str, str | None]:
    """The split of each pair by lists; those in none are for training or validation, if that has no list."""
    listed: dict[str, str] = {}
    for split, names in lists.items():
        if in_both := sorted(names & listed.keys()):
            raise ValueError(f"Images in both lists: {len(in_both)}, for example {in_both[0]}.")
        listed |= dict.fromkeys(names, split)
    rest = "train" if "train" not in lists else "validation" if "validation" not in lists else None
    tests = {pair.name for pair in pairs if pair.split == "test" and "test" not in lists}
    return {pair.name: listed.get(pair.name, "test" if pair.name in tests else rest) for pair in pairs}


def _read_list(file: Path, pairs: Sequence[FoundPair]) -> set[str]:
    try:
        return _names_in(file.read_bytes(), str(file), pairs)
    except OSError as error:
        raise ValueError(f"Cannot read the list {file}: {error}") from error


def _names_in(content: bytes, file: str, pairs: Sequence[FoundPair]) -> set[str]:
    """The names of the pairs that a list has. On a line more may follow the image, such as its mask."""
    known = {pair.name for pair in pairs}
    try:
        lines = [normalize(line.strip()) for line in decode_text(content).splitlines()]
    except ValueError as error:
        raise ValueError(f"Cannot read the list {file}: {error}") from error
    names = {line: _listed_name(line, known) or _listed_name(line.split()[0], known) for line in lines if line}
    unknown = sorted(line for line, name in names.items() if name is None)
    if unknown:
        more = f" and {len(unknown) - _EXAMPLES} more" if len(unknown) > _EXAMPLES else ""
        raise ValueError(f"{file} lists what is not there: {', '.join(unknown[:_EXAMPLES])}{more}.")
    return {name for name in names.values() if name is not None}


def _listed_name(path: str, known: set[str]) -> str | None:
    """The name of a pair whose image a list has under a path: below the folder of images, or with it."""
    path = path.replace("\\", "/").removeprefix("./")
    place = place_of(path)
    names = [path, without_image_suffix(path), *([place.name(0), "/".join(place.below)] if place else [])]
    return next((name for name in names if name in known), None)


def draw_validation(pairs: Sequence[Drawn]) -> tuple[list[Drawn], list[Drawn]]:
    """Pairs for training and for validation: a tenth, drawn at random but always the same."""
    num_validation = max(1, round(len(pairs) / 10))
    chosen = set(np.random.default_rng(0).permutation(len(pairs))[:num_validation].tolist())
    train = [pair for index, pair in enumerate(pairs) if index not in chosen]
    return train, [pairs[index] for index in sorted(chosen)]
