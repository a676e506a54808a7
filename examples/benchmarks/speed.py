# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Frames/s of SCTNet by its authors' protocol, beside the published figures."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vitseg.models.layers import as_pair
from vitseg.recipes import RECIPES

from .arguments import DTYPES, Row, add_device, machine, print_rows
from .named_models import SEGFORMER, build_model, check_name, load_config
from .throughput import calls_per_second, in_own_process


# Forms of an SCTNet whose speed is measured.
VARIANTS = ("unfused", "fused", "compiled", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="NAME_OR_FOLDER", help="SCTNets (default: all published)")
    parser.add_argument("--peer", choices=list(SEGFORMER), help="measure this one too, at the same sizes")
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of fused and compiled models")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["unfused", "fused", "compiled"])
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each timing (6)")


def run(args: argparse.Namespace) -> list[Row]:
    names = args.models or [name for name, recipe in RECIPES.items() if recipe.method == "sctnet"]
    for name in names:
        check_name(name)
        if load_config(name).model_type != "sctnet":
            raise ValueError(f"{name} is not an SCTNet; the speed of other models is measured by `models`.")
    variants = [*args.variants, *([args.peer] if args.peer else [])]
    rows = [in_own_process(measure_speed, name, variants, args.device, args.dtype, args.seconds) for name in names]
    header = ("frames/s", "input", *variants, "published", "published, TensorRT")
    table = [
        (
            row["model"],
            f"{row['height']} x {row['width']}",
            *(f"{row[variant]:.1f}" for variant in variants),
            *("" if row[key] is None else f"{row[key]:.1f}" for key in ("published", "published_tensorrt")),
        )
        for row in rows
    ]
    print_rows(header, table, rows)
    print(
        f"\nInside the timing: one forward pass in evaluation mode from 1 x 3 x height x width random pixel values on "
        f"{args.device} to scores of the same height and width; random weights for recipes. A loop of "
        f"{args.seconds:g} s after a warm-up. unfused: float32, channels first, eager, the protocol of the published "
        f"figures; fused: {args.dtype}, channels last; compiled: that, through torch.compile; onnx: fused, float32, "
        f"in ONNX Runtime. Device: {machine(args.device)}. Published: RTX 3090, PyTorch in float32 and TensorRT in "
        "float16."
    )
    return rows


@torch.no_grad()
def measure_speed(name: str, variants: list[str], device: str, dtype: str, seconds: float) -> Row:
    """Frames/s of an SCTNet in each of the variants, or of a peer, as plain numbers."""
    torch.backends.cudnn.benchmark = True
    height, width = as_pair(load_config(name).image_size)
    published: Any = RECIPES[name].published if name in RECIPES else None
    row: Row = {
        "model": name,
        "height": height,
        "width": width,
        "device": device,
        "dtype": dtype,
        "published": published.frames_per_second if published else None,
        "published_tensorrt": published.frames_per_second_tensorrt if published else None,
    }
    images = torch.randn(1, 3, height, width, device=device)
    model = build_model(name, (height, width)).eval().to(device)
    for variant in variants:
        row[variant] = calls_per_second(
            forward_pass(variant, model, images, getattr(torch, dtype)),
            seconds=seconds,
            first_count=100 if device == "cuda" else 1,
            device=device,
        )
    return row


def forward_pass(variant: str, model: Any, images: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """One forward pass over `images`."""
    size = (images.shape[-2], images.shape[-1])
    if variant == "unfused":
        return lambda: model(images).logits
    if variant in SEGFORMER:
        peer = build_model(variant, size).eval().to(images)
        # SCTNet's scores have the size of the image.
        return lambda: nn.functional.interpolate(peer(images).logits, size=size, mode="bilinear", align_corners=False)
    fused = model.fuse()
    if variant == "onnx":
        # The packages that this needs are an extra.
        from vitseg.deployment.onnx import onnx_session

        session, pixels = onnx_session(fused, images), {"pixel_values": images.cpu().numpy()}
        return lambda: session.run(["logits"], pixels)
    fused, images = fused.to(dtype), images.to(dtype=dtype, memory_format=torch.channels_last)
    if variant == "compiled":
        # On a GPU with CUDA graphs; on the CPU with weights laid out for its convolutions beforehand.
        settings: dict[str, Any] = {"mode": "max-autotune"} if images.is_cuda else {"options": {"freezing": True}}
        compiled = torch.compile(fused, fullgraph=True, **settings)
        return lambda: compiled(images).logits
    return lambda: fused(images).logits
