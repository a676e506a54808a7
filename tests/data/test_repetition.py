# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Classes are counted image by image, and images of rare ones come as often as LVIS's rule says."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from vitseg.data.class_counts import class_pixel_counts
from vitseg.data.own_folder import open_folder
from vitseg.data.preparation import prepare
from vitseg.data.repetition import draw_repetitions, in_steps, repeat_factors
from vitseg.data.shards import write_shard
from vitseg.data.streaming import load_examples
from vitseg.scenes import SCENE_CLASSES, write_scenes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def expected_counts(source: Path, split: str, num_labels: int) -> np.ndarray:
    label_maps = [example["label_map"] for example in load_examples(source, split)]
    return np.array([[(label_map == index).sum() for index in range(num_labels)] for label_map in label_maps])


def without_counts(source: Path, target: Path) -> Path:
    """The same images and label maps as files that were not prepared."""
    data = datasets.load_dataset("parquet", data_files=str(source / "data" / "train-*.parquet"), split="train")
    data = data.remove_columns(["class_ids", "class_pixels"])
    target.mkdir(exist_ok=True)
    for index in range(2):
        data.shard(2, index).to_parquet(target / f"train-{index:05d}-of-00002.parquet")
    return target


@pytest.fixture
def scenes(tmp_path) -> Path:
    write_scenes(tmp_path / "scenes", num_train=7, num_validation=2, num_shards=3)
    return tmp_path / "scenes"


def test_prepared_folders_bring_their_counts(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    for number in range(12):
        # 9 is no class, and one of the masks shows nothing else.
        values = [9] if number == 3 else [1, 2, 9]
        mask = rng.choice(values, (20, 30)).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "mine" / "masks" / f"{number}.png")
        Image.new("RGB", (30, 20)).save(tmp_path / "mine" / "images" / f"{number}.jpg")
    (tmp_path / "labels.json").write_text('{"1": "sky", "2": "road", "3": "lake"}')
    dataset = open_folder(tmp_path / "mine", tmp_path / "labels.json", ignore=["9"])
    report = prepare(dataset, tmp_path / "prepared")
    for split in ("train", "validation"):
        counts = class_pixel_counts(tmp_path / "prepared", split, num_labels=3)
        assert counts.dtype == np.int64
        assert np.array_equal(counts, expected_counts(tmp_path / "prepared", split, 3))
        assert counts.sum(axis=0).tolist() == list(report[split].pixels[:3])


def test_other_data_sets_are_counted_once(scenes, tmp_path, capfd):
    plain = without_counts(scenes, tmp_path / "plain")
    expected = expected_counts(scenes, "train", len(SCENE_CLASSES))
    capfd.readouterr()
    for is_first in (True, False):
        assert np.array_equal(class_pixel_counts(plain, num_labels=len(SCENE_CLASSES)), expected)
        assert ("class_counts split" in capfd.readouterr().err) == is_first
    # Other files of the same names are counted anew.
    write_scenes(tmp_path / "others", num_train=5, num_validation=1, seed=1, num_shards=1)
    without_counts(tmp_path / "others", plain)
    expected = expected_counts(tmp_path / "others", "train", len(SCENE_CLASSES))
    assert np.array_equal(class_pixel_counts(plain, num_labels=len(SCENE_CLASSES)), expected)


@pytest.mark.parametrize("has_counts", [True, False])
def test_labels_from_1_are_counted_from_0(scenes, tmp_path, has_counts):
    source = scenes if has_counts else without_counts(scenes, tmp_path / "plain")
    counts = class_pixel_counts(source, num_labels=len(SCENE_CLASSES) - 1, do_reduce_labels=True)
    assert np.array_equal(counts, expected_counts(scenes, "train", len(SCENE_CLASSES))[:, 1:])


def test_rows_without_counts_are_counted(scenes, tmp_path):
    data = datasets.load_dataset("parquet", data_files=str(scenes / "data" / "train-*.parquet"), split="train")
    rows: list[dict[str, Any]] = data.cast_column("image", datasets.Image(decode=False)).cast_column(
        "label", datasets.Image(decode=False)
    )
    names = ("image", "label", "file_name")
    (tmp_path / "mixed").mkdir()
    write_shard(({name: row[name] for name in names} for row in rows), tmp_path / "mixed" / "train.parquet")
    counts = class_pixel_counts(tmp_path / "mixed", num_labels=len(SCENE_CLASSES))
    assert np.array_equal(counts, expected_counts(scenes, "train", len(SCENE_CLASSES)))


def test_what_cannot_be_counted_is_named(scenes, tmp_path):
    plain = without_counts(scenes, tmp_path / "plain")
    data = datasets.load_dataset("parquet", data_files=str(plain / "*.parquet"), split="train")
    (tmp_path / "unlabelled").mkdir()
    data.remove_columns("label").to_parquet(tmp_path / "unlabelled" / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet has no column label; it has image, file_name"):
        class_pixel_counts(tmp_path / "unlabelled", num_labels=3)
    rows = data.cast_column("label", datasets.Image(decode=False)).map(lambda row: {"label": {"bytes": b"damaged"}})
    rows.to_parquet(plain / "train-00001-of-00002.parquet")
    with pytest.raises(ValueError, match=r"label map 0 \(from 0\) of .*train-00001-of-00002\.parquet"):
        class_pixel_counts(plain, num_labels=3)


def test_factors_are_those_of_lvis():
    # Class 0 is in all of four images, class 1 in two of them, class 2 in one, class 3 in none.
    counts = np.array([[9, 0, 0, 0], [9, 1, 0, 0], [9, 5, 2, 0], [9, 0, 0, 0]])
    assert repeat_factors(counts, 1.0) == pytest.approx([1, 2**0.5, 2, 1])
    assert repeat_factors(counts, 0.36) == pytest.approx([1, 1, 1.2, 1])
    assert repeat_factors(counts, 0.25).tolist() == [1, 1, 1, 1]
    assert repeat_factors(np.zeros((2, 3), np.int64), 1.0).tolist() == [1, 1]


def test_an_epoch_rounds_up_as_often_as_the_fraction_says():
    factors = np.random.default_rng(0).uniform(1, 4, 60)
    factors[:5] = (1, 2, 1.5, 1.01, 3.99)
    epochs = np.array([draw_repetitions(in_steps(factors), seed=0, epoch=epoch) for epoch in range(1500)])
    assert ((epochs == np.floor(factors)) | (epochs == np.ceil(factors))).all()
    assert epochs.mean(axis=0) == pytest.approx(factors, abs=0.06)
    assert np.abs(epochs.sum(axis=1) - factors.sum()).max() < 1
    # One sample's rounding says little of another's.
    correlations = np.corrcoef(epochs[:, factors % 1 > 0.2].T)
    assert np.abs(correlations - np.eye(len(correlations))).max() < 0.15
    again = draw_repetitions(in_steps(factors), seed=0, epoch=3)
    assert np.array_equal(again, epochs[3])
    assert not np.array_equal(again, draw_repetitions(in_steps(factors), seed=1, epoch=3))
