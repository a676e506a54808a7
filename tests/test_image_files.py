# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Image files are found and named by one set of rules, whoever looks for them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg.data.own_folder import open_folder
from vitseg.data.pairs import encode_pair
from vitseg.image_files import describe_left_out, is_image_name, printable, visible_files, without_image_suffix


LITTER = [
    "._x.jpg",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".ipynb_checkpoints/x-checkpoint.jpg",
    "deep/.thumbnails/x.png",
    "__MACOSX/._x.jpg",
    "@eaDir/x.jpg/SYNOPHOTO_THUMB_M.jpg",
    "$RECYCLE.BIN/x.jpg",
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_litter_is_not_found_also_in_a_hidden_folder_that_is_asked_for(tmp_path):
    folder = tmp_path / ".mine"
    touch(folder, *LITTER, "x.jpg", "deep/y.txt", "deep/down/z")
    found = [path.relative_to(folder).as_posix() for path in visible_files(folder)]
    assert found == ["x.jpg", "deep/y.txt", "deep/down/z"]


def test_links_are_followed_and_circles_are_not(tmp_path):
    touch(tmp_path, "elsewhere/x.jpg", "mine/y.jpg")
    (tmp_path / "mine/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/circle").symlink_to(tmp_path / "mine")
    found = [path.relative_to(tmp_path).as_posix() for path in visible_files(tmp_path / "mine")]
    assert found == ["mine/y.jpg", "mine/linked/x.jpg"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("site0.v1.jpg", "site0.v1"),
        ("site0.v1", "site0.v1"),
        ("frame.0001.jpg", "frame.0001"),
        ("frame.0001", "frame.0001"),
        ("a.b/c.d.JPEG", "a.b/c.d"),
        ("x.jfif", "x"),
        ("x", "x"),
        (".jpg", ".jpg"),
    ],
)
def test_a_name_loses_the_suffix_of_an_image_alone(name, stem):
    assert without_image_suffix(name) == stem


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".jp2", ".ppm", ".pgm", ".JPG"])
def test_formats_that_pillow_reads_are_images(suffix):
    assert is_image_name(f"x{suffix}")


def test_what_is_left_out_is_counted_in_one_line():
    line = describe_left_out(["a.jpg", "b.HEIC", "c.heic", "d.txt", "README"])
    assert line is not None
    assert line.startswith("4 files are left out")
    assert line.endswith("1 without suffix, 2 .heic, 1 .txt.")
    assert describe_left_out(["a.jpg"]) is None


def test_every_name_can_be_printed():
    assert printable(Path(os.fsdecode(b"caf\xe9.jpg"))) == "caf\\xe9.jpg"
    assert printable("café.jpg") == "café.jpg"


def test_own_data_keep_the_dots_of_their_names_and_say_what_is_left_out(tmp_path):
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for number in range(4):
            pixels = np.full((4, 6), number % 2, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"site{number}.v1.{suffix}")
    touch(tmp_path / "images", "site0.v1.heic", "notes.txt", "._site0.v1.jpg", ".ipynb_checkpoints/site1.v1.jpg")
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    dataset = open_folder(tmp_path, tmp_path / "labels.txt")
    pairs = [pair for split in dataset.splits.values() for pair in split]
    assert sorted(pair.name for pair in pairs) == [f"site{number}.v1" for number in range(4)]
    row = encode_pair(pairs[0], dataset.train_ids).row
    assert (row["image"]["path"], row["label"]["path"]) == (f"{pairs[0].name}.jpg", f"{pairs[0].name}.png")
    assert any("2 files are left out" in note and "1 .heic" in note for note in dataset.notes)
