# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""An image tested in sliding windows: the windows of a view together, beside one by one."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from transformers import AutoImageProcessor

from vitseg.arguments import positive_int
from vitseg.deployment.tuning import tune
from vitseg.evaluation.inference import predict_images
from vitseg.evaluation.options import add_view_options, choose_protocol
from vitseg.recipes import get_recipe

from .arguments import DTYPES, Figures, Row, add_device, machine, print_table
from .named_models import build_model, check_name, load_config
from .throughput import in_own_process, seconds_and_memory


# Of each of the two.
FIGURES = ("seconds", "megabytes", "noise")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and folders, tested in windows")
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--image-size", type=positive_int, nargs=2, default=(1024, 2048), metavar=("H", "W"))
    add_view_options(parser)
    parser.add_argument("--together", type=positive_int, default=8, metavar="N", help="windows at a time (8)")


def run(args: argparse.Namespace) -> list[Row]:
    for name in args.models:
        check_name(name)
        if getattr(load_config(name), "inference_mode", None) != "slide":
            raise ValueError(f"{name} is not tested in windows; name a model whose inference_mode is 'slide'.")
    rows = []
    for name in args.models:
        one_by_one, together = (in_own_process(measure, name, number, args) for number in (1, args.together))
        rows.append(
            {"model": name, "ratio": one_by_one["seconds"] / together["seconds"], "protocol": together["protocol"]}
            | {f"{key}_one_by_one": one_by_one[key] for key in FIGURES if key in one_by_one}
            | {f"{key}_together": together[key] for key in FIGURES if key in together}
            | {key: getattr(args, key) for key in ("together", "dtype", "device")}
        )
    figures: Figures = {
        "": "{model}".format_map,
        "one by one (ms)": lambda row: f"{1e3 * row['seconds_one_by_one']:.0f}",
        f"{args.together} at a time (ms)": lambda row: f"{1e3 * row['seconds_together']:.0f}",
        "ratio": "{ratio:.2f}".format_map,
        "one by one (MB)": "{megabytes_one_by_one:.0f}".format_map,
        "together (MB)": "{megabytes_together:.0f}".format_map,
    }
    print_table(figures, rows)
    height, width = args.image_size
    print(
        f"\nInside the timing: one image of {height} x {width}, from its pixels to the class of each, resizing, "
        f"normalising and averaging included; the model tuned, in {args.dtype}. Protocol: "
        f"{' / '.join(dict.fromkeys(row['protocol'] for row in rows))}. Median of {args.repeats}; memory: weights not "
        f"included. Device: {machine(args.device)}."
    )
    return rows


def measure(name: str, number: int, args: argparse.Namespace) -> dict[str, Any]:
    model = tune(build_model(name, tuple(args.image_size))).to(args.device, getattr(torch, args.dtype))
    if Path(name).is_dir():
        recipe, image_processor = None, AutoImageProcessor.from_pretrained(name)
    else:
        recipe, image_processor = name, get_recipe(name).build_image_processor()
    options = argparse.Namespace(**vars(args), recipe=recipe)
    protocol, image_processor = choose_protocol(options, load_config(name), image_processor)
    pixels = np.random.default_rng(0).integers(0, 256, (*args.image_size, 3), dtype=np.uint8)
    examples = [{"image": Image.fromarray(pixels)}]
    accelerator = Accelerator(cpu=args.device == "cpu")

    def predict() -> None:
        for _ in predict_images(
            model, image_processor, examples, [0], accelerator, protocol, window_batch_size=number
        ):
            pass

    return seconds_and_memory(predict, args.repeats, args.device) | {"protocol": protocol.describe()}
