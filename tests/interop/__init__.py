# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Holds vitseg against mmsegmentation 1.2.2 itself: `make interop`.

A module for each concern lists the cases in which both do the same work: `cases()`, whose differences have the names
`COLUMNS`. `python -m interop` goes through all of them, or through the concerns that it is given.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import operators  # noqa: F401


def check_installation() -> None:
    """
    Raises:
        SystemExit: if a package is missing or of another version than `requirements.txt` says; it names the package.
    """
    for line in (Path(__file__).parent / "requirements.txt").read_text().splitlines():
        name, _, expected = line.partition("==")
        if not name or name.startswith("#"):
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            found = ""
        if not found or expected not in ("", found):
            raise SystemExit(
                f"error: {line} is needed, and {f'{found} is' if found else 'not'} installed. `make interop` installs "
                "it into build/interop; delete that folder if this was interrupted."
            )


check_installation()
