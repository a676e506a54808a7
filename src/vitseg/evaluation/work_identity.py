# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What tells whether the files in an output folder belong to the work that is to be continued."""

import hashlib
import json
from pathlib import Path
from typing import Any


def identity(**facts: Any) -> str:
    """A short text that differs if any of these facts (plain data) does."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def folder_stamp(name: str | Path) -> list[Any]:
    """
    What tells whether a folder has changed: its files with their sizes and times of modification. Texts are left out:
    a model card may be written after its model was measured. What is no local folder is told by its name.
    """
    files = sorted(path for path in Path(name).rglob("*") if path.is_file() and path.suffix not in (".md", ".pyc"))
    stats = [(path, path.stat()) for path in files]
    return [str(name), *([str(path.relative_to(name)), stat.st_size, stat.st_mtime_ns] for path, stat in stats)]
