# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How far an evaluation has come, kept on disk, so that one that was stopped continues where it was.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..data.sources import DataSource
from ..data.streaming import parquet_files
from ..replacing import replacing
from ..stamps import file_stamp


@dataclass
class EvaluationProgress:
    """
    What one process has measured of its share of the images.

    Args:
        file: where it is kept, or `None` to keep it in memory only.
        identity: of what is measured.
        position: how many images of the share are done.
        seconds: the time that took.
        counts: [`MeanIoU.counts`] of these images, `None` before the first.
        image_scores: name and mean IoU of each image. A mean over no class at all is nan.
        broken: why each image that was left out cannot be used.
        rows: [`rows_of_image`] of each image.
        sums: what was kept of the scores, summed over the images.
    """

    file: Path | None = None
    identity: str = ""
    position: int = 0
    seconds: float = 0.0
    counts: torch.Tensor | None = None
    image_scores: list[tuple[int, str, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, identity: str, process: int = 0, num_processes: int = 1) -> "EvaluationProgress":
        """
        The progress of one of the processes that is kept in a folder, or a new one.

        Raises:
            ValueError: if the folder keeps that of another evaluation, or of another number of processes.
        """
        file = folder / _file_name(process, num_processes)
        expected = {_file_name(index, num_processes) for index in range(num_processes)}
        if others := {path.name for path in folder.glob(_file_name("*", "*"))} - expected:
            raise ValueError(
                f"{folder} holds {sorted(others)[0]} of an evaluation in another number of processes than "
                f"{num_processes}: continue it in as many, or give another folder."
            )
        if not file.exists():
            return cls(file=file, identity=identity)
        state, tensors = _read(file)
        if state.get("fingerprint") != identity:
            raise ValueError(
                f"{folder} holds an unfinished evaluation of another model, data set or protocol: give another "
                "folder, or delete this one."
            )
        scores = [(index, name, float("nan") if score is None else score) for index, name, score in state["scores"]]
        rows = [tensors["rows"]] if "rows" in tensors else []
        sums = {name: tensors[name] for name in state["sums"]}
        counts = tensors.get("counts")
        return cls(file, identity, state["position"], state["seconds"], counts, scores, state["broken"], rows, sums)

    def save(self) -> None:
        """Write it to its file, if it has one."""
        if self.file is None:
            return
        state = {
            "fingerprint": self.identity,
            "position": self.position,
            "seconds": self.seconds,
            # JSON knows no nan.
            "scores": [(i, name, score if score == score else None) for i, name, score in self.image_scores],
            "broken": self.broken,
            "sums": list(self.sums),
        }
        tensors = dict(self.sums)
        if self.counts is not None:
            tensors["counts"] = self.counts.cpu()
        if self.rows:
            self.rows = [torch.cat(self.rows)]
            tensors["rows"] = self.rows[0]
        with replacing(self.file) as unfinished:
            packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(packed, unfinished, {"state": json.dumps(state, allow_nan=False)})


def dataset_revision(name: str | DataSource, split: str) -> str | None:
    """The commit of a data set on the Hub, or `None` for a local one."""
    first = parquet_files(name, split)[0]
    match = re.match(r"hf://datasets/[^@]+@([^/]+)/", first)
    return match.group(1) if match else None


def summed(parts: Iterable[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The sum of each of the tensors of the same name, on the CPU."""
    total: dict[str, torch.Tensor] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = value.cpu() + total[name] if name in total else value.cpu()
    return total


def _read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """
    What `EvaluationProgress.save` wrote.

    Raises:
        ValueError: naming the file, if it is damaged, or of others.
    """
    try:
        with safe_open(file, framework="pt") as content:
            state = json.loads((content.metadata() or {})["state"])
            names = content.keys()
            return state, {name: content.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error}. Delete it, and what it was noted of is made anew.") from error


def _file_name(process: int | str, num_processes: int | str) -> str:
    return f"progress-{process}-of-{num_processes}.safetensors"


def dataset_stamp(name: str | DataSource, split: str) -> list[Any]:
    """What tells whether a split of a data set has changed: its files, with their sizes and times of modification, or
    with their revision on the Hub."""
    files = [*parquet_files(name, split), str(Path(name) / "labels.json")]
    return [file_stamp(Path(file)) if Path(file).exists() else file for file in files]
