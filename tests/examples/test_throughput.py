# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic is counted as on paper, functions are timed in turn, and tables grow without losing anything."""

import csv
import json
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from benchmarks.throughput import (
    ModelSettings,
    append_rows,
    calls_per_second,
    count_multiply_adds,
    matmul_shares,
    measure_model,
    peak_memory,
    time_in_turn,
)
from torch import nn

from vitseg.deployment.linear import convolved_linear


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("build", "shape", "multiply_adds"),
    [
        (lambda: nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
        (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 10), 2 * 8 * 10 * 6 * 4 * 3 * 3),
        (lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), (1, 4, 8, 8), 4 * 4 * 4 * 3 * 3),
        (lambda: nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)), (1, 8), 8 * 2),
    ],
    ids=["linear", "convolution", "depthwise", "only the linear layer"],
)
def test_multiply_adds(build, shape, multiply_adds, device):
    with torch.device(device):
        assert count_multiply_adds(build(), torch.zeros(shape)) == multiply_adds


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_multiply_adds_of_attention(device):
    batch, heads, tokens, dim = 2, 3, 16, 8
    query = torch.zeros(batch, heads, tokens, dim, device=device)
    counted = count_multiply_adds(nn.functional.scaled_dot_product_attention, query, query, query)
    # Scores, then their sum over the values.
    assert counted == 2 * batch * heads * tokens * tokens * dim


def test_functions_are_called_in_turn():
    calls = []
    seconds = time_in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_shares_are_of_the_fastest_product(monkeypatch):
    speeds = {torch.matmul: 100.0, convolved_linear: 250.0}
    monkeypatch.setattr(
        "benchmarks.throughput.matmul_speed",
        lambda device, dtype, product=torch.matmul: speeds[product],
    )
    assert matmul_shares(50.0, "cpu", torch.float32) == {"matmul_share": 0.2, "torch_matmuls": 0.5}


def memory_of_a_large_tensor() -> int:
    before = peak_memory("cpu")
    torch.ones(64, 2**20)
    return peak_memory("cpu") - before


@pytest.mark.slow
def test_memory_that_is_freed_again_counts(processes):
    with ProcessPoolExecutor(1, mp_context=processes) as process:
        growth = process.submit(memory_of_a_large_tensor).result()
    assert 250e6 < growth < 350e6


class Recorder(nn.Module):
    """A convolution that keeps what it was given."""

    inputs: list[torch.Tensor] = []

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.inputs.append(images)
        assert not torch.is_grad_enabled()
        assert not self.training
        return self.convolution(images)


def test_figures_of_a_model(monkeypatch):
    monkeypatch.setattr(Recorder, "inputs", [])
    monkeypatch.setattr("benchmarks.throughput.MATMUL_SIZE", {"cpu": 64})
    settings = ModelSettings(
        dtype="bfloat16", batch_size=2, input_size=(8, 12), channels_last=True, repeats=4, warmup=1
    )
    figures = measure_model(Recorder, settings, prepare=lambda model: model)
    assert figures["parameters"] == 4 * 3 * 3 * 3 + 4
    assert figures["gflops"] == pytest.approx(8 * 12 * 4 * 3 * 3 * 3 / 1e9)
    assert figures["latency_ms_min"] <= figures["latency_ms"] <= figures["latency_ms_max"]
    assert figures["images_per_second"] == pytest.approx(2 / (figures["latency_ms"] / 1e3))
    assert figures["gflops_per_second"] == pytest.approx(figures["images_per_second"] * figures["gflops"])
    assert figures["matmul_share"] <= figures["torch_matmuls"]
    for images in Recorder.inputs:
        assert images.shape[1:] == (3, 8, 12)
        assert images.dtype == torch.bfloat16
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_settings_say_what_is_timed():
    text = ModelSettings(dtype="float16", batch_size=4, input_size=(480, 640), compile=True, warmup=7).describe()
    for fact in ("4 x 3 x 480 x 640", "float16", "cpu", "torch.compile", "7 passes", "resizing", "not included"):
        assert fact in text
    assert "channels-last" not in text
    assert "torch.compile" not in ModelSettings().describe()


def test_rows_are_added_to_json(tmp_path):
    file = tmp_path / "new" / "table.json"
    append_rows(file, [{"model": "a", "images_per_second": 1.5}])
    append_rows(file, [{"model": "b", "compile": True}])
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert rows == [{"model": "a", "images_per_second": 1.5}, {"model": "b", "compile": True}]


def test_rows_and_columns_are_added_to_csv(tmp_path):
    file = tmp_path / "table.csv"
    append_rows(file, [{"model": "a, with a comma", "images_per_second": 1.5}])
    append_rows(file, [{"model": "b", "compile": True}])
    with file.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["model", "images_per_second", "compile"]
    assert rows == [["a, with a comma", "1.5", ""], ["b", "", "True"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.txt", None, "neither .json nor .csv"),
        ("table.json", "{", "not a JSON file"),
        ("table.json", "{}", "no list of rows"),
    ],
)
def test_files_that_hold_no_table_are_left_alone(name, content, message, tmp_path):
    file = tmp_path / name
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        append_rows(file, [{"model": "a"}])
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ([] if content is None else [content])


def test_a_failed_write_keeps_the_table(tmp_path):
    file = tmp_path / "table.json"
    append_rows(file, [{"model": "a"}])
    with pytest.raises(TypeError):
        append_rows(file, [{"model": object()}])
    assert json.loads(file.read_text(encoding="utf-8")) == [{"model": "a"}]
    assert list(tmp_path.iterdir()) == [file]


def test_calls_per_second():
    calls = []

    def work():
        calls.append(1)
        time.sleep(0.002)

    rate = calls_per_second(work, seconds=0.1, warmup=3, first_count=4)
    # Sleeping takes no less than it says; the loops that tell the number of calls come before the one that counts.
    assert 10 < rate <= 500
    assert len(calls) > 3 + 4 + rate * 0.05
