# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Start-up: importing vitseg, loading a model from its folder, and its first pass."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSemanticSegmentation

from vitseg.deployment.tuning import tune

from .arguments import Figures, Row, print_table
from .named_models import build_model, check_name, own_input_size
from .throughput import in_own_process, peak_memory


IMPORTS = ("transformers", "vitseg")
FIGURES: Figures = {
    "": "{model}".format_map,
    "size of the weights (MB)": "{weights_mb:.0f}".format_map,
    "loading (s)": "{loading_seconds:.2f}".format_map,
    "memory that loading took (MB)": "{loading_mb:.0f}".format_map,
    "tuning (s)": "{tuning_seconds:.2f}".format_map,
    "first pass (s)": "{first_seconds:.2f}".format_map,
    "second pass (s)": "{second_seconds:.2f}".format_map,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and model folders")


def run(args: argparse.Namespace) -> list[Row]:
    for name in args.models:
        check_name(name)
    seconds = [import_seconds(f"import {', '.join(IMPORTS[: number + 1])}") for number in range(len(IMPORTS))]
    rows = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(name)
            if not folder.is_dir():
                folder = Path(temporary) / "model"
                build_model(name, own_input_size(name)).save_pretrained(folder)
            rows.append({"model": name, **in_own_process(measure, str(folder))})
    print_table(FIGURES, rows, upright=True)
    print(
        f"\nImporting transformers takes {seconds[0]:.2f} s in a new process, transformers and vitseg "
        f"{seconds[1]:.2f} s (the shortest of five). A model is loaded by from_pretrained in a process of its own "
        "from a folder that was just written; memory: by which the process grew, at the most, until the first pass. "
        f"Passes: one image of the model's size on the CPU, {torch.get_num_threads()} threads."
    )
    return rows


def import_seconds(statement: str) -> float:
    """The shortest of five new processes that run a statement, less one that runs none."""
    return min(process_seconds(statement) for _ in range(5)) - min(process_seconds("") for _ in range(5))


def process_seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


@torch.inference_mode()
def measure(folder: str) -> dict[str, float]:
    size = own_input_size(folder)
    before, started = peak_memory("cpu"), time.perf_counter()
    model = AutoModelForSemanticSegmentation.from_pretrained(folder)
    times, memory = [time.perf_counter()], peak_memory("cpu") - before
    weights = sum(parameter.nbytes for parameter in model.parameters())
    model = tune(model)
    times.append(time.perf_counter())
    images = torch.randn(1, 3, *size)
    for _ in range(2):
        model(images)
        times.append(time.perf_counter())
    return {
        "weights_mb": weights / 1e6,
        "loading_seconds": times[0] - started,
        "loading_mb": memory / 1e6,
        "tuning_seconds": times[1] - times[0],
        "first_seconds": times[2] - times[1],
        "second_seconds": times[3] - times[2],
    }
