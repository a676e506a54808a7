# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The files of a download where they lie: in folders, or in the zip and tar files that were downloaded.

Both are seen as one tree of names, as if every archive had been unpacked into the folder that it lies in. Nothing is
ever unpacked to disk.
"""

import dataclasses
import functools
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ..image_files import is_hidden, visible_files


_WILDCARDS = {"{name}": "([^/]+)", "{number}": "([0-9]+)", "*": "[^/]+"}


@dataclass(frozen=True)
class File:
    """
    A file on disk or in an archive.

    Args:
        container: the file itself, or the archive that holds it.
        name: its path in the tree, with forward slashes.
        size: number of bytes.
        member: its name in a zip file.
        offset: where it starts in a tar file.
        version: tells it from other content of the same name and size without being read: when it (or the tar file)
            was modified, and when that was said of it, which unpacking and copying do not set back; or its checksum
            in a zip file.
    """

    container: Path
    name: str
    size: int
    member: str | None = None
    offset: int = 0
    version: int | str = ""

    def __str__(self) -> str:
        """The path that a person finds it under; what is in an archive has the archive's path in front."""
        path = str(self.container)
        return path if path.endswith(self.name) else f"{path}/{self.name}"

    @property
    def stamp(self) -> str:
        """Another text for another file, and for the same file once it has changed."""
        return f"{self.name} {self.size} {self.version}"

    def open(self) -> BinaryIO:
        """The content as a stream, of which no more is read from disk than is asked for, but in tar files."""
        if self.member is not None:
            return cast(BinaryIO, self._zip().open(self.member))
        return BytesIO(self.read()) if self.offset else self.container.open("rb")

    def read(self) -> bytes:
        """
        The content.

        Raises:
            ValueError: if it cannot be read, for instance because an archive is damaged.
        """
        try:
            if self.member is not None:
                return self._zip().read(self.member)
            with self.container.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"Cannot read {self}: {error}") from error
        if len(content) != self.size:
            raise ValueError(f"Cannot read {self}: it ends after {len(content)} of {self.size} bytes.")
        return content

    def _zip(self) -> zipfile.ZipFile:
        return _open_zip(self.container, self.container.stat().st_mtime_ns, os.getpid())


class FileTree:
    """
    The files below a folder or in an archive. Hidden files, and macOS' additions to archives, are left out.

    A file on disk comes before one of the same name in an archive beside it.

    Args:
        source: a folder, which may hold .zip and .tar files at any depth, or such a file.

    Raises:
        ValueError: if there is no such folder or file, or an archive cannot be read or holds a name that points
            outside of it.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = Path(source)
        self.files: dict[str, File] = {}
        # Other files of one name in two archives; the first is the one in `files`.
        self.clashes: dict[str, tuple[File, File]] = {}
        if self.source.is_dir():
            listed = list(_walk(self.source))
        elif self.source.suffix.lower() in _PACKED and self.source.exists():
            raise ValueError(f"{source} is packed in a way that is not read as it is (.zip and .tar are): unpack it.")
        elif self.source.exists():
            listed = [_on_disk(self.source, self.source.name)]
        else:
            raise ValueError(f"There is no folder or file {source}.")
        archives = [file for file in listed if is_archive(file.name)]
        containers = {archive.container for archive in archives}
        for file in listed:
            self.files[file.name] = file
        for archive in archives:
            for file in _list_archive(archive):
                first = self.files.setdefault(file.name, file)
                if first.container in containers and first.stamp != file.stamp:
                    self.clashes[file.name] = first, file

    def find(self, pattern: str) -> dict[str, File]:
        """
        Files by name.

        Args:
            pattern: how the path ends, in whole folders: `{name}` stands for the file's name as it will be known,
                `{number}` for one of digits only, and `*` for any one folder.

        Returns:
            `{name}` or `{number}` of each file -> file, sorted; empty if there are none.

        Raises:
            ValueError: if two files have the same name.
        """
        parts = re.split(r"(\{name\}|\{number\}|\*)", pattern)
        expression = "".join(_WILDCARDS.get(part) or re.escape(part) for part in parts)
        matches = re.compile(f"(?:.*/)?{expression}").fullmatch
        found: dict[str, File] = {}
        for path in sorted(self.files):
            if match := matches(path):
                file = self.files[path]
                if other := found.get(match[1]):
                    raise ValueError(f"Which is it, {other} or {file}? Name a source that has only one {pattern}.")
                found[match[1]] = file
        return dict(sorted(found.items()))

    def require(self, pattern: str) -> dict[str, File]:
        """Like `find`, but with a ValueError that says what was looked for, and where, if there are none."""
        found = self.find(pattern)
        if not found:
            raise ValueError(f"There is nothing like {pattern} in {self.source}, nor in .zip and .tar files there.")
        return found


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive that is read without being unpacked."""
    return PurePosixPath(name).suffix.lower() in _LISTERS


def _walk(folder: Path) -> Iterator[File]:
    for path in visible_files(folder):
        if path.is_file():
            yield _on_disk(path, path.relative_to(folder).as_posix())


def _on_disk(path: Path, name: str) -> File:
    stat = path.stat()
    return File(path, name, stat.st_size, version=_version(stat))


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns} {stat.st_ctime_ns}"


def _list_archive(archive: File) -> Iterator[File]:
    """The files in an archive, under the names they would have if it were unpacked where it lies."""
    folder = PurePosixPath(archive.name).parent
    try:
        members = _LISTERS[archive.container.suffix.lower()](archive.container)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive.container} is not a complete archive: {error}") from error
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{archive.container} holds {member.name!r}, a path that leads outside. Do not trust it.")
        if not any(map(is_hidden, path.parts)):
            yield dataclasses.replace(member, name=str(folder / path))


def _list_zip(path: Path) -> list[File]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    return [
        # Some programs of Windows write backslashes, which the format forbids.
        File(path, member.filename.replace("\\", "/"), member.file_size, member.filename, version=member.CRC)
        for member in members
    ]


def _list_tar(path: Path) -> list[File]:
    # Not compressed, so that members can be read where they lie.
    with tarfile.open(path, "r:") as archive:
        members = [member for member in archive if member.isreg() and not member.issparse()]
    version = _version(path.stat())
    return [File(path, member.name, member.size, offset=member.offset_data, version=version) for member in members]


_LISTERS = {".zip": _list_zip, ".tar": _list_tar}
# To read one file of these, all before it must be unpacked.
_PACKED = frozenset({".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar"})


@functools.lru_cache(maxsize=16)
def _open_zip(path: Path, version: int, process: int) -> zipfile.ZipFile:
    """A zip file that stays open, until it is another. Processes must not share one: they would move its position
    under each other."""
    return zipfile.ZipFile(path)
