# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Prepared data sets: nothing lost or changed on the way, complete or absent, the same however they came about."""

import dataclasses
import json
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.miniature_downloads import Miniature, make_ade20k, make_cityscapes
from datasets import load_dataset
from PIL import Image, ImageOps

from vitseg.data import preparation
from vitseg.data.annotations import TrainIds
from vitseg.data.archives import File
from vitseg.data.dataset_labels import DatasetLabels, load_labels
from vitseg.data.downloads import open_download
from vitseg.data.own_folder import open_folder
from vitseg.data.pairs import EncodedPair, Pair, RawDataset
from vitseg.data.preparation import BadPairError, prepare, read_report
from vitseg.data.shards import write_shard
from vitseg.data.streaming import load_examples


def read(file: Path) -> dict[str, bytes]:
    return {str(path.relative_to(file)): path.read_bytes() for path in file.rglob("*") if path.is_file()}


def assert_prepared(output: Path, made: Miniature) -> None:
    """The images byte for byte and the label maps value for value, in order."""
    for split, images in made.images.items():
        examples = load_examples(output, split)
        rows = [row for file in sorted(output.glob(f"data/{split}-*")) for row in pq.read_table(file).to_pylist()]
        assert [row["file_name"] for row in rows] == sorted(images)
        for row, example in zip(rows, examples, strict=True):
            assert row["image"]["bytes"] == images[row["file_name"]]
            np.testing.assert_array_equal(example["label_map"], made.label_maps[split][row["file_name"]])


def write_mask(folder: Path, name: str, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(folder / f"ADEChallengeData2016/annotations/training/{name}.png")


@pytest.fixture
def ade(tmp_path) -> Miniature:
    return make_ade20k(tmp_path / "source", num_train=10, num_val=3)


def test_images_and_label_maps_arrive_as_they_are(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ade", "source"]


def test_datasets_loads_and_decodes_it(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    dataset = load_dataset(str(tmp_path / "ade"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 10, "validation": 3}
    row = dataset["train"][0]
    assert (row["image"].format, row["label"].format) == ("JPEG", "PNG")
    np.testing.assert_array_equal(np.asarray(row["label"]), ade.label_maps["train"]["ADE_train_00000001"])
    streamed = list(load_dataset(str(tmp_path / "ade"), split="validation", streaming=True))
    assert [row["file_name"] for row in streamed] == sorted(ade.images["validation"])
    assert load_labels(tmp_path / "ade").names[:2] == ("wall", "building")


def test_there_are_eight_shards_and_none_is_empty(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    shards = sorted((tmp_path / "ade" / "data").iterdir())
    assert [shard.name for shard in shards if shard.name.startswith("train")] == [
        f"train-{index:05d}-of-00008.parquet" for index in range(8)
    ]
    assert [shard.name for shard in shards if shard.name.startswith("validation")] == [
        f"validation-{index:05d}-of-00003.parquet" for index in range(3)
    ]
    assert all(pq.read_metadata(shard).num_rows for shard in shards)


def test_large_splits_have_more_shards(ade, tmp_path, monkeypatch):
    size = sum(len(image) for image in ade.images["train"].values())
    monkeypatch.setattr(preparation, "SHARD_BYTES", size // 9)
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert len(list((tmp_path / "ade" / "data").glob("train-*"))) == 10


def test_row_groups_are_bounded_by_rows_and_by_bytes(tmp_path):
    def rows(count: int, size: int) -> list[dict]:
        encoded = {"bytes": bytes(size), "path": "a.jpg"}
        return [
            {"image": encoded, "label": {"bytes": b"", "path": "a.png"}, "file_name": str(n)} for n in range(count)
        ]

    def group_lengths(file: Path) -> list[int]:
        metadata = pq.read_metadata(file)
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    write_shard(rows(250, 10), tmp_path / "many.parquet")
    assert group_lengths(tmp_path / "many.parquet") == [100, 100, 50]
    write_shard(rows(7, 3 * 1024**2), tmp_path / "large.parquet")
    assert group_lengths(tmp_path / "large.parquet") == [2, 2, 2, 1]
    write_shard(rows(2, 9 * 1024**2), tmp_path / "huge.parquet")
    assert group_lengths(tmp_path / "huge.parquet") == [1, 1]


def test_report_counts_images_and_pixels(ade, tmp_path):
    report = prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    for split, maps in ade.label_maps.items():
        assert report[split].images == len(maps)
        for value in (0, 4, 12, 149, 255):
            assert report[split].pixels[value] == sum((label_map == value).sum() for label_map in maps.values())
    assert read_report(tmp_path / "ade") == report


def test_same_bytes_packed_or_not_and_for_any_number_of_workers(tmp_path):
    outputs = []
    for name, zipped, workers in (("a", False, 0), ("b", True, 2), ("c", True, 1)):
        made = make_cityscapes(tmp_path / f"source_{name}", zipped)
        prepare(open_download("cityscapes", made.source), tmp_path / name, workers=workers)
        outputs.append(read(tmp_path / name))
        # It tells when the files were modified.
        del outputs[-1]["preparation.json"]
    assert outputs[0] == outputs[1] == outputs[2]


def test_second_run_with_the_same_arguments_does_nothing(ade, tmp_path, monkeypatch):
    first = prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    monkeypatch.setattr(preparation, "encode_pair", None)
    assert prepare(open_download("ade20k", ade.source), tmp_path / "ade") == first


def prepared_anew(monkeypatch, dataset: RawDataset, output: Path) -> list[str]:
    """Prepare, and the names of the pairs that were encoded for it."""
    encode_pair, names = preparation.encode_pair, list[str]()

    def noting(pair: Pair, *arguments: Any) -> EncodedPair:
        names.append(pair.name)
        return encode_pair(pair, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "encode_pair", noting)
        prepare(dataset, output)
    return names


def test_another_mask_of_the_same_size_is_taken_up_with_its_shard_alone(ade, tmp_path, monkeypatch, capsys):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    label_map = np.where(ade.label_maps["train"]["ADE_train_00000001"] == 255, 0, 255).astype(np.uint8)
    label_map[:3] = 7
    file = ade.source / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png"
    image = Image.fromarray(label_map + np.uint8(1))
    content = BytesIO()
    image.save(content, "PNG")
    size = file.stat().st_size
    assert len(content.getvalue()) < size
    # PNG files may be followed by anything: as long as the former one.
    file.write_bytes(content.getvalue().ljust(size, b"\0"))
    ade.label_maps["train"]["ADE_train_00000001"] = label_map
    names = prepared_anew(monkeypatch, open_download("ade20k", ade.source), tmp_path / "ade")
    assert names == ["ADE_train_00000001", "ADE_train_00000002"]
    assert_prepared(tmp_path / "ade", ade)
    assert "Of 13 pairs these are prepared now" in capsys.readouterr().out
    assert prepared_anew(monkeypatch, open_download("ade20k", ade.source), tmp_path / "ade") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ade", "source"]


def test_what_has_not_changed_is_not_opened(ade, tmp_path, monkeypatch):
    first = prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    for read in ("read", "open"):
        monkeypatch.setattr(File, read, None)
    assert prepare(open_download("ade20k", ade.source), tmp_path / "ade") == first


def test_other_pairs_are_taken_up(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade", limit=2)
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        (ade.source / f"ADEChallengeData2016/{folder}/training/ADE_train_00000001.{suffix}").unlink()
    del ade.images["train"]["ADE_train_00000001"]
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def test_a_changed_archive_is_taken_up(tmp_path):
    source = make_cityscapes(tmp_path / "source", zipped=True).source
    prepare(open_download("cityscapes", source), tmp_path / "out")
    archive = next(path for path in source.rglob("*.zip") if path.name.startswith("leftImg8bit"))
    with zipfile.ZipFile(archive) as before:
        contents = {info.filename: before.read(info) for info in before.infolist() if not info.is_dir()}
    mirrored = {
        name: mirrored_png(content) if name.endswith(".png") else content for name, content in contents.items()
    }
    archive.unlink()
    with zipfile.ZipFile(archive, "w") as after:
        for name, content in mirrored.items():
            after.writestr(name, content)
    prepare(open_download("cityscapes", source), tmp_path / "out")
    expected = {Path(name).stem: content for name, content in mirrored.items()}
    for file in (tmp_path / "out/data").iterdir():
        for row in pq.read_table(file).to_pylist():
            assert row["image"]["bytes"] == expected[row["file_name"]]


def mirrored_png(content: bytes) -> bytes:
    file = BytesIO()
    ImageOps.mirror(Image.open(BytesIO(content))).save(file, "PNG")
    return file.getvalue()


def test_another_meaning_of_the_values_is_taken_up_and_other_names_change_no_shard(ade, tmp_path, monkeypatch):
    dataset = open_download("ade20k", ade.source)
    prepare(dataset, tmp_path / "ade")
    names = tuple(f"class {index}" for index in range(150))
    renamed = dataclasses.replace(dataset, labels=DatasetLabels(names=names))
    assert prepared_anew(monkeypatch, renamed, tmp_path / "ade") == []
    assert load_labels(tmp_path / "ade").names == names
    assert_prepared(tmp_path / "ade", ade)
    swapped = dataset.train_ids.raw_to_train | {1: 1, 2: 0}
    prepare(dataclasses.replace(dataset, train_ids=TrainIds(swapped)), tmp_path / "ade")
    for label_maps in ade.label_maps.values():
        for name, label_map in label_maps.items():
            label_maps[name] = np.where(label_map < 2, 1 - label_map.astype(np.int16), label_map).astype(np.uint8)
    assert_prepared(tmp_path / "ade", ade)
    assert load_labels(tmp_path / "ade").names[:2] == ("wall", "building")


def test_an_update_that_is_stopped_leaves_the_output_as_it_was(ade, tmp_path, monkeypatch):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    before = read(tmp_path / "ade")
    for file in ade.source.rglob("*.png"):
        os.utime(file)
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "dataset_card", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    spoil(ade, "value")
    with pytest.raises(BadPairError):
        prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert read(tmp_path / "ade") == before


def test_a_lost_shard_is_written_again(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    (tmp_path / "ade/data/train-00003-of-00008.parquet").unlink()
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


@pytest.mark.parametrize(
    "name", ["README.md", "labels.json", "data/train-00003-of-00008.parquet", "data/validation-00000-of-00003.parquet"]
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_what_an_output_lost_is_written_again(ade, tmp_path, name, is_cut):
    first = prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    before = read(tmp_path / "ade")
    file = tmp_path / "ade" / name
    if is_cut and name != "README.md":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.unlink()
    assert prepare(open_download("ade20k", ade.source), tmp_path / "ade") == first
    assert read(tmp_path / "ade") == before


def test_another_mask_of_the_same_size_and_time_of_modification_is_taken_up(tmp_path, monkeypatch):
    """As unpacking a corrected export leaves them, of whose files all have the time 1980-01-01."""
    for folder in ("images", "masks"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    for index in range(2):
        Image.new("L", (3, 2), index).save(tmp_path / f"mine/images/{index}.bmp")
        Image.new("L", (3, 2), index).save(tmp_path / f"mine/masks/{index}.bmp")
    (tmp_path / "labels.txt").write_text("zero\none\n")
    mask = tmp_path / "mine/masks/0.bmp"
    os.utime(mask, (315532800, 315532800))
    prepare(open_folder(tmp_path / "mine", tmp_path / "labels.txt"), tmp_path / "out")
    Image.new("L", (3, 2), 1).save(mask)
    os.utime(mask, (315532800, 315532800))
    assert prepared_anew(monkeypatch, open_folder(tmp_path / "mine", tmp_path / "labels.txt"), tmp_path / "out") == [
        "0"
    ]


def test_an_empty_folder_may_be_there(ade, tmp_path):
    (tmp_path / "ade").mkdir()
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def test_another_data_set_is_refused(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    before = read(tmp_path / "ade")
    made = make_cityscapes(tmp_path / "other")
    with pytest.raises(ValueError, match=r"ade holds another data set, 'ADE20K .* and this is 'Cityscapes "):
        prepare(open_download("cityscapes", made.source), tmp_path / "ade")
    assert read(tmp_path / "ade") == before


def test_foreign_folder_is_refused_and_kept(ade, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="mine already exists"):
        prepare(open_download("ade20k", ade.source), tmp_path / "mine")
    assert read(tmp_path / "mine") == {"note.txt": b"mine"}


def test_limit_takes_the_first_of_each_split(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade", limit=2)
    for split in ("train", "validation"):
        assert list(load_examples(tmp_path / "ade", split)["file_name"]) == sorted(ade.images[split])[:2]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_corrected_pair_is_taken_up(ade, tmp_path, monkeypatch, on_error):
    image = ade.source / "ADEChallengeData2016/images/training/ADE_train_00000003.jpg"
    whole = image.read_bytes()
    spoil(ade, "truncated")
    with monkeypatch.context() as patch:
        # The run that skips is interrupted later, when the shards are done.
        patch.setattr(preparation, "dataset_card", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises((BadPairError, KeyboardInterrupt)):
            prepare(open_download("ade20k", ade.source), tmp_path / "ade", on_error=on_error)
    image.write_bytes(whole)
    encode_pair, again = preparation.encode_pair, []
    monkeypatch.setattr(preparation, "encode_pair", lambda *a: again.append(a[0].name) or encode_pair(*a))
    prepare(open_download("ade20k", ade.source), tmp_path / "ade", on_error=on_error)
    assert_prepared(tmp_path / "ade", ade)
    # The first shard of two was finished before; the run that skips had finished all others too.
    assert len(again) == (11 if on_error == "stop" else 2)
    assert "ADE_train_00000003" in again


@pytest.mark.parametrize("interrupted_at", [0, 4, 11])
def test_interrupted_run_is_continued(ade, tmp_path, monkeypatch, interrupted_at):
    encode_pair = preparation.encode_pair
    seen: list[str] = []

    def interrupted(pair, train_ids):
        if len(seen) == interrupted_at:
            raise KeyboardInterrupt
        seen.append(pair.name)
        return encode_pair(pair, train_ids)

    monkeypatch.setattr(preparation, "encode_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert not (tmp_path / "ade").exists()

    again: list[str] = []
    monkeypatch.setattr(preparation, "encode_pair", lambda *a: again.append(a[0].name) or encode_pair(*a))
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    # Ten training pairs make eight shards, two of two pairs: at most one pair of a shard is done twice.
    assert len(seen) + len(again) in (13, 14)
    assert_prepared(tmp_path / "ade", ade)
    monkeypatch.setattr(preparation, "encode_pair", encode_pair)
    prepare(open_download("ade20k", ade.source), tmp_path / "at_once")
    assert read(tmp_path / "ade") == read(tmp_path / "at_once")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ade", "at_once", "source"]


def test_run_interrupted_while_it_assembles_is_continued(ade, tmp_path, monkeypatch):
    rename, renamed = Path.rename, []

    def interrupted(file, target):
        if len(renamed) == 3:
            raise KeyboardInterrupt
        renamed.append(rename(file, target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert not (tmp_path / "ade").exists()
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def test_what_is_left_is_not_used_with_other_arguments(ade, tmp_path, monkeypatch):
    dataset = open_download("ade20k", ade.source)
    swapped = dataset.train_ids.raw_to_train | {1: 1, 2: 0}
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "dataset_card", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(dataclasses.replace(dataset, train_ids=TrainIds(swapped)), tmp_path / "ade")
    prepare(dataset, tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def spoil(ade: Miniature, kind: str) -> str:
    """Make the third training pair unusable; returns what an error must tell."""
    image = ade.source / "ADEChallengeData2016/images/training/ADE_train_00000003.jpg"
    mask = ade.label_maps["train"]["ADE_train_00000003"]
    if kind == "truncated":
        image.write_bytes(image.read_bytes()[:300])
        return f"Cannot decode the image of {image}"
    if kind == "empty":
        image.write_bytes(b"")
        return f"the image of {image} is empty"
    if kind == "size":
        write_mask(ade.source, "ADE_train_00000003", np.zeros((5, 9), np.uint8))
        return f"The image of {image} is {mask.shape[1]} x {mask.shape[0]} pixels, its label map 9 x 5"
    write_mask(ade.source, "ADE_train_00000003", np.full(mask.shape, 151, np.uint8))
    return "annotations/training/ADE_train_00000003.png holds the value 151, not in the label table"


@pytest.mark.parametrize("kind", ["truncated", "empty", "size", "value"])
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_pair_stops(ade, tmp_path, kind, workers):
    message = spoil(ade, kind)
    with pytest.raises(BadPairError) as error:
        prepare(open_download("ade20k", ade.source), tmp_path / "ade", workers=workers)
    assert message in str(error.value)
    assert not (tmp_path / "ade").exists()


def test_bad_pairs_are_skipped_and_listed(ade, tmp_path):
    message = spoil(ade, "value")
    with pytest.raises(BadPairError):
        prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    report = prepare(open_download("ade20k", ade.source), tmp_path / "ade", on_error="skip")
    for labels in (ade.images, ade.label_maps):
        del labels["train"]["ADE_train_00000003"]
    assert_prepared(tmp_path / "ade", ade)
    assert (report["train"].images, report["validation"].images) == (9, 3)
    assert [message in reason for reason in report["train"].skipped] == [True]
    assert report["validation"].skipped == []
    assert (tmp_path / "ade" / "skipped.txt").read_text() == f"{report['train'].skipped[0]}\n"
    # It does not pass for what a run that stops would give.
    with pytest.raises(BadPairError, match=message):
        prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def test_shard_of_bad_pairs_alone_is_left_out(ade, tmp_path):
    spoil(ade, "value")
    write_mask(ade.source, "ADE_train_00000004", np.full((5, 5), 151, np.uint8))
    prepare(open_download("ade20k", ade.source), tmp_path / "ade", on_error="skip")
    shards = sorted((tmp_path / "ade" / "data").glob("train-*"))
    assert [shard.name for shard in shards] == [f"train-{index:05d}-of-00007.parquet" for index in range(7)]
    assert [pq.read_metadata(shard).num_rows for shard in shards] == [2, 1, 1, 1, 1, 1, 1]


def test_split_of_bad_pairs_alone_is_an_error(ade, tmp_path):
    for file in ade.source.rglob("ADE_val_*.jpg"):
        file.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"No pair of the split validation can .*ADE_val_00000001"):
        prepare(open_download("ade20k", ade.source), tmp_path / "ade", on_error="skip")
    assert not (tmp_path / "ade").exists()


@pytest.mark.parametrize("turned", [False, True])
def test_exif_orientation_may_be_in_the_label_map_or_not(ade, tmp_path, turned):
    image = ade.source / "ADEChallengeData2016/images/training/ADE_train_00000003.jpg"
    label_map = ade.label_maps["train"]["ADE_train_00000003"]
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    Image.fromarray(np.zeros((*label_map.shape, 3), np.uint8)).save(stream, "JPEG", exif=exif)
    image.write_bytes(stream.getvalue())
    ade.images["train"]["ADE_train_00000003"] = stream.getvalue()
    if turned:
        ade.label_maps["train"]["ADE_train_00000003"] = np.rot90(label_map, -1)
        write_mask(ade.source, "ADE_train_00000003", np.rot90(label_map, -1) + np.uint8(1))
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    assert_prepared(tmp_path / "ade", ade)


def test_card_and_report_tell_nothing_of_this_machine(ade, tmp_path):
    prepare(open_download("ade20k", ade.source), tmp_path / "ade")
    for name, content in read(tmp_path / "ade").items():
        assert str(tmp_path).encode() not in content, name
    card = (tmp_path / "ade" / "README.md").read_text()
    assert "path: data/validation-*.parquet" in card
    assert "0 wall, 1 building" in card
    assert set(json.loads((tmp_path / "ade" / "preparation.json").read_text())) == {"about", "splits", "shards"}


def test_arguments_out_of_range_are_refused(ade, tmp_path):
    dataset = open_download("ade20k", ade.source)
    with pytest.raises(ValueError, match="limit is 0"):
        prepare(dataset, tmp_path / "ade", limit=0)
    with pytest.raises(ValueError, match="on_error is 'ask'"):
        prepare(dataset, tmp_path / "ade", on_error="ask")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
