# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the processor of this machine is, what makes PyTorch faster on it, and in which numbers models compute."""

import ctypes
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


AMD = "AuthenticAMD"
PROCESSORS = Path("/proc/cpuinfo")  # on Linux
# Parameters of glibc's mallopt, as malloc.h has them, and the threshold with which it never trims its heap.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = -1
# What models compute in, by default the first, in which published figures were measured.
DTYPES = ("float32", "bfloat16", "float16")


def processor_vendor(cpuinfo: Path = PROCESSORS) -> str:
    """What the processor of this machine calls its maker: `"AuthenticAMD"`, `"GenuineIntel"`; empty if it does not."""
    if cpuinfo.exists():
        found = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        return found[1] if found else ""
    # On Windows: "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD".
    return platform.processor().rpartition(", ")[2]


def computes_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16, which are faster than those of float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def choose_computing(dtype: str, threads: int | None, device: torch.device) -> tuple[torch.dtype, str | None]:
    """
    Prepare this process to run a model.

    Args:
        dtype: one of `DTYPES`, or "auto": bfloat16 where `device` has instructions for it, else float32.
        threads: that operations of PyTorch use on a CPU; `None` leaves that to PyTorch.
        device: where the model runs.

    Returns:
        What the model computes in, and a line that says why if that was left to this function.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_memory()
    if dtype != "auto":
        return getattr(torch, dtype), None
    is_gpu = device.type == "cuda"
    subject = torch.cuda.get_device_name(device) if is_gpu else "this processor"
    if torch.cuda.is_bf16_supported(including_emulation=False) if is_gpu else computes_bfloat16():
        return torch.bfloat16, f"--dtype auto is bfloat16: {subject} has instructions for it"
    return torch.float32, f"--dtype auto is float32: {subject} has no instructions for bfloat16"


@contextmanager
def products_by_onednn(device: torch.device) -> Iterator[None]:
    """
    Meanwhile, where `device` is a processor of AMD, oneDNN computes the matrix products of float32, with the same
    results up to rounding: those of linear layers, of attention and of gradients.

    PyTorch gives them to MKL otherwise, which leaves half of what such a processor can do unused. Its name for this
    is "medium", because units for matrices (AMX) would compute in bfloat16: where there are any, nothing changes.
    """
    has_matrix_units = torch.cpu.get_capabilities().get("amx_tile", False)
    if device.type != "cpu" or processor_vendor() != AMD or has_matrix_units:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def keep_memory() -> None:
    """
    Let this process keep what it frees, for what it allocates next.

    glibc gives large tensors back to the operating system, which clears each page before it lends it again: where the
    same sizes come again and again, that is a tenth of the time of a training step, and a third of what a large model
    takes for one picture after another. Other C libraries do as they do.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
