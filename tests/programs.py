# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Programs of examples/ and conversion/, in this process or in several."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).parents[1] / "examples"


def run_here(program: Path, *arguments: str) -> int:
    """The exit status of a program that runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(program), *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(program), run_name="__main__")
    return int(stop.value.code or 0)


def launch(program: Path, *arguments: str | Path, num_processes: int, **environment: str) -> str:
    """
    Run a program in several processes on the CPU, with `environment` added to the variables; returns what it printed.

    With torchrun, which `accelerate launch` uses too, but only for GPUs.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment}
    result = subprocess.run(
        [*command, program, *arguments], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr.lower(), result.stderr
    return result.stdout
