# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Sliding windows: those of an image together, beside one by one."""

import argparse
from typing import Any

import torch

from vitseg.arguments import positive_int
from vitseg.evaluation.results import device_name
from vitseg.recipes.cards import markdown_table

from .arguments import DTYPES, Row, add_device, choose_device
from .named_models import build_model, check_name, load_config
from .processes import in_own_process, seconds_and_memory


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("windows", parents=[shared])
    parser.set_defaults(run=run)
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and folders, tested in windows")
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--image-size", type=positive_int, nargs=2, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--together", type=positive_int, default=8, metavar="N", help="windows at a time (8)")


def run(args: argparse.Namespace) -> list[Row]:
    device = choose_device(args.device)
    for name in args.models:
        check_name(name)
        if getattr(load_config(name), "inference_mode", None) != "slide":
            raise ValueError(f"{name} is not tested in windows; name a model whose inference_mode is 'slide'.")
    rows = []
    for name in args.models:
        measured = [
            in_own_process(measure, name, number, tuple(args.image_size), args.dtype, device, args.repeats)
            for number in (1, args.together)
        ]
        rows.append(
            {
                "benchmark": "windows",
                "model": name,
                "seconds_one_by_one": measured[0]["seconds"],
                "seconds_together": measured[1]["seconds"],
                "ratio": measured[0]["seconds"] / measured[1]["seconds"],
                "megabytes_one_by_one": measured[0]["megabytes"],
                "megabytes_together": measured[1]["megabytes"],
                "together": args.together,
                "dtype": args.dtype,
                "device": device,
            }
        )
    header = ("", "one by one (ms)", f"{args.together} at a time (ms)", "ratio", "one by one (MB)", "together (MB)")
    lines = [
        (
            row["model"],
            *(f"{1e3 * row[f'seconds_{form}']:.0f}" for form in ("one_by_one", "together")),
            f"{row['ratio']:.2f}",
            *(f"{row[f'megabytes_{form}']:.0f}" for form in ("one_by_one", "together")),
        )
        for row in rows
    ]
    print(markdown_table(header, lines))
    height, width = args.image_size
    print(
        f"\nInside the timing: one image, from 1 x 3 x {height} x {width} {args.dtype} pixel values on {device} to "
        f"the logits averaged over the model's windows. Median of {args.repeats}; memory: weights not included. "
        f"Device: {device_name(torch.device(device))}, {torch.get_num_threads()} CPU threads."
    )
    return rows


@torch.inference_mode()
def measure(
    name: str, number: int, image_size: tuple[int, int], dtype: str, device: str, repeats: int
) -> dict[str, float]:
    model = build_model(name, image_size).eval().to(device, getattr(torch, dtype))
    model.config.inference_mode, model.config.window_batch_size = "slide", number
    images = torch.randn(1, 3, *image_size, device=device).to(getattr(torch, dtype))
    return seconds_and_memory(lambda: model(images).logits, repeats, device)
