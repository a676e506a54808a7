# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the processor of this machine is, and what makes PyTorch faster on it."""

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

    glibc gives large tensors back to the operating system, which clears each page before it lends it again: in a
    training step, where the same sizes come again and again, that is a tenth of the time. Other C libraries do as they
    do.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
