# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Which data a run is trained on: known by their content, so that a run never goes on with others under their name."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub.utils.sha import sha_fileobj

from ..progress import progress_bar
from .sources import DataSource


# As `datasets` writes the address of a file on the Hub: data set, revision, path.
HUB_FILE = re.compile(r"hf://datasets/[^@]+@([^/]+)/(.+)")


def fingerprint_files(files: Sequence[str], source: str | Path | DataSource) -> dict[str, str]:
    """
    What tells files of a data set from others of the same names, sizes and times.

    Args:
        files: as [`parquet_files`] gives them.
        source: the folder or the repository that they are from.

    Returns:
        Name of each file in `source` -> SHA-256 of its content, or on the Hub the revision of the data set.
    """
    with ThreadPoolExecutor() as pool:
        reading = pool.map(lambda file: _fingerprint(file, source), files)
        return dict(progress_bar(reading, desc="Reading the data once", total=len(files), unit="file", delay=2))


def _fingerprint(file: str, source: str | Path | DataSource) -> tuple[str, str]:
    if on_hub := HUB_FILE.fullmatch(file):
        return on_hub[2], on_hub[1]
    with Path(file).open("rb") as stream:
        return os.path.relpath(file, source), sha_fileobj(stream).hex()
