# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Programs of examples/ and conversion/ and commands of the documentation, in this process or in others."""

import multiprocessing
import os
import runpy
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from vitseg import cli
from vitseg.conversion.fingerprint import Fingerprint, load_folder, take_fingerprint


ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run_here(program: Path, *arguments: str) -> int:
    """The exit status of a program that runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(program), *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(program), run_name="__main__")
    return int(stop.value.code or 0)


def run_module(name: str, *arguments: str) -> int:
    """The exit status of `python -m` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def run_command(line: str) -> int:
    """The exit status of a command of the documentation that runs in this process."""
    program, *arguments = shlex.split(line)
    if program == "echo":
        return subprocess.run(line, shell=True, check=True).returncode
    if program == "vitseg":
        return cli.main(arguments)
    if program == "accelerate":
        assert arguments.pop(0) == "launch"
    if arguments[:2] == ["-m", "vitseg"]:
        return cli.main(arguments[2:])
    if arguments[0] == "-m":
        return run_module(*arguments[1:])
    if arguments[0] == "-c":
        exec(compile(arguments[1], line, "exec"), {})
        return 0
    return run_here(ROOT / arguments[0], *arguments[1:])


def load_here(folders: Sequence[Path], *, remote_code: bool) -> list[Fingerprint]:
    """For `load_in_fresh_process` of `vitseg publish`: test_publish.py sees what only fresh processes show."""
    return [take_fingerprint(*load_folder(folder)) for folder in folders]


def start(
    context: ForkServerContext,
    function: Callable[..., int],
    *arguments: Any,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Call what runs a program in a process of its own, with its exit status; what it prints goes to a file."""
    process = context.Process(target=_run_apart, args=(function, arguments, log, dict(environment or {})))
    process.start()
    return process


def _run_apart(
    function: Callable[..., int], arguments: tuple[Any, ...], log: Path, environment: dict[str, str]
) -> None:
    # Loaders' workers are forked from this process, as in a run from the command line: they end when it is killed.
    multiprocessing.set_start_method("fork", force=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    torch.set_num_threads(1)
    os.environ.update(environment)
    sys.exit(function(*arguments))


def start_two(
    context: ForkServerContext, function: Callable[..., int], *arguments: Any, log: Path, **environment: str
) -> list[BaseProcess]:
    """[`start`] two processes with the variables that torchrun would give them, and `environment`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log.unlink(missing_ok=True)
    processes = []
    for rank in ("0", "1"):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        processes.append(start(context, function, *arguments, log=log, environment={**variables, **environment}))
    return processes


def printed_by(*processes: BaseProcess, log: Path) -> str:
    """What processes printed to the end, which is a good one."""
    for process in processes:
        process.join()
    printed = log.read_text()
    assert {process.exitcode for process in processes} == {0}, printed
    return printed
