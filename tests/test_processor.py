# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What is known of the processor, and that PyTorch is faster on it without being less exact."""

import os
import platform
import resource

import pytest
import torch
from programs import printed_by, start

from vitseg import processor
from vitseg.processor import AMD, keep_memory, processor_vendor, products_by_onednn


INTEL = "GenuineIntel"
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cpuinfo", "vendor"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\n", AMD),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", INTEL),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", ""),
    ],
)
def test_vendor_of_the_processor(cpuinfo, vendor, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert processor_vendor(file) == vendor


@pytest.mark.parametrize(
    ("vendor", "capabilities", "device", "precision"),
    [
        (AMD, {}, "cpu", "medium"),
        (AMD, {"amx_tile": True}, "cpu", "highest"),
        (AMD, {}, "cuda", "highest"),
        (INTEL, {}, "cpu", "highest"),
        ("", {}, "cpu", "highest"),
    ],
)
def test_products_change_on_amd_alone_and_where_nothing_computes_in_bfloat16(
    vendor, capabilities, device, precision, monkeypatch
):
    monkeypatch.setattr(processor, "processor_vendor", lambda: vendor)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    with products_by_onednn(torch.device(device)):
        assert torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"


def test_products_of_float32_are_exact_to_float32():
    """On every processor; those of bfloat16 are wrong by 0.1 here."""
    torch.manual_seed(0)
    left, right = torch.randn(256, 512), torch.randn(512, 256)
    with products_by_onednn(CPU):
        product = left @ right
    torch.testing.assert_close(product, (left.double() @ right.double()).float(), rtol=1e-5, atol=1e-4)


def _takes_freed_memory_again() -> int:
    keep_memory()
    # As much as a step of a large model frees at once; glibc's largest threshold in an int is a byte less.
    bytearray(2**31)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        bytearray(2**26)  # of 16384 pages
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(f"{faults} pages came from the operating system")
    return int(faults >= 1000)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_taken_again_without_the_operating_system(processes, tmp_path):
    process = start(processes, _takes_freed_memory_again, log=tmp_path / "log")
    assert "came from" in printed_by(process, log=tmp_path / "log")


def test_threads_wait_for_work_as_long_as_the_user_says_or_as_vitseg_does():
    assert {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
