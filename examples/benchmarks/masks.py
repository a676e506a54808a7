# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label maps from logits: resizing and choosing in bands of rows, beside doing each for the whole image."""

import argparse

import torch
from torch import nn

from vitseg.models.score_maps import resized_argmax

from .arguments import Figures, Row, add_device, machine, print_table
from .throughput import in_own_process, seconds_and_memory


# Classes, and height and width of the logits and of the image.
CASES = {
    "ADE20K, 512 x 683": (150, (512, 683), (512, 683)),
    "ADE20K, 1536 x 2049": (150, (512, 683), (1536, 2049)),
    "Cityscapes": (19, (512, 1024), (1024, 2048)),
}
FORMS = ("bands", "whole")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)


def run(args: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for name, case in CASES.items():
        figures = {form: in_own_process(measure, form, *case, args.device, args.repeats) for form in FORMS}
        rows.append(
            {"case": name, "device": args.device}
            | {f"{key}_{form}": value for form in FORMS for key, value in figures[form].items()}
            | {"ratio": figures["whole"]["seconds"] / figures["bands"]["seconds"]}
        )
    columns: Figures = {
        "": "{case}".format_map,
        "vitseg (ms)": lambda row: f"{1e3 * row['seconds_bands']:.1f}",
        "interpolate and argmax (ms)": lambda row: f"{1e3 * row['seconds_whole']:.1f}",
        "ratio": "{ratio:.2f}".format_map,
        "vitseg (MB)": "{megabytes_bands:.0f}".format_map,
        "interpolate and argmax (MB)": "{megabytes_whole:.0f}".format_map,
    }
    print_table(columns, rows)
    sizes = "; ".join(
        f"{name}: {classes} classes, {old[0]} x {old[1]} to {new[0]} x {new[1]}"
        for name, (classes, old, new) in CASES.items()
    )
    print(
        f"\nInside the timing: from float32 logits to the class of each pixel of the image ({sizes}). Median of "
        f"{args.repeats}, in processes of their own; memory: by which the process grew. "
        f"Device: {machine(args.device)}."
    )
    return rows


@torch.inference_mode()
def measure(
    form: str, classes: int, old_size: tuple[int, int], size: tuple[int, int], device: str, repeats: int
) -> dict[str, float]:
    logits = torch.randn(classes, *old_size, device=device)
    function = resized_argmax if form == "bands" else whole_argmax
    return seconds_and_memory(lambda: function(logits, size), repeats, device)


def whole_argmax(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """As image processors of transformers have it."""
    resized = nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)
    return resized[0].argmax(dim=0)
