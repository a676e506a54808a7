# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How time and memory grow with the area of the image and with the number of images, drawn."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from vitseg.arguments import positive_int
from vitseg.replacing import replacing

from .arguments import DTYPES, Figures, Row, add_device, machine, print_table
from .models import measure_in_own_process
from .named_models import check_name
from .throughput import ModelSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and model folders")
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--sides", type=positive_int, nargs="+", default=[256, 384, 512, 768, 1024], metavar="N")
    parser.add_argument("--batch-sizes", type=positive_int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--side", type=positive_int, default=512, metavar="N", help="of the images in batches (512)")
    parser.add_argument("--plot", type=Path, default=Path("growth.png"), metavar="FILE.png")


def run(args: argparse.Namespace) -> list[Row]:
    for name in args.models:
        check_name(name)
    # In the order of growth; what is in both series is measured once.
    cases = dict.fromkeys([*((1, side) for side in args.sides), *((number, args.side) for number in args.batch_sizes)])
    rows = []
    for name in args.models:
        for number, side in cases:
            circumstances = {"device": args.device, "dtype": args.dtype, "repeats": args.repeats}
            settings = ModelSettings(batch_size=number, input_size=(side, side), **circumstances)
            rows.append(measure_in_own_process(name, settings))
    figures: Figures = {
        "": "{model}".format_map,
        "images": "{batch_size}".format_map,
        "side": "{height}".format_map,
        "latency (ms)": "{latency_ms:.0f}".format_map,
        "ms per megapixel": lambda row: f"{row['latency_ms'] / megapixels(row):.0f}",
        "peak memory (MB)": "{peak_memory_mb:.0f}".format_map,
        "share of peak": "{matmul_share:.0%}".format_map,
    }
    print_table(figures, rows)
    draw(rows, args)
    print(
        f"\nOne whole pass over square images, median of {args.repeats}, each case in a process of its own, models "
        f"tuned, weights included in the memory; drawn in {args.plot}. Device: {machine(args.device)}, {args.dtype}."
    )
    return rows


def megapixels(row: Row) -> float:
    return row["batch_size"] * row["height"] * row["width"] / 1e6


def draw(rows: list[Row], args: argparse.Namespace) -> None:
    """Four panels: time and memory, against the pixels of one image and against the number of images."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col")
    for column, (title, in_series) in enumerate(
        [
            ("pixels of one image (millions)", lambda row: row["batch_size"] == 1),
            (f"images of {args.side} x {args.side}", lambda row: row["height"] == args.side),
        ]
    ):
        for name in dict.fromkeys(row["model"] for row in rows):
            series = sorted((row for row in rows if row["model"] == name and in_series(row)), key=megapixels)
            x = [megapixels(row) if column == 0 else row["batch_size"] for row in series]
            panels[0, column].plot(x, [row["latency_ms"] for row in series], marker="o", label=name)
            panels[1, column].plot(x, [row["peak_memory_mb"] for row in series], marker="o", label=name)
        panels[1, column].set_xlabel(title)
    panels[0, 0].set_ylabel("time (ms)")
    panels[1, 0].set_ylabel("peak memory (MB)")
    for panel in panels.flat:
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize="small")
    with replacing(args.plot) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)
