# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a lower precision or another runtime gains, and in how many pixels its classes agree with float32."""

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.deployment.tuning import tune

from .arguments import Row, add_device, machine, print_rows
from .throughput import in_own_process, time_in_turn


FORMS = ("bfloat16", "float16", "int8", "onnx", "compiled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a trained model")
    parser.add_argument("--images", required=True, nargs="+", type=Path, metavar="FILE", help="photos it can segment")
    add_device(parser)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["bfloat16", "float16", "int8", "onnx"])


def run(args: argparse.Namespace) -> list[Row]:
    rows = [in_own_process(measure, form, args) for form in args.forms]
    lines = [
        (row["form"], f"{row['milliseconds']:.1f}", f"{row['ratio']:.2f}", f"{row['agreement']:.2%}") for row in rows
    ]
    print_rows(("", "latency (ms)", "times as fast as float32", "pixels of the same class"), lines, rows)
    height, width = rows[0]["height"], rows[0]["width"]
    print(
        f"\nInside the timing: one whole pass over {len(args.images)} x 3 x {height} x {width} pixel values on "
        f"{args.device}, in turn with float32, each form in a process of its own; medians of {args.repeats}. "
        "float32, bfloat16, float16: tuned; int8: the weights of linear layers by torchao and, on a CPU, their inputs "
        "too; onnx: float32 in ONNX Runtime; compiled: float32 through torch.compile, on a GPU with CUDA graphs. "
        f"Device: {machine(args.device)}."
    )
    return rows


def measure(form: str, args: argparse.Namespace) -> Row:
    """The figures of a form beside float32, as plain numbers."""
    images = load_images(args.model, args.images, args.device)
    config = {"inference_mode": "whole"}
    model = AutoModelForSemanticSegmentation.from_pretrained(args.model, **config).eval().to(args.device)
    calls = {name: forward_pass(name, model, images) for name in ("float32", form)}
    expected, actual = (call().argmax(dim=1) for call in calls.values())
    seconds = time_in_turn(calls, repeats=args.repeats, warmup=5, device=args.device)
    return {
        "model": args.model,
        "form": form,
        "device": args.device,
        "height": images.shape[-2],
        "width": images.shape[-1],
        "ratio": statistics.median(slow / fast for slow, fast in zip(seconds["float32"], seconds[form], strict=True)),
        "milliseconds": 1e3 * statistics.median(seconds[form]),
        "agreement": (actual == expected).float().mean().item(),
    }


def load_images(model: str, files: list[Path], device: str) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(model)
    pixel_values = [processor(Image.open(file), return_tensors="pt")["pixel_values"] for file in files]
    if len({tensor.shape for tensor in pixel_values}) > 1:
        raise ValueError("The images have different shapes; name images of one.")
    return torch.cat(pixel_values).to(device)


def forward_pass(form: str, model: Any, images: torch.Tensor) -> Callable[[], torch.Tensor]:
    """One pass over the images, to float32 logits."""
    if form == "onnx":
        # The packages that this needs are an extra.
        from vitseg.deployment.onnx import onnx_session

        session, pixels = onnx_session(model, images), {"pixel_values": images.cpu().numpy()}
        return lambda: torch.from_numpy(session.run(["logits"], pixels)[0])
    if form in ("float32", "bfloat16", "float16"):
        dtype = getattr(torch, form)
        model, images = tune(model).to(dtype), images.to(dtype)
    elif form == "int8":
        model = quantized(model, images.device.type)
    elif form == "compiled":
        model = torch.compile(model, fullgraph=True, mode="reduce-overhead" if images.is_cuda else None)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return model(images).logits.float()

    return call


def quantized(model: nn.Module, device_type: str) -> nn.Module:
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ValueError("int8 needs torchao: pip install torchao, or choose other --forms.") from error
    model = copy.deepcopy(model)
    config = Int8DynamicActivationInt8WeightConfig() if device_type == "cpu" else Int8WeightOnlyConfig()
    quantize_(model, config)
    return model
