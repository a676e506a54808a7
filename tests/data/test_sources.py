# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets as people name them: what is none says what it is and what to do; configurations and columns are found."""

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from vitseg import cli
from vitseg.data.class_counts import class_pixel_counts
from vitseg.data.dataset_labels import load_labels
from vitseg.data.image_labels import ClassificationStream, load_class_names
from vitseg.data.sources import DataSource
from vitseg.data.streaming import SegmentationStream, load_examples, parquet_files
from vitseg.inference.predict import DatasetImages


LABEL_MAP = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def encode(pixels: np.ndarray) -> dict[str, bytes | None]:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def rows(image: str = "image", label: str = "label") -> datasets.Dataset:
    """Two images, grey levels 0 and 1, without file names."""
    pictures = [encode(np.full((2, 3, 3), level, np.uint8)) for level in (0, 1)]
    return datasets.Dataset.from_dict(
        {image: pictures, label: [encode(LABEL_MAP)] * 2, "scene": [0, 1]},
        features=datasets.Features(
            {
                image: datasets.Image(),
                label: datasets.Image(),
                "scene": datasets.ClassLabel(names=["street", "lake"]),
            }
        ),
    )


def make_none(folder: Path, kind: str) -> Path:
    """Something that is no data set."""
    path = folder / kind
    if kind == "raw":
        for name in ("images", "masks"):
            (path / name).mkdir(parents=True)
            Image.fromarray(LABEL_MAP).save(path / name / "a.png")
    elif kind == "saved":
        datasets.DatasetDict({"train": rows()}).save_to_disk(path)
    elif kind == "saved split":
        rows().save_to_disk(path)
    elif kind == "mine.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif kind == "a.parquet":
        rows().to_parquet(path)
    elif kind == "notes.txt":
        path.write_text("mine")
    elif kind == "empty":
        path.mkdir()
    elif kind == "unfinished":
        (folder / ".unfinished-unfinished").mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raw", "{path} holds images as files, not in Parquet files. `vitseg prepare folder --source {path} "),
        ("saved", "{path} was written by `save_to_disk`"),
        ("saved split", "{path} was written by `save_to_disk`"),
        ("mine.zip", "{path} is an archive, not a folder of Parquet files. `vitseg prepare folder --source {path} "),
        ("a.parquet", "{path} is a single Parquet file. Give the folder"),
        ("notes.txt", "{path} is a file, not a folder"),
        ("empty", "{path} holds no Parquet files, nor anything else. `vitseg prepare folder"),
        ("missing", "There is no folder {path}. `vitseg prepare folder"),
        ("unfinished", "The preparation of {path} is not finished"),
    ],
)
def test_what_is_no_data_set_says_what_it_is_and_what_to_do(tmp_path, kind, message):
    path = make_none(tmp_path, kind)
    for read in (load_labels, lambda path: parquet_files(path, "train"), lambda path: load_examples(path, "train")):
        with pytest.raises(ValueError, match=re.escape(message.format(path=path))):
            read(path)


@pytest.mark.parametrize("name", ["no_such_folder", "nobody/nothing"])
def test_a_wrong_name_is_told_for_a_folder_and_for_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"no folder {name}, and as a data set on the Hub it cannot be read"):
        load_labels(name)


def test_every_command_says_so(tmp_path, capsys):
    raw = make_none(tmp_path, "raw")
    recipe = str(Path(__file__).parents[2] / "examples/recipes/scenes-setr-pup.json")
    options = ["--dataset", str(raw), "--output", str(tmp_path / "run")]
    assert cli.main(["train", "--recipe", recipe, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {raw} holds images as files")
    assert "Checkpoints" not in error
    assert "Traceback" not in error


@pytest.fixture
def two_configs(tmp_path) -> Path:
    """A data set of two configurations, whose columns have other names, and no file names."""
    folder = tmp_path / "two"
    for name in ("fine", "coarse"):
        (folder / name).mkdir(parents=True)
        rows("pixel_values", "annotation").to_parquet(folder / name / "train.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: fine\n  data_files: fine/train.parquet\n"
        "- config_name: coarse\n  data_files: coarse/train.parquet\n---\n"
    )
    return folder


def test_a_configuration_must_be_chosen_and_exist(two_configs):
    with pytest.raises(ValueError, match="has several configurations: choose one of fine, coarse with --config"):
        parquet_files(two_configs, "train")
    with pytest.raises(ValueError, match="has no configuration 'medium'; it has fine, coarse"):
        parquet_files(DataSource(name=str(two_configs), config="medium"), "train")
    assert parquet_files(DataSource(name=str(two_configs), config="coarse"), "train") == [
        str(two_configs / "coarse/train.parquet")
    ]


def read_everywhere(source: DataSource) -> Iterator[list[tuple[str | None, int, list | None]]]:
    """Names, grey levels and label maps as training, evaluation and prediction read them."""
    for streaming in (True, False):
        stream = SegmentationStream(source, num_labels=2, streaming=streaming)
        examples = list(islice(stream, 2))
        yield [(None, int(e["pixel_values"].max()), e["labels"].tolist()) for e in examples]
    evaluated = load_examples(source, "train")
    yield [(e["file_name"], np.asarray(e["image"]).max(), e["label_map"].tolist()) for e in evaluated]
    images = DatasetImages(source, "train")
    yield [(images.names[i], np.asarray(images[i]["image"]).max(), None) for i in range(2)]


def test_columns_of_any_name_are_read_everywhere(two_configs):
    source = DataSource(name=str(two_configs), config="fine", image_column="pixel_values", label_column="annotation")
    for examples in read_everywhere(source):
        assert sorted(level for _, level, _ in examples) == [0, 1]
        for name, level, label_map in examples:
            assert name in (None, str(level))
            assert label_map in (None, LABEL_MAP.tolist())
    assert class_pixel_counts(source, num_labels=2).tolist() == [[2, 3], [2, 3]]


def test_images_are_classified_by_a_column_of_any_name(two_configs):
    source = DataSource(name=str(two_configs), config="fine", image_column="pixel_values", label_column="scene")
    assert load_class_names(source) == ("street", "lake")
    stream = ClassificationStream(source, num_labels=2)
    assert sorted(int(example["labels"]) for example in islice(stream, 2)) == [0, 1]


def test_columns_that_are_missing_or_hold_something_else_are_named(two_configs):
    source = DataSource(name=str(two_configs), config="fine")
    for read in (SegmentationStream, load_examples):
        options = {"num_labels": 2} if read is SegmentationStream else {}
        with pytest.raises(ValueError, match=r"no column image, label; it has pixel_values, annotation, scene"):
            read(source, "train", **options)
        scene = DataSource(name=source.name, config="fine", image_column="pixel_values", label_column="scene")
        with pytest.raises(ValueError, match=r"'scene' of .* holds int64, not encoded images.* --label-column"):
            read(scene, "train", **options)


def test_other_files_than_parquet_are_named(tmp_path):
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"image": "a"}\n')
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n---\n")
    with pytest.raises(ValueError, match=r"not in Parquet files, but in such as .*train\.jsonl"):
        parquet_files(folder, "train")


def test_damaged_files_and_files_elsewhere_are_named(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "picture.png")
    here = str(tmp_path / "picture.png")
    images = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Image(), "file_name": datasets.Value("int64")}
    )
    rows = datasets.Dataset.from_dict({"image": [here], "label": [here], "file_name": [7]}, features=images)
    (tmp_path / "set").mkdir()
    rows.to_parquet(str(tmp_path / "set/train-0.parquet"))
    if rows.data.to_pylist()[0]["image"]["bytes"] is None:
        with pytest.raises(ValueError, match=r"label map of 7 is missing: the data set has the path .*picture\.png"):
            load_examples(tmp_path / "set", "train")[0]
    rows.save_to_disk(str(tmp_path / "saved"))
    datasets.load_from_disk(str(tmp_path / "saved")).to_parquet(str(tmp_path / "set/train-0.parquet"))
    assert load_examples(tmp_path / "set", "train")[0]["file_name"] == "7"
    whole = (tmp_path / "set/train-0.parquet").read_bytes()
    (tmp_path / "set/train-1.parquet").write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"train-1\.parquet is not a Parquet file"):
        load_examples(tmp_path / "set", "train")
