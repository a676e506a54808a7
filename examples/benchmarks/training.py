# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A training step of a recipe: forward, backward and optimizer, as it is and with what makes it faster."""

import argparse
import statistics

import torch

from vitseg.arguments import positive_int
from vitseg.models.layers import as_pair
from vitseg.recipes import RECIPES, get_recipe
from vitseg.recipes.cards import markdown_table
from vitseg.recipes.lookup import unknown_name
from vitseg.recipes.schema import TrainingRecipe
from vitseg.training.optimization import build_optimizer

from .arguments import Row, add_device, machine
from .named_models import build_model
from .throughput import in_own_process, time_in_turn


FORMS = ("float32", "fused", "bfloat16", "channels-last", "compiled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="NAME")
    add_device(parser)
    parser.add_argument("--batch-size", type=positive_int, default=2, metavar="N", help="images in a step (2)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["float32", "fused", "bfloat16", "channels-last"])


def run(args: argparse.Namespace) -> list[Row]:
    for name in args.recipes:
        if name not in RECIPES:
            raise unknown_name("recipe", name, RECIPES)
    rows = []
    for name in args.recipes:
        rates = {
            form: in_own_process(images_per_second, name, form, args.batch_size, args.device, args.repeats)
            for form in args.forms
        }
        rows.append({"model": name, "batch_size": args.batch_size, "device": args.device, **rates})
    header = ("images/s", *args.forms)
    print(markdown_table(header, [(row["model"], *(f"{row[form]:.2f}" for form in args.forms)) for row in rows]))
    print(
        f"\nInside the timing: forward, backward and the recipe's optimizer on {args.batch_size} random images of the "
        f"crop's size on {args.device}; loading data is not. fused: with a fused optimizer; bfloat16: under autocast; "
        "channels-last: float32 weights and images laid out so; compiled: bfloat16 through torch.compile, fused. "
        f"Median of {args.repeats}, random weights. Device: {machine(args.device)}."
    )
    return rows


def images_per_second(name: str, form: str, batch_size: int, device: str, repeats: int) -> float:
    training = get_recipe(name).training
    if not isinstance(training, TrainingRecipe):
        raise ValueError(f"{name} is not the recipe of a segmenter.")
    height, width = as_pair(training.crop_size)
    memory_format = torch.channels_last if form == "channels-last" else torch.contiguous_format
    model = build_model(name, (height, width)).train().to(device).to(memory_format=memory_format)
    optimizer = build_optimizer(model, training, fused=form in ("fused", "compiled"))
    images = torch.randn(batch_size, 3, height, width, device=device).to(memory_format=memory_format)
    labels = torch.randint(model.config.num_labels, (batch_size, height, width), device=device)
    forward = torch.compile(model) if form == "compiled" else model

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=form in ("bfloat16", "compiled")):
            loss = forward(images, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = time_in_turn({"a step": step}, repeats=repeats, device=device)["a step"]
    return batch_size / statistics.median(seconds)
