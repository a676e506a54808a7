# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The folder of a training run, and its metrics."""

import json
import time
from collections.abc import Iterator, Mapping
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
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            return [json.loads(line) for line in lines if line.endswith("\n")]
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}. Correct the line, or delete the file.") from error

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
        self._drawn = time.monotonic()

    def require(self, settings: Mapping[str, Any], resumes: bool) -> None:
        """
        Check that a run with these settings (plain data) may use the folder.

        Raises:
            ValueError: if it is no folder, or holds a run that is not to be resumed, or that had other settings.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, and no folder for a run. Name another with --output.")
        if not self._settings.exists():
            return
        if not resumes:
            raise ValueError(f"{self.path} holds a run already. Go on with --resume latest, or name another folder.")
        earlier = self._read_settings()
        changed = [found for name in settings for found in _differences(name, earlier.get(name), settings[name])]
        if changed:
            listed = ", ".join(changed[:5] + (["and others"] if changed[5:] else []))
            raise ValueError(
                f"The run in {self.path} had other settings ({listed}). Resume it with its own, or {self._start_anew}"
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
        return self._read_settings().get("inputs", {}) if self._settings.exists() else {}

    def _read_settings(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._settings.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self._settings} is damaged: what is trained here cannot be told. To go on all the same, "
                f"{self._start_anew}"
            ) from error

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

    def draw_curves(self, interval: float = 0.0) -> None:
        """Draw what `metrics.jsonl` holds, once it holds a loss; not within `interval` seconds of the last time, or of
        the start."""
        if time.monotonic() - self._drawn < interval:
            return
        rows = self.metrics.rows()
        if any("loss" in row for row in rows):
            plot_training(rows, self.path / "training.png")
        self._drawn = time.monotonic()


def _differences(name: str, earlier: Any, found: Any) -> Iterator[str]:
    """Where plain data differ, and how: of objects, in each of their keys."""
    if isinstance(earlier, Mapping) and isinstance(found, Mapping):
        for key in {**earlier, **found}:
            yield from _differences(f"{name}.{key}", earlier.get(key), found.get(key))
    elif earlier != found:
        yield f"{name} {json.dumps(earlier)}, now {json.dumps(found)}"
