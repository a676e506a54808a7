# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""All that a CUDA device does otherwise than a CPU, on which this program is tested, in one place."""

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.overrides import TorchFunctionMode

import vitseg


LIBRARIES = ("torch", "transformers", "timm", "accelerate", "triton", "numpy")


def describe(device: torch.device) -> dict[str, Any]:
    """Device, driver and versions."""
    machine: dict[str, Any] = {"device": platform.machine(), "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        capability = f"{properties.major}.{properties.minor}"
        machine |= {"device": properties.name, "driver": _driver(), "cuda": torch.version.cuda}
        machine |= {"compute capability": capability, "memory (GB)": round(properties.total_memory / 1e9, 1)}
    machine["vitseg"] = vitseg.__version__
    for name in LIBRARIES:
        try:
            machine[name] = version(name)
        except PackageNotFoundError:
            machine[name] = "not installed"
    return machine


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown: there is no nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip() or "unknown"


def use_exact_float32() -> None:
    """No TF32, neither in matrix products nor in convolutions, where PyTorch allows it by default."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def compiled(module: nn.Module, device: torch.device, **settings: Any) -> Callable[..., Any]:
    """The module through `torch.compile`, for the sizes that it is called with; on a CPU it is only traced."""
    if device.type == "cuda":
        return torch.compile(module, dynamic=False, **settings)
    return torch.compile(module, dynamic=False, backend="eager")


def graphed(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """What calls a function again as one CUDA graph, so that no kernel waits for Python to launch it."""
    if device.type != "cuda":
        return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def restart_peak_memory(device: torch.device) -> None:
    """From here on, `peak_memory` of the benchmarks counts anew what is allocated on a CUDA device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


class _Waits(TorchFunctionMode):
    """Lets the functions named wait for the device."""

    def __init__(self, functions: tuple[Callable[..., object], ...]):
        super().__init__()
        self.functions = functions

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func not in self.functions:
            return func(*args, **(kwargs or {}))
        torch.cuda.set_sync_debug_mode("default")
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch.cuda.set_sync_debug_mode("error")


@contextmanager
def no_waiting(device: torch.device, but: tuple[Callable[..., object], ...] = ()) -> Iterator[None]:
    """Inside, what makes the processor wait for the device raises RuntimeError, `but` in the functions named."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        with _Waits(but):
            yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def synchronize_batch_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """As training does with several GPUs; on CPUs, which PyTorch does not offer it for, they only stop learning."""
    if device.type == "cuda":
        return convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model
