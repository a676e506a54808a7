# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From a raw data set to Parquet shards, with every pair verified. The output is complete or absent.

Shards are finished one at a time in a hidden folder beside the output, each with a record of what is in it. A later
run with the same arguments goes on after them. The folder gets the output's name when everything is in place.
"""

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..replacing import write_json
from .annotations import TrainIds
from .dataset_labels import LABELS_FILE
from .pairs import EncodedPair, Pair, RawDataset, encode_pair
from .shards import Row, dataset_card, shard_name, write_shard


# Fewer shards than this could not be shared by the workers and processes of a training run.
MIN_SHARDS = 8
SHARD_BYTES = 256 * 1024**2
# Pairs that each worker may be ahead of what is written.
AHEAD = 4
REPORT_FILE = "preparation.json"
SKIPPED_FILE = "skipped.txt"


class BadPairError(ValueError):
    """A pair that cannot be used, when preparing is to stop at the first."""


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """
    What became of a split.

    Args:
        images: pairs that were written.
        pixels: their number of pixels by train id, 256 entries.
        skipped: for each pair that was skipped, the reason.
    """

    images: int
    pixels: Sequence[int]
    skipped: Sequence[str]


def prepare(
    dataset: RawDataset, output: str | Path, *, limit: int | None = None, on_error: str = "stop", workers: int = 0
) -> dict[str, SplitReport]:
    """
    Write a data set that `datasets.load_dataset(output)` loads and `SegmentationStream` streams.

    The folder holds `data/SPLIT-*.parquet` (columns `image`, `label` and `file_name`, sorted by the latter), the label
    table `labels.json`, a data set card, `preparation.json`, which tells what was prepared and what was in it, and
    `skipped.txt` if a pair was skipped. The same input gives the same bytes, whatever the number of workers. If the
    output is there already and came from the same arguments, nothing is done.

    Args:
        dataset: what to prepare. Its files are told by their names and sizes.
        output: folder to write.
        limit: pairs of each split to take, from the first; `None` takes all.
        on_error: what to do at a pair that cannot be used. "stop" raises; "skip" leaves it out and reports it.
        workers: number of processes that verify and encode; 0 does it in this one.

    Returns:
        The report of each split.

    Raises:
        BadPairError: at the first pair that cannot be used, if `on_error` is "stop". The shards that are finished are
            kept for the next run.
        ValueError: if an argument is out of range, the output or what is left of an earlier run came from other
            arguments, or every pair of a split had to be skipped.
    """
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected 'stop' or 'skip'.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, but must be 1 or more.")
    output = Path(output)
    work = _work_folder(output)
    arguments = _describe(dataset, limit)
    files = {"files": _digest(pair for pairs in dataset.splits.values() for pair in pairs)}
    if output.exists():
        _require_same(output, arguments | files)
    else:
        if (work / REPORT_FILE).exists():
            _require_same(work, arguments)
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / REPORT_FILE, {"arguments": arguments})
        shards = _plan(dataset, limit, work)
        _write_shards(shards, dataset.train_ids, on_error, workers)
        _assemble(dataset, shards, arguments | files, work).rename(output)
    shutil.rmtree(work, ignore_errors=True)
    report = read_report(output)
    skipped = sum(len(split.skipped) for split in report.values())
    if skipped and on_error == "stop":
        raise ValueError(
            f"{output} is complete but for pairs that it skipped: {skipped}. Delete it to try them again."
        )
    return report


def is_prepared(output: str | Path) -> bool:
    """Whether a run has finished in this folder."""
    return (Path(output) / REPORT_FILE).exists()


def read_report(output: str | Path) -> dict[str, SplitReport]:
    """The report of each split of a prepared data set."""
    report = json.loads((Path(output) / REPORT_FILE).read_text(encoding="utf-8"))
    return {split: SplitReport(**entries) for split, entries in report["splits"].items()}


def _work_folder(output: Path) -> Path:
    return output.absolute().with_name(f".{output.absolute().name}-unfinished")


def _describe(dataset: RawDataset, limit: int | None) -> dict[str, Any]:
    """What decides on the output besides the files: with equal descriptions, equal files give equal shards."""
    table = [dataset.labels.to_json(), list(dataset.train_ids.raw_to_train.items()), dataset.train_ids.default]
    return {
        "data set": dataset.title,
        "labels": hashlib.sha256(json.dumps(table).encode()).hexdigest(),
        "limit": limit,
    }


def _digest(pairs: Iterable[Pair]) -> str:
    """Tells other files from the same, by their names and sizes."""
    files = hashlib.sha256()
    for pair in pairs:
        files.update(f"{pair.name} {pair.size}\n".encode())
    return files.hexdigest()


def _require_same(folder: Path, arguments: Mapping[str, Any]) -> None:
    try:
        earlier = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))["arguments"]
    except (OSError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{folder} already exists and is no prepared data set. Delete it, or name a folder that does not exist."
        ) from None
    different = [key for key in arguments if earlier.get(key) != arguments[key]]
    if different:
        raise ValueError(
            f"{folder} came from other arguments (what differs: {', '.join(different)}). Delete it, or name another "
            "output."
        )


@dataclass(frozen=True)
class _Shard:
    """Consecutive pairs of a split and the file they go to. When it is finished it has a record beside it."""

    split: str
    pairs: Sequence[Pair]
    file: Path

    def write_record(self, report: SplitReport) -> None:
        write_json(self.file.with_suffix(".json"), {"files": _digest(self.pairs), "report": asdict(report)})

    def read_record(self) -> SplitReport | None:
        """What it holds; `None` if it is not finished, or its images or annotations are not the same any more."""
        record = self.file.with_suffix(".json")
        if not record.exists() or not self.file.exists():
            return None
        content = json.loads(record.read_text(encoding="utf-8"))
        return SplitReport(**content["report"]) if content["files"] == _digest(self.pairs) else None


def _plan(dataset: RawDataset, limit: int | None, work: Path) -> list[_Shard]:
    shards = []
    for split, pairs in dataset.splits.items():
        pairs = pairs[:limit]
        by_size = math.ceil(sum(pair.size for pair in pairs) / SHARD_BYTES)
        parts = np.array_split(np.arange(len(pairs)), min(len(pairs), max(MIN_SHARDS, by_size)))
        for index, part in enumerate(parts):
            shards.append(_Shard(split, pairs[part[0] : part[-1] + 1], work / f"{split}-{index:05d}.parquet"))
    return shards


def _encode(pair: Pair, train_ids: TrainIds) -> EncodedPair | str:
    """The pair, verified and encoded, or the reason why it cannot be used."""
    try:
        return encode_pair(pair, train_ids)
    except ValueError as error:
        return str(error)
    except Exception as error:  # Decoders raise whatever a damaged file leads them to.
        return f"Cannot decode {pair.image} or its annotation: {error!r}"


def _encode_all(pairs: Sequence[Pair], train_ids: TrainIds, workers: int) -> Generator[EncodedPair | str, None, None]:
    """All pairs in order, a few of them ahead in worker processes. Closing it ends the workers."""
    if workers == 0:
        yield from (_encode(pair, train_ids) for pair in pairs)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        ahead: deque[Future[EncodedPair | str]] = deque()
        for pair in pairs:
            ahead.append(pool.submit(_encode, pair, train_ids))
            if len(ahead) > AHEAD * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave interrupts to the main process, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _write_shards(shards: Sequence[_Shard], train_ids: TrainIds, on_error: str, workers: int) -> None:
    """Write what earlier runs have not finished."""
    records = [shard.read_record() for shard in shards]
    todo = [
        shard
        for shard, record in zip(shards, records, strict=True)
        if record is None or (record.skipped and on_error == "stop")
    ]
    pairs = [pair for shard in todo for pair in shard.pairs]
    done = sum(len(shard.pairs) for shard in shards) - len(pairs)
    with (
        closing(_encode_all(pairs, train_ids, workers)) as results,
        tqdm(total=done + len(pairs), initial=done, desc="Preparing", unit="image") as progress,
    ):
        for shard in todo:
            _write_shard(shard, _count(islice(results, len(shard.pairs)), progress), on_error)


def _count(results: Iterable[EncodedPair | str], progress: tqdm) -> Iterator[EncodedPair | str]:
    for result in results:
        yield result
        progress.update()


def _write_shard(shard: _Shard, results: Iterable[EncodedPair | str], on_error: str) -> None:
    pixels = np.zeros(256, np.int64)
    skipped: list[str] = []

    def rows() -> Iterator[Row]:
        for result in results:
            if isinstance(result, tuple):
                row, counts = result
                np.add(pixels, counts, out=pixels)
                yield row
            elif on_error == "stop":
                raise BadPairError(result)
            else:
                skipped.append(result)

    write_shard(rows(), shard.file)
    images = len(shard.pairs) - len(skipped)
    shard.write_record(SplitReport(images=images, pixels=pixels.tolist(), skipped=skipped))


def _assemble(dataset: RawDataset, shards: Sequence[_Shard], arguments: Mapping[str, Any], work: Path) -> Path:
    """Put the shards and all about them into a folder that is ready to be renamed."""
    complete = work / "complete"
    shutil.rmtree(complete, ignore_errors=True)
    (complete / "data").mkdir(parents=True)
    report: dict[str, SplitReport] = {}
    moves: list[tuple[Path, Path]] = []
    for split in dataset.splits:
        own = [(shard, record) for shard in shards if shard.split == split and (record := shard.read_record())]
        report[split] = _total([record for _, record in own])
        if report[split].images == 0:
            raise ValueError(f"No pair of the split {split} can be used; the first: {report[split].skipped[0]}")
        filled = [shard.file for shard, record in own if record.images]
        names = [shard_name(split, index, len(filled)) for index in range(len(filled))]
        moves += [(file, complete / "data" / name) for file, name in zip(filled, names, strict=True)]
    card = dataset_card(dataset.title, _DESCRIPTION, dataset.labels, list(dataset.splits))
    (complete / "README.md").write_text(card, encoding="utf-8")
    (complete / LABELS_FILE).write_text(dataset.labels.to_json(), encoding="utf-8")
    reasons = [reason for split in report.values() for reason in split.skipped]
    if reasons:
        (complete / SKIPPED_FILE).write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")
    entries = {split: asdict(entry) for split, entry in report.items()}
    write_json(complete / REPORT_FILE, {"arguments": arguments, "splits": entries})
    # Last, because a shard that has been moved when this is interrupted must be written again.
    for file, target in moves:
        file.rename(target)
    return complete


def _total(records: Sequence[SplitReport]) -> SplitReport:
    return SplitReport(
        images=sum(record.images for record in records),
        pixels=np.sum([record.pixels for record in records], axis=0).tolist(),
        skipped=[reason for record in records for reason in record.skipped],
    )


_DESCRIPTION = "Images as they were published, with label maps of train ids, prepared by `vitseg.data.preparation`."
