# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several benchmarks take, and what they say of the machine."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vitseg.devices import device_name
from vitseg.recipes.cards import markdown_table


Row = dict[str, Any]
# Title -> what is written of a row; mostly `"{key:format}".format_map`.
Figures = Mapping[str, Callable[[Row], str]]
DTYPES = ("float32", "bfloat16", "float16")


def table_file(text: str) -> Path:
    if Path(text).suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .json nor .csv")
    return Path(text)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")


def machine(device: str) -> str:
    """What measured, in a few words."""
    return f"{device_name(torch.device(device))}, {torch.get_num_threads()} CPU threads"


def noise_of(row: Row) -> str:
    """What was not quiet while the figures of a row were measured, in words; empty if the machine was quiet."""
    return "; ".join(dict.fromkeys(row[key] for key in row if key.startswith("noise") and row[key]))


def print_rows(header: Sequence[str], lines: Iterable[Sequence[str]], rows: Sequence[Row]) -> None:
    """Prints a line for each row, and where the machine was not quiet for one, says so beside it."""
    if any(map(noise_of, rows)):
        header = [*header, "machine"]
        lines = [[*line, noise_of(row)] for line, row in zip(lines, rows, strict=True)]
    print(markdown_table(header, [*lines]))


def print_table(figures: Figures, rows: Sequence[Row], *, upright: bool = False) -> None:
    """
    Prints a line for each row, and a column for each figure; or, upright, a column for each row. Where the machine was
    not quiet, the last column, or line, says so.
    """
    if any(map(noise_of, rows)):
        figures = {**figures, "machine": noise_of}
    lines = [tuple(figures), *(tuple(text(row) for text in figures.values()) for row in rows)]
    header, *lines = zip(*lines, strict=True) if upright else lines
    print(markdown_table(header, lines))
