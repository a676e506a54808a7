# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From a raw data set to Parquet shards, with every pair verified. The output is complete or absent.

Shards are finished one at a time in a hidden folder beside the output, each with a record of what went into it and
what is in it. A later run takes up those that would be made of the same again, finished or not, and makes the others.
The folder gets the output's name when everything is in place.
"""

import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..images import Orientation
from ..progress import progress_bar
from ..replacing import recover, replacing, write_json
from .annotations import TrainIds
from .augmentation import IGNORE_INDEX
from .bands import BANDS_FILE, BandStatistics
from .dataset_labels import LABELS_FILE
from .orientation import describe_orientation, find_orientation
from .pairs import READER_VERSION, EncodedPair, Pair, RawDataset, encode_pair
from .shards import Row, dataset_card, shard_name, write_shard


# Fewer shards than this could not be shared by the workers and processes of a training run.
MIN_SHARDS = 8
SHARD_BYTES = 256 * 1024**2
# Pairs that each worker may be ahead of what is written.
AHEAD = 4
REPORT_FILE = "preparation.json"
SKIPPED_FILE = "skipped.txt"
CARD_FILE = "README.md"


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
        band_sums: of images of bands, see `sum_bands`, over all their pixels.
    """

    images: int
    pixels: Sequence[int]
    skipped: Sequence[str]
    band_sums: Sequence[Sequence[float]] | None = None


def prepare(
    dataset: RawDataset,
    output: str | Path,
    *,
    limit: int | None = None,
    on_error: str = "stop",
    workers: int = 0,
    orientation: Orientation | None = None,
    tell: Callable[[str], object] = print,
) -> dict[str, SplitReport]:
    """
    Write a data set that `datasets.load_dataset(output)` loads and `SegmentationStream` streams.

    The folder holds `data/SPLIT-*.parquet` (the columns of `shards.FEATURES`, sorted by `file_name`), the label
    table `labels.json`, of images of bands `bands.json`, a data set card, `preparation.json`, which tells what was
    prepared and what was in it, and `skipped.txt` if a pair was skipped. The same input gives the same bytes of all
    but `preparation.json`, whatever the number of workers.

    If the output is there already, or an earlier run was interrupted, only the shards are made whose files have
    changed since, or the meaning of whose values has. An output keeps what it held until what replaces it is complete.

    Args:
        dataset: what to prepare. Its files are told by their names, sizes and times of change (in zip files,
            checksums), without being read.
        output: folder to write, which may be there if it is empty.
        limit: pairs of each split to take, from the first; `None` takes all.
        on_error: what to do at a pair that cannot be used. "stop" raises; "skip" leaves it out and reports it.
        workers: number of processes that verify and encode; 0 does it in this one.
        orientation: which way images stand that have an EXIF orientation: "upright", or as they are "stored"; `None`
            is what the sizes of their label maps prove.
        tell: is called with a sentence on what is there already and what is made anew, if anything is.

    Returns:
        The report of each split.

    Raises:
        BadPairError: at the first pair that cannot be used, if `on_error` is "stop". The shards that are finished are
            kept for the next run.
        ValueError: if an argument is out of range, there is only one class, the pairs do not prove the orientation,
            the output holds something else than this data set, or nothing of a split can be used.
    """
    _check(dataset, limit, on_error)
    output = Path(output)
    recover(output)
    work = _work_folder(output)
    earlier = _read_finished(output, dataset.title) if _is_taken(output) else None
    before = earlier["about"] if earlier is not None else {}
    known: Orientation | None = orientation or before.get("orientation")
    shards = _plan(dataset, limit, known, work)
    if before != _describe(dataset, shards, known):
        # Pairs that have not changed prove the same again, and need not be opened for it.
        pairs = (pair for pairs in dataset.splits.values() for pair in pairs[:limit])
        known = orientation or find_orientation(pairs)
        shards = _plan(dataset, limit, known, work)
    if known:
        tell(describe_orientation(known))
    about = _describe(dataset, shards, known)
    if earlier is not None and before == about and _is_whole(output, earlier, dataset, on_error):
        tell(f"{output} was already complete.")
    else:
        work.mkdir(parents=True, exist_ok=True)
        if earlier is not None:
            _take_up(output, earlier, shards)
        todo = [shard for shard in shards if not shard.is_finished(on_error)]
        if earlier is not None or len(todo) < len(shards):
            tell(_what_is_made(output, earlier is not None, shards, todo))
        _write_shards(shards, todo, dataset.train_ids, on_error, workers)
        with replacing(output) as unfinished:
            _assemble(dataset, shards, about, work).rename(unfinished)
    shutil.rmtree(work, ignore_errors=True)
    return read_report(output)


def _check(dataset: RawDataset, limit: int | None, on_error: str) -> None:
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected 'stop' or 'skip'.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, but must be 1 or more.")
    if len(dataset.labels.names) == 1:
        raise ValueError(
            f"{dataset.title} has one class, {dataset.labels.names[0]!r}, and a model would learn to say just that of "
            "every pixel. Name what else there is, such as the background, in the label table."
        )


def read_report(output: str | Path) -> dict[str, SplitReport]:
    """The report of each split of a prepared data set."""
    report = json.loads((Path(output) / REPORT_FILE).read_text(encoding="utf-8"))
    return {split: SplitReport(**entries) for split, entries in report["splits"].items()}


def _work_folder(output: Path) -> Path:
    return output.absolute().with_name(f".{output.absolute().name}-unfinished")


def _describe(dataset: RawDataset, shards: Sequence["_Shard"], orientation: Orientation | None) -> dict[str, str]:
    """What decides on the output: equal descriptions, equal outputs."""
    return {
        "data set": dataset.title,
        "labels": _digest([dataset.labels.to_json()]),
        "shards": _digest(f"{shard.split} {shard.made_of}" for shard in shards),
        **({"orientation": orientation} if orientation else {}),
    }


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{text}\0".encode())
    return digest.hexdigest()


def _read_finished(output: Path, title: str) -> dict[str, Any]:
    """What `preparation.json` of an output says."""
    try:
        content = json.loads((output / REPORT_FILE).read_text(encoding="utf-8"))
        # Before shards were told by what they are made of, it was called so.
        earlier_title = content.get("about", content.get("arguments"))["data set"]
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{output} already exists and is no prepared data set. Name a folder that does not exist, or delete that "
            "one if nobody needs it."
        ) from None
    if earlier_title != title:
        raise ValueError(
            f"{output} holds another data set, {earlier_title!r}, and this is {title!r}. Delete it, or name another "
            "output."
        )
    return {"about": {}, "shards": [], **content}


def _is_taken(output: Path) -> bool:
    return output.exists() and not (output.is_dir() and not any(output.iterdir()))


def _is_whole(output: Path, earlier: Mapping[str, Any], dataset: RawDataset, on_error: str) -> bool:
    """Whether a run has nothing to do in an output that was made of the same."""
    labels = output / LABELS_FILE
    return (
        (output / CARD_FILE).exists()
        and (output / BANDS_FILE).exists() == (dataset.bands is not None)
        and labels.exists()
        and labels.read_bytes() == dataset.labels.to_json().encode()
        and all(_is_intact(output, entry) for entry in earlier["shards"])
        and (on_error == "skip" or not any(entry["report"]["skipped"] for entry in earlier["shards"]))
    )


def _is_intact(output: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a shard is there, as long as it was written; one without pairs has no file."""
    if not entry["file"]:
        return True
    file = output / "data" / entry["file"]
    return file.exists() and entry.get("bytes") in (None, file.stat().st_size)


def _take_up(output: Path, earlier: Mapping[str, Any], shards: Sequence["_Shard"]) -> None:
    """Finish the shards that an output holds already."""
    known = {entry["made_of"]: entry for entry in earlier["shards"]}
    for shard in shards:
        entry = known.get(shard.made_of)
        if entry is None or shard.read_record() or not _is_intact(output, entry):
            continue
        shard.discard()
        if entry["file"]:
            _link(output / "data" / entry["file"], shard.file)
        shard.write_record(SplitReport(**entry["report"]))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # Not every file system can.
        shutil.copyfile(source, target)


def _what_is_made(output: Path, was_finished: bool, shards: Sequence["_Shard"], todo: Sequence["_Shard"]) -> str:
    earlier = f"{output} was prepared before" if was_finished else f"The preparation of {output} was begun before"
    reasons = "files or the meaning of whose values changed" + ("" if was_finished else ", or that were not reached")
    numbers: Counter[str] = Counter()
    for shard in todo:
        numbers[shard.split] += len(shard.pairs)
    listed = ", ".join(f"{number} of {split}" for split, number in numbers.items()) or "none"
    total = sum(len(shard.pairs) for shard in shards)
    return f"{earlier}. Of {total} pairs these are prepared now, in shards whose {reasons}: {listed}. The others stay."


@dataclass(frozen=True)
class _Shard:
    """
    Consecutive pairs of a split and the file they go to. When it is finished it has a record beside it.

    Args:
        split: name of the split.
        pairs: those that it is to hold.
        file: where to; what an earlier run left there may be of other pairs.
        made_of: tells what the same pairs would give another shard for: their files, and what their values mean.
    """

    split: str
    pairs: Sequence[Pair]
    file: Path
    made_of: str

    @property
    def record(self) -> Path:
        return self.file.with_suffix(".json")

    def discard(self) -> None:
        """Remove what an earlier run left, the record first. The file may be a finished output's too: it is never
        written to."""
        self.record.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    def write_record(self, report: SplitReport) -> None:
        write_json(self.record, {"made_of": self.made_of, "report": asdict(report)})

    def read_record(self) -> SplitReport | None:
        """What it holds; `None` if it is not finished, or was made of something else."""
        if not self.record.exists():
            return None
        content = json.loads(self.record.read_text(encoding="utf-8"))
        report = SplitReport(**content["report"])
        has_file = self.file.exists() or not report.images
        return report if has_file and content.get("made_of") == self.made_of else None

    def is_finished(self, on_error: str) -> bool:
        record = self.read_record()
        return record is not None and (on_error == "skip" or not record.skipped)


def _plan(dataset: RawDataset, limit: int | None, orientation: Orientation | None, work: Path) -> list[_Shard]:
    shards = []
    train_ids = dataset.train_ids
    meaning = json.dumps(
        [READER_VERSION, list(train_ids.raw_to_train.items()), train_ids.default, train_ids.is_colored]
    )
    for split, pairs in dataset.splits.items():
        pairs = [replace(pair, orientation=orientation) for pair in pairs[:limit]]
        by_size = math.ceil(sum(pair.size for pair in pairs) / SHARD_BYTES)
        parts = np.array_split(np.arange(len(pairs)), min(len(pairs), max(MIN_SHARDS, by_size)))
        for index, part in enumerate(parts):
            own = pairs[part[0] : part[-1] + 1]
            made_of = _digest([meaning, *(pair.stamp for pair in own)])
            shards.append(_Shard(split, own, work / f"{split}-{index:05d}.parquet", made_of))
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


def _write_shards(
    shards: Sequence[_Shard], todo: Sequence[_Shard], train_ids: TrainIds, on_error: str, workers: int
) -> None:
    """Write those of the shards that are to do."""
    pairs = [pair for shard in todo for pair in shard.pairs]
    total = sum(len(shard.pairs) for shard in shards)
    with (
        closing(_encode_all(pairs, train_ids, workers)) as results,
        progress_bar(total=total, initial=total - len(pairs), desc="Preparing", unit="image") as progress,
    ):
        for shard in todo:
            _write_shard(shard, _count(itertools.islice(results, len(shard.pairs)), progress), on_error)


def _count(results: Iterable[EncodedPair | str], progress: tqdm) -> Iterator[EncodedPair | str]:
    for result in results:
        yield result
        progress.update()


def _write_shard(shard: _Shard, results: Iterable[EncodedPair | str], on_error: str) -> None:
    pixels = np.zeros(256, np.int64)
    skipped: list[str] = []
    bands = shard.pairs[0].bands
    band_sums = np.zeros((2, len(bands.chosen) if bands else 0))

    def rows() -> Iterator[Row]:
        for result in results:
            if isinstance(result, EncodedPair):
                np.add(pixels, result.pixels, out=pixels)
                if result.band_sums is not None:
                    np.add(band_sums, result.band_sums, out=band_sums)
                yield result.row
            elif on_error == "stop":
                raise BadPairError(result)
            else:
                skipped.append(result)

    shard.discard()
    write_shard(rows(), shard.file, orientation=shard.pairs[0].orientation, has_bands=bands is not None)
    images = len(shard.pairs) - len(skipped)
    sums = band_sums.tolist() if bands else None
    shard.write_record(SplitReport(images=images, pixels=pixels.tolist(), skipped=skipped, band_sums=sums))


def _assemble(dataset: RawDataset, shards: Sequence[_Shard], about: Mapping[str, Any], work: Path) -> Path:
    """Put the shards and all about them into a folder that is ready to be renamed."""
    complete = work / "complete"
    shutil.rmtree(complete, ignore_errors=True)
    (complete / "data").mkdir(parents=True)
    report: dict[str, SplitReport] = {}
    moves: list[tuple[Path, Path]] = []
    entries: list[dict[str, Any]] = []
    for split in dataset.splits:
        own = [(shard, record) for shard in shards if shard.split == split and (record := shard.read_record())]
        report[split] = _total([record for _, record in own])
        if report[split].images == 0:
            raise ValueError(f"No pair of the split {split} can be used; the first: {report[split].skipped[0]}")
        if split != "test" and not any(report[split].pixels[:IGNORE_INDEX]):
            raise ValueError(f"All pixels of the split {split} are ignored: there is nothing to learn or to measure.")
        count, names = sum(record.images > 0 for _, record in own), itertools.count()
        for shard, record in own:
            name = shard_name(split, next(names), count) if record.images else None
            size = shard.file.stat().st_size if name else 0
            entries.append({"file": name, "bytes": size, "made_of": shard.made_of, "report": asdict(record)})
            if name:
                moves.append((shard.file, complete / "data" / name))
    chosen = dataset.bands.chosen if dataset.bands else ()
    card = dataset_card(dataset.title, _DESCRIPTION, dataset.labels, list(dataset.splits), chosen)
    (complete / CARD_FILE).write_text(card, encoding="utf-8")
    (complete / LABELS_FILE).write_bytes(dataset.labels.to_json().encode())
    if dataset.bands:
        learned = report.get("train") or next(iter(report.values()))
        statistics = BandStatistics.of_sums(np.array(learned.band_sums), sum(learned.pixels))
        (complete / BANDS_FILE).write_text(statistics.to_json(), encoding="utf-8")
    reasons = [reason for split in report.values() for reason in split.skipped]
    if reasons:
        (complete / SKIPPED_FILE).write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")
    totals = {split: asdict(entry) for split, entry in report.items()}
    write_json(complete / REPORT_FILE, {"about": about, "splits": totals, "shards": entries})
    # Last, because a shard that has been moved when this is interrupted must be written again.
    for file, target in moves:
        file.rename(target)
    return complete


def _total(records: Sequence[SplitReport]) -> SplitReport:
    band_sums = [record.band_sums for record in records if record.band_sums is not None]
    return SplitReport(
        images=sum(record.images for record in records),
        pixels=np.sum([record.pixels for record in records], axis=0).tolist(),
        skipped=[reason for record in records for reason in record.skipped],
        band_sums=np.sum(band_sums, axis=0).tolist() if band_sums else None,
    )


_DESCRIPTION = "Images as they were published, with label maps of train ids, prepared by `vitseg.data.preparation`."
