# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Schedule: optimizer, learning rates and weight decays of the recipes that are mmsegmentation's own.

mmengine builds the optimizer and its scheduler for the model of a shipped configuration, and we build those of the
recipe for what the conversion makes of it. Each parameter is compared, at the first `STEPS` and at all steps of a
training that has no more; so are the other settings of a training.

Recipes decay as mmcv did, with which these results were published: to the floor at the step after the last one.
mmengine is there at the last one, as mmcv is in a training of one step less, which the short one is compared with.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from transformers import AutoModelForSemanticSegmentation

from vitseg.recipes import TrainingRecipe, get_recipe
from vitseg.training.optimization import build_optimizer, build_schedule

from .cases import Case
from .models import narrowed
from .originals import CONFIGURATIONS, build, convert, save


COLUMNS = ("rates", "decays")
RECIPES = {
    "setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512": "setr-mmseg-naive-vit-l-ade20k-512-160k",
    "setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512": "setr-mmseg-pup-vit-l-ade20k-512-160k",
    "setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512": "setr-mmseg-mla-vit-l-ade20k-512-160k-b8",
    "setr/setr_vit-l_mla_8xb2-160k_ade20k-512x512": "setr-mmseg-mla-vit-l-ade20k-512-160k-b16",
    "setr/setr_vit-l_naive_8xb1-80k_cityscapes-768x768": "setr-mmseg-naive-vit-l-cityscapes-768-80k",
    "setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768": "setr-mmseg-pup-vit-l-cityscapes-768-80k",
    "setr/setr_vit-l_mla_8xb1-80k_cityscapes-768x768": "setr-mmseg-mla-vit-l-cityscapes-768-80k",
    "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512": "segmenter-mmseg-mask-vit-t-ade20k-512-160k",
    "segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512": "segmenter-mmseg-linear-vit-s-ade20k-512-160k",
    "segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512": "segmenter-mmseg-mask-vit-s-ade20k-512-160k",
    "segmenter/segmenter_vit-b_mask_8xb1-160k_ade20k-512x512": "segmenter-mmseg-mask-vit-b-ade20k-512-160k",
    "segmenter/segmenter_vit-l_mask_8xb1-160k_ade20k-512x512": "segmenter-mmseg-mask-vit-l-ade20k-640-160k",
}
GPUS = 8
STEPS = 60


def cases() -> Iterator[Case]:
    for file, recipe in RECIPES.items():
        yield Case(recipe, functools.partial(compare, CONFIGURATIONS / f"{file}.py", recipe))


def compare(file: Path, recipe_name: str) -> dict[str, float]:
    """The largest difference of a learning rate in parts of the initial one, and of a weight decay."""
    config, recipe = Config.fromfile(file), get_recipe(recipe_name).training
    assert isinstance(recipe, TrainingRecipe)
    check_settings(config, recipe)
    config.model = narrowed(config.model.to_dict())
    original: Any = build(config)
    with torch.no_grad():
        # The number of each parameter, from 1, is all that it holds: so it is known where the conversion puts it.
        for number, (name, parameter) in enumerate(original.named_parameters(), 1):
            parameter.fill_(number)
            if name == "backbone.cls_token" and not original.backbone.with_cls_token:
                # It is there all the same, and learns nothing.
                parameter.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        save(original, config, Path(folder) / "model.pth")
        convert(Path(folder) / "model.pth", Path(folder) / "model")
        model = AutoModelForSemanticSegmentation.from_pretrained(Path(folder) / "model")
    worst = {"rates": 0.0, "decays": 0.0}
    for end, iterations in ((recipe.iterations, recipe.iterations), (STEPS, STEPS - 1)):
        theirs = their_rates(config, original, end)
        ours = our_rates(dataclasses.replace(recipe, iterations=iterations), model)
        for their_step, our_step in zip(theirs, ours, strict=True):
            if {*their_step} != {*our_step}:
                raise ValueError(f"Other parameters learn: {sorted({*their_step} ^ {*our_step})}")
            for number, (rate, decay) in their_step.items():
                our_rate, our_decay = our_step[number]
                worst["rates"] = max(worst["rates"], abs(rate - our_rate) / recipe.learning_rate)
                worst["decays"] = max(worst["decays"], abs(decay - our_decay))
    return worst


def check_settings(config: Config, recipe: TrainingRecipe) -> None:
    """
    Raises:
        ValueError: if a setting of the training is another.
    """
    steps = {step["type"]: step for step in config.train_pipeline}
    optimizer, resize = config.optim_wrapper.optimizer, steps["RandomResize"]
    expected = {
        "optimizer": optimizer.type.lower(),
        "learning_rate": optimizer.lr,
        "momentum": optimizer.momentum,
        "nesterov": optimizer.get("nesterov", False),
        "weight_decay": optimizer.weight_decay,
        "max_gradient_norm": config.optim_wrapper.get("clip_grad"),
        "iterations": config.train_cfg.max_iters,
        "batch_size": GPUS * config.train_dataloader.batch_size,
        "crop_size": steps["RandomCrop"]["crop_size"],
        "scale": resize["scale"],
        "ratio_range": resize["ratio_range"],
        "max_category_share": steps["RandomCrop"]["cat_max_ratio"],
        "flip_probability": steps["RandomFlip"]["prob"],
        "photometric_distortion": "PhotoMetricDistortion" in steps,
        "warmup_iterations": 0,
    }
    for key, value in expected.items():
        ours = getattr(recipe, key)
        if ours != value:
            raise ValueError(f"{key} is {value} in the configuration, and {ours} in the recipe.")


def their_rates(config: Config, model: torch.nn.Module, end: int) -> Iterator[dict[int, tuple[float, float]]]:
    """Learning rate and weight decay of each parameter, by its number, step by step."""
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    (settings,) = config.param_scheduler
    scheduler = PARAM_SCHEDULERS.build({**settings, "end": end}, default_args={"optimizer": wrapper})
    yield from _rates(wrapper.optimizer, scheduler)


def our_rates(recipe: TrainingRecipe, model: torch.nn.Module) -> Iterator[dict[int, tuple[float, float]]]:
    """As `their_rates`."""
    optimizer = build_optimizer(model, recipe)
    yield from _rates(optimizer, build_schedule(optimizer, recipe))


def _rates(optimizer: torch.optim.Optimizer, scheduler: Any) -> Iterator[dict[int, tuple[float, float]]]:
    for _ in range(STEPS):
        rates: dict[int, tuple[float, float]] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                # 0 is what the original does not have, such as the bias of a linear layer without.
                number = int(parameter.flatten()[0])
                if number:
                    rates[number] = (group["lr"], group["weight_decay"])
        yield rates
        optimizer.step()
        scheduler.step()
