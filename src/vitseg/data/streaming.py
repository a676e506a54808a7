# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training data from Parquet shards: streamed, shuffled, split over processes and workers, and resumed exactly.

`datasets` streams too, but a stream that it resumes has lost what its shuffle buffer held. Here the order of an epoch
is instead computed before anything is read: it is a function of the seed, the epoch, the batch size and the lengths of
the Parquet row groups, which the files' footers tell. A position in the stream is therefore one number, the count of
samples that all processes together have consumed. Resuming reads only the row groups that are still needed, and
neither the number of processes nor that of workers changes which samples make a batch.

A data set has the columns `image` (an encoded image), `label` (an encoded label map, usually PNG) and perhaps
`file_name`; what it calls them, and which of its configurations is meant, a [`DataSource`] says.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from ..bands import read_image, size_of
from ..images import Orientation, read_label_map, read_picture
from ..models.image_processing_semantic import reduce_labels
from ..progress import progress_bar
from .augmentation import IGNORE_INDEX
from .repetition import STEPS, Visits, draw_repetitions, in_steps
from .shards import read_orientation
from .sources import OPTIONAL_COLUMNS, DataSource, holds_images, open_source


COLUMNS = ("image", "label", "file_name")
# First word of the seeds of two kinds of random generators, so that they never coincide; a third is in repetition.py.
_ORDER, _SAMPLE = 0, 1

Example = dict[str, Any]


def count_lanes(block_lengths: Sequence[int], batch_size: int) -> int:
    """How many lanes `epoch_order` makes: a multiple of the batch size, so that each process reads only some of them,
    and as large a one as gives its workers their own; but a single lane, of which everyone reads all, for data of few
    blocks or samples."""
    num_blocks, num_samples = len(block_lengths), sum(block_lengths)
    possible = [n * batch_size for n in (8, 4, 2, 1)]
    return next((lanes for lanes in possible if 2 * lanes <= num_blocks and 32 * lanes <= num_samples), 1)


def epoch_order(
    block_lengths: Sequence[int] | np.ndarray, num_lanes: int, shuffle_buffer: int, seed: int, epoch: int
) -> np.ndarray:
    """The order in which an epoch goes through its samples.

    Blocks of consecutive samples (Parquet row groups) are put in random order, and the samples within each too. This
    sequence is cut into `num_lanes` equal pieces. Each is shuffled once more, no sample moving ahead or back by more
    than its share of the shuffle buffer. The order then takes one sample of each lane in turn: whoever always makes
    the same part of a batch reads few lanes, and keeps few samples waiting. The `len % num_lanes` samples at the end
    of the sequence, other ones in each epoch, are left out.

    Args:
        block_lengths: samples in each block.
        num_lanes: number of pieces, see `count_lanes`.
        shuffle_buffer: samples that all lanes together may keep waiting besides their current blocks.
        seed: chooses the order, with `epoch`.
        epoch: number of the epoch, from 0.

    Returns:
        int64 `(sum(block_lengths) // num_lanes * num_lanes,)`: sample numbers, counted over the blocks as given.
    """
    rng = np.random.default_rng((_ORDER, seed, epoch))
    place_of_block = np.repeat(rng.permutation(len(block_lengths)), block_lengths)
    sequence = np.lexsort((rng.random(len(place_of_block)), place_of_block))
    length = len(sequence) // num_lanes
    lanes = sequence[: num_lanes * length].reshape(num_lanes, length)
    place_in_lane = np.arange(length) + rng.uniform(0, shuffle_buffer / num_lanes, lanes.shape)
    return np.take_along_axis(lanes, place_in_lane.argsort(axis=1), axis=1).T.ravel()


class ExampleStream(IterableDataset):
    """An endless stream of training examples, in an order that is the same in every run.

    A subclass says what `columns` it reads and how `make_example` makes an example of a row.

    Each epoch shuffles anew, as `epoch_order` tells, and holds every sample once, but for the few that do not fill all
    lanes. Each process makes its part of every batch. A sample's augmentation depends on the seed, the epoch and the
    sample alone. With `repeat_factors`, samples come several times in an epoch, each time augmented anew, and their
    blocks are read as often.

    The blocks that are shuffled are the row groups of the Parquet files. Each worker reads the row groups of its
    lanes, keeps the rows of its own batches, and decodes them when they are due. The rows that wait, still encoded,
    are about a row group for each lane and the shuffle buffer. Row groups of some megabytes serve best.

    To resume, build the stream again with `start` set to the number of samples consumed so far; seed, shuffle buffer
    and batch size must be the same, the number of processes, of batches that a process makes of its part, and of
    workers need not be.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub with such files.
        split: name of the split.
        transform: makes an example of what a row holds, as the subclass says; None gives labels without augmentation.
        num_labels: number of classes.
        batch_size: samples that all processes together consume in an optimizer step.
        seed: any non-negative integer.
        shuffle_buffer: samples to draw the next ones from, besides those of a row group.
        rank: which of the processes this is.
        world_size: number of processes that share the data.
        accumulation_steps: number of batches that a process makes of its part of `batch_size`.
        start: number of samples that all processes together have consumed in earlier runs, a multiple of `batch_size`.
        repeat_factors: how often each sample comes in an epoch on average, float `(samples,)`, 1 or more, the samples
            in the order of the files; see `draw_repetitions`. None for once.
        streaming: True reads from the Parquet files as training goes. False first loads the data set into the cache of
            `datasets` on disk (memory-mapped, shared by processes and workers) and reads single rows from there: each
            is a block, so the shuffle is uniform. The order differs from the streamed one and is as reproducible.

    Raises:
        ValueError: if an argument is out of range, the batch size cannot be shared out evenly, the split or a column
            is missing, or the split is empty; and while iterating, if a row cannot be used.
    """

    columns: tuple[str, ...]
    # How a loader makes a batch of examples; by default, of tensors of one size.
    collate: Callable[[list[Example]], dict[str, Any]] | None = None

    def __init__(
        self,
        source: str | Path | DataSource,
        split: str = "train",
        transform: Callable[..., Any] | None = None,
        *,
        num_labels: int,
        batch_size: int = 1,
        seed: int = 0,
        shuffle_buffer: int = 1000,
        rank: int = 0,
        world_size: int = 1,
        accumulation_steps: int = 1,
        start: int = 0,
        repeat_factors: np.ndarray | None = None,
        streaming: bool = True,
    ) -> None:
        settings = {
            "num_labels": (num_labels, 1),
            "batch_size": (batch_size, 1),
            "seed": (seed, 0),
            "shuffle_buffer": (shuffle_buffer, 1),
            "world_size": (world_size, 1),
            "accumulation_steps": (accumulation_steps, 1),
            "start": (start, 0),
        }
        for name, (value, minimum) in settings.items():
            if value < minimum:
                raise ValueError(f"{name} is {value}, but must be {minimum} or more.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but the ranks of {world_size} processes are 0 to {world_size - 1}.")
        if batch_size % (world_size * accumulation_steps):
            raise ValueError(
                f"batch_size is {batch_size}, which {world_size} processes with {accumulation_steps} batches each "
                f"cannot share evenly; choose a multiple of {world_size * accumulation_steps}."
            )
        if start % batch_size:
            raise ValueError(f"start is {start}, but must be a multiple of batch_size, which is {batch_size}.")
        self.transform = transform
        self.num_labels = num_labels
        self.batch_size = batch_size
        self.loader_batch_size = batch_size // (world_size * accumulation_steps)
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self._blocks = (
            RowGroups(source, split, self.columns) if streaming else _CachedRows(source, split, self.columns)
        )
        self._num_lanes = count_lanes(self._blocks.lengths, batch_size)
        num_samples = sum(self._blocks.lengths)
        if num_samples == 0:
            raise ValueError(f"The split {split!r} of {source} has no samples.")
        self._repeat_factors = None
        if repeat_factors is not None:
            if repeat_factors.shape != (num_samples,) or not (repeat_factors >= 1).all():
                raise ValueError(
                    f"repeat_factors has the shape {repeat_factors.shape} and numbers from "
                    f"{repeat_factors.min(initial=1)}; expected ({num_samples},), one for each sample, from 1."
                )
            self._repeat_factors = in_steps(repeat_factors)
            num_samples = int(self._repeat_factors.sum()) // STEPS
        self.epoch_length = num_samples // self._num_lanes * self._num_lanes

    def __iter__(self) -> Iterator[Example]:
        for epoch in itertools.count(self.start // self.epoch_length):
            visits = Visits.once(self._blocks.lengths)
            if self._repeat_factors is not None:
                visits = visits.repeated(draw_repetitions(self._repeat_factors, self.seed, epoch))
            order = epoch_order(visits.lengths, self._num_lanes, self.shuffle_buffer, self.seed, epoch)
            # The sum of repetitions may be one more than in other epochs.
            order = order[: self.epoch_length]
            for sample, repetition, row in self._read(order[self._is_mine(epoch)], visits):
                key = (_SAMPLE, self.seed, epoch, sample, *([repetition] if repetition else []))
                yield self.make_example(row, np.random.default_rng(key))

    def make_example(self, row: Example, rng: np.random.Generator) -> Example:
        """A training example from a row, undecoded; everything random is drawn from `rng`."""
        raise NotImplementedError

    def _is_mine(self, epoch: int) -> np.ndarray:
        """Which positions of an epoch this worker of this process makes, bool `(epoch_length,)`."""
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        due = epoch * self.epoch_length + np.arange(self.epoch_length) - self.start
        step, slot = np.divmod(due, self.batch_size)
        part = self.batch_size // self.world_size
        # Loaders ask their workers for a batch in turn.
        loader_batch = (step * part + slot % part) // self.loader_batch_size
        return (due >= 0) & (slot // part == self.rank) & (loader_batch % num_workers == worker_id)

    def _read(self, places: np.ndarray, visits: Visits) -> Iterator[tuple[int, int, Example]]:
        """What stands at these places of the visits, in the given order: sample, repetition and row. A block is read
        once in a visit, when the first sample of the visit is due."""
        first_samples = np.cumsum(self._blocks.lengths) - self._blocks.lengths
        visit_of_place = np.searchsorted(np.cumsum(visits.lengths), places, side="right")
        # The places of a visit lie together here, in their order.
        by_visit = places[visit_of_place.argsort(kind="stable")]
        ends = np.bincount(visit_of_place, minlength=len(visits.lengths)).cumsum()
        waiting: dict[int, Example] = {}
        for place, visit in zip(places.tolist(), visit_of_place.tolist(), strict=True):
            if place not in waiting:
                wanted = by_visit[ends[visit - 1] if visit else 0 : ends[visit]]
                block = int(visits.blocks[visit])
                rows = self._blocks.read(block, visits.samples[wanted] - first_samples[block])
                waiting.update(zip(wanted.tolist(), rows, strict=True))
            yield int(visits.samples[place]), int(visits.repetitions[place]), waiting.pop(place)


class SegmentationStream(ExampleStream):
    """
    A stream of images and label maps; see [`ExampleStream`].

    Args:
        args, kwargs: those of [`ExampleStream`]. `transform` makes an example from an image (uint8 RGB
            `(3, height, width)`, or of bands as `read_image` has them), its label map (`(height, width)`, 255
            ignored) and a random generator, as `TrainingTransform` does. None gives images and label maps as they are.
        do_reduce_labels: whether stored labels count from 1 and 0 means "no class", as in ADE20K's own files.

    Raises:
        ValueError: as there, or if 255 is a class; and while iterating, naming the file, if an image or label map
            cannot be used or holds a value that is neither a class nor 255.
    """

    columns = COLUMNS

    def __init__(self, *args: Any, do_reduce_labels: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.do_reduce_labels = do_reduce_labels
        if self.num_labels + do_reduce_labels > IGNORE_INDEX:
            raise ValueError(
                f"num_labels is {self.num_labels}{', counted from 1' if do_reduce_labels else ''}, but there are "
                f"{IGNORE_INDEX - do_reduce_labels} classes at most: {IGNORE_INDEX} stands for ignored pixels."
            )

    def make_example(self, row: Example, rng: np.random.Generator) -> Example:
        example = decode_example(row, self._blocks.orientation)
        image = torch.from_numpy(np.array(example["image"]))
        if isinstance(example["image"], Image.Image):
            image = image.permute(2, 0, 1)
        # Bytes are compared many times faster by NumPy than by torch.
        label_map = example["label_map"]
        if self.do_reduce_labels:
            label_map = reduce_labels(label_map)
        self._check_labels(label_map, example["file_name"])
        label_map = torch.from_numpy(label_map)
        if self.transform is None:
            return {"pixel_values": image, "labels": label_map.to(torch.int64)}
        return self.transform(image, label_map, rng)

    def _check_labels(self, label_map: np.ndarray, file_name: str) -> None:
        # On the CPU, because on a GPU such a label ends the process with a bare "device-side assert".
        wrong = label_map[((label_map < 0) | (label_map >= self.num_labels)) & (label_map != IGNORE_INDEX)]
        if wrong.size:
            hint = (
                "labels were reduced by one (do_reduce_labels=True): are they train ids already?"
                if self.do_reduce_labels
                else "if 0 means 'no class' in these files, set do_reduce_labels=True."
            )
            raise ValueError(
                f"{file_name}: its label map holds {int(wrong[0])}, but the {self.num_labels} classes are 0 to "
                f"{self.num_labels - 1}, and {IGNORE_INDEX} is ignored. Check num_labels; {hint}"
            )


class RowGroups:
    """The row groups of a split's Parquet files, in the order of the files."""

    def __init__(self, source: str | Path | DataSource, split: str, columns: Sequence[str]) -> None:
        self._groups: list[tuple[str, pq.FileMetaData, int, dict[str, str]]] = []
        self._first_rows: list[int] = []
        self.lengths: list[int] = []
        self.orientation: Orientation | None = None
        num_rows = 0
        for file in progress_bar(parquet_files(source, split), desc="Reading Parquet footers", unit="file", delay=2):
            metadata = _read_metadata(file)
            self.orientation = read_orientation(metadata)
            stored = DataSource.of(source).stored(columns, metadata.schema.to_arrow_schema(), file)
            for group in range(metadata.num_row_groups):
                self._groups.append((file, metadata, group, stored))
                self._first_rows.append(num_rows)
                self.lengths.append(metadata.row_group(group).num_rows)
                num_rows += self.lengths[-1]
        self._wants_names = "file_name" in columns

    def read(self, block: int, rows: np.ndarray) -> list[Example]:
        """Some rows of a row group, undecoded."""
        file, metadata, group, stored = self._groups[block]
        with pq.ParquetFile(file, metadata=metadata, pre_buffer=True) as parquet:
            table = parquet.read_row_group(group, columns=list(stored)).take(rows)
        examples = table.rename_columns([stored[name] for name in table.column_names]).to_pylist()
        if self._wants_names and "file_name" not in stored.values():
            for example, row in zip(examples, rows.tolist(), strict=True):
                example["file_name"] = str(self._first_rows[block] + row)
        return examples


def parquet_files(source: str | Path | DataSource, split: str) -> list[str]:
    """
    The Parquet files of a split, as `datasets` finds them.

    Args:
        source: a local folder, or a data set repository of the Hub.
        split: name of the split.

    Raises:
        ValueError: if that is no data set of Parquet files, or has no such split; the message says what there is.
    """
    data_files = open_source(source).config.data_files or {}
    if split not in data_files:
        raise ValueError(f"{source} has no split {split!r}; it has {', '.join(map(str, data_files)) or 'none'}.")
    return data_files[split]


def _read_metadata(file: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is not a Parquet file: {error}") from error


class _CachedRows:
    """The rows of a split in the cache of `datasets`; each is a block of its own."""

    def __init__(self, source: str | Path | DataSource, split: str, columns: Sequence[str]) -> None:
        self._dataset = load_undecoded(source, split, columns)
        self.orientation = load_orientation(source, split)
        self.lengths = [1] * len(self._dataset)

    def read(self, block: int, rows: np.ndarray) -> list[Example]:
        return [self._dataset[block]]


def load_undecoded(
    source: str | Path | DataSource,
    split: str,
    columns: Sequence[str],
    optional: Sequence[str] = OPTIONAL_COLUMNS,
) -> datasets.Dataset:
    """A split as a map-style data set of some columns, of which it may lack the `optional` ones, with images as they
    are stored. Rows without `file_name` are named by their numbers."""
    # By its files: `datasets` caches a folder under its name, and would not notice that the files have changed.
    files = parquet_files(source, split)
    try:
        dataset = datasets.load_dataset("parquet", data_files={split: files}, split=split)
    except (datasets.exceptions.DatasetGenerationError, pa.ArrowInvalid) as error:
        for file in files:
            _read_metadata(file)
        raise ValueError(f"The split {split!r} of {source} cannot be read: {error.__cause__ or error}") from error
    stored = DataSource.of(source).stored(columns, dataset.features.arrow_schema, str(source), optional)
    dataset = dataset.select_columns(list(stored)).rename_columns(stored)
    for column in dataset.column_names:
        if holds_images(dataset.features.arrow_schema.field(column).type):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    if "file_name" in columns and "file_name" not in dataset.column_names:
        dataset = dataset.add_column("file_name", [str(index) for index in range(len(dataset))])
    elif "file_name" in columns and dataset.features["file_name"] != datasets.Value("string"):
        dataset = dataset.cast_column("file_name", datasets.Value("string"))
    return dataset


def load_orientation(source: str | Path | DataSource, split: str) -> Orientation | None:
    """Which way the images of a split stand that have an EXIF orientation, if the data set says so."""
    return read_orientation(_read_metadata(parquet_files(source, split)[0]))


def load_with_images(source: str | Path | DataSource, split: str, columns: Sequence[str]) -> datasets.Dataset:
    """A split as a map-style data set of some columns, with `image` as a PIL image in RGB, for evaluation."""

    def decode(batch: dict[str, list]) -> dict[str, list]:
        return batch | {"image": [read_picture(encoded) for encoded in batch["image"]]}

    return load_undecoded(source, split, columns).with_transform(decode)


def load_examples(source: str | Path | DataSource, split: str, do_reduce_labels: bool = False) -> datasets.Dataset:
    """A split as a map-style data set, for evaluation.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub.
        split: name of the split.
        do_reduce_labels: whether stored labels count from 1 and 0 means "no class", as in ADE20K's own files.

    Returns:
        A `datasets.Dataset` whose items are decoded when they are asked for; see `decode_example`.

    Raises:
        ValueError: if the split or a column is missing, or, when an item is asked for, if its image or label map
            cannot be used.
    """

    orientation = load_orientation(source, split)
    decode = functools.partial(_decode_batch, do_reduce_labels=do_reduce_labels, orientation=orientation)
    return load_undecoded(source, split, COLUMNS).with_transform(decode)


def _decode_batch(batch: dict[str, list], do_reduce_labels: bool, orientation: Orientation | None) -> dict[str, list]:
    rows = (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
    examples = [decode_example(row, orientation) for row in rows]
    if do_reduce_labels:
        examples = [example | {"label_map": reduce_labels(example["label_map"])} for example in examples]
    return {key: [example[key] for example in examples] for key in ("image", "label_map", "file_name")}


def decode_example(row: Example, orientation: Orientation | None = None) -> Example:
    """Decodes a row of the data set.

    An image of bands is what `read_image` says. Any other, in any mode, becomes 8-bit RGB, see `to_rgb`, and is
    turned as its EXIF orientation says, as OpenCV and `datasets` do, unless the data set says otherwise or only the
    image as stored has the size of the label map. Label maps are never turned.

    Args:
        row: `image` and `label` (the bytes of a file, or a dictionary with `bytes`) and `file_name`.
        orientation: which way images stand that have an EXIF orientation, if the data set says so; see
            `vitseg.data.orientation`.

    Returns:
        `image`: a PIL image in mode "RGB", or an array `(bands, height, width)`. `label_map`: the stored values, an
        array `(height, width)`, uint8, or int32 if the file holds more than 8 bits. `file_name`: as given.

    Raises:
        ValueError: naming the file, if the image or label map cannot be decoded, the label map does not hold one
            integer per pixel, or the sizes differ.
    """
    name = row["file_name"]
    label_map = read_label_map(row["label"], f"the label map of {name}")
    height, width = label_map.shape
    image = read_image(row["image"], f"the image of {name}", orientation, label_size=(width, height))
    if (size := size_of(image)) != (height, width):
        raise ValueError(
            f"The image of {name} is {size[1]} x {size[0]} pixels, its label map {width} x {height}: they "
            "must have the same width and height."
        )
    return {"image": image, "label_map": label_map, "file_name": name}
