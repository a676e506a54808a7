# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end, made short, and after it all that README.md and docs/ tell a reader to run."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import publish
import pytest
from accelerate.state import AcceleratorState, PartialState
from markdown_blocks import PAGES, README, ROOT, commands, runnable_blocks
from PIL import Image

from vitseg import cli
from vitseg.conversion.fingerprint import load_folder, take_fingerprint


SHORT = ["--iterations", "3", "--train-scenes", "8", "--validation-scenes", "5"]

pytestmark = pytest.mark.slow


def run(command: list[str], cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder that looks like a clone, after a short demo in it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("examples", "conversion", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    output = run([sys.executable, "examples/quickstart.py", "--output", "demo", *SHORT], folder)
    (folder / "output.txt").write_text(output, encoding="utf-8")
    return folder


def test_demo_leaves_a_model_and_pictures(clone):
    output = (clone / "output.txt").read_text(encoding="utf-8")
    model_iou, baseline_iou = map(float, re.search(r"mean IoU ([\d.]+) .* everywhere: ([\d.]+)\)", output).groups())
    assert 0 <= model_iou <= 1
    assert baseline_iou < 0.15
    for name in ("training.png", "iou.png", "scene_0.png", "scene_3.png"):
        assert np.asarray(Image.open(clone / "demo" / name)).std() > 10, name
    config = json.loads((clone / "demo/model/config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "setr"
    assert config["id2label"]["0"] == "sky"


def test_the_commands_that_the_demo_ends_with(clone):
    output = (clone / "output.txt").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in output.partition("Next:")[2].splitlines() if line.strip()]
    assert len(commands) == 3
    for command in commands:
        assert command[0] == "python"
        run([sys.executable, *command[1:]], clone)
    report = json.loads((clone / "demo/segmented/scene_0.json").read_text(encoding="utf-8"))
    assert sum(found["pixels"] for found in report["classes"]) == report["width"] * report["height"]


@pytest.fixture(scope="module")
def after_readme(clone) -> Path:
    """The clone after all commands of the README."""
    # Cloning, installing and `make` are not run from a test, nor what needs a file that has to be downloaded first.
    runnable = [
        line
        for line in commands(README)
        if line.startswith(("python ", "accelerate ", "vitseg ")) and "FILE" not in line
    ]
    programs = [shlex.split(line) for line in runnable]
    assert len(programs) == 13
    # The command `vitseg` exists only where the package is installed.
    starts = {"python": [sys.executable], "vitseg": [sys.executable, "-m", "vitseg"]}
    starts["accelerate"] = [os.fspath(Path(sys.executable).with_name("accelerate"))]
    for program, *arguments in programs:
        run([*starts[program], *arguments], clone)
    return clone


def test_python_of_the_readme(clone):
    blocks = [block for language, block in runnable_blocks(README) if language == "python"]
    assert len(blocks) == 3
    for block in blocks:
        run([sys.executable, "-c", block], clone)


def test_commands_of_the_readme(after_readme):
    assert (after_readme / "segmented/scene_0_ids.png").exists()
    assert (after_readme / "runs/tuned/best/model.safetensors").exists()
    assert (after_readme / "runs/trainer/model.safetensors").exists()
    assert (after_readme / "runs/sctnet/best/model.safetensors").exists()
    for name in ("classifier", "detector"):
        assert (after_readme / "runs" / name / "best/model.safetensors").exists()
    assert (after_readme / "exported/model.onnx").exists()
    assert json.loads((after_readme / "runs/measured/results.json").read_text(encoding="utf-8"))["images"] == 5


def run_here(line: str) -> int:
    """A command of the documentation in this process, where nothing has to be imported again; returns its status."""
    program, *arguments = shlex.split(line)
    if program == "echo":
        return subprocess.run(line, shell=True, check=True).returncode
    if program == "vitseg":
        return cli.main(arguments)
    if arguments[0] == "launch":
        arguments.pop(0)
    if arguments[:2] == ["-m", "vitseg"]:
        return cli.main(arguments[2:])
    if arguments[0] == "-m":
        return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL).returncode
    path = Path(arguments.pop(0))
    return importlib.import_module(path.stem).main(arguments)


@pytest.mark.usefixtures("own_state")
def test_pages_of_the_documentation(after_readme, monkeypatch):
    """What a page repeats of the README is not run again."""
    # test_publish.py sees what only fresh processes show.
    monkeypatch.setattr(
        publish,
        "load_in_fresh_process",
        lambda folders, remote_code: [take_fingerprint(*load_folder(folder)) for folder in folders],
    )
    monkeypatch.chdir(after_readme)
    done = set(commands(README))
    for page in PAGES:
        for language, block in runnable_blocks(page):
            if language == "python":
                exec(compile(block, page.name, "exec"), {})
                continue
            for line in block.splitlines():
                if line not in done:
                    assert run_here(line) == 0, f"{page.name}: {line}"
                    AcceleratorState._reset_state()
                    PartialState._reset_state()
                    # Each table of labels is written where it is used, whatever was there before.
                    done |= {line} if not line.startswith("echo") else set()
    assert (after_readme / "runs/two_classes/best/model.safetensors").exists()
    assert (after_readme / "published/README.md").exists()
    for name, expected in {"mine": ["nothing", "sky", "road"], "two_classes": ["sky", "road"]}.items():
        assert json.loads((after_readme / f"data/{name}/labels.json").read_text())["names"] == expected
