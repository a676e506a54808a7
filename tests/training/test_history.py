# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Running losses and the file of metrics, also when a process died while writing it."""

import pytest
import torch
from accelerate import Accelerator

from vitseg.training.run_folder import MetricsFile
from vitseg.training.state import RunningLosses


def test_means_are_over_the_batches_since_they_were_read():
    losses, accelerator = RunningLosses(), Accelerator(cpu=True)
    for value in (1.0, 2.0, 6.0):
        losses.add({"loss": torch.tensor(value), "part": torch.tensor(-value)})
    assert losses.means() == losses.read(accelerator) == {"loss": 3.0, "part": -3.0}
    losses.add({"loss": torch.tensor(5.0), "part": torch.tensor(0.5)})
    assert losses.read(accelerator) == {"loss": 5.0, "part": 0.5}


def test_a_restored_state_goes_on_with_the_same_means():
    losses, restored = RunningLosses(), RunningLosses()
    losses.add({"loss": torch.tensor(1.0)})
    restored.load_state_dict(losses.state_dict(), torch.device("cpu"))
    restored.add({"loss": torch.tensor(2.0)})
    assert restored.means() == {"loss": 1.5}
    assert losses.means() == {"loss": 1.0}


@pytest.fixture
def metrics(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        metrics.append({"step": step, "loss": 1 / step})
    return metrics


def test_a_row_that_was_not_finished_is_forgotten(metrics):
    text = metrics.path.read_text()
    metrics.path.write_text(text[:-5])
    assert [row["step"] for row in metrics.rows()] == [1, 2, 3, 4]
    metrics.rewind(4)
    metrics.append({"step": 5, "loss": 0.2})
    assert metrics.path.read_text() == text


def test_rewinding_forgets_what_came_later(metrics):
    metrics.rewind(2)
    assert metrics.rows() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    metrics.rewind(0)
    assert metrics.rows() == []


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert MetricsFile(tmp_path / "metrics.jsonl").rows() == []
