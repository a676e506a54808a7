# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What is run, the most valuable first, and what is asked of it."""

from . import golden, ranks, resuming, speed, steps
from .report import Goal
from .running import Section, Settings


# Of the matrix product; of SCTNet in its fastest form and as it is; of windows together and one by one.
LEAST_SHARE, LEAST_GAIN, LEAST_GAIN_OF_WINDOWS = 0.5, 2.5, 1.5
# Differences below 3% mean nothing.
LEAST_OF_TIMM = 0.97
LEAST_AGREEMENT = 0.99


def side_by_side(settings: Settings) -> list[Section]:
    """Sections that time nothing."""
    full_size = settings.few(golden.FULL_SIZE_METHODS)
    return [
        *(golden_section(name) for name in golden.METHODS),
        *(steps_section(settings, method) for method in settings.few(steps.RECIPES)),
        Section(
            "ranks",
            ranks.check_ranks,
            90,
            goals={key: Goal(f"two {key}, one device, synchronized batch norms") for key in ranks.SHARING},
        ),
        Section(
            "resuming",
            resuming.check_run,
            90,
            goals={"resumed run": Goal("a killed and resumed run, whose steps wait for nothing")},
        ),
        *(Section(f"compiling {name}", speed.compile_large, 150, (name,)) for name in settings.few(speed.LARGE)),
        *(Section(f"compiling {name}", speed.compile_encoder, 150, (name,)) for name in settings.few(speed.ENCODERS)),
        *(Section(f"compiling {name}", speed.compile_sctnet, 150, (name,)) for name in settings.few(speed.SCTNETS)),
        *(full_size_section(name) for name in full_size),
    ]


def golden_section(method: str) -> Section:
    name = f"golden cases of {method}"
    goals = {name: Goal(f"golden cases, float32 without TF32: {method}")}
    return Section(name, golden.check_small_cases, 120, (method,), goals)


def full_size_section(method: str) -> Section:
    name = f"full-size cases of {method}"
    goals = {name: Goal(f"golden cases of full size: {method}")} | {
        f"{dtype} {method}": Goal(f"pixels of the same class in {dtype}: {method}", LEAST_AGREEMENT)
        for dtype in golden.HALF
    }
    return Section(name, golden.check_full_size_cases, 150, (method,), goals)


def steps_section(settings: Settings, method: str) -> Section:
    names = settings.few(steps.RECIPES[method])
    goals = {f"compiled step {names[0]}": Goal(f"training step compiled, as not compiled: {names[0]}")}
    for name in names:
        goals[f"step {name}"] = Goal(f"training step, bfloat16 autocast, fused optimizer: {name}")
        goals[f"no waiting {name}"] = Goal(f"a step waits for nothing: {name}")
    return Section(f"steps of {method}", steps.check_method, 150, (method,), goals)


def alone(settings: Settings) -> list[Section]:
    """Sections that time something, and would time whatever runs beside them."""
    shares = {
        f"share {name}": Goal(
            f"share of the matrix product, 16 images, compiled: {speed.LARGE[name]}", LEAST_SHARE, True
        )
        for name in settings.few(speed.LARGE)
    }
    timm = {"encoder": Goal("timm's ViT-L time / ours, 16 images, bfloat16, compiled", LEAST_OF_TIMM, True)}
    windows = {"windows": Goal("windows of Cityscapes, one by one / 8 at a time", LEAST_GAIN_OF_WINDOWS, True)}
    training = {
        f"training {name}": Goal(f"training, 8 images, bfloat16: {speed.TRAINED[name]}", None, True)
        for name in settings.few(speed.TRAINED)
    }
    return [
        Section("large models", speed.time_large_models, 120, goals=shares),
        Section("encoder", speed.time_encoder, 60, goals=timm),
        Section("SCTNet", speed.time_sctnets, 120, goals=sctnet_goals(settings)),
        Section("token sharing", speed.time_sharing, 60, goals=sharing_goals(settings)),
        Section("windows", speed.time_windows, 45, goals=windows),
        Section("training", speed.time_training, 60, goals=training),
    ]


def sctnet_goals(settings: Settings) -> dict[str, Goal]:
    goals = {}
    for name in settings.few(speed.SCTNETS):
        goals[f"gain {name}"] = Goal(f"fastest form / float32 as it is: {name}", LEAST_GAIN, True)
        if speed.published_result(name).frames_per_second_tensorrt:
            goals[f"TensorRT {name}"] = Goal(f"frames/s / published, TensorRT on an RTX 3090: {name}", 1.0, True)
    return goals


def sharing_goals(settings: Settings) -> dict[str, Goal]:
    goals = {}
    for name in settings.few(speed.SHARING):
        shared, other = (speed.published_result(recipe) for recipe in (name, speed.SHARING[name]))
        least = round(shared.images_per_second / other.images_per_second, 2)
        goals[f"sharing {name}"] = Goal(f"images/s with sharing / without, 32 images: {name}", least, True)
    return goals
