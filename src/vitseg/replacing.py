# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are complete or absent, also when a process is killed while it writes them."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


_LONGEST_NAME = 255  # bytes, on most file systems


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """
    Yields a hidden name beside `path`, and gives what was written there the name `path` once all of it is.

    The body writes a file or a folder of that name. What lies at `path` is replaced, and where that is a link to a
    folder, what it leads to; a folder is not replaced by a file. If the body raises, all is left as it was, nothing
    else remains. A process that is killed leaves the former content or the new one: of a folder perhaps under a hidden
    name, where `standing` finds it, and from where `recover` and the next `replacing` fetch it.
    """
    path = _place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    unfinished = beside(path, "unfinished")
    _remove(unfinished)
    try:
        yield unfinished
        if path.is_dir() and unfinished.is_dir():
            # A folder cannot be replaced in one step: the old one steps aside first.
            path.rename(beside(path, "former"))
            try:
                unfinished.rename(path)
            finally:
                recover(path)
        else:
            unfinished.replace(path)
    finally:
        _remove(unfinished)


def recover(path: str | Path) -> None:
    """
    Finish what a process left that was killed while it replaced a folder: where there is none, its former content gets
    the name back, and else it is deleted. For those who write the folder, while nobody else does.
    """
    path = _place(path)
    former = beside(path, "former")
    if os.path.lexists(path):
        _remove(former)
    elif former.is_dir():
        former.rename(path)


def standing(path: str | Path) -> str:
    """
    Where to read what is called `path`: there, or, where a killed process has left no such folder, its former content.
    Nothing is changed, since another process may be replacing it. What is no path, a name on the Hub, is returned.
    """
    place = _place(path)
    former = beside(place, "former")
    return str(former if former.is_dir() and not os.path.lexists(place) else path)


def write_json(path: str | Path, content: Any) -> None:
    """Writes `content`, plain data without NaN, to a file that is complete or absent."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(path: str | Path) -> dict[str, Any]:
    """
    What a program noted for itself in a file, as `write_json` writes it.

    Raises:
        ValueError: naming the file, if it is damaged, or of others.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. Delete it, and what it was noted of is made anew.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} was not written by vitseg: it holds a {type(record).__name__}. Move it elsewhere.")
    return record


def _place(path: str | Path) -> Path:
    """Where a link leads, unless that is to a file: a link to a file is itself replaced."""
    path = Path(path)
    return path.resolve() if path.is_symlink() and not path.is_file() else path


def beside(path: Path, role: str) -> Path:
    """A hidden name beside a path, which a file system takes if it takes the path's own."""
    name = f".{path.name}.{role}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.{role}"
    return path.with_name(name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
