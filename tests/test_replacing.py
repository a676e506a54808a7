# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What is replaced is complete at any time, also when the process that replaces it is killed."""

from pathlib import Path

import pytest
from tiny_setr import save_tiny_setr

from vitseg.cli import main
from vitseg.replacing import recover, replacing, standing
from vitseg.training.run_folder import RunFolder


def write(path: Path, content: str) -> None:
    with replacing(path) as folder:
        folder.mkdir()
        (folder / "weights").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Killed(BaseException):
    """Like the end of a process, after which nothing of it runs."""


@pytest.fixture
def killed(tmp_path, monkeypatch) -> Path:
    """A folder as a process leaves it that is killed after its first renaming."""
    best = tmp_path / "best"
    write(best, "old")
    renamed: list[Path] = []
    rename = Path.rename

    def rename_once(path: Path, target: Path) -> Path:
        if renamed:
            raise Killed
        renamed.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_once)
        with pytest.raises(Killed):
            write(best, "new")
    assert not best.exists()
    return best


def test_a_folder_is_replaced_without_a_trace(tmp_path):
    for content in ("old", "new"):
        write(tmp_path / "best", content)
        assert names(tmp_path) == ["best"]
        assert (tmp_path / "best/weights").read_text() == content


def test_what_cannot_be_finished_leaves_what_was_there(tmp_path, monkeypatch):
    write(tmp_path / "best", "old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "best"):
        raise KeyboardInterrupt
    rename = Path.rename

    def refuse_the_new_one(path: Path, target: Path) -> Path:
        if path.name.endswith(".unfinished"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(PermissionError):
        write(tmp_path / "best", "new")
    assert names(tmp_path) == ["best"]
    assert (tmp_path / "best/weights").read_text() == "old"


def test_after_a_kill_readers_find_the_former_folder(killed):
    assert (Path(standing(killed)) / "weights").read_text() == "old"
    recover(killed)
    assert standing(killed) == str(killed)
    assert names(killed.parent) == ["best"]


def test_the_next_replacement_starts_from_it(killed):
    with pytest.raises(ValueError, match="halfway"), replacing(killed):
        raise ValueError("halfway")
    assert (killed / "weights").read_text() == "old"
    write(killed, "newer")
    assert names(killed.parent) == ["best"]
    assert (killed / "weights").read_text() == "newer"


def test_a_resumed_run_has_its_best_model_back(killed):
    RunFolder(killed.parent).begin({}, {}, step=0)
    assert (killed / "weights").read_text() == "old"


def test_commands_read_the_former_model(killed, tmp_path, capsys):
    former = Path(standing(killed))
    save_tiny_setr(tmp_path / "model", ["a", "b"])
    (former / "weights").unlink()
    former.rmdir()
    (tmp_path / "model").rename(former)
    assert main(["describe", str(killed)]) == 0
    assert "setr" in capsys.readouterr().out.lower()


def test_a_name_on_the_hub_is_no_path():
    assert standing("vitseg/no-such-model") == "vitseg/no-such-model"


def test_the_longest_name_that_a_file_may_have(tmp_path):
    path = tmp_path / ("é" * 127)
    for content in ("old", "new"):
        write(path, content)
        assert (path / "weights").read_text() == content
    with replacing(tmp_path / ("x" * 251 + ".txt")) as unfinished:
        unfinished.write_text("whole")
    assert names(tmp_path) == ["x" * 251 + ".txt", path.name]


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "best").symlink_to("large/best")
    for content in ("old", "new"):
        write(tmp_path / "best", content)
        assert (tmp_path / "best").is_symlink()
        assert names(tmp_path) == ["best", "large"]
        assert names(tmp_path / "large") == ["best"]
        assert (tmp_path / "large/best/weights").read_text() == content


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    write(tmp_path / "a.png", "a person's")
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "a.png") as unfinished:
        unfinished.write_text("a file")
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png/weights").read_text() == "a person's"
