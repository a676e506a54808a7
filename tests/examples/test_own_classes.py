# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The commands of "Your classes on DINOv3", from photographs to a repository, over a small random encoder."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState, PartialState
from huggingface_hub import ModelCard
from markdown_blocks import ROOT
from PIL import Image
from programs import load_here
from small_encoders import save_encoder
from transformers import pipeline

from vitseg.cli import main
from vitseg.publishing import publish


pytestmark = pytest.mark.usefixtures("own_state")


def commands_of_the_page() -> list[list[str]]:
    text = (ROOT / "docs/own-classes.md").read_text()
    block = re.search(r"```bash\n# needs photographs.*?\n(.*?)```", text, re.DOTALL)
    assert block
    lines = [line.replace("accelerate launch -m ", "") for line in block[1].splitlines()]
    return [shlex.split(line)[1:] for line in lines]


def make_photographs(folder: Path) -> None:
    """Bright squares on dark ground, and masks of 0 and 1."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(12):
        image, mask = random.integers(0, 90, (64, 80, 3), np.uint8), np.zeros((64, 80), np.uint8)
        top, left = random.integers(4, 30, 2)
        image[top : top + 30, left : left + 30] += 150
        mask[top : top + 30, left : left + 30] = 1
        Image.fromarray(image).save(folder / "images" / f"{index}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")


def test_the_five_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(publish, "load_in_fresh_process", load_here)
    make_photographs(Path("photographs"))
    Path("labels.json").write_text(json.dumps({"0": "ground", "1": "square"}))
    save_encoder("dinov3_vit", Path("encoder"))
    own = {"FOLDER": "photographs", "FILE": "labels.json", "NAME": "me/mine"}
    small = ["--backbone=encoder", "--iterations=10", "--batch-size=4", "--workers=0", "--learning-rate=0.003"]
    small += [
        "--set=training.crop_size=[64, 64]",
        "--set=training.scale=[80, 64]",
        "--set=training.warmup_iterations=5",
    ]
    small += ['--set=image_processor.size={"shortest_edge": 64}']
    further = {"train": small, "publish": ["--dry-run=repository", "--license=mit"]}
    for command in commands_of_the_page():
        AcceleratorState._reset_state()
        PartialState._reset_state()
        arguments = [own.get(argument, argument) for argument in command]
        assert main([*arguments, *further.get(command[0], [])]) == 0

    card = ModelCard.load("repository/README.md")
    assert "Frozen, and therefore as they were: `backbone`" in card.text
    assert card.data.eval_results
    assert any(Path("runs/mine/pictures").iterdir())
    masks = pipeline("image-segmentation", model="repository")("photographs/images/0.jpg")
    assert {mask["label"] for mask in masks} <= {"ground", "square"}
