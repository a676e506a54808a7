# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end, made short, and after it all that README.md and docs/ tell a reader to run."""

import contextlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from markdown_blocks import PAGES, README, ROOT, commands, runnable_blocks
from PIL import Image
from programs import run_here

from vitseg import cli
from vitseg.conversion.fingerprint import load_folder, take_fingerprint
from vitseg.publishing import publish


SHORT = ["--iterations", "3", "--train-scenes", "8", "--validation-scenes", "5"]
# What a process of its own is started for: the demo, a command of the package under accelerate, the first code of the
# README, and what takes several times as long in a process that has done much before. All else runs in this process,
# where nothing has to be imported again.
LAUNCHED = (
    "accelerate launch -m vitseg validate --model demo/model --dataset demo/scenes --multi-scale",
    "vitseg export",
)

pytestmark = pytest.mark.slow


def run(*command: str | Path) -> str:
    """What a program prints, in a process of its own in the current folder."""
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_module(name: str, *arguments: str) -> int:
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


def run_line(line: str) -> None:
    """A command as a reader gives it; see `LAUNCHED`."""
    if line.startswith(LAUNCHED):
        program, *arguments = shlex.split(line)
        run(Path(sys.executable).with_name(program), *arguments)
        return
    assert run_command(line) == 0, line
    AcceleratorState._reset_state()
    PartialState._reset_state()


@contextlib.contextmanager
def own_state(folder: Path) -> Iterator[None]:
    """Programs that run in this process begin as in one of their own, in this folder."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        # test_publish.py sees what only fresh processes show.
        patch.setattr(
            publish,
            "load_in_fresh_process",
            lambda folders, remote_code: [take_fingerprint(*load_folder(folder)) for folder in folders],
        )
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[str]:
    """What a short demo prints in a folder that looks like a clone, which is then the current one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("examples", "conversion", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    with own_state(folder):
        yield run(sys.executable, "examples/quickstart.py", "--output", "demo", *SHORT)


def test_demo_leaves_a_model_and_pictures(demo):
    model_iou, baseline_iou = map(float, re.search(r"mean IoU ([\d.]+) .* everywhere: ([\d.]+)\)", demo).groups())
    assert 0 <= model_iou <= 1
    assert baseline_iou < 0.15
    for name in ("training.png", "iou.png", "scene_0.png", "scene_3.png"):
        assert np.asarray(Image.open(f"demo/{name}")).std() > 10, name
    config = json.loads(Path("demo/model/config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "setr"
    assert config["id2label"]["0"] == "sky"


def test_the_commands_that_the_demo_ends_with(demo):
    lines = [line.strip() for line in demo.partition("Next:")[2].splitlines() if line.strip()]
    assert len(lines) == 3
    for line in lines:
        run_line(line)
    report = json.loads(Path("demo/segmented/scene_0.json").read_text(encoding="utf-8"))
    assert sum(found["pixels"] for found in report["classes"]) == report["width"] * report["height"]


@pytest.fixture(scope="module")
def after_readme(demo) -> None:
    """All commands of the README have run."""
    # Cloning, installing and `make` are not run from a test, nor what needs a file that has to be downloaded first.
    lines = [
        line
        for line in commands(README)
        if line.startswith(("python ", "accelerate ", "vitseg ")) and "FILE" not in line
    ]
    assert len(lines) == 13
    assert any(line.startswith(LAUNCHED) for line in lines)
    for line in lines:
        run_line(line)


@pytest.mark.usefixtures("demo")
def test_python_of_the_readme():
    first, *others = [block for language, block in runnable_blocks(README) if language == "python"]
    assert len(others) == 2
    run(sys.executable, "-c", first)
    for block in others:
        exec(compile(block, README.name, "exec"), {})


@pytest.mark.usefixtures("after_readme")
def test_commands_of_the_readme():
    for name in ("tuned/best", "trainer", "sctnet/best", "classifier/best", "detector/best"):
        assert Path("runs", name, "model.safetensors").exists()
    assert Path("segmented/scene_0_ids.png").exists()
    assert Path("exported/model.onnx").exists()
    assert json.loads(Path("runs/measured/results.json").read_text(encoding="utf-8"))["images"] == 5


@pytest.mark.usefixtures("after_readme")
def test_pages_of_the_documentation():
    """What a page repeats of the README is not run again."""
    done = set(commands(README))
    for page in PAGES:
        for language, block in runnable_blocks(page):
            if language == "python":
                exec(compile(block, page.name, "exec"), {})
                continue
            for line in block.splitlines():
                if line not in done:
                    run_line(line)
                    # Each table of labels is written where it is used, whatever was there before.
                    done |= {line} if not line.startswith("echo") else set()
    assert Path("runs/two_classes/best/model.safetensors").exists()
    assert Path("published/README.md").exists()
    for name, expected in {"mine": ["nothing", "sky", "road"], "two_classes": ["sky", "road"]}.items():
        assert json.loads(Path(f"data/{name}/labels.json").read_text())["names"] == expected
