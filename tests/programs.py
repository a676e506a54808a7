# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Programs of examples/ in several processes."""

import os
import subprocess
import sys
from pathlib import Path


EXAMPLES = Path(__file__).parents[1] / "examples"


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
