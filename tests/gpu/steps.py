# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training steps: bfloat16 autocast and a fused optimizer, compiled and not, without waiting for the device."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .device import compiled, no_waiting
from .models import batch, build, scenes_recipe, without_chance
from .running import Settings, Tell


# The recipes for the drawn scenes that stand for each method; the first of each is compiled too.
RECIPES = {
    "setr": ("setr-pup",),
    "segvit": ("segvit", "segvit-shrunk"),
    "structtoken": ("structtoken-sse", "structtoken-cse", "structtoken-pwe"),
    "sctnet": ("sctnet", "sctnet-teacher"),
    "cts_segmenter": ("cts-segmenter-30", "cts-segmenter", "cts-policy"),
    "hlg": ("hlg", "hlg-classifier", "hlg-detector"),
}
# What is known to wait for the device: SegViT asks how many masks there are.
WAITS = {"segvit": (torch.Tensor.nonzero,)}
NUM_STEPS = 4
LEARNING_RATE = 1e-3
# Between the losses of the first step, compiled and not: bfloat16 has eight bits.
TOLERANCE = 0.02


def check_method(settings: Settings, tell: Tell, method: str) -> None:
    """The steps of a method's recipes, and of the first one compiled."""
    device, names = settings.device, settings.few(RECIPES[method])
    for name in names:
        recipe = scenes_recipe(name)
        with tell.failures(f"step {name}"):
            model = without_chance(build(recipe, device)).train()
            inputs = batch(recipe, 2 if settings.is_small else 4, device)
            initial = copy.deepcopy(model) if name == names[0] else None
            step = training_step(model, model, inputs, device)
            losses = [step().item() for _ in range(NUM_STEPS)]
            tell(f"step {name}", float(losses[-1] < losses[0]), course(losses))
            check_waiting(tell, method, name, step, device)
        if initial is not None:
            with tell.failures(f"compiled step {name}"):
                step = training_step(initial, compiled(initial, device), inputs, device)
                ours = [step().item() for _ in range(NUM_STEPS)]
                holds = ours[-1] < ours[0] and math.isclose(ours[0], losses[0], rel_tol=TOLERANCE)
                tell(f"compiled step {name}", float(holds), f"{course(ours)}; not compiled {course(losses)}")


def training_step(
    model: nn.Module, forward: Callable[..., Any], inputs: dict[str, Any], device: torch.device
) -> Callable[[], torch.Tensor]:
    """A function that makes a step and returns its loss, on the device."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)

    def step() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss = forward(**inputs).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def check_waiting(tell: Tell, method: str, name: str, step: Callable[[], torch.Tensor], device: torch.device) -> None:
    with tell.failures(f"no waiting {name}"):
        with no_waiting(device, WAITS.get(method, ())):
            step()
        tell(f"no waiting {name}", 1.0, "nothing waits" + (" but for the number of masks" if method in WAITS else ""))


def course(losses: list[float]) -> str:
    return f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps"
