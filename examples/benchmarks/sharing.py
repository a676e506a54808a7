# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
CTS Segmenter with token sharing beside itself without and beside the original's arithmetic, and what sharing costs; a
process for each pair.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

from vitseg.arguments import positive_int
from vitseg.deployment.tuning import tune
from vitseg.models.layers import as_pair
from vitseg.models.modeling_cts_segmenter import CtsSegmenterForSemanticSegmentation
from vitseg.recipes import RECIPES, get_recipe

from .arguments import DTYPES, Figures, Row, add_device, machine, print_table
from .throughput import count_multiply_adds, in_own_process, matmul_shares, time_in_turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="*", metavar="NAME", help="recipes with token sharing (default: all)")
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--batch-size", type=positive_int, default=4, metavar="N", help="images in a batch (4)")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")


def run(args: argparse.Namespace) -> list[Row]:
    pairs = recipe_pairs()
    names = args.recipes or list(pairs)
    for name in names:
        if name not in pairs:
            raise ValueError(f"{name} is not a recipe with token sharing; those are {', '.join(pairs)}.")
    rows = [in_own_process(measure, name, pairs[name], args) for name in names]
    figures: Figures = {
        "": "{model}".format_map,
        "images/s without": "{images_per_second_without:.2f}".format_map,
        "with": "{images_per_second_with:.2f}".format_map,
        "ratio": "{ratio:.2f}".format_map,
        "original with": "{images_per_second_original:.2f}".format_map,
        "with / original": "{original_ratio:.2f}".format_map,
        "published ratio": "{published_ratio:.2f}".format_map,
        "FLOP ratio": "{flop_ratio:.2f}".format_map,
        "overhead": "{overhead:.1%}".format_map,
        "shares of peak": "{matmul_share_without:.0%}, {matmul_share_with:.0%}".format_map,
    }
    print_table(figures, rows)
    print(
        f"\nInside the timing: one forward pass without gradients over {args.batch_size} images of random "
        f"{args.dtype} pixel values at the size of the recipe's crop on {args.device}"
        f"{' through torch.compile' if args.compile else ''}, from pixel values to logits of the same size, the "
        f"policy network included; the forms in turn, medians of {args.repeats}, ratios those of the turns. "
        "Original: the model with sharing as its authors compute it, attention by plain products, and not tuned. "
        "Overhead: the policy network by itself, what embedding the shared tokens takes more than embedding all "
        "patches, and giving the patches their logits, in the time of the pass with sharing; not compiled. Share of "
        "peak: the multiply-adds per second in those of the fastest large matrix product. Random weights. "
        f"Device: {machine(args.device)}. Published: a batch of 32 on a GPU that is not named."
    )
    return rows


def recipe_pairs() -> dict[str, str]:
    """Each recipe that shares tokens, and the one that does not but is the same otherwise."""
    shared = [name for name in RECIPES if RECIPES[name].model.get("backbone_config", {}).get("token_sharing")]
    return {name: f"cts-segmenter-mask-0-{name.split('-', 4)[4]}" for name in shared}


@torch.inference_mode()
def measure(name: str, unshared_name: str, args: argparse.Namespace) -> Row:
    """The figures of a recipe with token sharing, beside the one without, as plain numbers."""
    device, dtype = args.device, getattr(torch, args.dtype)
    training: Any = get_recipe(name).training
    height, width = as_pair(training.crop_size)
    original = build_whole(name).eval()
    original.set_attn_implementation("eager")
    models = {"without": tune(build_whole(unshared_name)), "with": tune(build_whole(name)), "original": original}
    models = {key: model.to(device, dtype) for key, model in models.items()}
    images = torch.randn(args.batch_size, 3, height, width, device=device).to(dtype)
    multiply_adds = {key: count_multiply_adds(models[key], images[:1]) for key in ("without", "with")}

    calls = {key: forward_pass(model, images, args.compile) for key, model in models.items()}
    seconds = time_in_turn(calls, repeats=args.repeats, warmup=5, device=device)
    ratios = {
        key: statistics.median(slow / fast for slow, fast in zip(seconds[key], seconds["with"], strict=True))
        for key in ("without", "original")
    }
    rates = {key: args.batch_size / statistics.median(times) for key, times in seconds.items()}
    shares = {key: matmul_shares(rates[key] * multiply_adds[key], device, dtype) for key in multiply_adds}
    published: list[Any] = [RECIPES[recipe].published for recipe in (name, unshared_name)]
    return {
        "model": name,
        **{f"images_per_second_{key}": rate for key, rate in rates.items()},
        "ratio": ratios["without"],
        "original_ratio": ratios["original"],
        "published_ratio": published[0].images_per_second / published[1].images_per_second,
        "flop_ratio": multiply_adds["without"] / multiply_adds["with"],
        "overhead": sharing_seconds(models, images, args) / statistics.median(seconds["with"]),
        **{f"{name}_{key}": share for key in shares for name, share in shares[key].items()},
        **{key: getattr(args, key) for key in ("device", "dtype", "batch_size", "compile", "repeats")},
    }


def build_whole(recipe: str) -> CtsSegmenterForSemanticSegmentation:
    """The model of a recipe, with random weights, which takes each image in one pass."""
    config = get_recipe(recipe).build_config()
    config.inference_mode = "whole"
    return CtsSegmenterForSemanticSegmentation(config)


def forward_pass(
    model: CtsSegmenterForSemanticSegmentation, images: torch.Tensor, compiles: bool
) -> Callable[[], torch.Tensor]:
    forward = torch.compile(model, fullgraph=True) if compiles else model
    return lambda: forward(images).logits


def sharing_seconds(
    models: dict[str, CtsSegmenterForSemanticSegmentation], images: torch.Tensor, args: argparse.Namespace
) -> float:
    """What the policy network, the choice of the tokens, and the ways there and back take in a batch."""
    without, backbone = models["without"].backbone, models["with"].backbone
    policy_logits = backbone.policy_logits(images)
    _, _, shared_tokens = backbone.embeddings(images, policy_logits)
    token_logits = torch.randn(
        *shared_tokens.candidates.shape, models["with"].config.num_labels, device=images.device, dtype=images.dtype
    )
    calls: dict[str, Callable[[], object]] = {
        "policy": lambda: backbone.policy_logits(images),
        "embed shared tokens": lambda: backbone.embeddings(images, policy_logits),
        "embed patches": lambda: without.embeddings(images),
        "restore": lambda: shared_tokens.restore(token_logits),
    }
    timed = time_in_turn(calls, repeats=args.repeats, device=args.device)
    seconds = {name: statistics.median(times) for name, times in timed.items()}
    gather = max(seconds["embed shared tokens"] - seconds["embed patches"], 0.0)
    return seconds["policy"] + gather + seconds["restore"]
