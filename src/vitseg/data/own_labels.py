# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the values or colours in a user's own masks mean, as the user wrote it down."""

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .annotations import TrainIds
from .augmentation import IGNORE_INDEX
from .dataset_labels import DatasetLabels, labels_of
from .texts import parse_json, read_text


# Of a 16-bit mask.
_LARGEST_VALUE = 65535
_COLOR = r"(?P<value>#[0-9a-fA-F]{6}|[0-9]{1,3}(?:[\s,;]+[0-9]{1,3}){2})"
_COLOR_LINES = (
    # "road:128,64,128::", as CVAT writes it, "road,128,64,128", or "road #804080".
    re.compile(rf"(?P<name>.*?)\s*[:,;\s]\s*{_COLOR}\s*(?::.*)?"),
    # "128 64 128 road".
    re.compile(rf"{_COLOR}\s*[:,;\s]\s*(?P<name>.+)"),
)
_VALUE_LINES = (
    # "7, road", "7: road" or "7 road".
    re.compile(r"(?P<value>[0-9]+)\s*[:,;=\s]\s*(?P<name>.+)"),
    # "road, 7"; but "zone 7" is a name.
    re.compile(r"(?P<name>.+?)\s*[:,;=\t]\s*(?P<value>[0-9]+)"),
)
# What CSV files put around fields.
_QUOTES = re.compile(r'^\s*"|[,;\t]"', re.MULTILINE)
_OTHER_FORMATS = (".xml", ".yaml", ".yml")


def read_own_labels(
    file: str | Path | Mapping[str, str], ignore: Sequence[str] = (), masks_have_colors: bool = True
) -> tuple[DatasetLabels, TrainIds, tuple[int, ...]]:
    """
    Read a table of labels.

    Args:
        file: what the masks' values mean. JSON: a list of names, by value; an object of value -> name, whose train ids
            are in ascending order of value; an object of colour -> name ("#rrggbb" or "r,g,b") for masks whose colours
            stand for classes, whose train ids are in the order of the file; or a `labels.json`, whose `ignore_index`
            is ignored. Text or CSV: a name on each line, by value; or with its value or its colour, as in CVAT's
            `labelmap.txt`. Comments (lines that begin with "#") and a header over values or colours are passed by. Or
            what such an object holds.
        ignore: values or colours that stand for no class.
        masks_have_colors: without, a file of colours on lines is one of names, by value.

    Returns:
        The classes, what the masks' values mean, and the values that are ignored although nobody said so.

    Raises:
        ValueError: if the file holds no such table, or names something twice.
    """
    try:
        table, is_json = (file, True) if isinstance(file, Mapping) else _read_table(Path(file))
        if isinstance(table, Mapping) and "names" not in table:
            labels, raw, is_colored = _from_values(table)
            if is_colored and not masks_have_colors and not is_json:
                raw, is_colored = list(labels.id2label), False
        else:
            labels = labels_of(table)
            raw, is_colored = list(labels.id2label), False
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not a label table: {error}") from error
    ignored = _ignored(raw, ignore, is_colored)
    unnamed = set() if is_colored else {labels.ignore_index} - {*raw, *ignored}
    train_ids = {value: train for train, value in enumerate(raw)} | dict.fromkeys(ignored | unnamed, IGNORE_INDEX)
    said = {labels.ignore_index} - {IGNORE_INDEX}
    return (
        dataclasses.replace(labels, ignore_index=IGNORE_INDEX),
        TrainIds(train_ids, is_colored=is_colored),
        tuple(unnamed - said),
    )


def _read_table(file: Path) -> tuple[Any, bool]:
    """What a file holds, and whether it is JSON."""
    text = read_text(file)
    is_json = file.suffix.lower() == ".json" or text.lstrip().startswith(("{", "["))
    if not is_json and file.suffix.lower() in _OTHER_FORMATS:
        raise ValueError('write it as JSON, such as {"0": "road"}, or as text with a name on each line')
    return (parse_json(text) if is_json else parse_lines(text)), is_json


def parse_lines(text: str) -> list[str] | dict[str, str]:
    """
    Names by position, by value or by colour ("r,g,b"), whatever the lines hold.

    Raises:
        ValueError: if they hold something else.
    """
    lines = [line.strip() for line in text.splitlines()]
    if _QUOTES.search(text):
        rows = csv.reader(lines, delimiter=max(",;\t", key=text.count), skipinitialspace=True)
        lines = ["\t".join(field.strip() for field in row) for row in rows]
    lines = [line for line in lines if line and (not line.startswith("#") or re.match(rf"{_COLOR}\b", line))]
    # The first line of labelme's lists, which stands for -1.
    lines = lines[1:] if lines[:1] == ["__ignore__"] else lines
    for pattern in (*_COLOR_LINES, *_VALUE_LINES):
        matches = [pattern.fullmatch(line) for line in lines]
        entries = [match for match in matches if match]
        has_header = bool(entries) and not matches[0] and re.search("[,:;\t]", lines[0]) is not None
        if entries and len(entries) == len(lines) - has_header:
            table = {re.sub(r"[\s,;]+", ",", match["value"]): match["name"].strip() for match in entries}
            if len(table) < len(entries):
                values = [re.sub(r"[\s,;]+", ",", match["value"]) for match in entries]
                twice = next(value for value in values if values.count(value) > 1)
                raise ValueError(f"the value or colour {twice} stands there twice")
            _check_columns(list(table.values()))
            return table
        if entries and pattern is _COLOR_LINES[0]:
            other = next(line for line, match in zip(lines, matches, strict=True) if not match)
            raise ValueError(f"the line {other!r} has no name with a colour, as others have")
    _check_columns(lines)
    return lines


def _check_columns(names: Sequence[str]) -> None:
    """Refuse the rows of a table with more columns than are understood."""
    if len(names) > 1 and all(re.search("[,;\t=]", name) for name in names):
        raise ValueError(
            f"what would be the name of a class is {names[0]!r}, as of a table with other columns: leave no columns "
            "but the name, or the value and the name, or the name and the colour"
        )


def _from_values(table: Mapping[str, str]) -> tuple[DatasetLabels, list[int], bool]:
    """Labels by value, in the values' order, or by colour, in the table's order; these; whether they are colours."""
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
    return DatasetLabels(names=tuple(names), palette=palette), raw, is_colored


def _ignored(raw: Sequence[int], ignore: Sequence[str], is_colored: bool) -> set[int]:
    """The values that a person wants to be ignored."""
    ignored = set()
    for text in ignore:
        value, is_color = _parse_value(text)
        if is_color != is_colored:
            raise ValueError(f"{text} is to be ignored, but masks hold {'colours' if is_colored else 'values'} here")
        if value in raw:
            raise ValueError(f"{text} is to be ignored, but it is a class")
        ignored.add(value)
    return ignored


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
