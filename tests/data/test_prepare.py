# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg prepare`, as a person runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.miniature_downloads import (
    make_ade20k,
    make_cityscapes,
    make_coco_stuff_10k,
    make_coco_stuff_164k,
    make_pascal_context,
)
from PIL import Image

from vitseg import cli
from vitseg.data.streaming import load_examples


def prepare(dataset: str, source: Path, output: Path, *options: object) -> int:
    arguments = ["prepare", dataset, "--source", source, "--output", output, "--workers", 0, *options]
    return cli.main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("name", "make", "classes"),
    [
        ("ade20k", make_ade20k, 150),
        ("cityscapes", make_cityscapes, 19),
        ("coco-stuff-10k", make_coco_stuff_10k, 171),
        ("coco-stuff-164k", make_coco_stuff_164k, 171),
        ("pascal-context", make_pascal_context, 60),
    ],
)
def test_download_becomes_a_data_set(tmp_path, capsys, name, make, classes):
    made = make(tmp_path / "source", zipped=True)
    assert prepare(name, made.source, tmp_path / "out") == 0
    assert len(json.loads((tmp_path / "out" / "labels.json").read_text())["names"]) == classes
    for split, label_maps in made.label_maps.items():
        examples = load_examples(tmp_path / "out", split)
        assert examples["file_name"] == sorted(label_maps)
        for example in examples:
            np.testing.assert_array_equal(example["label_map"], label_maps[example["file_name"]])
    printed = capsys.readouterr().out
    assert "train: 6 images" in printed
    assert "validation: 3 images" in printed
    assert f"{tmp_path}/out is complete." in printed


def test_report_names_the_classes_by_their_share(tmp_path, capsys):
    for split, values in (("train", [[1, 1, 1, 0], [3, 3, 1, 255]]), ("val", [[0, 0, 0, 1], [1, 1, 1, 1]])):
        for folder in ("images", "masks"):
            (tmp_path / folder / split).mkdir(parents=True)
            Image.fromarray(np.array(values, np.uint8)).save(tmp_path / folder / split / "a.png")
    labels = tmp_path / "labels.txt"
    labels.write_text("sky\nroad\nboat\ncar\n")
    assert prepare("folder", tmp_path, tmp_path / "out", "--labels", labels) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train:", "1", "images,", "12.5%", "of", "the", "pixels", "ignored"] in lines
    start = lines.index(["id", "pixels", "train", "validation", "class"]) + 1
    assert lines[start : start + 3] == [
        ["1", "9", "57.143%", "62.500%", "road"],
        ["0", "4", "14.286%", "37.500%", "sky"],
        ["3", "2", "28.571%", "0.000%", "car"],
    ]
    assert ["Not", "in", "train:", "boat"] in lines
    assert ["Not", "in", "validation:", "boat,", "car"] in lines


def write_pairs(folder: Path, masks: dict[str, list]) -> Path:
    for name, values in masks.items():
        for kind in ("images", "masks"):
            file = folder / kind / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(values, np.uint8)).save(file)
    return folder


def test_a_class_that_occurs_nowhere_is_warned_about_where_an_unnamed_value_is_common(tmp_path, capsys):
    source = write_pairs(tmp_path / "mine", {"train/a": [[0, 255], [0, 0]], "val/a": [[255, 255], [0, 0]]})
    labels = tmp_path / "labels.json"
    labels.write_text('["background", "object"]')
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 0
    error = capsys.readouterr().err
    assert "warning: object: in no mask, while 3 pixels (37.5%) are ignored, which hold 255" in error
    assert '"255": "object"' in error
    assert prepare("folder", source, tmp_path / "out", "--labels", labels, "--ignore", 255) == 0
    assert "all pixels that count are background" in capsys.readouterr().err
    labels.write_text('{"0": "background", "255": "object"}')
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 0
    assert "warning" not in capsys.readouterr().err
    assert load_examples(tmp_path / "out", "train")[0]["label_map"].tolist() == [[0, 1], [0, 0]]


def test_a_test_split_is_prepared(tmp_path, capsys):
    masks = {f"{split}/{kind}": [[0, 1]] for split in ("train", "valid", "TEST") for kind in ("a", "b")}
    labels = tmp_path / "labels.txt"
    labels.write_text("sky\nroad\n")
    assert prepare("folder", write_pairs(tmp_path / "mine", masks), tmp_path / "out", "--labels", labels) == 0
    assert load_examples(tmp_path / "out", "test")["file_name"] == ["TEST/a", "TEST/b"]
    printed = capsys.readouterr().out
    assert "The splits are those of the folders TEST, train, valid." in printed
    assert "test: 2 images" in printed


def test_what_nothing_could_be_learnt_of_is_refused(tmp_path, capsys):
    source = write_pairs(tmp_path / "mine", {"train/a": [[0, 1]], "val/a": [[255, 255]]})
    labels = tmp_path / "labels.json"
    labels.write_text('["sky", "road"]')
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 1
    assert "All pixels of the split validation are ignored" in capsys.readouterr().err
    labels.write_text('{"1": "road"}')
    assert prepare("folder", source, tmp_path / "out", "--labels", labels, "--ignore", 0) == 1
    assert "one class, 'road'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_corrected_after_the_run_stopped_are_taken_up(tmp_path, capsys):
    right = np.array([[0, 1, 2, 1]] * 2, np.uint8)
    swapped = np.array([0, 2, 1], np.uint8)[right]
    source = tmp_path / "mine"
    write_pairs(source, {f"{index:02}": swapped.tolist() for index in range(40)})
    Image.fromarray(right + np.uint8(9)).save(source / "masks/30.png")
    labels = tmp_path / "labels.txt"
    labels.write_text("# of mine\nnothing\nsky\nroad\n")
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 1
    for file in (source / "masks").iterdir():
        Image.fromarray(right).save(file)
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 0
    for split in ("train", "validation"):
        for example in load_examples(tmp_path / "out", split):
            np.testing.assert_array_equal(example["label_map"], right)
    capsys.readouterr()
    Image.fromarray(swapped).save(source / "masks/07.png")
    assert prepare("folder", source, tmp_path / "out", "--labels", labels) == 0
    assert "Of 40 pairs these are prepared now" in capsys.readouterr().out
    maps = {row["file_name"]: row["label_map"] for row in load_examples(tmp_path / "out", "train")}
    np.testing.assert_array_equal(maps["07"], swapped)


def test_second_run_says_that_it_is_done(tmp_path, capsys):
    made = make_ade20k(tmp_path / "source")
    prepare("ade20k", made.source, tmp_path / "out")
    capsys.readouterr()
    assert prepare("ade20k", made.source, tmp_path / "out") == 0
    assert f"{tmp_path}/out was already complete." in capsys.readouterr().out
    assert prepare("ade20k", made.source, tmp_path / "out", "--limit", 1) == 0
    assert "Of 2 pairs these are prepared now" in capsys.readouterr().out
    assert len(load_examples(tmp_path / "out", "train")) == 1


def test_bad_pair_stops_or_is_skipped(tmp_path, capsys):
    made = make_ade20k(tmp_path / "source")
    bad = made.source / "ADEChallengeData2016/images/validation/ADE_val_00000002.jpg"
    bad.write_bytes(b"no image")
    assert prepare("ade20k", made.source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert str(bad) in error
    assert "--on-error skip" in error
    assert "Traceback" not in error
    assert prepare("ade20k", made.source, tmp_path / "out", "--on-error", "skip") == 0
    printed = capsys.readouterr().out
    assert "Skipped 1 pairs (listed in skipped.txt):\n  validation: " in printed
    assert str(bad) in printed


def test_missing_source_is_a_plain_error(tmp_path, capsys):
    assert prepare("cityscapes", tmp_path / "nowhere", tmp_path / "out") == 1
    assert capsys.readouterr().err == f"error: There is no folder or file {tmp_path}/nowhere.\n"
    assert prepare("cityscapes", tmp_path, tmp_path / "out") == 1
    assert "leftImg8bit/train/*/{name}_leftImg8bit.png" in capsys.readouterr().err


def test_pascal_context_without_background(tmp_path):
    made = make_pascal_context(tmp_path / "source", form="mat", classes=59)
    assert prepare("pascal-context", made.source, tmp_path / "out", "--classes", 59, "--limit", 2) == 0
    examples = load_examples(tmp_path / "out", "train")
    assert len(examples) == 2
    for example in examples:
        np.testing.assert_array_equal(example["label_map"], made.label_maps["train"][example["file_name"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["folder"], "folder needs --labels"),
        (["ade20k", "--labels", "a.json"], "lists of splits are for folder; ade20k has its own"),
        (["ade20k", "--classes", "59"], "--classes is for pascal-context"),
        (["ade20k", "--limit", "0"], "--limit is 0"),
        (["ade20k", "--workers", "-1"], "--workers is -1"),
        (["ade20k", "--push-to-hub", "a/b/c"], "--push-to-hub: "),
    ],
)
def test_unusable_arguments_are_refused(capsys, options, message):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["prepare", *options, "--source", "a", "--output", "b"])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


class StandInApi:
    """What the Hub was asked to do, and whether the folder was complete."""

    calls: list[tuple[str, dict]] = []

    def create_repo(self, name: str, **options: object) -> str:
        self.calls.append(("create_repo", {"name": name, **options}))
        return f"https://hub/{name}"

    def upload_folder(self, **options: object) -> None:
        assert (Path(str(options["folder_path"])) / "README.md").exists()
        self.calls.append(("upload_folder", options))


@pytest.mark.parametrize("private", [False, True])
def test_complete_data_set_is_published(tmp_path, capsys, monkeypatch, private):
    monkeypatch.setattr("vitseg.data.prepare.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "calls", [])
    made = make_ade20k(tmp_path / "source")
    bad = made.source / "ADEChallengeData2016/images/validation/ADE_val_00000002.jpg"
    bad.write_bytes(b"no image")
    options = ["--push-to-hub", "me/ade20k", *(["--private"] if private else [])]
    assert prepare("ade20k", made.source, tmp_path / "out", *options) == 1
    assert StandInApi.calls == []
    assert prepare("ade20k", made.source, tmp_path / "out", *options, "--on-error", "skip") == 0
    (first, created), (second, uploaded) = StandInApi.calls
    assert (first, second) == ("create_repo", "upload_folder")
    assert (created["name"], created["repo_type"], created["private"]) == ("me/ade20k", "dataset", private)
    assert (uploaded["repo_id"], uploaded["repo_type"]) == ("me/ade20k", "dataset")
    # These hold paths of this machine.
    assert uploaded["ignore_patterns"] == ["preparation.json", "skipped.txt"]
    assert "Published as https://hub/me/ade20k" in capsys.readouterr().out


KILLED = """
import os, signal, sys
from vitseg import cli
from vitseg.data import preparation

write_shard = preparation._write_shard

def write_three_shards(shard, *arguments):
    write_shard(shard, *arguments)
    if shard.file.name == "train-00002.parquet":
        os.kill(os.getpid(), signal.SIGKILL)

preparation._write_shard = write_three_shards
if __name__ == "__main__":
    cli.main(["prepare", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_killed_run_is_continued(tmp_path):
    made = make_ade20k(tmp_path / "source", num_train=20)
    output, work = tmp_path / "out", tmp_path / ".out-unfinished"
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, tmp_path / "killed.py", "ade20k", "--source", made.source, "--output", output]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    # Workers that outlived the program would keep its output open, and this would not return.
    process = subprocess.run([*command, "--workers", "2"], env=environment, capture_output=True, timeout=120)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not output.exists()
    finished = [work / f"train-{index:05d}.parquet" for index in range(3)]
    written = {file.stat().st_mtime_ns for file in finished}

    assert prepare("ade20k", made.source, output) == 0
    for split, images in made.images.items():
        shards = sorted(output.glob(f"data/{split}-*"))
        rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
        assert {row["file_name"]: row["image"]["bytes"] for row in rows} == images
    assert written == {file.stat().st_mtime_ns for file in sorted((output / "data").glob("train-*"))[:3]}
