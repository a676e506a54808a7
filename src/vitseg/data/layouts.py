# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How people lay out their folders: which folders hold images, which masks, and which are splits.

Splits may be folders above (`train/images`), below (`images/train`) or in the names of those of images and masks
(`train_images`), in any case. What labelling tools export is laid out likewise: CVAT's `JPEGImages` and
`SegmentationClass`, Roboflow's `train/a.jpg` beside `train/a_mask.png`.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..image_files import is_array_name, is_band_file_name, is_image_name, without_image_suffix
from .archives import File, FileTree


SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Where there are several, the first one counts.
_IMAGES = ("images", "image", "imgs", "img", "img_dir", "jpegimages")
_MASKS = (
    *("masks", "mask", "masks_machine", "ann_dir", "annotations", "annotation", "annot", "labels", "label"),
    *("segmentationclass", "segmentationclasspng"),
)
_MASK_ENDING = "_mask"
_ANY_SPLIT = "|".join(SPLITS)
# "train", "Training Set", "train2017", "train_01".
_SPLIT_FOLDER = re.compile(rf"({_ANY_SPLIT})(?:[-_ ]?set)?(?:[-_ ]?([0-9]+))?")
_FOLDER = re.compile(rf"(?:({_ANY_SPLIT})[-_ ]?)?({'|'.join(_IMAGES + _MASKS)})(?:[-_ ]?({_ANY_SPLIT}))?")
# How many folders an error message shows.
_EXAMPLES = 5


@dataclass(frozen=True)
class Place:
    """
    What the path of a file says of it.

    Args:
        folder: the folder of images or masks that it lies in, in lower case and without the name of a split.
        above: the folders above that, and the name of a split that is part of its own.
        below: the path below it, without the suffix of an image.
    """

    folder: str
    above: tuple[str, ...]
    below: tuple[str, ...]

    @property
    def split_folder(self) -> str | None:
        """The folder that names its split: the first below, or the last above."""
        nearest = (*self.below[:-1][:1], *reversed(self.above))
        return next(filter(split_of, nearest), None)

    def name(self, depth: int) -> str:
        """Its path without the folder of images or masks, and without the first `depth` folders."""
        return "/".join((*self.above, *self.below)[depth:])

    def key(self, depth: int) -> str:
        """The same, with the folder of its split in one spelling."""
        own = self.split_folder
        parts = (*self.above, *self.below)[depth:]
        return "/".join(_spelled_out(part) if part == own else part for part in parts)


@dataclass(frozen=True)
class FoundPair:
    """
    An image with its mask; `None` for one that is missing.

    Args:
        name: its path without the folder of images or masks and without suffix.
        image: an image file.
        mask: a mask.
        split_folder: the folder that names its split.
    """

    name: str
    image: File | None
    mask: File | None
    split_folder: str | None

    @property
    def split(self) -> str | None:
        """ "train", "validation", "test", or `None` if no folder says so."""
        return split_of(self.split_folder) if self.split_folder else None


def split_of(folder: str) -> str | None:
    """ "train", "validation" or "test" if a folder's name says so, perhaps with a number, in any case."""
    match = _SPLIT_FOLDER.fullmatch(folder.lower())
    return SPLITS[match[1]] if match else None


def _spelled_out(folder: str) -> str:
    """The folder of a split in one spelling: `val` and `Validation` are the same; `dev` and `val2` are others."""
    match = _SPLIT_FOLDER.fullmatch(folder.lower())
    if match is None:
        return folder
    name, number = match.groups("")
    split = SPLITS[name]
    return (split if name[:3] == split[:3] else name) + number


def normalize(path: str) -> str:
    """A path as paths are compared: accents composed, as those that macOS writes are not."""
    return unicodedata.normalize("NFC", path)


def place_of(path: str) -> Place | None:
    """What a path says by its first folder of images or masks; `None` if it has none."""
    *folders, name = without_image_suffix(normalize(path)).split("/")
    for index, folder in enumerate(folders):
        if match := _FOLDER.fullmatch(folder.lower()):
            split = match[1] or match[3]
            above = (*folders[:index], split) if split else tuple(folders[:index])
            return Place(match[2], above, (*folders[index + 1 :], name))
    return None


def find_pairs(tree: FileTree, is_image: Callable[[str], bool] = is_image_name) -> tuple[list[FoundPair], list[str]]:
    """
    The images and masks below a folder. A mask has the name of its image, perhaps with `_mask` after it.

    Args:
        tree: the folder.
        is_image: whether a file is an image by its path. Masks are such files, or image files in any case.

    Returns:
        The pairs in the order of their names, and the paths of other files among them.

    Raises:
        ValueError: if there are no images or no masks, or two have the same name but for the suffix.
    """

    def is_mask(path: str) -> bool:
        return is_image_name(path) or is_image(path)

    places = {path: place for path in tree.files if (place := place_of(path))}
    if not any(map(is_mask, places)):
        places = _beside_each_other(tree, is_image)
    wanted = ((_IMAGES, is_image), (_MASKS, is_mask))
    kinds = [_first_folder(tree, places, folders, is_wanted) for folders, is_wanted in wanted]
    images, masks = (
        _by_key(tree, {path: place for path, place in places.items() if place.folder == kind and is_wanted(path)})
        for kind, (_, is_wanted) in zip(kinds, wanted, strict=True)
    )
    masks = {key if key in images else key.removesuffix(_MASK_ENDING): mask for key, mask in masks.items()}
    pairs = []
    for key in images.keys() | masks.keys():
        image, mask = images.get(key), masks.get(key)
        name, place = (image or masks[key])[1:]
        pairs.append(FoundPair(name, image and image[0], mask and mask[0], place.split_folder))
    others = [path for path, place in places.items() if place.folder in kinds and not is_mask(path)]
    return sorted(pairs, key=lambda pair: pair.name), others


def _beside_each_other(tree: FileTree, is_image: Callable[[str], bool]) -> dict[str, Place]:
    """The images and masks of a tree without folders of that name, in which masks end in `_mask`."""
    places = {}
    for path in tree.files:
        *folders, name = without_image_suffix(normalize(path)).split("/")
        if not (is_image(path) or (is_image_name(path) and name.endswith(_MASK_ENDING))):
            continue
        kind = _MASKS[0] if name.endswith(_MASK_ENDING) else _IMAGES[0]
        places[path] = Place(kind, tuple(folders), (name,))
    return places if _MASKS[0] in {place.folder for place in places.values()} else {}


def _first_folder(
    tree: FileTree, places: Mapping[str, Place], folders: Sequence[str], is_wanted: Callable[[str], bool]
) -> str:
    there = {place.folder for path, place in places.items() if is_wanted(path)}
    chosen = next((folder for folder in folders if folder in there), None)
    if chosen is None:
        parents = sorted({path.rpartition("/")[0] or "." for path in tree.files if is_wanted(path)})
        listed = ", ".join(parents[:_EXAMPLES]) + (", ..." if len(parents) > _EXAMPLES else "")
        hint = ""
        if is_wanted is is_image_name and any(map(is_array_name, tree.files)):
            hint = " Files of NumPy are read for their bands alone: say --bands all."
        elif is_wanted is is_band_file_name:
            hint = " With --bands, images are TIFF files or NumPy's (.npy, .npz)."
        raise ValueError(
            f"There is no folder {folders[0]!r} with image files in {tree.source} (nor {', '.join(folders[1:])}). "
            f"Image files are in: {listed or 'none of its folders'}.{hint}"
        )
    return chosen


def _by_key(tree: FileTree, places: Mapping[str, Place]) -> dict[str, tuple[File, str, Place]]:
    """Files with their names and places, by what an image and its mask have in common."""
    depth = common_depth([place.above for place in places.values()])
    found: dict[str, tuple[File, str, Place]] = {}
    for path, place in sorted(places.items()):
        file = tree.files[path]
        if path in tree.clashes:
            raise ValueError(
                f"Which is it, {' or '.join(map(str, tree.clashes[path]))}? Unpack the archives into folders of their "
                "own; those called train, val and test make splits."
            )
        if other := found.get(place.key(depth)):
            raise ValueError(f"Which is it, {other[0]} or {file}? Names must differ in more than the suffix.")
        found[place.key(depth)] = file, place.name(depth), place
    return found


def common_depth(above: Sequence[Sequence[str]]) -> int:
    """How many folders stand around everything, as one of an archive's own name often does; a split does not count."""
    depth = 0
    for folders in zip(*above, strict=False):
        if len(set(folders)) > 1 or split_of(folders[0]):
            break
        depth += 1
    return depth
