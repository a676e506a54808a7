# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The plain ViT encoder beside timm's Vision Transformer of the same size, in turn; a process for each pair."""

import argparse
import functools
import statistics

import timm
import torch
from torch import nn

from vitseg import PlainVitBackbone, PlainVitConfig
from vitseg.arguments import positive_int
from vitseg.deployment.tuning import tune

from .arguments import DTYPES, Figures, Row, add_device, machine, print_table
from .throughput import count_multiply_adds, in_own_process, matmul_shares, time_in_turn


PATCH_SIZE = 16
# Width, heads and blocks of timm's vit_NAME_patch16_224.
SIZES = {"tiny": (192, 3, 12), "small": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 16, 24)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--batch-size", type=positive_int, default=1, metavar="N", help="images in a batch (1)")
    parser.add_argument("--side", type=positive_int, default=512, metavar="N", help="of the square images (512)")
    parser.add_argument("--compile", action="store_true", help="both through torch.compile")
    parser.add_argument("--untuned", action="store_true", help="vitseg's as it is, not tuned for the machine")


def run(args: argparse.Namespace) -> list[Row]:
    rows = [in_own_process(measure, size, args) for size in args.sizes]
    figures: Figures = {
        "": "ViT-{size}".format_map,
        "vitseg (ms)": "{milliseconds_vitseg:.0f}".format_map,
        "timm (ms)": "{milliseconds_timm:.0f}".format_map,
        "timm's time / vitseg's": "{ratio:.3f}".format_map,
        "share of peak": "{matmul_share:.0%}".format_map,
        "of PyTorch's product": "{torch_matmuls:.2f}".format_map,
    }
    print_table(figures, rows)
    print(
        f"\nInside the timing: one pass without gradients over {args.batch_size} x 3 x {args.side} x {args.side} "
        f"random {args.dtype} pixel values on {args.device}{' through torch.compile' if args.compile else ''}, from "
        f"pixel values to the features of the last block; random weights, the same number of tokens; vitseg's is "
        f"{'not ' if args.untuned else ''}tuned. In turn, medians of {args.repeats}, the ratio that of the turns. "
        f"Share of peak: of the fastest large matrix product in the same process. Device: {machine(args.device)}."
    )
    return rows


@torch.inference_mode()
def measure(size: str, args: argparse.Namespace) -> Row:
    side, device, dtype = args.side, args.device, getattr(torch, args.dtype)
    ours = build_ours(size, side)
    models: dict[str, nn.Module] = {"vitseg": ours if args.untuned else tune(ours)}
    models["timm"] = build_timms(size, side)
    images = torch.randn(args.batch_size, 3, side, side, device=device).to(dtype)
    models = {name: model.eval().to(device, dtype) for name, model in models.items()}
    multiply_adds = count_multiply_adds(models["vitseg"], images[:1])
    forwards = {name: torch.compile(model) if args.compile else model for name, model in models.items()}
    calls = {name: functools.partial(forward, images) for name, forward in forwards.items()}
    seconds = time_in_turn(calls, repeats=args.repeats, warmup=5, device=device)
    speed = args.batch_size * multiply_adds / statistics.median(seconds["vitseg"])
    return {
        "size": size,
        **{f"milliseconds_{name}": 1e3 * statistics.median(times) for name, times in seconds.items()},
        "ratio": statistics.median(
            theirs / ours for ours, theirs in zip(seconds["vitseg"], seconds["timm"], strict=True)
        ),
        **matmul_shares(speed, device, dtype),
        **{name: getattr(args, name) for name in ("side", "batch_size", "device", "dtype", "compile", "untuned")},
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
