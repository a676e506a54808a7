# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Size, arithmetic, speed and memory of models and their peers, each in a process of its own."""

import argparse
import dataclasses
import functools
import sys
from concurrent.futures.process import BrokenProcessPool

from accelerate.utils.memory import should_reduce_batch_size

from vitseg.arguments import positive_int

from .arguments import DTYPES, Figures, Row, add_device, machine, print_table
from .named_models import build_model, check_name, own_input_size, tune_ours
from .throughput import ModelSettings, in_own_process, measure_model


# What the table of models shows.
FIGURES: Figures = {
    "": "{model}".format_map,
    "parameters (M)": lambda row: f"{row['parameters'] / 1e6:.1f}",
    "GFLOPs per image (1e9 multiply-adds)": "{gflops:.1f}".format_map,
    "batch size": "{batch_size}".format_map,
    "images/s": "{images_per_second:.2f}".format_map,
    "latency of a batch (ms)": "{latency_ms:.1f}".format_map,
    "peak memory (MB)": "{peak_memory_mb:.0f}".format_map,
    "GFLOPs per second": "{gflops_per_second:.0f}".format_map,
    "share of the machine's matrix product": "{matmul_share:.0%}".format_map,
    "speed in PyTorch's matrix products": "{torch_matmuls:.2f}".format_map,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and model folders")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME", help="measure this one too (repeatable)"
    )
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument(
        "--batch-size", type=positive_int, default=1, metavar="N", help="halved until it fits in memory (1)"
    )
    parser.add_argument(
        "--input-size", type=positive_int, nargs=2, metavar=("H", "W"), help="default: the first model's own"
    )
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--channels-last", action="store_true", help="channels-last memory layout")
    parser.add_argument("--warmup", type=positive_int, default=5, metavar="N", help="passes before the timed ones (5)")


def run(args: argparse.Namespace) -> list[Row]:
    for name in (*args.models, *args.peer):
        check_name(name)
    settings = ModelSettings(
        device=args.device,
        dtype=args.dtype,
        batch_size=args.batch_size,
        input_size=tuple(args.input_size or own_input_size(args.models[0])),
        compile=args.compile,
        channels_last=args.channels_last,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    rows = [measure_in_own_process(name, settings) for name in (*args.models, *args.peer)]
    print_table(FIGURES, rows, upright=True)
    memory = "allocated on the device" if args.device == "cuda" else "by which the process grew"
    print(
        f"\nInside the timing: {settings.describe()}. Segmentation models take each image in one whole pass; an "
        f"encoder of timm ends with its features. vitseg's models are tuned. Device: {machine(args.device)}. "
        f"Memory: the most bytes {memory} in the first pass, weights included. The last lines relate the model's "
        f"multiply-adds per second to those of a large {args.dtype} matrix product in its process: the fastest that "
        "is known, and PyTorch's."
    )
    return rows


def measure(name: str, settings: ModelSettings) -> Row:
    """The figures of a model by its name, and the settings, as plain numbers and texts."""
    build = functools.partial(build_model, name, settings.input_size)
    figures = measure_model(build, settings, prepare=functools.partial(tune_ours, name=name))
    circumstances = dataclasses.asdict(settings)
    height, width = circumstances.pop("input_size")
    return {"model": name, **figures, "height": height, "width": width, **circumstances}


def measure_in_own_process(name: str, settings: ModelSettings) -> Row:
    """As `measure`, where no other model takes memory, and with half as many images as often as memory runs out."""
    while True:
        try:
            return in_own_process(measure, name, settings)
        except RuntimeError as error:
            # An operating system short of memory ends the process without a word.
            out_of_memory = isinstance(error, BrokenProcessPool) or should_reduce_batch_size(error)
            if not out_of_memory:
                raise
            if settings.batch_size == 1:
                raise ValueError(f"{name} does not fit into memory, even with one image at a time: {error}") from error
        settings = dataclasses.replace(settings, batch_size=settings.batch_size // 2)
        print(f"{name}: out of memory; trying again with a batch size of {settings.batch_size}.", file=sys.stderr)
