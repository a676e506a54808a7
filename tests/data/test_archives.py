# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Downloads are read where they lie, packed or not; damaged and hostile archives are refused in plain words."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from vitseg.data.archives import FileTree


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


MEMBERS = {"top/images/a.jpg": b"an image", "top/images/deep/b.jpg": b"another", "top/list.txt": b"a\n"}


def contents(tree: FileTree) -> dict[str, bytes]:
    return {name: file.read() for name, file in tree.files.items()}


def test_folder_zip_and_tar_hold_the_same_files(tmp_path):
    for name, content in MEMBERS.items():
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    packed = tmp_path / "packed"
    packed.mkdir()
    for source in (
        tmp_path / "folder",
        write_zip(packed / "a.zip", MEMBERS),
        write_tar(packed / "b.tar", MEMBERS),
    ):
        found = contents(FileTree(source))
        assert {name: found[name] for name in MEMBERS} == MEMBERS


def test_archives_count_as_unpacked_where_they_lie(tmp_path):
    (tmp_path / "images").mkdir()
    write_zip(tmp_path / "images" / "train.ZIP", {"./train/a.jpg": b"1"})
    write_tar(tmp_path / "labels.tar", {"train/a.png": b"2"})
    tree = FileTree(tmp_path)
    assert tree.files["images/train/a.jpg"].read() == b"1"
    assert tree.files["train/a.png"].read() == b"2"
    assert str(tree.files["train/a.png"]) == f"{tmp_path}/labels.tar/train/a.png"


def test_unpacked_files_come_before_packed_ones(tmp_path):
    write_zip(tmp_path / "all.zip", {"a.txt": b"packed", "b.txt": b"packed"})
    (tmp_path / "a.txt").write_bytes(b"unpacked")
    tree = FileTree(tmp_path)
    assert (tree.files["a.txt"].read(), tree.files["b.txt"].read()) == (b"unpacked", b"packed")


def test_hidden_files_are_left_out(tmp_path):
    write_zip(tmp_path / "mac.zip", {"a.jpg": b"1", "__MACOSX/._a.jpg": b"2", "sub/.hidden": b"3"})
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.jpg").write_bytes(b"4")
    assert set(FileTree(tmp_path).files) == {"a.jpg", "mac.zip"}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../outside.txt", "images/../../outside.txt", "/etc/outside.txt"])
def test_names_that_lead_outside_are_refused(tmp_path, write, name):
    archive = write(tmp_path / ("a.zip" if write is write_zip else "a.tar"), {"fine.txt": b"", name: b"evil"})
    with pytest.raises(ValueError, match=r"a\.(zip|tar) holds .*outside"):
        FileTree(archive)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_incomplete_archive_is_named(tmp_path):
    archive = write_zip(tmp_path / "half.zip", {"a.txt": bytes(1000)})
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"half\.zip is not a complete archive"):
        FileTree(tmp_path)


def test_damaged_member_is_named(tmp_path):
    archive = write_zip(tmp_path / "bad.zip", {"images/a.txt": b"0123456789" * 50})
    content = bytearray(archive.read_bytes())
    content[45] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read .*bad\.zip/images/a\.txt"):
        FileTree(archive).files["images/a.txt"].read()


def test_links_that_lead_in_circles_end(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"1")
    (tmp_path / "images" / "again").symlink_to(tmp_path)
    assert set(FileTree(tmp_path).files) == {"images/a.jpg"}


def test_linked_folders_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").write_bytes(b"1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    assert set(FileTree(tmp_path / "data").find("images/{name}.jpg")) == {"a"}


def test_find_matches_whole_folders_and_sorts(tmp_path):
    names = ("train2017/2.png", "x/train2017/1.png", "panoptic_train2017/3.png", "train2017/4_extra.png")
    tree = FileTree(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"")))
    assert list(tree.find("train2017/{number}.png")) == ["1", "2"]
    assert list(tree.find("train2017/{name}.png")) == ["1", "2", "4_extra"]
    assert list(tree.find("x/*/{name}.png")) == ["1"]
    assert tree.find("{name}.jpg") == {}


def test_two_files_of_one_name_are_told(tmp_path):
    tree = FileTree(write_zip(tmp_path / "a.zip", {"old/images/a.jpg": b"", "new/images/a.jpg": b""}))
    with pytest.raises(ValueError, match=r"new/images/a\.jpg or .*old/images/a\.jpg"):
        tree.find("images/{name}.jpg")


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ValueError, match="no folder or file"):
        FileTree(tmp_path / "nothing")
    with pytest.raises(ValueError, match=rf"images/train/{{name}}\.jpg in {tmp_path}"):
        FileTree(tmp_path).require("images/train/{name}.jpg")


def test_backslashes_of_windows_part_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo()
        member.filename = "images\\train\\a.jpg"
        archive.writestr(member, b"pixels")
    assert FileTree(tmp_path / "a.zip").files["images/train/a.jpg"].read() == b"pixels"
