# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
A training step of a recipe: forward, backward and optimizer, as it is, with what makes it faster, and where less of it
learns; and the memory that it takes.
"""

import argparse
from collections.abc import Callable

import torch
from transformers import AutoModelForSemanticSegmentation

from vitseg.arguments import positive_int
from vitseg.models.layers import as_pair
from vitseg.recipes import DINOV3_RECIPES, RECIPES, LoraRecipe, load_recipe
from vitseg.recipes.lookup import unknown_name
from vitseg.recipes.schema import TrainingRecipe
from vitseg.training.adaptation import add_adapter, freeze
from vitseg.training.optimization import build_optimizer

from .arguments import Row, add_device, machine, print_rows
from .named_models import NUM_LABELS
from .throughput import in_own_process, seconds_and_memory


FORMS = ("float32", "fused", "bfloat16", "channels-last", "compiled", "lora", "frozen")
KNOWN_RECIPES = (*RECIPES, *DINOV3_RECIPES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="NAME")
    add_device(parser)
    parser.add_argument("--batch-size", type=positive_int, default=2, metavar="N", help="images in a step (2)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["float32", "fused", "bfloat16", "channels-last"])


def run(args: argparse.Namespace) -> list[Row]:
    for name in args.recipes:
        if name not in KNOWN_RECIPES:
            raise unknown_name("recipe", name, KNOWN_RECIPES)
    rows = []
    for name in args.recipes:
        measured = {
            form: in_own_process(measure_step, name, form, args.batch_size, args.device, args.repeats)
            for form in args.forms
        }
        rates = {form: args.batch_size / step["seconds"] for form, step in measured.items()}
        memory = {f"{form} MB": step["megabytes"] for form, step in measured.items()}
        noise = {f"noise {form}": step["noise"] for form, step in measured.items() if "noise" in step}
        share = {"frozen_encoder_share": measured["frozen"]["share"]} if "frozen" in measured else {}
        rows.append(
            {"model": name, "batch_size": args.batch_size, "device": args.device, **rates, **memory, **noise, **share}
        )
    header = ("images/s, MB", *args.forms)
    cells = [(row["model"], *(f"{row[form]:.2f}, {row[f'{form} MB']:.0f}" for form in args.forms)) for row in rows]
    print_rows(header, cells, rows)
    for row in rows:
        if "frozen_encoder_share" in row:
            print(f"\n{row['model']}: a frozen encoder takes {row['frozen_encoder_share']:.0%} of a step.")
    print(
        f"\nInside the timing: forward, backward and the recipe's optimizer on {args.batch_size} random images of the "
        f"crop's size on {args.device}; loading data is not. fused: with a fused optimizer; bfloat16: under autocast; "
        "channels-last: float32 weights and images laid out so; compiled: bfloat16 through torch.compile, fused; "
        "lora: adapters of rank 8 in the encoder's linear layers; frozen: the encoder. Otherwise everything learns. "
        "MB: 1e6 bytes by which the process grew, of model, gradients, optimizer and activations. Median of "
        f"{args.repeats}, random weights. Device: {machine(args.device)}."
    )
    return rows


def measure_step(name: str, form: str, batch_size: int, device: str, repeats: int) -> dict[str, float]:
    """
    `seconds` and `megabytes` of a step, from the building of the model on; and the `share` of it that the pass through
    a frozen encoder takes.
    """
    recipe = load_recipe(name)
    training = recipe.training
    if not isinstance(training, TrainingRecipe):
        raise ValueError(f"{name} is not the recipe of a segmenter.")
    height, width = as_pair(training.crop_size)
    memory_format = torch.channels_last if form == "channels-last" else torch.contiguous_format
    images = torch.randn(batch_size, 3, height, width, device=device).to(memory_format=memory_format)
    config = recipe.build_config({index: str(index) for index in range(NUM_LABELS)})
    labels = torch.randint(config.num_labels, (batch_size, height, width), device=device)
    made: dict[str, Callable[[], object]] = {}

    def build_step() -> None:
        model = AutoModelForSemanticSegmentation.from_config(config).train()
        frozen = freeze(model, ["backbone"]) if form == "frozen" else []
        if form == "lora":
            add_adapter(model, LoraRecipe(rank=8))
        for module in frozen:
            module.eval()
        model.to(device).to(memory_format=memory_format)
        optimizer = build_optimizer(model, training, fused=form in ("fused", "compiled"))
        forward = torch.compile(model) if form == "compiled" else model

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=form in ("bfloat16", "compiled")):
                loss = forward(images, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        made.update({"step": step, "encoder": lambda: model.run_backbone(images)})

    def built_step() -> None:
        if not made:  # by the first call, so that the model's memory counts
            build_step()
        made["step"]()

    measured = seconds_and_memory(built_step, repeats=repeats, device=device)
    if form == "frozen":
        measured["share"] = seconds_and_memory(made["encoder"], repeats, device)["seconds"] / measured["seconds"]
    return measured
