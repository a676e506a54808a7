# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How fast models are on the device, and how much memory they take; timed in processes that run alone."""

import functools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from benchmarks.encoder import build_ours, build_timms
from benchmarks.sharing import recipe_pairs
from benchmarks.throughput import (
    calls_per_second,
    count_multiply_adds,
    matmul_speed,
    peak_memory,
    time_in_turn,
)
from torch import nn

from vitseg.deployment.tuning import tune
from vitseg.models.layers import as_pair
from vitseg.recipes import RECIPES

from .device import compiled, graphed, restart_peak_memory
from .models import batch, build, crop_size, scenes_recipe
from .running import Settings, Tell
from .steps import training_step


LARGE = {
    "setr": "setr-pup-vit-l-ade20k-512-160k",
    "segvit": "segvit-atm-vit-l-coco-stuff-10k-512-80k",
    "structtoken": "structtoken-pwe-vit-l-ade20k-640-160k",
}
WINDOWED = "setr-pup-vit-l-cityscapes-768-80k"
CITYSCAPES = (1025, 2049)  # as SETR is tested
TRAINED = {**LARGE, "sctnet": "sctnet-b-ade20k-512-160k", "cts_segmenter": "cts-segmenter-mask-30-vit-s-ade20k-512"}
ENCODERS = ("vitseg", "timm")
SHARING = recipe_pairs()
SCTNETS = [name for name, recipe in RECIPES.items() if recipe.method == "sctnet"]
SMALL = {"setr": "setr-pup", "segvit": "segvit", "structtoken": "structtoken-sse", "sctnet": "sctnet"}
BFLOAT16 = torch.bfloat16


# Large models.


@torch.no_grad()
def compile_large(settings: Settings, tell: Tell, method: str) -> None:
    """Leaves in the compiler's cache what the timing would wait for, as do the others of this kind."""
    large_model(settings, method)


def large_model(settings: Settings, method: str) -> tuple[nn.Module, torch.Tensor, Callable[..., Any]]:
    """A large segmenter in bfloat16, its images, and itself compiled and called once."""
    recipe = scenes_recipe(SMALL[method]) if settings.is_small else LARGE[method]
    side, number = (128, 1) if settings.is_small else (512, 16)
    model = tune(build(recipe, settings.device).eval()).to(BFLOAT16)
    model.config.inference_mode = "whole"
    images = torch.randn(number, 3, side, side, device=settings.device).to(BFLOAT16)
    forward = compiled(model, settings.device)
    forward(images)
    return model, images, forward


@torch.no_grad()
def time_large_models(settings: Settings, tell: Tell) -> None:
    """The share of the device's bfloat16 matrix product that large segmenters reach."""
    size = 64 if settings.is_small else None
    for method in settings.few(LARGE):
        with tell.failures(f"share {method}"):
            restart_peak_memory(settings.device)
            peak = matmul_speed(settings.device, BFLOAT16, size=size)
            model, images, forward = large_model(settings, method)
            seconds = median(settings, {"model": functools.partial(forward, images)})["model"]
            speed = count_multiply_adds(model, images[:1]) * len(images) / seconds
            tell(
                f"share {method}",
                speed / peak,
                f"{speed / peak:.0%}: {len(images) / seconds:.1f} images/s, {2e-12 * speed:.0f} of {2e-12 * peak:.0f} "
                f"TFLOP/s, {megabytes(settings)}",
                images_per_second=len(images) / seconds,
                tflops=2e-12 * speed,
                peak_tflops=2e-12 * peak,
            )
            del model, forward


def encoder(settings: Settings, name: str) -> tuple[Callable[..., Any], torch.Tensor]:
    """An encoder of ours or timm's in bfloat16, compiled and called once, and its images."""
    size, side, number = ("tiny", 64, 1) if settings.is_small else ("large", 512, 16)
    with settings.device:
        model: nn.Module = tune(build_ours(size, side).eval()) if name == "vitseg" else build_timms(size, side).eval()
    images = torch.randn(number, 3, side, side, device=settings.device).to(BFLOAT16)
    forward = compiled(model.to(BFLOAT16), settings.device)
    forward(images)
    return forward, images


@torch.no_grad()
def compile_encoder(settings: Settings, tell: Tell, name: str) -> None:
    encoder(settings, name)


@torch.no_grad()
def time_encoder(settings: Settings, tell: Tell) -> None:
    """The plain ViT beside timm's, in turn."""
    calls = {}
    for name in ENCODERS:
        forward, images = encoder(settings, name)
        calls[name] = functools.partial(forward, images)
    seconds = times(settings, calls)
    ratio = ratio_of_turns(seconds["timm"], seconds["vitseg"])
    ours, theirs = (1e3 * statistics.median(seconds[name]) for name in ENCODERS)
    tell("encoder", ratio, f"{ratio:.3f}: {ours:.1f} ms, timm's {theirs:.1f} ms")


# SCTNet.


def sctnet(settings: Settings, name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls of an SCTNet: as it is in float32, and in float16, fused, channels last and compiled, called once."""
    device = settings.device
    recipe, (height, width) = (scenes_recipe("sctnet"), (64, 64)) if settings.is_small else (name, image_size(name))
    model = build(recipe, torch.device("cpu")).eval()
    fused = tune(model).to(device, torch.float16)
    fused = fused.to(memory_format=torch.channels_last)
    images = torch.randn(1, 3, height, width, device=device)
    half_images = images.to(fused.dtype).to(memory_format=torch.channels_last)
    # With CUDA graphs.
    forward = compiled(fused, device, mode="reduce-overhead")
    forward(half_images)
    model = model.to(device)
    return lambda: model(images).logits, lambda: forward(half_images).logits


@torch.no_grad()
def time_sctnets(settings: Settings, tell: Tell) -> None:
    """Frames/s by the authors' protocol, beside the published ones and our own."""
    torch.backends.cudnn.benchmark = True
    measured = functools.partial(
        calls_per_second,
        seconds=0.01 if settings.is_small else 0.5,
        warmup=1 if settings.is_small else 10,
        first_count=1 if settings.is_small else 50,
        device=settings.device,
    )
    for name in settings.few(SCTNETS):
        with tell.failures(f"gain {name}"):
            as_it_is, fast = map(measured, sctnet(settings, name))
            tell(f"gain {name}", fast / as_it_is, f"{fast / as_it_is:.2f}: {fast:.0f} and {as_it_is:.0f} frames/s")
            published = published_result(name).frames_per_second_tensorrt
            if published:
                tell(f"TensorRT {name}", fast / published, f"{fast / published:.2f}: {fast:.0f} frames/s, {published}")


@torch.no_grad()
def compile_sctnet(settings: Settings, tell: Tell, name: str) -> None:
    sctnet(settings, name)


def image_size(name: str) -> tuple[int, int]:
    return as_pair(RECIPES[name].build_config().image_size)


def published_result(name: str) -> Any:
    return RECIPES[name].published


# Token sharing.


@torch.no_grad()
def time_sharing(settings: Settings, tell: Tell) -> None:
    """Images/s with token sharing over without, as CUDA graphs and, in the details, as it is."""
    for name, other in settings.few(SHARING.items()):
        with tell.failures(f"sharing {name}"):
            names = {"with": name, "without": other}
            if settings.is_small:
                names = {"with": scenes_recipe("cts-segmenter-30"), "without": scenes_recipe("cts-segmenter")}
            calls: dict[str, Callable[[], object]] = {}
            images = torch.empty(0)
            for key, recipe in names.items():
                model = tune(build(recipe, settings.device).eval()).to(BFLOAT16)
                model.config.inference_mode = "whole"
                number = 1 if settings.is_small else 32
                images = torch.randn(number, 3, *crop_size(recipe), device=settings.device).to(BFLOAT16)
                calls[key] = functools.partial(model, images)
            eager = times(settings, calls)
            graphs = times(settings, {key: graphed(call, settings.device) for key, call in calls.items()})
            ratio, ratio_as_is = (ratio_of_turns(each["without"], each["with"]) for each in (graphs, eager))
            rate = len(images) / statistics.median(graphs["with"])
            tell(f"sharing {name}", ratio, f"{ratio:.2f}: {rate:.0f} images/s with (not as graphs: {ratio_as_is:.2f})")
            del calls, model


# Windows.


@torch.no_grad()
def time_windows(settings: Settings, tell: Tell) -> None:
    """The windows of an image of Cityscapes together and one by one."""
    recipe, size = (scenes_recipe("setr-pup"), (128, 200)) if settings.is_small else (WINDOWED, CITYSCAPES)
    model = tune(build(recipe, settings.device).eval()).to(BFLOAT16)
    model.config.inference_mode = "slide"
    image = torch.randn(1, 3, *size, device=settings.device).to(BFLOAT16)
    calls = {number: functools.partial(model, image, window_batch_size=number) for number in (1, 8)}
    seconds = times(settings, {str(number): call for number, call in calls.items()})
    ratio = ratio_of_turns(seconds["1"], seconds["8"])
    one, eight = (1e3 * statistics.median(seconds[number]) for number in ("1", "8"))
    tell("windows", ratio, f"{ratio:.2f}: {one:.0f} ms one by one, {eight:.0f} ms together, {megabytes(settings)}")


# Training.


def time_training(settings: Settings, tell: Tell) -> None:
    """Images/s and memory of training steps in bfloat16 with a fused optimizer."""
    for method, name in settings.few(TRAINED.items()):
        with tell.failures(f"training {method}"):
            restart_peak_memory(settings.device)
            recipe, number = (scenes_recipe(SMALL[method]), 1) if settings.is_small else (name, 8)
            model = build(recipe, settings.device).train()
            step = training_step(model, model, batch(recipe, number, settings.device), settings.device)
            seconds = median(settings, {"step": step})["step"]
            tell(f"training {method}", number / seconds, f"{number / seconds:.1f} images/s, {megabytes(settings)}")
            del model, step


def times(settings: Settings, calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    repeats, warmup = (1, 0) if settings.is_small else (10, 3)
    return time_in_turn(calls, repeats=repeats, warmup=warmup, device=settings.device)


def median(settings: Settings, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    return {name: statistics.median(seconds) for name, seconds in times(settings, calls).items()}


def ratio_of_turns(slow: list[float], fast: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def megabytes(settings: Settings) -> str:
    return f"{peak_memory(settings.device) / 1e6:.0f} MB at the most"
