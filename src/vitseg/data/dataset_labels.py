# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The label table of a prepared data set: names and colours of the train ids in its label maps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from .augmentation import IGNORE_INDEX
from .sources import DataSource, open_source
from .texts import parse_json, read_text


LABELS_FILE = "labels.json"


@dataclass(frozen=True, kw_only=True)
class DatasetLabels:
    """
    The classes of a data set.

    Args:
        names: class names by train id, all different.
        palette: RGB colours (0..255) by train id, or `None`.
        ignore_index: value of the pixels in its label maps that are of no class.
        max_names: how many names there may be: as many as a label map can tell apart, or `None` for any number where
            there are no label maps.

    Raises:
        ValueError: if there are no names, more than `max_names`, one twice or without a character, or not as many
            colours, or the ignored value is that of a class.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None
    ignore_index: int = IGNORE_INDEX
    max_names: int | None = IGNORE_INDEX

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("There are no class names; expected 1 or more.")
        if self.max_names is not None and len(self.names) > self.max_names:
            raise ValueError(
                f"There are {len(self.names)} class names, but label maps tell {self.max_names} classes apart: "
                f"{IGNORE_INDEX} stands for ignored pixels. Merge classes or leave some out. (Models take more in a "
                "loop of your own, with a semantic_loss_ignore_index that is no class.)"
            )
        if not all(map(str.strip, self.names)):
            raise ValueError(f"The name of the class {[*map(str.strip, self.names)].index('')} is empty.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(f"Class names must differ, but these stand there twice: {', '.join(repeated)}.")
        if self.palette is not None and len(self.palette) != len(self.names):
            raise ValueError(f"There are {len(self.palette)} colours for {len(self.names)} class names.")
        if self.max_names is not None and 0 <= self.ignore_index < len(self.names):
            raise ValueError(
                f"The ignored value is {self.ignore_index}, but that is the class {self.names[self.ignore_index]!r}: "
                "leave the name out, with the classes as an object of value -> name, or ignore another value."
            )

    @property
    def id2label(self) -> dict[int, str]:
        """Train id -> class name, as a model's configuration holds it."""
        return dict(enumerate(self.names))

    def to_json(self) -> str:
        """The content of a `labels.json`."""
        table: dict[str, Any] = {"names": self.names, "ignore_index": self.ignore_index}
        if self.palette is not None:
            table["palette"] = self.palette
        return json.dumps(table, indent=2) + "\n"


def read_labels(file: str | Path) -> DatasetLabels:
    """
    Read the label table of prepared data.

    Args:
        file: JSON with the keys `names` and, optionally, `palette` and `ignore_index`, which is 255; or a list of
            names; or an object of train id -> name, like `id2label` of a model.

    Raises:
        ValueError: if the file does not hold such a table.
    """
    try:
        labels = labels_of(parse_json(read_text(file)))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not a label table: {error}") from error
    if labels.ignore_index != IGNORE_INDEX:
        raise ValueError(
            f"{file} says that {labels.ignore_index} is ignored, but prepared label maps hold {IGNORE_INDEX} there. "
            "`vitseg prepare folder` makes it so, with this table."
        )
    return labels


def labels_of(table: Any) -> DatasetLabels:
    """
    The classes in the content of a label table, as `read_labels` describes it.

    Raises:
        TypeError, ValueError: if it is no such table.
    """
    if isinstance(table, Mapping) and "names" in table:
        palette, ignore_index = table.get("palette"), table.get("ignore_index", IGNORE_INDEX)
        if not isinstance(ignore_index, int):
            raise ValueError(f"ignore_index is {ignore_index!r}, expected an integer")
        colors = palette if palette is None else tuple(_color(color) for color in palette)
        return DatasetLabels(names=_names(table["names"]), palette=colors, ignore_index=ignore_index)
    if isinstance(table, Mapping):
        ids = {int(index): name for index, name in table.items()}
        if sorted(ids) != list(range(len(ids))):
            raise ValueError(f"the ids are {sorted(ids)}, expected 0 to {len(ids) - 1}")
        table = [ids[index] for index in range(len(ids))]
    return DatasetLabels(names=_names(table))


def load_labels(source: str | Path | DataSource) -> DatasetLabels:
    """
    The label table of a prepared data set.

    Args:
        source: a local folder, or a data set repository of the Hub.

    Raises:
        ValueError: if it is no data set, has no `labels.json`, or that is not a label table.
    """
    open_source(source)
    file = Path(source) / LABELS_FILE
    try:
        if not Path(source).is_dir():
            file = Path(hf_hub_download(DataSource.of(source).name, LABELS_FILE, repo_type="dataset"))
    except EntryNotFoundError:
        pass
    if not file.exists():
        raise ValueError(
            f"The data set {source} has no {LABELS_FILE}. Give its class names in a file of your own (--labels)."
        )
    return read_labels(file)


def _names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a list of class names")
    return tuple(names)


def _color(color: Any) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in color)
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise ValueError(f"{color} is not a colour of three numbers from 0 to 255")
    return red, green, blue
