# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the values or colours in a user's own masks mean, as the user wrote it down."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .annotations import TrainIds
from .augmentation import IGNORE_INDEX
from .dataset_labels import DatasetLabels, read_labels


# Of a 16-bit mask.
_LARGEST_VALUE = 65535


def read_own_labels(file: str | Path, ignore: Sequence[str] = ()) -> tuple[DatasetLabels, TrainIds]:
    """
    Read a table of labels.

    Args:
        file: as `open_folder` describes it.
        ignore: values or colours that stand for no class.

    Returns:
        The classes, and what the masks' values mean.

    Raises:
        ValueError: if the file holds no such table, or names something twice.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8")
        table = json.loads(text) if file.suffix.lower() == ".json" else text.split("\n")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not a label table: {error}") from error
    if isinstance(table, Mapping) and "names" not in table:
        try:
            return _from_values(table, ignore)
        except ValueError as error:
            raise ValueError(f"{file} is not a label table: {error}") from error
    if file.suffix.lower() == ".json":
        labels = read_labels(file)
    else:
        labels = DatasetLabels(names=tuple(line.strip() for line in table if line.strip()))
    return labels, _train_ids(list(labels.id2label), ignore, is_colored=False)


def _from_values(table: Mapping[str, str], ignore: Sequence[str]) -> tuple[DatasetLabels, TrainIds]:
    """Labels by value, in the values' order, or by colour, in the table's order."""
    values = {text: _parse_value(text) for text in table}
    kinds = {is_color for _, is_color in values.values()}
    if len(kinds) != 1:
        raise ValueError("expected either values or colours, and at least one")
    is_colored = kinds.pop()
    order = list(table) if is_colored else sorted(table, key=lambda text: values[text][0])
    raw = [values[text][0] for text in order]
    if len(set(raw)) < len(raw):
        raise ValueError("a value or colour stands there twice")
    names = [table[text] for text in order]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("expected a name for each value")
    palette = tuple((color >> 16, color >> 8 & 255, color & 255) for color in raw) if is_colored else None
    return DatasetLabels(names=tuple(names), palette=palette), _train_ids(raw, ignore, is_colored)


def _train_ids(raw: Sequence[int], ignore: Sequence[str], is_colored: bool) -> TrainIds:
    raw_to_train = {value: train for train, value in enumerate(raw)}
    ignored = set()
    for text in ignore:
        value, is_color = _parse_value(text)
        if is_color != is_colored:
            raise ValueError(f"{text} is to be ignored, but masks hold {'colours' if is_colored else 'values'} here")
        if value in raw_to_train:
            raise ValueError(f"{text} is to be ignored, but it is a class")
        ignored.add(value)
    if not is_colored and IGNORE_INDEX not in raw_to_train:
        ignored.add(IGNORE_INDEX)
    return TrainIds(raw_to_train | dict.fromkeys(ignored, IGNORE_INDEX), is_colored=is_colored)


def _parse_value(text: str) -> tuple[int, bool]:
    """A value, or a colour as `0xRRGGBB`, and whether it is a colour."""
    if re.fullmatch("[0-9]+", text) and int(text) <= _LARGEST_VALUE:
        return int(text), False
    if re.fullmatch("#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16), True
    if re.fullmatch("[0-9]+, *[0-9]+, *[0-9]+", text):
        red, green, blue = (int(channel) for channel in text.split(","))
        if max(red, green, blue) <= 255:
            return red << 16 | green << 8 | blue, True
    raise ValueError(
        f"{text!r} is neither a value from 0 to {_LARGEST_VALUE} nor a colour such as #ff8000 or 255,128,0"
    )
