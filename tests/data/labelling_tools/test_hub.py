# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets of the Hub with columns of other names, as `datasets` writes them."""

import numpy as np
import pytest
from data.exported import drawn, label_map, pairs_of, write_text
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from huggingface_hub import HfApi
from PIL import Image
from pycocotools import mask as coco

from vitseg.cli import main
from vitseg.data.labelling_tools import Options, hub, open_export, recognize
from vitseg.data.pairs import encode_pair


PICTURE = Image.new("RGB", (8, 6), "navy")
MASK = drawn("........ ..1111.. ..1111.. ........ ........ .......2")
SQUARE = [[1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]]
DRAWN = "........ .222.... .222.... .222.... ........ ........"


def write_shard(folder, split, columns, features):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    dataset = Dataset.from_dict(columns, Features(features))
    dataset.to_parquet(folder / f"data/{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("column", ["annotation", "label", "mask", "segmentation"])
def test_masks_in_a_column(tmp_path, column):
    mask = Image.fromarray(np.array(MASK, np.uint8))
    for split, count in (("train", 2), ("validation", 1)):
        columns = {"image": [PICTURE] * count, column: [mask] * count, "scene": ["x"] * count}
        features = {"image": ImageFeature(), column: ImageFeature(), "scene": Value("string")}
        write_shard(tmp_path, split, columns, features)
    assert recognize(tmp_path) == ("hub", "data/train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=f"Nothing names the classes in the column '{column}'"):
        open_export("hub", tmp_path)
    write_text(tmp_path / "id2label.json", {"0": "sky", "1": "road", "2": "car"})
    dataset = open_export("hub", tmp_path)
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 2, "validation": 1}
    for pairs in dataset.splits.values():
        for pair in pairs:
            row = encode_pair(pair, dataset.train_ids).row
            assert row["image"]["bytes"].startswith(b"\x89PNG")
            assert label_map(dataset, pair.name).tolist() == MASK


@pytest.mark.parametrize("is_table", [True, False])
def test_polygons_in_objects_with_numbers_for_classes(tmp_path, is_table):
    polygons = List(List(Value("float32")))
    numbers = ClassLabel(names=["road", "car"])
    if is_table:
        features = {"segmentation": List(polygons), "category": List(numbers)}
        objects = {"segmentation": [SQUARE], "category": [1]}
        empty = {"segmentation": [], "category": []}
    else:
        features = List({"segmentation": polygons, "category": numbers})
        objects, empty = [{"segmentation": SQUARE, "category": 1}], []
    columns = {"image": [PICTURE] * 3, "objects": [objects, empty, objects]}
    write_shard(tmp_path, "train", columns, {"image": ImageFeature(), "objects": features})
    dataset = open_export("hub", tmp_path)
    assert dataset.labels.names == ("background", "road", "car")
    maps = [label_map(dataset, name).tolist() for name in sorted(pairs_of(dataset))]
    assert maps == [drawn(DRAWN), drawn(" ".join(["........"] * 6)), drawn(DRAWN)]


def test_run_lengths_in_objects_with_names_for_classes(tmp_path):
    rle = {"size": [6, 8], "counts": [7, 3, 3, 3, 3, 3, 26]}
    features = List(
        {"segmentation": {"size": List(Value("int32")), "counts": List(Value("int32"))}, "label": Value("string")}
    )
    columns = {"image": [PICTURE] * 2, "objects": [[{"segmentation": rle, "label": "car"}], []]}
    write_shard(tmp_path, "train", columns, {"image": ImageFeature(), "objects": features})
    dataset = open_export("hub", tmp_path)
    assert dataset.labels.names == ("background", "car")
    assert label_map(dataset, min(pairs_of(dataset))).tolist() == drawn(DRAWN.replace("2", "1"))
    named = open_export("hub", tmp_path, Options(labels=write_text(tmp_path / "names.txt", "road\ncar\n")))
    assert named.labels.names == ("background", "road", "car")


def test_other_columns_and_broken_files_are_named(tmp_path):
    write_shard(
        tmp_path, "train", {"image": [PICTURE], "text": ["a"]}, {"image": ImageFeature(), "text": Value("string")}
    )
    with pytest.raises(ValueError, match="has the columns image, text; expected"):
        open_export("hub", tmp_path)
    write_shard(
        tmp_path, "test", {"image": [PICTURE], "mask": [PICTURE]}, {"image": ImageFeature(), "mask": ImageFeature()}
    )
    with pytest.raises(ValueError, match=r"train-00000-of-00001\.parquet has the columns image, text, without mask"):
        open_export("hub", tmp_path, Options(labels=write_text(tmp_path / "names.txt", "road\ncar\n")))
    (tmp_path / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="is not a complete Parquet file"):
        open_export("hub", tmp_path)


def test_run_lengths_may_be_bytes_and_images_in_objects_are_named(tmp_path):
    rle = coco.encode(np.asfortranarray(np.array(drawn(DRAWN)) > 0).astype(np.uint8))
    kinds = {
        "bytes": ("segmentation", rle, {"size": List(Value("int32")), "counts": Value("binary")}),
        "pictures": ("mask", PICTURE, ImageFeature()),
    }
    for name, (key, value, feature) in kinds.items():
        columns = {"image": [PICTURE] * 2, "objects": [[{key: value, "category": "car"}], []]}
        features = {"image": ImageFeature(), "objects": List({key: feature, "category": Value("string")})}
        write_shard(tmp_path / name, "train", columns, features)
    dataset = open_export("hub", tmp_path / "bytes")
    assert label_map(dataset, min(pairs_of(dataset))).tolist() == drawn(DRAWN.replace("2", "1"))
    with pytest.raises(ValueError, match=r"objects of image of row 0 .* neither polygons nor run lengths"):
        open_export("hub", tmp_path / "pictures")


@pytest.mark.parametrize("is_converted", [False, True])
def test_a_name_is_downloaded(tmp_path, monkeypatch, capsys, is_converted):
    """A stand-in for the Hub, whose repository holds Parquet files, or pictures that it has converted to some."""
    stored = tmp_path / "cache"
    mask = Image.fromarray(np.array(MASK, np.uint8))
    for split in ("train", "validation"):
        columns = {"image": [PICTURE], "mask": [mask]}
        write_shard(stored, split, columns, {"image": ImageFeature(), "mask": ImageFeature()})
    asked = {}

    def list_repo_files(self, name, *, repo_type):
        assert (name, repo_type) == ("org/streets", "dataset")
        return ["README.md", "pictures.zip" if is_converted else "data/train-00000-of-00001.parquet"]

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        snapshot = tmp_path / "snapshots" / "0123abcd"  # of links, as the cache has them
        (snapshot / "data").mkdir(parents=True)
        for file in (stored / "data").iterdir():
            (snapshot / "data" / file.name).symlink_to(file)
        return str(snapshot)

    monkeypatch.setattr(HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    labels = write_text(tmp_path / "names.json", {"0": "sky", "1": "road", "2": "car"})
    arguments = ["--source", "org/streets", "--labels", str(labels), "--workers", "0"]
    assert main(["prepare", "hub", *arguments, "--output", str(tmp_path / "out")]) == 0
    assert (asked["name"], asked["repo_type"]) == ("org/streets", "dataset")
    assert asked["revision"] == ("refs/convert/parquet" if is_converted else None)
    assert "org/streets\nImages are in the column 'image', masks in 'mask'." in capsys.readouterr().out


def test_a_source_that_is_nothing_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "hub", "--source", "no/such/folder", "--output", str(tmp_path)])
    assert "--source no/such/folder is neither a folder nor the name of a data set" in capsys.readouterr().err
