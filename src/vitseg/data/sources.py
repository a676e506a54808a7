# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a data set is, and what its columns are called: the same for training, evaluation and prediction."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..image_files import is_image_name, visible_files


# What the rows of a data set may lack.
OPTIONAL_COLUMNS = ("file_name",)
_LABEL_COLUMNS = ("label", "objects")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_SAVED_TO_DISK = ("dataset_dict.json", "dataset_info.json")


@dataclass(frozen=True, kw_only=True)
class DataSource(os.PathLike[str]):
    """
    A data set of Parquet files. What takes one also takes its name alone. As a path it is its folder.

    Args:
        name: a local folder, or a data set repository of the Hub.
        config: which of its configurations, if it has several.
        image_column: what it calls the column `image`.
        label_column: what it calls the column `label`, or `objects` where there are objects; `None` for just that.
    """

    name: str
    config: str | None = None
    image_column: str = "image"
    label_column: str | None = None

    @classmethod
    def of(cls, source: "str | Path | DataSource") -> "DataSource":
        return source if isinstance(source, DataSource) else cls(name=str(source))

    def __fspath__(self) -> str:
        return self.name

    def __str__(self) -> str:
        """The name, with whatever is not as usual."""
        usual = DataSource(name=self.name)
        other = [f"{key} {value}" for key, value in vars(self).items() if value != getattr(usual, key)]
        return f"{self.name} ({', '.join(other)})" if other else self.name

    def stored(
        self, columns: Sequence[str], schema: pa.Schema, where: str, optional: Sequence[str] = OPTIONAL_COLUMNS
    ) -> dict[str, str]:
        """
        What the data set calls some columns.

        Args:
            columns: as vitseg calls them.
            schema: of its files.
            where: which file, for the message.
            optional: those that it may lack.

        Returns:
            Stored name -> name in vitseg, in the order of `columns`, without optional ones that it lacks.

        Raises:
            ValueError: if it lacks another, or a column of images holds none.
        """
        names = {self.name_of(column): column for column in columns}
        if len(names) < len(columns):
            twice = next(column for column in columns if names[self.name_of(column)] != column)
            raise ValueError(
                f"The column {self.name_of(twice)!r} of {where} cannot be the {twice} and the "
                f"{names[self.name_of(twice)]} at once; it has {', '.join(schema.names)}. Those of images and labels "
                "are named with --image-column and --label-column."
            )
        missing = [name for name, column in names.items() if name not in schema.names and column not in optional]
        if missing:
            raise ValueError(
                f"{where} has no column {', '.join(missing)}; it has {', '.join(schema.names)}. Those of images and "
                "labels are named with --image-column and --label-column."
            )
        # With file names there are label maps, and else the classes of whole images.
        of_images = ("image", "label") if "file_name" in columns else ("image",)
        stored = {}
        for name, column in names.items():
            if name not in schema.names:
                continue
            kind = schema.field(name).type
            if column not in of_images or holds_images(kind):
                stored[name] = column
            elif column not in optional:
                raise ValueError(
                    f"The column {name!r} of {where} holds {kind}, not encoded images. Name the one that does with "
                    f"--{column}-column; there are {', '.join(schema.names)}."
                )
        return stored

    def name_of(self, column: str) -> str:
        """What the data set calls a column."""
        if column == "image":
            return self.image_column
        return self.label_column or column if column in _LABEL_COLUMNS else column


def holds_images(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded images: bytes, or a structure with bytes."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def open_source(source: str | Path | DataSource) -> datasets.DatasetBuilder:
    """
    What `datasets` finds there: its files by split, and what it knows of its columns.

    Raises:
        ValueError: if that are no Parquet files. The message says what is there, and how to make Parquet files of it.
    """
    source = DataSource.of(source)
    if problem := _problem_here(source.name):
        raise ValueError(problem)
    try:
        builder = datasets.load_dataset_builder(source.name, name=source.config)
    except ValueError as error:
        raise ValueError(_problem_of_config(source, error)) from error
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"There is no folder {source.name}, and as a data set on the Hub it cannot be read: {error}. "
            f"{_to_prepare()}"
        ) from error
    files = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    others = [file for file in files if not file.endswith(".parquet")]
    if others or not files:
        found = f"not in Parquet files, but in such as {others[0]}" if others else "made by a script, not of files"
        raise ValueError(f"The data set {source} is {found}. {_to_prepare()}")
    return builder


def add_source_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say which part of a data set is meant, and what its columns are called."""
    parser.add_argument("--config", metavar="NAME", help="which of the data set's configurations")
    parser.add_argument("--image-column", default="image", metavar="NAME", help="its column of images (image)")
    parser.add_argument("--label-column", metavar="NAME", help="its column of labels (label)")


def source_of(args: argparse.Namespace) -> DataSource:
    """The data set that the options of `add_source_options` and `--dataset` name."""
    return DataSource(
        name=args.dataset, config=args.config, image_column=args.image_column, label_column=args.label_column
    )


def _problem_here(name: str) -> str | None:
    """Why what is called so on this machine is no data set; `None` if it may be one, or may be on the Hub."""
    path = Path(name)
    if path.is_dir():
        return _problem_of_folder(path)
    if path.exists():
        if path.suffix == ".parquet":
            return f"{name} is a single Parquet file. Give the folder that it is in."
        kind = "an archive" if path.suffix.lower() in _ARCHIVES else "a file"
        return f"{name} is {kind}, not a folder of Parquet files. {_to_prepare(name)}"
    unfinished = path.absolute().with_name(f".{path.absolute().name}-unfinished")
    if unfinished.is_dir():
        return f"The preparation of {name} is not finished: `vitseg prepare` with the same options goes on with it."
    try:
        validate_repo_id(name)
    except HFValidationError:
        return f"There is no folder {name}. {_to_prepare()}"
    return None


def _problem_of_folder(folder: Path) -> str | None:
    # With a card that says where its files are, a folder need not hold them.
    if next(folder.rglob("*.parquet"), None) or _names_files(folder / "README.md"):
        return None
    if any((folder / name).exists() for name in _SAVED_TO_DISK):
        return (
            f"{folder} was written by `save_to_disk`, not as Parquet files. These lines write those of each split: "
            f"`import datasets; saved = datasets.load_from_disk({str(folder)!r})`, and `saved['train'].to_parquet("
            "'FOLDER/data/train-0.parquet')`."
        )
    files = [path.name for path in visible_files(folder)]
    if any(map(is_image_name, files)):
        return f"{folder} holds images as files, not in Parquet files. {_to_prepare(str(folder))}"
    return f"{folder} holds no Parquet files{'' if files else ', nor anything else'}. {_to_prepare()}"


def _names_files(card: Path) -> bool:
    return card.exists() and re.search(r"^\s*-?\s*data_files:", card.read_text("utf-8", "replace"), re.M) is not None


def _to_prepare(name: str = "FOLDER") -> str:
    return (
        f"`vitseg prepare folder --source {name} --labels FILE --output DIR` prepares images and masks; for the "
        "benchmarks see `vitseg prepare --help`."
    )


def _problem_of_config(source: DataSource, error: ValueError) -> str:
    try:
        configs = datasets.get_dataset_config_names(source.name)
    except (OSError, ValueError):
        configs = []
    if len(configs) > 1 and source.config is None:
        return f"{source} has several configurations: choose one of {', '.join(configs)} with --config."
    if configs and source.config not in (None, *configs):
        return f"{source.name} has no configuration {source.config!r}; it has {', '.join(configs)}."
    return f"{source} cannot be read as a data set: {error}"
