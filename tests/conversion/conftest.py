# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The conversion command, run as a user would."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation, PreTrainedModel

from vitseg import cli
from vitseg.conversion import command as conversion_command
from vitseg.recipes import PublishedRecipe


class Answer(NamedTuple):
    status: int
    out: str
    err: str


class ConversionCommand:
    """
    Runs the command on files of its own folder, for checkpoints of `method`; `output` is alone in the folder that it
    is written to.
    """

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        self.folder = folder
        self.output = folder / "results" / "model"
        self.capsys = capsys
        self.method = "setr"

    def checkpoint(self, content: Any) -> Path:
        path = self.folder / "original.pth"
        torch.save(content, path)
        return path

    def original_config(self, config: Mapping[str, Any]) -> Path:
        path = self.folder / "original.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def run(self, *arguments: str | Path) -> Answer:
        status = cli.main(["convert", *map(str, arguments)])
        return Answer(status, *self.capsys.readouterr())

    def convert(self, checkpoint: Path, original_config: Path, *options: str) -> Answer:
        method: list[str | Path] = ["--method", self.method, "--original-config", original_config]
        return self.run(*method, "--checkpoint", checkpoint, "--output", self.output, *options)

    def converted(self, state_dict: Mapping[str, torch.Tensor], config: Mapping[str, Any], **meta) -> PreTrainedModel:
        """The model that the command makes of a state dict, loaded again."""
        checkpoint = self.checkpoint({"meta": meta, "state_dict": dict(state_dict)})
        answer = self.convert(checkpoint, self.original_config(config))
        assert answer.status == 0, answer.err
        return AutoModelForSemanticSegmentation.from_pretrained(self.output)

    def assert_refused(self, answer: Answer, *messages: str) -> None:
        """The command failed with these words on stderr, and wrote nothing where the model was to go."""
        assert answer.status == 1
        assert answer.err.startswith("error: ")
        for message in messages:
            assert message in answer.err
        assert not self.output.parent.exists()


@pytest.fixture
def command(tmp_path, capsys) -> ConversionCommand:
    return ConversionCommand(tmp_path, capsys)


@pytest.fixture
def use_recipe(monkeypatch) -> Callable[[PublishedRecipe], None]:
    """Puts a recipe in the place of all others."""
    return lambda recipe: monkeypatch.setattr(conversion_command, "get_recipe", {recipe.name: recipe}.__getitem__)
