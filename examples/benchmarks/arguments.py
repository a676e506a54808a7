# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several benchmarks take, and what they say of the machine."""

import argparse
from pathlib import Path
from typing import Any

import torch

from vitseg.evaluation.results import device_name


Row = dict[str, Any]
DTYPES = ("float32", "bfloat16", "float16")


def table_file(text: str) -> Path:
    if Path(text).suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .json nor .csv")
    return Path(text)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")


def choose_device(name: str) -> str:
    """Raises ValueError if it is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu.")
    return name


def machine(device: str) -> str:
    """What measured, in a few words."""
    return f"{device_name(torch.device(device))}, {torch.get_num_threads()} CPU threads"
