# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure vitseg on this machine, each thing beside what else the field uses:

    python examples/benchmark.py data
    python examples/benchmark.py models setr-pup-vit-l-ade20k-512-160k --peer upernet-swin-large --peer segformer-b5
    python examples/benchmark.py models runs/mine/best --device cuda --dtype bfloat16 --batch-size 16 --compile
    python examples/benchmark.py sharing --device cuda --dtype bfloat16 --batch-size 32
    python examples/benchmark.py speed --device cuda --dtype float16
    python examples/benchmark.py all --output figures.json

data       images/s of one core, from encoded image and label map to a training crop: vitseg.data, and the same
           pipeline in OpenCV and NumPy as mmsegmentation has it
loading    the share of a training step that waits for data, by the number of loading processes
metric     images/s of one core: vitseg's mean IoU, and NumPy histograms as mmsegmentation has them
models     size, arithmetic, speed and memory of recipes (with random weights) and model folders, and of peers (with
           random weights): an encoder of timm (timm:NAME), segformer-b0 to -b5, upernet-swin-tiny, -small, -base or
           -large, mask2former-swin- likewise, and eomt-small, -base or -large
encoder    the plain ViT beside timm's
growth     time and memory against the size and the number of images, drawn
sharing    images/s of CTS Segmenter with token sharing over without, beside the published ratios, and over that of the
           original's arithmetic; and the share of the time that goes into choosing, gathering and scattering tokens
speed      frames/s of SCTNet by its authors' protocol, each published row at its own input size: as it is, fused,
           fused and compiled, and in ONNX Runtime, beside the published figures
windows    an image tested in windows, at one scale or several: windows together, and one by one
masks      from logits to a label map: in bands of rows, and for the whole image
training   images/s of training steps in several forms
precision  what bfloat16, float16, int8, ONNX Runtime and torch.compile gain, and how many pixels keep their class
startup    importing, loading, tuning and the first pass
all        most of these, as docs/performance.md has them, in 20 minutes at the most; `make demo` makes the model whose
           precision is measured

Models of vitseg are tuned for the machine (docs/deployment.md), peers are as their library builds them. Each command
prints a table and says what was timed, and beside each figure, if the machine was not quiet then. `--output FILE.json`
or `FILE.csv` adds the figures to a file.
"""

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
from datetime import datetime
from importlib import import_module
from importlib.metadata import version

import torch
from benchmarks.arguments import add_device, table_file
from benchmarks.throughput import append_rows

from vitseg.arguments import positive_int
from vitseg.devices import device_name
from vitseg.inference.loading import choose_device


# Each is a module of benchmarks/.
COMMANDS = [
    "data",
    "loading",
    "metric",
    "encoder",
    "models",
    "growth",
    "sharing",
    "speed",
    "windows",
    "masks",
    "training",
    "precision",
    "startup",
]

SETR, SEGVIT = "setr-pup-vit-l-ade20k-512-160k", "segvit-atm-vit-l-coco-stuff-10k-512-80k"
STRUCTTOKEN, SCTNET = "structtoken-sse-vit-s-ade20k-512-160k", "sctnet-b-ade20k-512-160k"
HLG, WINDOWED = "hlg-setr-small-ade20k-512-160k", "setr-pup-vit-l-cityscapes-768-80k"
# As ADE20K is tested at six scales.
MULTI_SCALE = "--image-size 512 683 --flip --multi-scale"
LIBRARIES = ("vitseg", "torch", "transformers", "timm", "opencv-python-headless", "numpy")
# Memory comes in large pages, and stays in the process when it is freed, as with the allocators that PyTorch's guide
# to CPU performance recommends: else a pass may wait longer for new memory than for its arithmetic, and how long
# depends on what else the machine does. It is read when a process starts, as those that measure models do.
KEEP_MEMORY = {"THP_MEM_ALLOC_ENABLE": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
# What `all` runs, and how long each may take, in seconds: 20 minutes in all.
COMMON = {
    "precision --model demo/model --images demo/scene_0.jpg --forms bfloat16 float16 onnx compiled": 120,
    "data": 30,
    "loading": 60,
    "metric": 30,
    "masks --repeats 7": 60,
    f"startup {SETR}": 60,
}
ON_CPU = {
    "encoder --sizes small base large --repeats 5": 120,
    f"models {SETR} {SEGVIT} --peer segformer-b5 --peer upernet-swin-base "
    "--peer mask2former-swin-base --peer eomt-large --input-size 512 512 --repeats 3 --warmup 2": 180,
    f"models {STRUCTTOKEN} {HLG} {SCTNET} --input-size 512 512 --repeats 5 --warmup 2": 60,
    "sharing cts-segmenter-mask-30-vit-t-ade20k-512 cts-segmenter-mask-30-vit-s-ade20k-512 --repeats 5": 90,
    "speed --variants unfused fused --seconds 1": 150,
    "training segmenter-mask-vit-s-ade20k-512 sctnet-s-ade20k-512-160k --forms float32 bfloat16 --repeats 3": 75,
    "growth segmenter-mask-vit-s-ade20k-512 sctnet-s-ade20k-512-160k --sides 256 512 1024 --batch-sizes 1 4 "
    "--repeats 3": 90,
    f"windows {SETR} --image-size 512 683 --together 2 --repeats 1": 75,
}
ON_CUDA = {
    "encoder --sizes base large --batch-size 16 --dtype bfloat16 --compile": 90,
    f"models {SETR} {SEGVIT} structtoken-pwe-vit-l-ade20k-640-160k "
    "--input-size 512 512 --batch-size 16 --dtype bfloat16 --compile": 150,
    f"models {SETR} {SEGVIT} --peer segformer-b5 --peer upernet-swin-large --peer mask2former-swin-large "
    "--peer eomt-large --input-size 512 512 --batch-size 16": 90,
    "sharing --dtype bfloat16 --batch-size 32 --compile": 150,
    "speed --dtype float16 --seconds 2": 150,
    f"training {SETR} --batch-size 8 --forms float32 fused bfloat16 compiled": 90,
    f"growth {SETR} --dtype bfloat16": 60,
    f"windows {WINDOWED} --dtype bfloat16": 30,
    f"windows {SETR} {MULTI_SCALE} --dtype bfloat16": 30,
}


def main(arguments: list[str] | None = None) -> int:
    os.environ.update(KEEP_MEMORY | os.environ)
    args = parse_arguments(arguments)
    try:
        if args.run is not None:
            run(args)
        else:
            run_everything(choose_device(args.device), ["--output", str(args.output)] if args.output else [])
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_everything(device: str, options: list[str]) -> None:
    """Every command in a process of its own, within its time; those that did not end in it are named at the end."""
    print(circumstances(device))
    unfinished = []
    for text, seconds in everything(device).items():
        print(f"\n## {text}\n", flush=True)
        status = run_within(seconds, [*text.split(), *options])
        if status != 0:
            unfinished.append(f"{text}: " + (f"stopped after {seconds} s" if status is None else f"status {status}"))
    if unfinished:
        print("\nWithout figures:", *unfinished, sep="\n- ")


def run_within(seconds: float, command: list[str]) -> int | None:
    """The exit status of a command of this program, or None if it took longer and was stopped, with all it started."""
    # A group of its own, which holds the processes that it measures in.
    process = subprocess.Popen([sys.executable, __file__, *command], start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def circumstances(device: str) -> str:
    """When, on what and with what `all` measures, in a sentence."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Measured on {datetime.now():%Y-%m-%d} on {device_name(torch.device(device))}, {torch.get_num_threads()} CPU "
        f"threads, with Python {platform.python_version()}, {versions}."
    )


def run(args: argparse.Namespace) -> None:
    if "device" in args:
        args.device = choose_device(args.device)
    rows = args.run(args)
    if args.output:
        machine = {"torch": torch.__version__, "processor": device_name(torch.device("cpu"))}
        append_rows(args.output, [{"benchmark": args.command} | row | machine for row in rows])


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=table_file, metavar="FILE", help="add the figures to this .json or .csv file")
    shared.add_argument(
        "--repeats", type=positive_int, default=20, metavar="N", help="timings to take the median of (20)"
    )

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, parents=[shared])
        command.set_defaults(run=module.run)
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
    # Each of them has its own number of repeats.
    all_commands = commands.add_parser("all")
    all_commands.set_defaults(run=None)
    all_commands.add_argument("--output", type=table_file, metavar="FILE", help="add the figures to this file")
    add_device(all_commands)
    return parser.parse_args(arguments)


def everything(device: str) -> dict[str, int]:
    """The commands of docs/performance.md, with models and batches that suit the device, and their seconds."""
    return COMMON | (ON_CUDA if device == "cuda" else ON_CPU)


if __name__ == "__main__":
    sys.exit(main())
