# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of each image of a run."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


# What a file system says of a name that it cannot store.
NAME_ERRORS = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


@dataclass(frozen=True)
class Outcome:
    """
    What became of an image.

    Args:
        image: its path, or its name in a data set.
        status: "done"; "kept", if its results were there and are what they would be now; or "failed".
        result: what its results are called, in the output folder.
        reason: why it failed.
        report: its size and its classes, as in an `area_report`, as far as they are known.
        seconds: that the model took for it.
    """

    image: str
    status: Literal["done", "kept", "failed"]
    result: str
    reason: str | None = None
    report: dict[str, Any] | None = None
    seconds: float | None = None


def why_failed(error: Exception, path: Path) -> str:
    """
    Why there are no results of one file of many.

    Raises:
        OSError: the error, if it would be the same for others, such as on a full disk.
    """
    if not isinstance(error, OSError):
        return str(error)
    if str(error.filename) == str(path):
        return error.strerror or str(error)
    if error.errno in NAME_ERRORS:
        return f"its results cannot be named after it: {error.strerror}"
    raise error
