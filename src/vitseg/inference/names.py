# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the results of images are called, so that no two have the same name."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..image_files import without_media_suffix


def result_names(paths: Sequence[str]) -> list[str]:
    """
    What the results of each image are called: its own name, behind as many of its folders as it takes to be unique.

    The suffix only stays where images of one folder differ in nothing else. Paths are absolute, and each comes once.
    """
    stems = _without_suffix(paths)
    # As file systems see them that take A for a. Images of one folder that differ in nothing else come from others.
    names = _unique_ends(stems, _folded)
    if not all(names):
        # A path that ends another path is itself all that tells it apart.
        exact = _unique_ends(stems, str)
        names = [
            name or same_case or stem.removeprefix(Path(stem).anchor)
            for name, same_case, stem in zip(names, exact, stems, strict=True)
        ]
    return names


def _without_suffix(paths: Sequence[str]) -> list[str]:
    """Paths without the suffixes of images and videos, but of those that would not differ without."""
    stems = list(map(without_media_suffix, paths))
    # Again, because a name that has kept its suffix may be another's without: of a.jpg, a.png and a.jpg.gif.
    while len(counts := Counter(stems)) < len(stems):
        longer = [path if counts[stem] > 1 else stem for path, stem in zip(paths, stems, strict=True)]
        if longer == stems:
            break
        stems = longer
    return stems


def _unique_ends(paths: Sequence[str], key: Callable[[str], str]) -> list[str]:
    """The shortest end of each path, from one of its folders on, whose key no other path's end has; or `""`."""
    names = [""] * len(paths)
    waiting: Sequence[int] = range(len(paths))
    length = 0
    while waiting:
        length += 1
        # A path without so many folders is done: ends are compared with those of the same length alone.
        ends = {index: parts for index in waiting if (parts := _end(paths[index], length))}
        counts = Counter(map(key, ends.values()))
        waiting = []
        for index, end in ends.items():
            if counts[key(end)] == 1:
                names[index] = end
            else:
                waiting.append(index)
    return names


def _end(path: str, length: int) -> str:
    """The last folders and the name of an absolute path, so many in all; `""` if it has fewer."""
    root, *parts = path.rsplit(os.sep, length)
    return path[len(root) + 1 :] if len(parts) == length else ""


def _folded(path: str) -> str:
    """A path as file systems compare it that know neither case nor composition of letters."""
    return unicodedata.normalize("NFC", path).casefold()
