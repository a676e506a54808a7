# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end, made short, and after it all that README.md and docs/ tell a reader to run."""

import contextlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from markdown_blocks import PAGES, README, ROOT, commands, runnable_blocks
from PIL import Image
from programs import load_here, printed_by, run_command, run_module, start

from vitseg.publishing import publish


SHORT = "--iterations 3 --train-scenes 8 --validation-scenes 4"
# What a process of its own is started for: the demo, a command of the package that accelerate starts in another, and
# what takes several times as long in a process that has done much before. All else runs in this process.
LAUNCHED = "accelerate launch -m vitseg validate --model demo/model --dataset demo/scenes --multi-scale"
EXPORT = "vitseg export"

pytestmark = pytest.mark.slow


def run_apart(processes: ForkServerContext, function: Callable[..., int], *arguments: str) -> str:
    """What a program prints, in a process of its own in the current folder."""
    log = Path("printed.txt")
    log.unlink(missing_ok=True)
    return printed_by(start(processes, function, *arguments, log=log), log=log)


def run_line(line: str, processes: ForkServerContext) -> None:
    """A command as a reader gives it; see `LAUNCHED`."""
    if line.startswith(LAUNCHED):
        run_apart(processes, run_module, "accelerate.commands.accelerate_cli", *shlex.split(line)[1:])
    elif line.startswith(EXPORT):
        run_apart(processes, run_command, line)
    else:
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
        patch.setattr(publish, "load_in_fresh_process", load_here)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def demo(processes, tmp_path_factory) -> Iterator[str]:
    """What a short demo prints in a folder that looks like a clone, which is then the current one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("examples", "conversion", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    with own_state(folder):
        yield run_apart(processes, run_command, f"python examples/quickstart.py --output demo {SHORT}")


def test_demo_leaves_a_model_and_pictures(demo):
    model_iou, baseline_iou = map(float, re.search(r"mean IoU ([\d.]+) .* everywhere: ([\d.]+)\)", demo).groups())
    assert 0 <= model_iou <= 1
    assert baseline_iou < 0.15
    for name in ("training.png", "iou.png", "scene_0.png", "scene_3.png"):
        assert np.asarray(Image.open(f"demo/{name}")).std() > 10, name
    config = json.loads(Path("demo/model/config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "setr"
    assert config["id2label"]["0"] == "sky"


def test_the_commands_that_the_demo_ends_with(demo, processes):
    lines = [line.strip() for line in demo.partition("Next:")[2].splitlines() if line.strip()]
    assert len(lines) == 3
    for line in lines:
        run_line(line, processes)
    report = json.loads(Path("demo/segmented/scene_0.json").read_text(encoding="utf-8"))
    assert sum(found["pixels"] for found in report["classes"]) == report["width"] * report["height"]


@pytest.fixture(scope="module")
def after_readme(demo, processes) -> None:
    """All commands of the README have run."""
    # Cloning, installing and `make` are not run from a test, nor what needs a file that has to be downloaded first.
    lines = [
        line
        for line in commands(README)
        if line.startswith(("python ", "accelerate ", "vitseg ")) and "FILE" not in line
    ]
    assert len(lines) == 15
    assert any(line.startswith(LAUNCHED) for line in lines)
    for line in lines:
        run_line(line, processes)


@pytest.mark.usefixtures("demo")
def test_python_of_the_readme():
    blocks = [block for language, block in runnable_blocks(README) if language == "python"]
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, README.name, "exec"), {})


@pytest.mark.usefixtures("after_readme")
def test_commands_of_the_readme():
    for name in ("tuned/best", "trainer", "sctnet/best", "classifier/best", "detector/best"):
        assert Path("runs", name, "model.safetensors").exists()
    assert Path("segmented/scene_0_ids.png").exists()
    assert Path("exported/model.onnx").exists()
    assert json.loads(Path("runs/measured/results.json").read_text(encoding="utf-8"))["images"] == 4


@pytest.mark.usefixtures("after_readme")
def test_pages_of_the_documentation(processes):
    """What a page repeats of the README is not run again."""
    done = set(commands(README))
    for page in PAGES:
        for language, block in runnable_blocks(page):
            if language == "python":
                exec(compile(block, page.name, "exec"), {})
                continue
            for line in block.splitlines():
                if line not in done:
                    run_line(line, processes)
                    # Each table of labels is written where it is used, whatever was there before.
                    done |= {line} if not line.startswith("echo") else set()
    assert Path("runs/two_classes/best/model.safetensors").exists()
    assert Path("published/README.md").exists()
    for name, expected in {"mine": ["nothing", "sky", "road"], "two_classes": ["sky", "road"]}.items():
        assert json.loads(Path(f"data/{name}/labels.json").read_text())["names"] == expected
