# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Streams give every sample once per epoch in a reproducible order, resume exactly, and refuse what cannot be used."""

import shutil
import time
import warnings
from collections.abc import Iterable
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from vitseg.data.augmentation import TrainingTransform
from vitseg.data.loading import train_loader
from vitseg.data.repetition import Visits
from vitseg.data.streaming import SegmentationStream, count_lanes, epoch_order, load_examples


NUM_LABELS = 5
FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.Image(), "file_name": datasets.Value("string")}
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def encode(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, **{"format": "PNG", **options})
    return file.getvalue()


def numbered_row(number: int) -> dict[str, Any]:
    """A row whose image is grey level `number`."""
    label_map = (np.arange(48).reshape(6, 8) + number) % NUM_LABELS
    return row(Image.new("RGB", (8, 6), (number,) * 3), Image.fromarray(label_map.astype(np.uint8)), str(number))


def row(image: Image.Image | bytes, label: Image.Image | bytes, name: str = "street") -> dict[str, Any]:
    encoded = {
        column: {"bytes": value if isinstance(value, bytes) else encode(value), "path": f"{name}.png"}
        for column, value in (("image", image), ("label", label))
    }
    return {**encoded, "file_name": name}


def write_data(
    folder: Path, rows: list[dict[str, Any]], num_files: int = 1, row_group_size: int = 3, split: str = "train"
) -> Path:
    folder.mkdir(exist_ok=True)
    for index, part in enumerate(np.array_split(np.arange(len(rows)), num_files)):
        table = pa.Table.from_pylist([rows[i] for i in part], schema=FEATURES.arrow_schema)
        name = f"{split}-{index:05d}-of-{num_files:05d}.parquet"
        pq.write_table(table, folder / name, row_group_size=row_group_size)
    return folder


@pytest.fixture
def numbered(tmp_path) -> Path:
    """26 samples, in row groups of 3 and fewer, in 4 files."""
    return write_data(tmp_path / "numbered", [numbered_row(number) for number in range(26)], num_files=4)


@pytest.fixture
def many(tmp_path) -> Path:
    """130 samples in 65 row groups: enough for several lanes."""
    rows = [numbered_row(number) for number in range(130)]
    return write_data(tmp_path / "many", rows, num_files=2, row_group_size=2)


def noisy(image: torch.Tensor, label_map: torch.Tensor, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """The number of a sample and one that its augmentation drew."""
    return {"pixel_values": torch.tensor([image[0, 0, 0].item(), rng.random()]), "labels": label_map.long()}


def stream_of(source: Path, **options: Any) -> SegmentationStream:
    return SegmentationStream(
        source, **{"transform": noisy, "num_labels": NUM_LABELS, "batch_size": 2, "shuffle_buffer": 5, **options}
    )


def examples(stream: Iterable, count: int) -> list[tuple[float, float]]:
    """What `noisy` made of the first samples."""
    return [tuple(example["pixel_values"].tolist()) for example in islice(stream, count)]


def numbers(stream: Iterable, count: int) -> list[int]:
    return [int(number) for number, _ in examples(stream, count)]


def batches(stream: SegmentationStream, num_workers: int, count: int) -> list[list[tuple[float, float]]]:
    loader = train_loader(stream, num_workers)
    return [[tuple(sample) for sample in batch["pixel_values"].tolist()] for batch in islice(loader, count)]


def steps(source: Path, count: int, *, world_size: int = 1, num_workers: int = 0, **options: Any) -> list[list]:
    """The samples of each optimizer step, those of all processes and of all batches that they make of their parts."""
    per_step = options.get("accumulation_steps", 1)
    parts = [
        batches(stream_of(source, rank=rank, world_size=world_size, **options), num_workers, count * per_step)
        for rank in range(world_size)
    ]
    return [
        [sample for part in parts for batch in part[per_step * step : per_step * (step + 1)] for sample in batch]
        for step in range(count)
    ]


both_forms = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "cached"])


@both_forms
def test_an_epoch_holds_every_sample_once_and_each_epoch_another_order(numbered, streaming):
    stream = stream_of(numbered, streaming=streaming)
    assert stream.epoch_length == 26
    sequence = numbers(stream, 3 * 26)
    epochs = [sequence[:26], sequence[26:52], sequence[52:]]
    for epoch in epochs:
        assert sorted(epoch) == list(range(26))
        assert epoch != list(range(26))
    assert len({tuple(epoch) for epoch in epochs}) == 3


@both_forms
def test_seeds_give_different_orders_and_one_seed_the_same(numbered, streaming):
    first, again, other = (numbers(stream_of(numbered, seed=s, streaming=streaming), 26) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_augmentation_differs_between_samples_and_epochs(numbered):
    draws = {draw for _, draw in examples(stream_of(numbered), 3 * 26)}
    assert len(draws) == 3 * 26


@both_forms
def test_resuming_continues_the_very_sequence(numbered, streaming):
    uninterrupted = examples(stream_of(numbered, streaming=streaming), 70)
    for start in (2, 12, 14, 24, 26, 28, 60):
        assert examples(stream_of(numbered, start=start, streaming=streaming), 70 - start) == uninterrupted[start:]


@both_forms
def test_resuming_twice_with_other_processes_and_workers(many, streaming):
    options = {"batch_size": 4, "streaming": streaming}
    uninterrupted = steps(many, 70, **options)
    resumed = steps(many, 13, world_size=2, num_workers=1, **options)
    resumed += steps(many, 37, start=4 * 13, num_workers=2, accumulation_steps=2, **options)
    resumed += steps(many, 20, start=4 * 50, world_size=2, accumulation_steps=2, num_workers=1, **options)
    assert resumed == uninterrupted


@both_forms
@pytest.mark.parametrize(
    "split",
    [
        {"num_workers": 1},
        {"num_workers": 2},
        {"world_size": 4},
        {"world_size": 2, "num_workers": 2},
        {"accumulation_steps": 4},
        {"world_size": 2, "accumulation_steps": 2, "num_workers": 2},
    ],
    ids=str,
)
def test_who_makes_a_batch_does_not_change_it(many, streaming, split):
    alone = steps(many, 40, batch_size=4, streaming=streaming)
    assert steps(many, 40, batch_size=4, streaming=streaming, **split) == alone


@both_forms
def test_a_batch_may_be_larger_than_the_data_set(tmp_path, streaming):
    source = write_data(tmp_path / "few", [numbered_row(number) for number in range(3)])
    (step,) = steps(source, 1, batch_size=8, world_size=2, streaming=streaming)
    sequence = [int(number) for number, _ in step]
    assert sorted(sequence[:3]) == sorted(sequence[3:6]) == [0, 1, 2]


def test_lanes_follow_batch_and_data():
    for block_lengths, batch_size, expected in [
        ([100] * 202, 16, 64),
        ([3] * 1000, 8, 64),
        ([3] * 300, 8, 16),
        ([1] * 1_000_000, 16, 128),
        ([100] * 4, 8, 1),
        ([1] * 40, 4, 1),
        ([5000], 1, 1),
    ]:
        assert count_lanes(block_lengths, batch_size) == expected


@pytest.mark.parametrize("settings", [{"num_labels": 256}, {"num_labels": 255, "do_reduce_labels": True}])
def test_the_value_of_ignored_pixels_is_no_class(numbered, settings):
    with pytest.raises(ValueError, match=r"num_labels is 25[56].* classes at most: 255 stands for ignored pixels"):
        SegmentationStream(numbered, **settings)


def test_what_does_not_divide_is_left_out_for_an_epoch_only():
    lengths = [10] * 13
    epochs = [epoch_order(lengths, num_lanes=4, shuffle_buffer=8, seed=0, epoch=epoch) for epoch in range(10)]
    for order in epochs:
        assert len(order) == 128
        assert len(set(order)) == 128
    assert set(np.concatenate(epochs)) == set(range(130))


def test_each_lane_reads_its_own_blocks():
    lengths = [5] * 24
    order = epoch_order(lengths, num_lanes=4, shuffle_buffer=1, seed=0, epoch=0)
    blocks_of_lane = [set(order[lane::4] // 5) for lane in range(4)]
    assert sum(map(len, blocks_of_lane)) == len(set.union(*blocks_of_lane)) == 24
    # Without a buffer, a lane is through with a block before it opens the next.
    for lane in range(4):
        visited = order[lane::4] // 5
        assert (np.diff(visited) != 0).sum() == 5
    assert order[::4].tolist() != sorted(order[::4])


def test_the_buffer_mixes_neighbouring_blocks_only():
    order = epoch_order([10] * 100, num_lanes=1, shuffle_buffer=30, seed=0, epoch=0)
    assert sorted(order) == list(range(1000))
    sequence = epoch_order([10] * 100, num_lanes=1, shuffle_buffer=1, seed=0, epoch=0)
    place = np.empty(1000, int)
    place[sequence] = np.arange(1000)
    moved = np.abs(place[order] - np.arange(1000))
    assert moved.max() <= 30
    assert moved.mean() > 5


def test_a_cached_epoch_takes_time_in_proportion_to_its_samples(numbered, monkeypatch):
    def seconds(length: int) -> float:
        stream = SegmentationStream(numbered, num_labels=NUM_LABELS, streaming=False)
        rows = SimpleNamespace(lengths=[1] * length, read=lambda block, rows: [block])
        monkeypatch.setattr(stream, "_blocks", rows)
        order = np.random.default_rng(0).permutation(length)
        started = time.perf_counter()
        assert [row for _, _, row in stream._read(order, Visits.once([1] * length))] == order.tolist()
        return time.perf_counter() - started

    # In quadratic time, sixteen times as many would take 256 times as long.
    assert seconds(64_000) < 64 * seconds(4_000)


def test_blocks_of_one_are_shuffled_uniformly():
    orders = np.array([epoch_order([1] * 10, 1, shuffle_buffer=3, seed=0, epoch=epoch) for epoch in range(2000)])
    for position in range(10):
        counts = np.bincount(orders[:, position], minlength=10)
        assert counts / 2000 == pytest.approx(1 / 10, abs=0.03)


def test_only_samples_that_are_due_are_decoded(tmp_path):
    rows = [numbered_row(number) for number in range(10)]
    intact = write_data(tmp_path / "intact", rows)
    order = numbers(stream_of(intact), 10)
    rows[order[6]] = row(b"no image", rows[order[6]]["label"]["bytes"], name="damaged")
    damaged = write_data(tmp_path / "damaged", rows)
    stream = iter(stream_of(damaged))
    assert numbers(stream, 6) == order[:6]
    with pytest.raises(ValueError, match="Cannot decode the image of damaged"):
        next(stream)
    assert numbers(stream_of(damaged, start=8), 2) == order[8:]
    assert numbers(stream_of(damaged, rank=1, world_size=2), 5) == order[1::2]


def test_a_resumed_stream_reads_no_row_group_that_is_used_up(tmp_path, monkeypatch):
    source = write_data(tmp_path / "numbered", [numbered_row(number) for number in range(40)], row_group_size=4)
    read = []
    read_row_group = pq.ParquetFile.read_row_group

    def spy(self, group, *args, **kwargs):
        read.append(group)
        return read_row_group(self, group, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    stream = iter(stream_of(source, shuffle_buffer=1))
    next(stream)
    assert len(read) == 1
    numbers(stream, 39)
    assert sorted(read) == list(range(10))
    read.clear()
    numbers(stream_of(source, start=30, shuffle_buffer=1), 10)
    assert len(read) == 3


def test_processes_share_the_reading(many, monkeypatch):
    read = []
    read_row_group = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, *args, **kwargs: (read.append(args), read_row_group(self, *args, **kwargs))[1],
    )
    for rank in (0, 1):
        numbers(stream_of(many, rank=rank, world_size=2, batch_size=2, shuffle_buffer=1), 64)
    # Of 65 row groups, only those that lanes share at their ends are read twice.
    assert 64 <= len(read) <= 70


@both_forms
def test_training_batches_are_ready_for_a_model(numbered, streaming):
    transform = TrainingTransform(crop_size=(16, 16), scale=(16, 12))
    stream = stream_of(numbered, transform=transform, batch_size=3, streaming=streaming)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in islice(train_loader(stream, num_workers=0), 4):
            assert batch.keys() == {"pixel_values", "labels"}
            assert batch["pixel_values"].shape == (3, 3, 16, 16)
            assert batch["pixel_values"].dtype == torch.float32
            assert batch["labels"].shape == (3, 16, 16)
            assert batch["labels"].dtype == torch.int64
            assert set(batch["labels"].unique().tolist()) <= {*range(NUM_LABELS), 255}


def test_without_a_transform_images_and_labels_are_as_stored(numbered):
    example = next(iter(stream_of(numbered, transform=None)))
    number = example["pixel_values"][0, 0, 0].item()
    assert example["pixel_values"].equal(torch.full((3, 6, 8), number, dtype=torch.uint8))
    assert example["labels"].equal((torch.arange(48).view(6, 8) + number) % NUM_LABELS)


@both_forms
def test_columns_of_plain_bytes_are_read_too(tmp_path, streaming):
    rows = [numbered_row(number) for number in range(4)]
    plain = [{"file_name": r["file_name"], "image": r["image"]["bytes"], "label": r["label"]["bytes"]} for r in rows]
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "plain" / "train.parquet")
    assert sorted(numbers(stream_of(tmp_path / "plain", streaming=streaming), 4)) == [0, 1, 2, 3]


def single(folder: Path, image: Image.Image | bytes, label: Image.Image | bytes, **options: Any) -> dict[str, Any]:
    """The example that a data set of one sample gives."""
    source = write_data(folder / "single", [row(image, label)])
    return next(iter(stream_of(source, transform=None, **options)))


GREY = Image.new("RGB", (4, 2), (90, 90, 90))


def labels_with(*values: int) -> Image.Image:
    label_map = np.zeros((2, 4), np.uint8)
    label_map[0, : len(values)] = values
    return Image.fromarray(label_map)


def test_a_label_out_of_range_is_named(tmp_path):
    source = write_data(tmp_path / "data", [row(GREY, labels_with(255, 4, 5), "berlin_007")])
    with pytest.raises(ValueError, match=r"berlin_007.* holds 5, but the 5 classes are 0 to 4.*do_reduce_labels=True"):
        next(iter(train_loader(stream_of(source, transform=None), num_workers=0)))


def test_a_label_out_of_range_after_reduction_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"street.* holds 5, .*are they train ids already"):
        single(tmp_path, GREY, labels_with(6), do_reduce_labels=True)


def test_labels_are_reduced_on_request(tmp_path):
    example = single(tmp_path, GREY, labels_with(0, 1, 5, 255), do_reduce_labels=True)
    assert example["labels"][0].tolist() == [255, 0, 4, 255]


def grey_16_bit(value: int) -> Image.Image:
    return Image.fromarray(np.full((2, 4), value, np.uint16))


def test_16_bit_label_maps_keep_their_values(tmp_path):
    with pytest.raises(ValueError, match="holds 300"):
        single(tmp_path, GREY, grey_16_bit(300))


def palette_image(transparency: bytes | None = None) -> bytes:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encode(image, **({"transparency": transparency} if transparency else {}))


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (Image.new("RGB", (4, 2), (10, 20, 30)), (10, 20, 30)),
        (Image.new("L", (4, 2), 70), (70, 70, 70)),
        (Image.new("LA", (4, 2), (70, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 2), (10, 20, 30, 51)), (206, 208, 210)),
        (Image.new("1", (4, 2), 1), (255, 255, 255)),
        (palette_image(), (10, 20, 30)),
        (palette_image(transparency=b"\xff\x33"), (206, 208, 210)),
        (grey_16_bit(0x1234), (0x12, 0x12, 0x12)),
        (encode(Image.new("CMYK", (4, 2)), format="JPEG"), (255, 255, 255)),
    ],
    ids=["RGB", "L", "LA", "RGBA", "1", "P", "P with transparency", "16 bits", "CMYK"],
)
def test_images_of_any_mode_become_rgb(tmp_path, image, rgb):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = single(tmp_path, image, labels_with())["pixel_values"]
    assert pixels.equal(torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 2, 4))


def photograph(width: int, height: int, orientation: int) -> bytes:
    """Red at the top left corner as stored, grey elsewhere."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[0, 0] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(pixels), exif=exif)


@pytest.mark.parametrize(
    ("stored_size", "orientation", "label_size", "red_at"),
    [
        ((4, 2), 6, (2, 4), (0, 1)),  # turned clockwise, as the label map is
        ((4, 2), 6, (4, 2), (0, 0)),  # the label map was drawn on the image as stored
        ((4, 2), 3, (4, 2), (1, 3)),  # upside down
        ((3, 3), 6, (3, 3), (0, 2)),
        ((4, 2), 1, (4, 2), (0, 0)),
    ],
)
def test_images_are_turned_to_fit_their_label_maps(tmp_path, stored_size, orientation, label_size, red_at):
    image = photograph(*stored_size, orientation)
    example = single(tmp_path, image, Image.new("L", label_size))
    assert example["pixel_values"].shape[1:] == example["labels"].shape
    assert (example["pixel_values"][0] == 255).nonzero().tolist() == [list(red_at)]


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (GREY, Image.new("L", (5, 2)), "image of street is 4 x 2 pixels, its label map 5 x 2"),
        (photograph(4, 2, 6), Image.new("L", (3, 4)), "image of street is 2 x 4 pixels, its label map 3 x 4"),
        (GREY, Image.new("RGB", (4, 2)), "label map of street has mode 'RGB'"),
        (encode(GREY)[:-40], labels_with(), "Cannot decode the image of street"),
        (GREY, b"no label map", "Cannot decode the label map of street"),
        (b"", labels_with(), "image of street is empty"),
    ],
)
def test_samples_that_cannot_be_used_are_named(tmp_path, image, label, message):
    with pytest.raises(ValueError, match=message):
        single(tmp_path, image, label)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_labels": 0}, "num_labels is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"shuffle_buffer": 0}, "shuffle_buffer is 0"),
        ({"start": -1}, "start is -1"),
        ({"world_size": 0}, "world_size is 0"),
        ({"rank": 2, "world_size": 2}, "rank is 2"),
        ({"world_size": 4}, "batch_size is 2, which 4 processes with 1 batches each cannot share"),
        ({"accumulation_steps": 0}, "accumulation_steps is 0"),
        ({"start": 3}, "start is 3, but must be a multiple of batch_size, which is 2"),
        ({"split": "test"}, "no split 'test'; it has train"),
        ({"split": "test", "streaming": False}, "test"),
    ],
)
def test_impossible_settings_are_refused(numbered, options, message):
    with pytest.raises(ValueError, match=message):
        stream_of(numbered, **options)


@both_forms
def test_a_missing_column_is_named(tmp_path, streaming):
    pq.write_table(pa.table({"image": [b""], "annotation": [b""]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="no column label; it has image, annotation"):
        stream_of(tmp_path, streaming=streaming)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match=r"train\.parquet is not a Parquet file"):
        stream_of(tmp_path)


def test_examples_for_evaluation_are_decoded_when_asked_for(tmp_path):
    rows = [numbered_row(number) for number in range(7)]
    rows[6] = row(b"no image", labels_with(), name="damaged")
    data = load_examples(write_data(tmp_path / "data", rows, num_files=2, split="validation"), "validation")
    assert len(data) == 7
    for number in range(6):
        example = data[number]
        assert example["image"].mode == "RGB"
        assert example["image"].size == (8, 6)
        assert example["image"].getpixel((0, 0)) == (number,) * 3
        assert example["label_map"].dtype == np.uint8
        assert np.array_equal(example["label_map"], (np.arange(48).reshape(6, 8) + number) % NUM_LABELS)
        assert example["file_name"] == str(number)
    assert data[2:4]["file_name"] == ["2", "3"]
    with pytest.raises(ValueError, match="Cannot decode the image of damaged"):
        data[6]


def test_a_folder_written_anew_is_read_anew(tmp_path):
    # With a data set card, `datasets` takes the folder's name for its contents.
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.parquet\n---\n"
    for number in (1, 2):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        folder = write_data(tmp_path / "data", [numbered_row(number)])
        (folder / "README.md").write_text(card)
        assert np.asarray(load_examples(folder, "train")[0]["image"]).max() == number


# Samples 3 and 20 come often, all others once; the sums are no whole numbers.
def factors_of(count: int) -> np.ndarray:
    factors = np.ones(count)
    factors[[3, 20]] = (2.5, 4.25)
    return factors


@both_forms
def test_samples_are_repeated_each_time_with_another_augmentation(numbered, streaming):
    stream = stream_of(numbered, streaming=streaming, repeat_factors=factors_of(26))
    assert stream.epoch_length == 24 + 2 + 4
    counts = np.zeros(26)
    positions = []
    for epoch in np.array_split(examples(stream, 40 * 30), 40):
        numbers_of_epoch = epoch[:, 0].astype(int)
        assert len(np.unique(epoch[:, 1])) == 30
        # One sample of 30.75 has to be left out in three epochs of four.
        assert len(set(numbers_of_epoch)) >= 25
        counts += np.bincount(numbers_of_epoch, minlength=26)
        positions += (numbers_of_epoch == 20).nonzero()[0].tolist()
    assert counts[3] / 40 == pytest.approx(2.5, abs=0.3)
    assert counts[20] / 40 == pytest.approx(4.25, abs=0.3)
    assert np.delete(counts, [3, 20]).min() > 34
    # They do not come all at once.
    assert np.mean(positions) == pytest.approx(14.5, abs=2)
    assert np.std(positions) > 6


@both_forms
def test_factors_of_one_change_nothing(many, streaming):
    options = {"batch_size": 4, "streaming": streaming}
    assert steps(many, 40, repeat_factors=np.ones(130), **options) == steps(many, 40, **options)


@both_forms
def test_repeated_samples_are_resumed_with_other_processes_and_workers(many, streaming):
    options = {"batch_size": 4, "streaming": streaming, "repeat_factors": factors_of(130)}
    uninterrupted = steps(many, 80, **options)
    resumed = steps(many, 13, world_size=2, num_workers=1, **options)
    resumed += steps(many, 47, start=4 * 13, num_workers=2, accumulation_steps=2, **options)
    resumed += steps(many, 20, start=4 * 60, world_size=4, **options)
    assert resumed == uninterrupted
    assert steps(many, 80, **options | {"repeat_factors": None}) != uninterrupted


@pytest.mark.parametrize("factors", [np.ones(25), np.full(26, 0.5), np.full(26, np.nan)])
def test_wrong_factors_are_refused(numbered, factors):
    with pytest.raises(ValueError, match=r"repeat_factors has .* expected \(26,\)"):
        stream_of(numbered, repeat_factors=factors)
