# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are complete or absent, also when a process is killed while it writes them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """
    Yields a hidden name beside `path`, and gives what was written there the name `path` once all of it is.

    The body writes a file or a folder of that name. What lies at `path` is replaced; if the body raises, it is left as
    it was, and nothing else remains.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    _remove(unfinished)
    try:
        yield unfinished
        if path.is_dir():
            # A folder cannot be replaced in one step: the old one steps aside first.
            former = path.with_name(f".{path.name}.former")
            _remove(former)
            path.rename(former)
            unfinished.rename(path)
            _remove(former)
        else:
            unfinished.replace(path)
    finally:
        _remove(unfinished)


def write_json(path: str | Path, content: Any) -> None:
    """Writes `content`, plain data without NaN, to a file that is complete or absent."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
