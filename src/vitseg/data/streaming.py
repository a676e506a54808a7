# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training data from Parquet shards: streamed, shuffled, split over processes and workers, and resumed exactly.

`datasets` streams too, but a stream that it resumes has lost what its shuffle buffer held. Here the order of an epoch
is instead computed before anything is read: it is a function of the seed, the epoch and the lengths of the Parquet row
groups, which the files' footers tell. A position in the stream is therefore one number, the count of samples already
consumed, and resuming reads only the row groups that are still needed. Nor does the order depend on the number of
workers: all workers of a process know it, and each makes every n-th batch.

A data set has the columns `image` (an encoded image), `label` (an encoded label map, usually PNG) and `file_name`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm.auto import tqdm

from ..models.image_processing_semantic import reduce_labels, to_8_bit
from .augmentation import IGNORE_INDEX


COLUMNS = ("image", "label", "file_name")
# First word of the seeds of the two kinds of random generators, so that they never coincide.
_ORDER, _SAMPLE = 0, 1

Transform = Callable[[torch.Tensor, torch.Tensor, np.random.Generator], dict[str, torch.Tensor]]
Example = dict[str, Any]


def epoch_order(
    block_lengths: Sequence[int], shuffle_buffer: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1
) -> np.ndarray:
    """The order in which one process sees its samples of an epoch.

    Blocks of consecutive samples (Parquet row groups) are put in random order, the sequence is cut into `world_size`
    equal pieces, and each piece goes through a shuffle buffer. So a process reads few blocks besides its own, and
    keeps few samples waiting. The `len % world_size` samples at the end of the sequence, other ones in each epoch, are
    left out.

    Args:
        block_lengths: samples in each block.
        shuffle_buffer: capacity of the shuffle buffer, in samples.
        seed: chooses the order, with `epoch`.
        epoch: number of the epoch, from 0.
        rank: which of the processes.
        world_size: number of processes.

    Returns:
        int64 `(sum(block_lengths) // world_size,)`: sample numbers, counted over the blocks as given.
    """
    rng = np.random.default_rng((_ORDER, seed, epoch))
    sequence = np.argsort(np.repeat(rng.permutation(len(block_lengths)), block_lengths), kind="stable")
    length = len(sequence) // world_size
    sequence = sequence[rank * length : (rank + 1) * length]

    capacity = min(shuffle_buffer, length)
    buffer = list(range(capacity))
    order = []
    for position, slot in enumerate(rng.integers(capacity, size=length - capacity).tolist(), start=capacity):
        order.append(buffer[slot])
        buffer[slot] = position
    order.extend(rng.permutation(buffer).tolist())
    return sequence[order]


class SegmentationStream(IterableDataset):
    """An endless stream of training examples, in an order that is the same in every run.

    Each epoch shuffles anew, as `epoch_order` tells, and holds every sample of the process once; the process sees
    `epoch_length` samples in an epoch. A sample's augmentation depends on the seed, the epoch and the sample alone.

    The blocks that are shuffled are the row groups of the Parquet files. Each worker reads every row group of its
    process, keeps the rows of its own batches, and decodes them when they are due. The rows of all workers that wait,
    still encoded, are about `shuffle_buffer` and a row group. Row groups of 100 rows, as `datasets` writes for images,
    serve best.

    To resume, build the stream again with `start` set to the number of samples that this process has consumed; seed,
    shuffle buffer and world size must be the same, the number of workers and the batch size need not be.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub with such files.
        split: name of the split.
        transform: makes an example from an image (uint8 RGB `(3, height, width)`), its label map (`(height, width)`,
            255 ignored) and a random generator, as `TrainingTransform` does. None gives images and label maps as they
            are.
        num_labels: number of classes.
        do_reduce_labels: whether stored labels count from 1 and 0 means "no class", as in ADE20K's own files.
        batch_size: the batch size of the `DataLoader`, which decides what the next worker goes on with.
        seed: any non-negative integer.
        shuffle_buffer: samples to draw the next one from.
        rank: which of the processes this is.
        world_size: number of processes that share the data.
        start: number of samples that this process has consumed in earlier runs.
        streaming: True reads from the Parquet files as training goes. False first loads the data set into the cache of
            `datasets` on disk (memory-mapped, shared by processes and workers) and reads single rows from there: each
            is a block, so the shuffle is uniform. The order differs from the streamed one and is as reproducible.

    Raises:
        ValueError: if an argument is out of range, the split or a column is missing, or there are fewer samples than
            processes; and while iterating, naming the file, if an image or label map cannot be used or holds a value
            that is neither a class nor 255.
    """

    def __init__(
        self,
        source: str | Path,
        split: str = "train",
        transform: Transform | None = None,
        *,
        num_labels: int,
        do_reduce_labels: bool = False,
        batch_size: int = 1,
        seed: int = 0,
        shuffle_buffer: int = 1000,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        streaming: bool = True,
    ) -> None:
        minimum = {"num_labels": 1, "batch_size": 1, "seed": 0, "shuffle_buffer": 1, "world_size": 1, "start": 0}
        for name, value in zip(
            minimum, (num_labels, batch_size, seed, shuffle_buffer, world_size, start), strict=True
        ):
            if value < minimum[name]:
                raise ValueError(f"{name} is {value}, but must be {minimum[name]} or more.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but the ranks of {world_size} processes are 0 to {world_size - 1}.")
        self.transform = transform
        self.num_labels = num_labels
        self.do_reduce_labels = do_reduce_labels
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self._blocks = _RowGroups(source, split) if streaming else _CachedRows(source, split)
        self.epoch_length = sum(self._blocks.lengths) // world_size
        if self.epoch_length == 0:
            raise ValueError(
                f"The split {split!r} of {source} has {sum(self._blocks.lengths)} samples, too few for {world_size} "
                "processes."
            )

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for epoch in itertools.count(self.start // self.epoch_length):
            consumed = epoch * self.epoch_length + np.arange(self.epoch_length) - self.start
            is_mine = (consumed >= 0) & (consumed // self.batch_size % num_workers == worker_id)
            order = epoch_order(
                self._blocks.lengths, self.shuffle_buffer, self.seed, epoch, self.rank, self.world_size
            )
            for sample, row in self._read(order[is_mine]):
                yield self._make_example(row, np.random.default_rng((_SAMPLE, self.seed, epoch, sample)))

    def _read(self, samples: np.ndarray) -> Iterator[tuple[int, Example]]:
        """The samples in the given order, with their rows. A block is read once, when its first sample is due."""
        first_samples = np.cumsum(self._blocks.lengths) - self._blocks.lengths
        blocks = np.searchsorted(first_samples, samples, side="right") - 1
        waiting: dict[int, Example] = {}
        for sample, block in zip(samples.tolist(), blocks.tolist(), strict=True):
            if sample not in waiting:
                wanted = samples[blocks == block]
                rows = self._blocks.read(block, wanted - first_samples[block])
                waiting.update(zip(wanted.tolist(), rows, strict=True))
            yield sample, waiting.pop(sample)

    def _make_example(self, row: Example, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        example = decode_example(row)
        image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
        label_map = torch.from_numpy(example["label_map"])
        if self.do_reduce_labels:
            label_map = reduce_labels(label_map)
        self._check_labels(label_map, example["file_name"])
        if self.transform is None:
            return {"pixel_values": image, "labels": label_map.to(torch.int64)}
        return self.transform(image, label_map, rng)

    def _check_labels(self, label_map: torch.Tensor, file_name: str) -> None:
        # On the CPU, because on a GPU such a label ends the process with a bare "device-side assert".
        wrong = label_map[((label_map < 0) | (label_map >= self.num_labels)) & (label_map != IGNORE_INDEX)]
        if wrong.numel():
            hint = (
                "labels were reduced by one (do_reduce_labels=True): are they train ids already?"
                if self.do_reduce_labels
                else "if 0 means 'no class' in these files, set do_reduce_labels=True."
            )
            raise ValueError(
                f"{file_name}: its label map holds {int(wrong[0])}, but the {self.num_labels} classes are 0 to "
                f"{self.num_labels - 1}, and {IGNORE_INDEX} is ignored. Check num_labels; {hint}"
            )


class _RowGroups:
    """The row groups of a split's Parquet files, in the order of the files."""

    def __init__(self, source: str | Path, split: str) -> None:
        self._groups: list[tuple[str, pq.FileMetaData, int]] = []
        self.lengths: list[int] = []
        for file in tqdm(_parquet_files(source, split), desc="Reading Parquet footers", unit="file", delay=2):
            metadata = _read_metadata(file)
            for group in range(metadata.num_row_groups):
                self._groups.append((file, metadata, group))
                self.lengths.append(metadata.row_group(group).num_rows)

    def read(self, block: int, rows: np.ndarray) -> list[Example]:
        """Some rows of a row group, undecoded."""
        file, metadata, group = self._groups[block]
        with pq.ParquetFile(file, metadata=metadata, pre_buffer=True) as parquet:
            return parquet.read_row_group(group, columns=list(COLUMNS)).take(rows).to_pylist()


def _parquet_files(source: str | Path, split: str) -> list[str]:
    data_files = datasets.load_dataset_builder(str(source)).config.data_files or {}
    if split not in data_files:
        raise ValueError(f"{source} has no split {split!r}; it has {', '.join(map(str, data_files)) or 'none'}.")
    return data_files[split]


def _read_metadata(file: str) -> pq.FileMetaData:
    try:
        metadata = pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is not a Parquet file: {error}") from error
    _check_columns(metadata.schema.to_arrow_schema().names, file)
    return metadata


class _CachedRows:
    """The rows of a split in the cache of `datasets`; each is a block of its own."""

    def __init__(self, source: str | Path, split: str) -> None:
        self._dataset = _load_undecoded(source, split)
        self.lengths = [1] * len(self._dataset)

    def read(self, block: int, rows: np.ndarray) -> list[Example]:
        return [self._dataset[block]]


def _load_undecoded(source: str | Path, split: str) -> datasets.Dataset:
    # By its files: `datasets` caches a folder under its name, and would not notice that the files have changed.
    dataset = datasets.load_dataset("parquet", data_files={split: _parquet_files(source, split)}, split=split)
    _check_columns(dataset.column_names, source)
    for column in ("image", "label"):
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset.select_columns(list(COLUMNS))


def _check_columns(columns: Sequence[str], source: str | Path) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"{source} has no column {', '.join(missing)}; it has {', '.join(columns)}.")


def load_examples(source: str | Path, split: str) -> datasets.Dataset:
    """A split as a map-style data set, for evaluation.

    Args:
        source: a local folder with Parquet files, or a data set repository of the Hub.
        split: name of the split.

    Returns:
        A `datasets.Dataset` whose items are decoded when they are asked for; see `decode_example`.

    Raises:
        ValueError: if the split or a column is missing, or, when an item is asked for, if its image or label map
            cannot be used.
    """

    def decode(batch: dict[str, list]) -> dict[str, list]:
        rows = (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        examples = [decode_example(row) for row in rows]
        return {key: [example[key] for example in examples] for key in ("image", "label_map", "file_name")}

    return _load_undecoded(source, split).with_transform(decode)


def decode_example(row: Example) -> Example:
    """Decodes a row of the data set.

    An image in any mode becomes 8-bit RGB: 16-bit images by their high byte, transparency dropped, as OpenCV does. Its
    EXIF orientation is applied, again as OpenCV does, unless only the image as stored has the size of the label map.
    Label maps are never turned.

    Args:
        row: `image` and `label` (the bytes of a file, or a dictionary with `bytes`) and `file_name`.

    Returns:
        `image`: a PIL image in mode "RGB". `label_map`: the stored values, an array `(height, width)`, uint8, or int32
        if the file holds more than 8 bits. `file_name`: as given.

    Raises:
        ValueError: naming the file, if the image or label map cannot be decoded, the label map does not hold one
            integer per pixel, or the sizes differ.
    """
    name = row["file_name"]
    stored = _open(row["image"], f"the image of {name}")
    label = _open(row["label"], f"the label map of {name}")
    if len(label.getbands()) != 1 or label.mode == "F":
        raise ValueError(
            f"The label map of {name} has mode {label.mode!r}; expected one integer per pixel, its class id. Turn "
            "colours into ids first."
        )
    image = ImageOps.exif_transpose(stored)
    if image.size != label.size == stored.size:
        image = stored
    if image.size != label.size:
        raise ValueError(
            f"The image of {name} is {image.width} x {image.height} pixels, its label map {label.width} x "
            f"{label.height}: they must have the same width and height."
        )
    label_map = np.asarray(label)
    label_map = label_map.astype(np.uint8 if label_map.dtype.itemsize == 1 else np.int32)
    return {"image": _to_rgb(image), "label_map": label_map, "file_name": name}


def _open(encoded: bytes | dict[str, Any], what: str) -> Image.Image:
    data = encoded["bytes"] if isinstance(encoded, dict) else encoded
    if not data:
        raise ValueError(f"{what} is missing.")
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot decode {what}: {error}") from error
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray(to_8_bit(image))
    if "transparency" in image.info:
        # Straight to RGB, Pillow warns about palettes with transparency.
        image = image.convert("RGBA")
    return image.convert("RGB")


def train_loader(stream: SegmentationStream, num_workers: int) -> DataLoader:
    """A `DataLoader` over a stream, whose batches are the same for any number of workers.

    Args:
        stream: it says how many examples a batch has.
        num_workers: number of processes that decode and augment, for this training process; 0 does it in this one.

    Returns:
        An endless loader of `pixel_values` (float32, `(batch, 3, height, width)`) and `labels` (int64,
        `(batch, height, width)`). Iterating it a second time starts over at the stream's `start`.
    """
    return DataLoader(
        stream,
        batch_size=stream.batch_size,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        drop_last=True,
    )
