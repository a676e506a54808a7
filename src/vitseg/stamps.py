# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What tells whether files in an output folder belong to the work that is to be continued."""

import hashlib
import json
from pathlib import Path
from stat import S_ISREG
from typing import Any

from huggingface_hub import try_to_load_from_cache


# What makes a model folder answer as it does.
MODEL_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json", "*.bin", "*.py")


def identity(**facts: Any) -> str:
    """A short text that differs if any of these facts (plain data) does."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def model_stamp(name: str) -> list[Any]:
    """
    What tells whether a model has changed: the files that make it, with their sizes and times of modification; of a
    model on the Hub, those that were downloaded last. Whatever else a folder holds may change, such as results.
    """
    folder = Path(name)
    if not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json")
        folder = Path(config).parent if isinstance(config, str) else folder
    files = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    return [file_stamp(file) for file in sorted(files)] or [name]


def file_stamp(file: Path) -> list[Any]:
    """
    What tells whether a file has changed: its name, size and time of modification.

    Raises:
        OSError: if there is none.
        ValueError: if it is a pipe, or the like, from which nothing may ever come.
    """
    stat = file.stat()
    if not S_ISREG(stat.st_mode):
        raise ValueError("it is no file: save what comes from it in one")
    return [file.name, stat.st_size, stat.st_mtime_ns]
