# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run, each complete or absent.

A checkpoint is what `Accelerator.save_state` writes, for any kind of distribution, and a manifest of its files. It is
written under a hidden name and renamed when it is complete, so a process that is killed leaves none by halves; and
what a file system damages later does not match the manifest. Files are read with `weights_only=True`.
"""

import json
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from huggingface_hub.utils.sha import sha_fileobj
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor

from ..replacing import replacing, write_json


MANIFEST = "manifest.json"


class CheckpointError(OSError):
    """A checkpoint that cannot be written or read, with what to do about it."""


def save_checkpoint(folder: Path, step: int, accelerator: Accelerator, keep: int) -> None:
    """
    Write the checkpoint of a step, and delete the oldest. All processes call this.

    Args:
        folder: of all checkpoints of the run; with several machines, one that all of them share.
        step: number of optimizer steps that were made.
        accelerator: whose prepared and registered objects are saved, with the states of the random generators.
        keep: how many checkpoints remain, at least 1.

    Raises:
        CheckpointError: if it cannot be written, such as on a full disk. The earlier checkpoints are intact.
    """
    path = folder / f"step-{step:08d}"
    unfinished = folder / f".{path.name}"
    try:
        if accelerator.is_main_process:
            for leftover in folder.glob(".step-*"):
                shutil.rmtree(leftover)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(unfinished / MANIFEST, _describe(unfinished))
            # One of the same step, of a run that went on from an earlier one, is not deleted before this one stands.
            with replacing(path) as complete:
                unfinished.rename(complete)
            for old in _checkpoints(folder)[keep:]:
                shutil.rmtree(old)
    except (OSError, RuntimeError, SafetensorError) as error:
        # A full disk shows as any of them, depending on who writes.
        shutil.rmtree(unfinished, ignore_errors=True)
        good, _ = find_checkpoint(folder)
        raise CheckpointError(
            f"The checkpoint of step {step} could not be written to {folder} ({_first_line(error)}); "
            f"{shutil.disk_usage(folder).free / 1e6:.0f} MB are free there. "
            + (f"The last good checkpoint, {good}, is intact." if good else "There is none from before.")
        ) from error
    accelerator.wait_for_everyone()


def find_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """
    The newest intact checkpoint.

    Returns:
        Its path, or `None` if there is none; and for each newer one that is damaged, what is wrong with it.
    """
    problems: list[str] = []
    for path in _checkpoints(folder):
        problem = find_damage(path)
        if problem is None:
            return path, problems
        problems.append(problem)
    return None, problems


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or `None` if all its files are what they were when they were written."""
    try:
        expected = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        found = _describe(path)
    except (OSError, ValueError) as error:
        return f"{path} is damaged: {error}"
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            what = "is missing" if name not in found else "should not be there" if name not in expected else "changed"
            return f"{path} is damaged: {name} {what}."
    return None


def load_checkpoint(path: Path, accelerator: Accelerator) -> None:
    """
    Load a checkpoint into the prepared and registered objects of `accelerator`. All processes call this.

    Raises:
        CheckpointError: if it is damaged, or belongs to another model or optimizer.
    """
    problem = find_damage(path) if accelerator.is_main_process else None
    if problem:
        raise CheckpointError(problem)
    accelerator.wait_for_everyone()
    try:
        accelerator.load_state(str(path))
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} does not fit this run: {_first_line(error)}") from error


def all_finite(model: torch.nn.Module) -> bool:
    """Whether no parameter (or shard of one) in this process holds NaN or infinity. A model that does is not worth a
    checkpoint."""
    parameters = (parameter.detach() for parameter in model.parameters())
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in parameters]
    # One number for all of them, so that a GPU is waited for only once.
    return bool(torch.stack([part.isfinite().all() for part in parts]).all())


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _describe(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size in bytes and SHA-256 of each file of a checkpoint, by its name."""
    description: dict[str, dict[str, int | str]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            with file.open("rb") as stream:
                sha256 = sha_fileobj(stream).hex()
            description[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": sha256}
    return description


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
