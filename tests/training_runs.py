# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training runs, in this process and in others, and what they leave."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import programs
import psutil
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from vitseg import cli
from vitseg.training.interruption import StopRequest
from vitseg.training.loop import Training


# The variables that `accelerate launch` gives to processes which keep the model in shards.
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}


def train(*options: object) -> int:
    """`vitseg train` in this process; returns the exit status."""
    AcceleratorState._reset_state()
    PartialState._reset_state()
    return cli.main(["train", *map(str, options)])


def options_of(folder: Path, recipe: str, output: Path) -> list[str]:
    """Which recipe of a folder to train on its scenes; everything in this process, every step logged."""
    what = ["--recipe", folder / f"{recipe}.json", "--dataset", folder / "scenes", "--output", output]
    return [*map(str, what), "--workers=0", "--log-every=1"]


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(output: Path) -> list[float]:
    return [row["loss"] for row in rows(output) if "loss" in row]


def weights(output: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(output / name / "model.safetensors")


def assert_same_run(output: Path, expected: Path) -> None:
    """Bit by bit."""
    assert (output / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()
    for name in ("model", "best"):
        file = f"{name}/model.safetensors"
        assert (output / file).read_bytes() == (expected / file).read_bytes()


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next runs stop as if the system asked for it after a step."""

    def must_stop(self: Training, stop: StopRequest) -> bool:
        stop.received = signal.SIGTERM if self.state.progress.step == step else 0
        return stop.agree(self.accelerator)

    monkeypatch.setattr(Training, "must_stop", must_stop)


def normalize_by_running_statistics(self: torch.nn.BatchNorm2d, maps: torch.Tensor) -> torch.Tensor:
    """Forward pass of a batch norm after which no sample's loss depends on its batch, while it is trained, too."""
    return torch.nn.functional.batch_norm(
        maps, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
    )


def start(context: ForkServerContext, *options: object, log: Path, limit_file_size: int | None = None) -> BaseProcess:
    """Start `vitseg train` in a process of its own; what it prints goes to a file."""
    return programs.start(context, _train_here, [*map(str, options)], limit_file_size, log=log)


def _train_here(options: list[str], limit_file_size: int | None = None) -> int:
    if limit_file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_size, limit_file_size))
    if "WORLD_SIZE" in os.environ:
        pytest.MonkeyPatch().setattr(torch.nn.BatchNorm2d, "forward", normalize_by_running_statistics)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _offer_fsdp_on_processors()
    return cli.main(["train", *options])


def _offer_fsdp_on_processors() -> None:
    """Accelerate offers it for accelerators only."""
    make_state = PartialState.__init__

    def make_state_of_accelerators(self, *args, **kwargs):
        make_state(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = make_state_of_accelerators


def start_two(context: ForkServerContext, *options: object, log: Path, **environment: str) -> list[BaseProcess]:
    """Start `vitseg train` in two processes, with batch norms that use their running statistics."""
    return programs.start_two(context, _train_here, [*map(str, options)], log=log, **environment)


def train_in_two(context: ForkServerContext, *options: object, log: Path, **environment: str) -> str:
    """`vitseg train` in two processes, as [`start_two`] has them; returns what they printed."""
    return programs.printed_by(*start_two(context, *options, log=log, **environment), log=log)


def send_to_all(process: BaseProcess, number: int) -> None:
    """Send a signal as a terminal or a scheduler does: the workers of a process get it too."""
    own = psutil.Process(process.pid)
    for receiver in [*own.children(), own]:
        receiver.send_signal(number)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the run did not get there"
        time.sleep(0.002)
