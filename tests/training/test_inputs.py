# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run is trained on: known by its content, and refused where nothing can be learned of it or measured on it."""

import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from training_runs import assert_same_run, losses, options_of, rows, stop_after, train

from vitseg import cli
from vitseg.data.dataset_labels import DatasetLabels
from vitseg.data.fingerprint import fingerprint_files
from vitseg.data.shards import write_shard
from vitseg.data.streaming import COLUMNS, load_undecoded
from vitseg.scenes import write_scenes


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_recipe) -> Path:
    file = tmp_path_factory.mktemp("recipes") / "tiny.json"
    file.write_text(json.dumps(tiny_recipe))
    return file


@pytest.fixture
def folder(tmp_path, recipe) -> Path:
    """A data set of its own (`scenes`) for each test, and the recipe."""
    write_scenes(tmp_path / "scenes", num_train=12, num_validation=2)
    shutil.copy(recipe, tmp_path / "tiny.json")
    return tmp_path


def run(folder: Path, *options: str, output: str = "run") -> int:
    return train(*options_of(folder, "tiny", folder / output), "--iterations=6", "--checkpoint-every=2", *options)


def swap_labels(shard: Path) -> None:
    """Write a shard with the first class and the second changed for each other; everything else stays as it is."""
    table = pq.read_table(shard)
    rows = table.to_pylist()
    for row in rows:
        with Image.open(BytesIO(row["label"]["bytes"])) as label:
            ids = np.asarray(label)
        encoded = BytesIO()
        Image.fromarray(np.where(ids == 0, 1, np.where(ids == 1, 0, ids)).astype(np.uint8)).save(encoded, "PNG")
        row["label"]["bytes"] = encoded.getvalue()
    shard.unlink()
    write_shard(rows, shard)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_goes_on_with_its_own_data_alone(folder, monkeypatch, capfd, split):
    assert run(folder, output="whole") == 0
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder)
    shutil.copytree(folder / "scenes", folder / "former")
    shard = next((folder / "scenes" / "data").glob(f"{split}-*"))
    swap_labels(shard)
    capfd.readouterr()
    assert run(folder, "--resume=latest") == 1
    message = capfd.readouterr().err
    assert f"The split {split!r} of {folder / 'scenes'} is not what the run in {folder / 'run'} was started" in message
    assert f"data/{shard.name} changed" in message
    # The former data at another time are the same data.
    shutil.rmtree(folder / "scenes")
    shutil.copytree(folder / "former", folder / "scenes", copy_function=shutil.copyfile)
    assert run(folder, "--resume=latest") == 0
    assert_same_run(folder / "run", folder / "whole")


def test_a_split_that_a_run_did_not_look_at_may_be_another(folder, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder, "--validation-split=none")
    swap_labels(next((folder / "scenes" / "data").glob("validation-*")))
    assert run(folder, "--resume=latest") == 0


def test_a_run_from_before_there_were_fingerprints_goes_on(folder, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder)
    settings = json.loads((folder / "run" / "settings.json").read_text())
    del settings["inputs"]
    (folder / "run" / "settings.json").write_text(json.dumps(settings))
    assert run(folder, "--resume=latest") == 0


def test_files_of_the_hub_are_told_by_the_revision():
    files = [f"hf://datasets/me/pets@{'0' * 40}/data/train-0000{index}-of-00002.parquet" for index in range(2)]
    assert fingerprint_files(files, "me/pets") == {
        "data/train-00000-of-00002.parquet": "0" * 40,
        "data/train-00001-of-00002.parquet": "0" * 40,
    }


def test_a_local_cache_follows_the_files(folder):
    shard = next((folder / "scenes" / "data").glob("train-*"))
    before = load_undecoded(folder / "scenes", "train", COLUMNS)[:]["label"]
    status = shard.stat()
    swap_labels(shard)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    after = load_undecoded(folder / "scenes", "train", COLUMNS)[:]["label"]
    assert before != after


# Labels of no use.


def write_pairs(folder: Path, train_maps: list[np.ndarray], validation: list[np.ndarray], names: tuple) -> Path:
    """A data set of noise with these label maps."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for split, label_maps in (("train", train_maps), ("validation", validation)):
        pairs = []
        for number, label_map in enumerate(label_maps):
            row: dict[str, Any] = {"file_name": f"photo_{number}"}
            for name, pixels in (
                ("image", rng.integers(0, 256, (*label_map.shape, 3), np.uint8)),
                ("label", label_map),
            ):
                file = BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                row[name] = {"bytes": file.getvalue(), "path": f"{number}.png"}
            pairs.append(row)
        write_shard(pairs, folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "labels.json").write_text(DatasetLabels(names=names).to_json())
    return folder


def filled(value: int) -> np.ndarray:
    return np.full((40, 40), value, np.uint8)


def halves(left: int, right: int) -> np.ndarray:
    return np.repeat(np.array([[left, right]], np.uint8), 20, axis=1).repeat(40, axis=0)


@pytest.mark.parametrize(
    ("names", "train_maps", "validation", "message"),
    [
        (("pet",), [halves(0, 255)], [halves(0, 255)], "names 1 class (pet), so there is nothing to tell apart"),
        (("pet", "rest"), [filled(255)] * 3, [halves(0, 1)], "All pixels of the split 'train'"),
        (("pet", "rest"), [halves(0, 1)], [filled(255)] * 3, "All pixels of the 3 images to validate on"),
    ],
    ids=["one_class", "nothing_to_learn", "nothing_to_measure"],
)
def test_labels_of_no_use_are_refused(folder, capfd, names, train_maps, validation, message):
    source = write_pairs(folder / "pairs", train_maps, validation, names)
    assert run(folder, "--dataset", str(source)) == 1
    assert message in capfd.readouterr().err
    assert not (folder / "run").exists()


def test_a_policy_network_needs_two_classes_too(folder, capfd):
    source = write_pairs(folder / "pairs", [halves(0, 255)], [halves(0, 255)], ("pet",))
    options = ("--recipe", "examples/recipes/scenes-cts-policy.json", "--init=none", "--dataset", str(source))
    assert run(folder, *options) == 1
    assert "names 1 class (pet)" in capfd.readouterr().err


def test_images_without_any_label_do_no_harm(folder, capfd):
    source = write_pairs(
        folder / "pairs", [filled(255), halves(0, 1)], [filled(255), filled(255), halves(0, 255)], ("sky", "road")
    )
    # The last image, alone labelled, is beyond the first that are looked at.
    assert run(folder, "--dataset", str(source), "--validation-limit=3", "--validate-every=3") == 0
    assert np.isfinite(losses(folder / "run")).all()
    assert all(np.isfinite(list(row.values())).all() for row in rows(folder / "run"))
    assert (folder / "run" / "best").is_dir()
    assert "-1" not in capfd.readouterr().out


def test_a_class_that_may_be_meant_by_what_is_ignored_is_named(folder, capfd):
    """Masks of 0 and 255, of which 255 is ignored: a perfect score for nothing."""
    (folder / "mine" / "images").mkdir(parents=True)
    (folder / "mine" / "masks").mkdir()
    for index in range(10):
        Image.fromarray(np.full((40, 40, 3), 20 * index, np.uint8)).save(folder / f"mine/images/{index}.png")
        Image.fromarray(halves(0, 255)).save(folder / f"mine/masks/{index}.png")
    (folder / "labels.txt").write_text("background\nobject\n")
    prepare = ["prepare", "folder", "--source", folder / "mine", "--labels", folder / "labels.txt", "--workers=0"]
    assert cli.main([*map(str, prepare), "--output", str(folder / "prepared")]) == 0
    capfd.readouterr()
    assert run(folder, "--dataset", str(folder / "prepared")) == 0
    printed = capfd.readouterr().out
    assert "Warning: No pixel is of the class 'object', while 50.0% of the pixels are ignored" in printed
    assert '{"255": "object"}' in printed
