# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The plain ViT encoder beside timm's Vision Transformer of the same size, in turn; a process for each pair."""

import argparse
import functools
import statistics
from typing import Any

import timm
import torch
from torch import nn

from vitseg import PlainVitBackbone, PlainVitConfig
from vitseg.arguments import positive_int
from vitseg.deployment.tuning import tune
from vitseg.recipes.cards import markdown_table

from .arguments import DTYPES, Row, add_device, choose_device, machine
from .processes import in_own_process
from .throughput import count_multiply_adds, matmul_shares, time_in_turn


PATCH_SIZE = 16
# Width, heads and blocks of timm's vit_NAME_patch16_224.
SIZES = {"tiny": (192, 3, 12), "small": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 16, 24)}


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("encoder", parents=[shared])
    parser.set_defaults(run=run)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--batch-size", type=positive_int, default=1, metavar="N", help="images in a batch (1)")
    parser.add_argument("--side", type=positive_int, default=512, metavar="N", help="of the square images (512)")
    parser.add_argument("--compile", action="store_true", help="both through torch.compile")


def run(args: argparse.Namespace) -> list[Row]:
    device = choose_device(args.device)
    rows = [
        in_own_process(measure, size, args.side, args.batch_size, device, args.dtype, args.compile, args.repeats)
        for size in args.sizes
    ]
    header = ("", "vitseg (ms)", "timm (ms)", "timm's time / vitseg's", "share of peak", "of PyTorch's product")
    lines = [
        (
            f"ViT-{row['size']}",
            f"{row['milliseconds_vitseg']:.0f}",
            f"{row['milliseconds_timm']:.0f}",
            f"{row['ratio']:.3f}",
            f"{row['matmul_share']:.0%}",
            f"{row['torch_matmuls']:.2f}",
        )
        for row in rows
    ]
    print(markdown_table(header, lines))
    print(
        f"\nInside the timing: one pass without gradients over {args.batch_size} x 3 x {args.side} x {args.side} "
        f"random {args.dtype} pixel values on {device}{' through torch.compile' if args.compile else ''}, from pixel "
        f"values to the features of the last block; random weights, the same number of tokens; vitseg's is tuned. In "
        f"turn, medians of {args.repeats}, the ratio that of the turns. Share of peak: of the fastest large matrix "
        f"product in the same process. Device: {machine(device)}."
    )
    return rows


@torch.inference_mode()
def measure(size: str, side: int, batch_size: int, device: str, dtype_name: str, compiles: bool, repeats: int) -> Row:
    dtype = getattr(torch, dtype_name)
    models: dict[str, nn.Module] = {"vitseg": tune(build_ours(size, side)), "timm": build_timms(size, side)}
    images = torch.randn(batch_size, 3, side, side, device=device).to(dtype)
    models = {name: model.eval().to(device, dtype) for name, model in models.items()}
    multiply_adds = count_multiply_adds(models["vitseg"], images[:1])
    forwards = {name: torch.compile(model) if compiles else model for name, model in models.items()}
    calls = {name: functools.partial(forward, images) for name, forward in forwards.items()}
    seconds = time_in_turn(calls, repeats=repeats, warmup=5, device=device)
    speed = batch_size * multiply_adds / statistics.median(seconds["vitseg"])
    return {
        "benchmark": "encoder",
        "size": size,
        **{f"milliseconds_{name}": 1e3 * statistics.median(times) for name, times in seconds.items()},
        "ratio": statistics.median(
            theirs / ours for ours, theirs in zip(seconds["vitseg"], seconds["timm"], strict=True)
        ),
        **matmul_shares(speed, device, dtype),
        "side": side,
        "batch_size": batch_size,
        "device": device,
        "dtype": dtype_name,
        "compile": compiles,
    }


def build_ours(size: str, side: int) -> PlainVitBackbone:
    width, num_heads, num_layers = SIZES[size]
    config = PlainVitConfig(
        hidden_size=width,
        num_attention_heads=num_heads,
        num_hidden_layers=num_layers,
        intermediate_size=4 * width,
        image_size=side,
        patch_size=PATCH_SIZE,
        use_class_token=True,
        use_final_norm=True,
        out_indices=[num_layers],
    )
    return PlainVitBackbone._from_config(config)


def build_timms(size: str, side: int) -> nn.Module:
    return timm.create_model(f"vit_{size}_patch{PATCH_SIZE}_224", img_size=side, num_classes=0, global_pool="")
