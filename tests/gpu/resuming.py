# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
A training run on the device in bfloat16, on drawn scenes: its steps wait for nothing, and one that was killed goes on
to where one ends that was not.
"""

import json
import math
import multiprocessing
import os
import signal
from pathlib import Path

from .device import no_waiting
from .models import scenes_recipe
from .running import Settings, Tell


NUM_STEPS, KILLED_AFTER = 6, 4
# The first steps are those in which libraries get ready.
NUM_FIRST_STEPS = 2
# Of the loss at the end: on a GPU, sums are made in another order each time.
TOLERANCE = 0.05


def check_run(settings: Settings, tell: Tell) -> None:
    """Trains to the end, trains until killed, goes on, and compares the two."""
    # Imported once, before the runs are forked; the packages that they need are an extra.
    from vitseg.scenes import write_scenes
    from vitseg.training import loop  # noqa: F401

    dataset = settings.folder / "scenes"
    write_scenes(dataset, 8, 2)
    statuses = [
        train(settings, dataset, "straight"),
        train(settings, dataset, "stopped", kills_itself=True),
        train(settings, dataset, "stopped", resumes=True),
    ]
    if statuses != [0, -signal.SIGKILL, 0]:
        raise RuntimeError(f"The runs ended with {statuses}; expected 0, {-signal.SIGKILL} (killed) and 0.")
    straight, stopped = (losses(settings.folder / name) for name in ("straight", "stopped"))
    holds = list(stopped) == list(range(1, NUM_STEPS + 1)) and math.isclose(
        stopped[NUM_STEPS], straight[NUM_STEPS], rel_tol=TOLERANCE
    )
    text = (
        f"steps {min(stopped)} to {max(stopped)}, loss {stopped[NUM_STEPS]:.4f}; not killed {straight[NUM_STEPS]:.4f}"
    )
    tell("resumed run", float(holds), text)


def train(
    settings: Settings, dataset: Path, name: str, kills_itself: bool = False, resumes: bool = False
) -> int | None:
    """The exit status of a run in a process of its own, forked from this one, which has not touched the device."""
    arguments = (settings, dataset, settings.folder / name, kills_itself, resumes)
    process = multiprocessing.get_context("fork").Process(target=_train_here, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def _train_here(settings: Settings, dataset: Path, output: Path, kills_itself: bool, resumes: bool) -> None:
    os.environ |= {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": str(settings.is_small).lower()}
    from vitseg.training.loop import Training
    from vitseg.training.options import TrainingOptions

    class Watched(Training):
        def make_step(self, step_batches):
            if self.state.progress.step < NUM_FIRST_STEPS or resumes:
                return super().make_step(step_batches)
            with no_waiting(settings.device):
                return super().make_step(step_batches)

        def save_checkpoint(self) -> None:
            super().save_checkpoint()
            if kills_itself and self.state.progress.step == KILLED_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)

    options = TrainingOptions(
        recipe=scenes_recipe("setr-pup"),
        changes={"training.iterations": NUM_STEPS, "training.batch_size": 2},
        dataset=str(dataset),
        output=output,
        workers=0,
        log_every=1,
        checkpoint_every=KILLED_AFTER,
        validate_every=NUM_STEPS,
        validation_limit=1,
        resume="latest" if resumes else None,
    )
    raise SystemExit(Watched(options).run())


def losses(output: Path) -> dict[int, float]:
    """Step -> loss, as the run noted it."""
    rows = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}
