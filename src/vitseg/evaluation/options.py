# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the commands share that run a model by a test protocol: their options, and how they begin and end."""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from transformers import PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import add_computing_options, positive_int, whole_number
from ..processor import DTYPES, choose_computing
from ..recipes import get_recipe
from ..recipes.datasets import SIX_RATIOS
from ..recipes.protocol import Protocol
from ..replacing import standing
from ..workers import PATIENCE, default_workers


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is run, by which protocol, and how."""
    parser.add_argument(
        "--model", required=True, type=standing, metavar="DIR_OR_ID", help="model folder, or name on the Hub"
    )
    add_protocol_options(parser)


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Add those that say by which protocol a model is run, and how."""
    parser.add_argument("--recipe", metavar="NAME", help="test as this recipe, not as the model folder, says")
    add_view_options(parser)
    add_computing_options(parser)
    parser.add_argument("--window-batch-size", type=positive_int, metavar="N", help="windows at a time (the model's)")
    parser.add_argument(
        "--workers",
        type=whole_number,
        default=default_workers(),
        metavar="N",
        help="threads that read images (%(default)s)",
    )
    parser.add_argument(
        "--scores-dtype", choices=DTYPES, default="float32", help="in which several views are summed (float32)"
    )
    parser.add_argument("--scores-device", metavar="DEVICE", help="where they are summed (the model's device)")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N images")


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say at which scales an image is shown, whether flipped, and in which windows."""
    parser.add_argument(
        "--multi-scale",
        nargs="*",
        type=float,
        metavar="RATIO",
        help=f"average several scales: these, or the recipe's, or {', '.join(map(str, SIX_RATIOS))}",
    )
    parser.add_argument("--flip", action="store_true", help="average over the image and its mirror image")
    for name, what in (("window", "size of the windows"), ("stride", "distance of the windows")):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            type=positive_int,
            metavar="PIXELS",
            help=f"{what} that an image is cut into: a number, or height and width (the model's or the recipe's)",
        )


def windows_of(args: argparse.Namespace) -> dict[str, Any]:
    """
    The arguments of a `Protocol` that `--window` and `--stride` ask for.

    Raises:
        ValueError: if there is one without the other, or one is more than height and width.
    """
    window, stride = args.window, args.stride
    if window is None and stride is None:
        return {}
    if window is None or stride is None or max(len(window), len(stride)) > 2:
        raise ValueError(
            f"--window is {window} and --stride {stride}; expected both, each a number, or height and width."
        )
    return {"mode": "slide", "window_size": (window[0], window[-1]), "window_stride": (stride[0], stride[-1])}


def choose_protocol(
    args: argparse.Namespace, config: PreTrainedConfig, image_processor: BaseImageProcessor
) -> tuple[Protocol, BaseImageProcessor]:
    """
    The protocol that the options ask for, and the image processor that goes with it: a recipe has its own.

    Args:
        args: of `add_view_options`, and `recipe`.
        config: the model's, whose protocol holds without a recipe.
        image_processor: the model's, likewise.

    Raises:
        ValueError: if there is no such recipe, a ratio is not positive, or windows are not told completely.
    """
    windows = windows_of(args)
    multi_scale = args.multi_scale is not None
    if args.recipe is None:
        ratios = (args.multi_scale or SIX_RATIOS) if multi_scale else (1.0,)
        protocol = Protocol.of_model(config, image_processor, ratios=ratios, flip=args.flip)
        return dataclasses.replace(protocol, **windows), image_processor
    recipe = get_recipe(args.recipe)
    protocol = Protocol.of_recipe(recipe, multi_scale=multi_scale, flip=args.flip)
    if args.multi_scale:
        protocol = dataclasses.replace(protocol, ratios=tuple(args.multi_scale))
    return dataclasses.replace(protocol, **windows), recipe.build_image_processor()


def settle_dtype(args: argparse.Namespace, accelerator: Accelerator) -> torch.dtype:
    """What the model computes in; from now on `args.dtype` says so, too, also where it was "auto"."""
    dtype, choice = choose_computing(args.dtype, args.threads, accelerator.device)
    if choice:
        accelerator.print(f"note: {choice}")
    args.dtype = str(dtype).removeprefix("torch.")
    return dtype


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """
    The keyword arguments of `predict_images` and `evaluate_model` that the options set.

    Raises:
        ValueError: if there is no such device to sum scores on.
    """
    if args.scores_device is not None:
        try:
            torch.empty(0, device=args.scores_device)
        except (AssertionError, RuntimeError) as error:  # of a PyTorch without the device, and of a name that is none
            reason = str(error).splitlines()[0]
            raise ValueError(f"--scores-device {args.scores_device} cannot be used; try cpu. {reason}") from error
    return {
        "num_workers": args.workers,
        "window_batch_size": args.window_batch_size,
        "scores_dtype": getattr(torch, args.scores_dtype),
        "scores_device": args.scores_device,
    }


def run_work(work: Callable[[Accelerator], int]) -> int:
    """The exit status of a command: what `work` returns, or 2 if it fails, which is then said."""
    # Shares of the images may take some processes longer than others.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
    try:
        return work(accelerator)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        accelerator.end_training()
