# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What only a GPU can show, in eight minutes: `make gpu`.

On one CUDA device: golden cases of every method in float32, without TF32, and in half precision; training steps,
compiled and not, that do not wait for the device; two processes on one device; a run that is killed and goes on; and
how fast and how large models are, beside what is asked and what is published. report.md and figures.json hold all
figures so far at any time, also when the run is stopped.

The exit status is 1 if something that must hold does not, and 0 where only speed is less than asked. The packages of
the core install and accelerate are enough; figures that need more are left out, and the report names them.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from multiprocessing.context import BaseContext
from pathlib import Path

import torch

from .device import describe
from .plan import alone, side_by_side
from .report import Report
from .running import Section, Settings, run_sections


# For what times nothing; the rest is for what does.
SHARE_OF_CHECKS = 0.6


def main(arguments: list[str] | None = None, context: BaseContext | None = None) -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tests this program alone")
    parser.add_argument("--seconds", type=float, default=465, metavar="N", help="when it ends at the latest (465)")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="sections with such a word in the name"
    )
    parser.add_argument("--output", type=Path, default=Path("gpu"), metavar="DIR", help="(gpu)")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("error: PyTorch finds no CUDA device here, and nothing was measured.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(torch.device(args.device), Path(folder))
        parts = [
            [section for section in part if any(word in section.name for word in args.only)]
            for part in (side_by_side(settings), alone(settings))
        ]
        sections = [section for part in parts for section in part]
        goals = {key: goal for section in sections for key, goal in section.goals.items()}
        report = Report(args.output, describe(settings.device), goals, [section.name for section in sections])
        run(parts, settings, report, started + args.seconds, context or processes(Path(folder)))
    print(report.page())
    print(f"{args.output / 'report.md'}, {args.output / 'figures.json'}")
    for key in report.failures:
        print(f"does not hold: {key} ({report.verdict(key)})", file=sys.stderr)
    return 1 if report.failures else 0


def run(parts: list[list[Section]], settings: Settings, report: Report, deadline: float, context: BaseContext) -> None:
    """Run what times nothing side by side, and then the rest, until the time is over or somebody stops it."""
    report.write()
    side_by_side, alone = parts
    end_of_checks = time.monotonic() + SHARE_OF_CHECKS * (deadline - time.monotonic())
    try:
        run_sections(
            side_by_side, settings, report, context, end_of_checks, at_a_time=max(os.cpu_count() or 2, 2) // 2
        )
        run_sections(alone, settings, report, context, deadline)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


def processes(folder: Path) -> BaseContext:
    """
    Makes processes that have imported everything, have not used the device, and compile into caches of their own.

    Args:
        folder: for the caches.
    """
    os.environ |= {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        # Several sections work, and compile, at the same time.
        "OMP_NUM_THREADS": "4",
        "TORCHINDUCTOR_COMPILE_THREADS": "4",
        # To ask whether there is a GPU must not begin to use it, or the processes forked afterwards could not.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # Ranks find each other on a machine without a network too.
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
    }
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpu.plan"])
    return context


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
