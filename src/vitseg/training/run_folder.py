# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The folder of a training run, and its metrics."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

from ..evaluation.plots import plot_training
from ..replacing import recover, replacing, write_json


CHECKPOINTS = "checkpoints"
# Inputs of a run by name, such as "split 'train' of data/ade20k" -> name of each file -> what tells it from others.
Fingerprints: TypeAlias = Mapping[str, Mapping[str, str]]


class MetricsFile:
    """
    A file of JSON rows, each with the key `step`, in order of their steps.

    It holds nothing that differs between two runs of the same training, such as times, so that a run that was stopped
    and resumed leaves the same file as one that was not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row of finite numbers, to be read by others at once."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All rows. One that a killed process did not finish is left out."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def rewind(self, step: int) -> None:
        """Forget the rows after a step, which will be made again."""
        kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
        with replacing(self.path) as unfinished:
            unfinished.write_text("".join(kept), encoding="utf-8")


class RunFolder:
    """
    What a run leaves: `settings.json`, `checkpoints/` to resume from, `metrics.jsonl`, `training.png`, and folders
    with models that anyone can load.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        self.metrics = MetricsFile(path / "metrics.jsonl")
        self._settings = path / "settings.json"

    def require(self, settings: Mapping[str, Any], resumes: bool) -> None:
        """
        Check that a run with these settings (plain data) may use the folder.

        Raises:
            ValueError: if it holds a run that is not to be resumed, or that had other settings.
        """
        if not self._settings.exists():
            return
        if not resumes:
            raise ValueError(f"{self.path} holds a run already. Go on with --resume latest, or name another folder.")
        earlier = json.loads(self._settings.read_text(encoding="utf-8"))
        changed = [name for name in settings if settings[name] != earlier.get(name)]
        if changed:
            raise ValueError(
                f"The run in {self.path} had other settings ({', '.join(changed)}). Resume it with its own, or "
                f"{self._start_anew}"
            )

    def require_inputs(self, inputs: Fingerprints) -> None:
        """
        Check that a run may go on with these inputs: those that it looked at so far must be as they were.

        Raises:
            ValueError: naming what has changed.
        """
        earlier = self._known_inputs()
        for name in earlier.keys() & inputs.keys():
            former, found = earlier[name], inputs[name]
            changed = [file for file in sorted({*former, *found}) if former.get(file) != found.get(file)]
            if changed:
                raise ValueError(
                    f"The {name} is not what the run in {self.path} was started with: {', '.join(changed[:3])}"
                    f"{' and others' if changed[3:] else ''} changed. Resume it with what there was, or "
                    f"{self._start_anew}"
                )

    def _known_inputs(self) -> Fingerprints:
        return (
            json.loads(self._settings.read_text(encoding="utf-8")).get("inputs", {}) if self._settings.exists() else {}
        )

    @property
    def _start_anew(self) -> str:
        return f"start a new one from its weights, with --init {self.path / 'model'} and another --output."

    def begin(self, settings: Mapping[str, Any], inputs: Fingerprints, step: int) -> None:
        """Keep the settings and what tells the inputs, the models of an earlier process, and of the metrics what was
        measured up to a step."""
        for name in ("best", "model"):
            recover(self.path / name)
        write_json(self._settings, {**settings, "inputs": {**self._known_inputs(), **inputs}})
        self.checkpoints.mkdir(exist_ok=True)
        self.metrics.rewind(step)

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """A folder to write a model to, which then takes the place of what was at this name."""
        return replacing(self.path / name)

    def draw_curves(self) -> None:
        """Draw what `metrics.jsonl` holds, once it holds a loss."""
        rows = self.metrics.rows()
        if any("loss" in row for row in rows):
            plot_training(rows, self.path / "training.png")
