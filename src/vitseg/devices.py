# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What devices are called, for figures that say where they were measured."""

import platform

import torch

from .processor import PROCESSORS


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor_name()} ({device.type})"


def _processor_name() -> str:
    """The processor's name where the operating system tells it, or its kind."""
    if PROCESSORS.exists():
        for line in PROCESSORS.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
