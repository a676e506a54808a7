# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
vitseg: plain-ViT and real-time semantic segmentation for Hugging Face transformers.

Importing vitseg makes its models known to transformers' Auto classes and pipelines. Its public names are the classes
of `METHODS`.
"""

import importlib
import os
from typing import Any


# How long a thread of PyTorch looks for work before it sleeps, which OpenMP reads when it is loaded: as long as the
# next operation takes to come, not the milliseconds of its default, in which threads that look keep those that have
# work from the processor on a machine that does something else besides.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")

import transformers

from .methods import METHODS, TASKS


__version__ = "0.1.0"

_CLASSES: dict[str, Any] = {
    name: getattr(importlib.import_module(f"{__name__}.models.{module}"), name)
    for method in METHODS.values()
    for name, module in method.modules_of_classes.items()
}
globals().update(_CLASSES)
__all__ = sorted(_CLASSES)


def __getattr__(name: str) -> Any:
    # Type checkers learn from it that names come from the table.
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    for method in METHODS.values():
        config_class = _CLASSES[method.config_class]
        transformers.AutoConfig.register(method.model_type, config_class)
        for task in method.tasks:
            auto_class = getattr(transformers, TASKS[task].auto_class)
            auto_class.register(config_class, _CLASSES[method.class_name(task)])
        if method.processor_class is not None:
            processors = {"torchvision": _CLASSES[method.processor_class]}
            transformers.AutoImageProcessor.register(config_class, image_processor_classes=processors)


_register()
