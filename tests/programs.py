# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Programs of examples/: as modules, and in several processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType


EXAMPLES = Path(__file__).parents[1] / "examples"


def load_program(name: str) -> ModuleType:
    """A program as a module, by its path: evaluate.py would be taken for the library `evaluate` by its name."""
    alias = f"{name}_program"
    if alias not in sys.modules:
        spec = importlib.util.spec_from_file_location(alias, EXAMPLES / f"{name}.py")
        sys.modules[alias] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[alias])
    return sys.modules[alias]


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
