# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What is in a data set: one pass through its images and label maps, of which little is kept of each image.

That is its name, 16 bytes that tell near-duplicates, and what looks wrong with it. Rows that are to be shown are read
once more.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..bands import picture_of, read_image
from ..images import Orientation, read_label_map
from ..models.image_processing_semantic import reduce_labels
from ..overlapping import overlapping
from ..progress import progress_bar
from ..workers import default_workers
from .augmentation import IGNORE_INDEX
from .bands import load_bands
from .dataset_labels import DatasetLabels
from .mask_faults import mask_faults
from .near_duplicates import BANDS, difference_hash, nearest_duplicates
from .sources import DataSource, open_source
from .streaming import COLUMNS, Example, RowGroups


# What may be wrong with an image and its label map, beside what `mask_faults` finds.
UNREADABLE, SIZE = "unreadable", "size"
FAULTS = {
    UNREADABLE: "Cannot be read",
    SIZE: "Size that differs",
    "unknown": "Values that are no class",
    "ignored": "All pixels ignored",
    "single": "One class alone",
    "noise": "Noise at borders",
}
# How many values of label maps are counted one by one, in maps of instances that someone takes for classes.
MAX_VALUES = 1000
# How many images are kept in mind to show a class by, and how much of one it fills where it can be seen.
_CANDIDATES, _VISIBLE = 4, 0.01


class Look(NamedTuple):
    """What there is to know of a row: values in the label map and their pixels, and kind -> fault."""

    name: str
    size: tuple[int, int] | None
    pixels: dict[int, int]
    hash: np.ndarray | None
    faults: dict[str, str]


class Place(NamedTuple):
    """Where an image is: its split, and its number among those of the split that were looked at."""

    split: str
    number: int


class Duplicate(NamedTuple):
    """An image, that of an earlier split which is nearly the same, and in how many bits their hashes differ."""

    image: Place
    original: Place
    difference: int


@dataclass
class Split:
    """
    What is in a split.

    Args:
        rows: its row groups.
        places: which of them to look at, and which rows of each.
    """

    rows: RowGroups
    places: Sequence[tuple[int, np.ndarray]]

    def __post_init__(self) -> None:
        self.names: list[str] = []
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels: Counter[int] = Counter()  # of each value
        self.images: Counter[int] = Counter()  # that show it
        self.further_pixels = 0  # of values that are more than can be counted
        self.faults: dict[str, dict[int, str]] = {kind: {} for kind in FAULTS}
        self.hashes, self.hashed = bytearray(), array("q")

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.places)

    def add(self, look: Look) -> None:
        index = len(self.names)
        self.names.append(look.name)
        if look.size:
            self.sizes[look.size] += 1
        for value, count in look.pixels.items():
            if 0 <= value <= IGNORE_INDEX or value in self.pixels or len(self.pixels) < MAX_VALUES:
                self.pixels[value] += count
                self.images[value] += 1
            else:
                self.further_pixels += count
        for kind, fault in look.faults.items():
            self.faults[kind][index] = fault
        if look.hash is not None:
            self.hashes += look.hash.tobytes()
            self.hashed.append(index)

    def read(self) -> Iterator[Example]:
        for block, rows in self.places:
            yield from self.rows.read(block, rows)

    def row(self, index: int) -> Example:
        """One of the rows that were looked at, read anew."""
        ends = np.cumsum([len(rows) for _, rows in self.places])
        place = int(np.searchsorted(ends, index, side="right"))
        block, rows = self.places[place]
        return self.rows.read(block, rows[[index - (ends[place] - len(rows))]])[0]


@dataclass
class Inspection:
    """
    What is in a data set.

    Args:
        source: the data set.
        labels: its classes.
        seed: chooses images to show, and to look at.
        limit: how many images of each split were to be looked at.
        do_reduce_labels: whether 0 means "no class" in its label maps.
    """

    source: DataSource
    labels: DatasetLabels
    seed: int = 0
    limit: int | None = None
    do_reduce_labels: bool = False

    def __post_init__(self) -> None:
        self.splits = {}
        self.bands = load_bands(self.source)
        names = map(str, open_source(self.source).config.data_files or {})
        for split in sorted(names, key=lambda name: name != "train"):
            rows = RowGroups(self.source, split, COLUMNS)
            self.splits[split] = Split(rows, _choose_rows(rows.lengths, self.limit, self.seed))
        self.duplicates: list[Duplicate] = []
        self._rng = np.random.default_rng(self.seed)
        # Of each class, and `None` of all: (drawn number, place, share of each class), those with the largest numbers.
        self._candidates: dict[int | None, list[tuple[float, Place, dict[int, float]]]] = {}

    def look(self, num_shown: int) -> None:
        """Go through all images, once, and remember so many to show beside those that show the classes."""
        total = sum(map(len, self.splits.values()))
        threads = default_workers()
        with progress_bar(total=total, desc="Looking at images", unit="img") as progress:
            for name, split in self.splits.items():
                look = partial(look_at, self, split.rows.orientation)
                for index, found in enumerate(overlapping(look, split.read(), threads, 2 * threads)):
                    split.add(found)
                    self._remember(Place(name, index), found.pixels, num_shown)
                    progress.update()
        self.duplicates = list(self._find_duplicates())

    def choose_shown(self, number: int) -> list[Place]:
        """So many images, drawn at random, or more if it takes more to show each class. Rare classes come first."""
        shown: dict[Place, dict[int, float]] = {}
        images = self.images
        for label in sorted(images.keys() & set(range(len(self.labels.names))), key=lambda label: images[label]):
            if all(shares.get(label, 0) < _VISIBLE for shares in shown.values()):
                _, place, shares = max(self._candidates[label], key=lambda candidate: candidate[2][label])
                shown[place] = shares
        for _, place, shares in sorted(self._candidates.get(None, []), key=lambda candidate: -candidate[0]):
            if len(shown) < number:
                shown.setdefault(place, shares)
        return list(shown)

    @property
    def images(self) -> Counter[int]:
        """How many images show each value."""
        return sum((split.images for split in self.splits.values()), Counter())

    def places_of(self, kind: str) -> dict[Place, str]:
        """The images with a fault of this kind, and what it is."""
        return {
            Place(name, index): fault
            for name, split in self.splits.items()
            for index, fault in split.faults[kind].items()
        }

    def name_of(self, place: Place) -> str:
        return self.splits[place.split].names[place.number]

    def _remember(self, place: Place, pixels: Mapping[int, int], num_shown: int) -> None:
        drawn, total = self._rng.random(), sum(pixels.values())
        is_class = range(len(self.labels.names)).__contains__
        shares = {value: count / total for value, count in pixels.items() if is_class(value)}
        for label in (None, *shares) if pixels else ():
            candidates = self._candidates.setdefault(label, [])
            heapq.heappush(candidates, (drawn, place, shares))
            if len(candidates) > (num_shown if label is None else _CANDIDATES):
                heapq.heappop(candidates)

    def _find_duplicates(self) -> Iterator[Duplicate]:
        names = list(self.splits)
        hashes = {
            name: np.frombuffer(split.hashes, np.uint16).reshape(-1, BANDS) for name, split in self.splits.items()
        }
        for position, name in enumerate(names):
            for earlier in names[:position]:
                nearest, differences = nearest_duplicates(hashes[earlier], hashes[name])
                for index in np.flatnonzero(nearest >= 0).tolist():
                    image = Place(name, self.splits[name].hashed[index])
                    original = Place(earlier, self.splits[earlier].hashed[int(nearest[index])])
                    yield Duplicate(image, original, int(differences[index]))


def look_at(inspection: Inspection, orientation: Orientation | None, row: Example) -> Look:
    """What is in a row, undecoded as it is stored. One that cannot be read counts for nothing else."""
    name = str(row["file_name"])
    try:
        label_map = decode_labels(row, inspection.do_reduce_labels)
        height, width = label_map.shape
        stored = read_image(row["image"], f"the image of {name}", orientation, (width, height))
        image = picture_of(stored, inspection.bands)
    except ValueError as error:
        return Look(name, None, {}, None, {UNREADABLE: str(error)})
    ids, counts = np.unique(label_map, return_counts=True)
    pixels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    faults = mask_faults(label_map, pixels, len(inspection.labels.names))
    if image.size != (width, height):
        faults[SIZE] = f"image {image.width} x {image.height}, label map {width} x {height}"
    return Look(name, image.size, pixels, difference_hash(image), faults)


def decode_labels(row: Example, do_reduce_labels: bool) -> np.ndarray:
    """
    The label map of a row.

    Raises:
        ValueError: if it cannot be read.
    """
    label_map = read_label_map(row["label"], f"the label map of {row['file_name']}")
    return reduce_labels(label_map) if do_reduce_labels else label_map


def record_of(inspection: Inspection) -> dict[str, Any]:
    """All figures, as plain data: what `inspect.json` holds."""
    names = inspection.labels.names

    def named(places: Iterable[tuple[Place, str]]) -> list[dict[str, Any]]:
        return [{"split": place.split, "file_name": inspection.name_of(place), "what": what} for place, what in places]

    return {
        "dataset": str(inspection.source),
        "limit": inspection.limit,
        "seed": inspection.seed,
        "splits": {
            name: {
                "images": sum(split.rows.lengths),
                "looked_at": len(split),
                "values": [
                    {
                        "value": value,
                        "class": names[value] if 0 <= value < len(names) else None,
                        "pixels": split.pixels[value],
                        "images": split.images[value],
                    }
                    for value in sorted({*range(len(names)), *split.pixels})
                ],
                "pixels_of_further_values": split.further_pixels,
                "sizes": [
                    {"width": width, "height": height, "images": count}
                    for (width, height), count in split.sizes.most_common()
                ],
            }
            for name, split in inspection.splits.items()
        },
        "near_duplicates": [
            {
                "split": image.split,
                "file_name": inspection.name_of(image),
                "of_split": original.split,
                "of_file_name": inspection.name_of(original),
                "differing_bits": difference,
            }
            for image, original, difference in inspection.duplicates
        ],
        "faults": {kind: named(inspection.places_of(kind).items()) for kind in FAULTS},
    }


def _choose_rows(lengths: Sequence[int], limit: int | None, seed: int) -> list[tuple[int, np.ndarray]]:
    """Blocks, and which of their rows: all, or up to `limit` of blocks that are drawn at random."""
    if limit is None or limit >= sum(lengths):
        return [(block, np.arange(length)) for block, length in enumerate(lengths)]
    chosen = []
    for block in np.random.default_rng(seed).permutation(len(lengths)).tolist():
        if limit > 0:
            chosen.append((block, np.arange(min(lengths[block], limit))))
            limit -= lengths[block]
    return sorted(chosen, key=lambda place: place[0])
