# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Two processes share the images, and each gets the whole result: the metric, the evaluator and the commands."""

import json
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.pool import Pool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from PIL import Image
from random_examples import Examples
from tiny_setr import save_tiny_setr, tiny_image_processor, tiny_setr

from vitseg.cli import main
from vitseg.evaluation import MeanIoU
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.evaluation.progress import EvaluationProgress
from vitseg.scenes import SCENE_CLASSES, write_scenes


NAMES = "abcde"


@pytest.fixture(scope="module")
def pool(processes) -> Iterator[Pool]:
    """Two processes for all tests."""
    with processes.Pool(2) as pool:
        yield pool


def in_both(pool: Pool, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(rank, *arguments)` returns in each of the processes."""
    waiting = [pool.apply_async(function, (rank, *arguments)) for rank in range(2)]
    return [result.get(timeout=120) for result in waiting]


@contextmanager
def process_group(rank: int, store: str) -> Iterator[None]:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def confusions_of_two_rounds(rank: int, store: str) -> list[list[list[int]]]:
    """First with images in both processes, then in process 1 only."""
    with process_group(rank, store):
        metric = MeanIoU(num_labels=3)
        with torch.inference_mode():
            for _ in range(rank + 1):
                metric.add(prediction=torch.tensor([[0, 1, 2]]), reference=[[rank, 1, 255]])
        results = [metric.compute()]
        if rank == 1:
            metric.add(prediction=[[0, 1]], reference=[[0, 0]])
        results.append(metric.compute())
        with pytest.raises(ValueError, match="nothing was added"):
            metric.compute()
        return [np.asarray(result["confusion_matrix"]).tolist() for result in results]


@pytest.mark.slow
def test_the_metric_sums_the_counts(pool, tmp_path):
    here, other = in_both(pool, confusions_of_two_rounds, str(tmp_path / "store"))
    assert here == [[[1, 0, 0], [2, 3, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0], [0, 0, 0]]]
    assert other == here


def measure(examples: Examples, accelerator: Any, **kwargs: Any) -> list[list[int]]:
    scores = evaluate_model(tiny_setr(NAMES), tiny_image_processor(), examples, accelerator, **kwargs)
    return scores["confusion_matrix"].tolist()


def confusions_of_images(rank: int, folder: str) -> list[list[list[int]]]:
    """With 5 images, with 1 image, and with 4 in two runs of which the first stops."""
    with process_group(rank, f"{folder}/store"):
        accelerator = Accelerator(cpu=True)
        process = SimpleNamespace(
            process_index=rank,
            num_processes=2,
            is_main_process=rank == 0,
            device=accelerator.device,
            autocast=accelerator.autocast,
            mixed_precision=accelerator.mixed_precision,
        )
        results = [measure(Examples(5), process), measure(Examples(1), process)]
        progress = EvaluationProgress.open(Path(folder), "same", rank, 2)
        with pytest.raises(ValueError, match="Cannot decode"):
            measure(Examples(4, broken=(2, 3)), process, progress=progress)
        progress, examples = EvaluationProgress.open(Path(folder), "same", rank, 2), Examples(4)
        results.append(measure(examples, process, progress=progress))
        assert examples.read == [2 + rank]
        return results


@pytest.mark.slow
def test_the_evaluator_counts_every_image_once(pool, tmp_path):
    here, other = in_both(pool, confusions_of_images, str(tmp_path))
    assert here == other == [measure(Examples(count), Accelerator(cpu=True)) for count in (5, 1, 4)]


def command(rank: int, port: int, arguments: list[str]) -> int:
    """The exit status of `vitseg` in one of two processes, as torchrun starts them."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    AcceleratorState._reset_state()
    PartialState._reset_state()
    return main(arguments)


def run_in_both(pool: Pool, *arguments: str | Path, status: int = 0) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert in_both(pool, command, port, [str(argument) for argument in arguments]) == [status] * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), SCENE_CLASSES)


@pytest.mark.slow
def test_validate_measures_no_image_twice(pool, model, tmp_path):
    write_scenes(tmp_path / "scenes", num_train=1, num_validation=5)
    arguments = (
        "validate",
        "--model",
        model,
        "--dataset",
        tmp_path / "scenes",
        "--save-images",
        1,
        "--boundary",
        "--calibration",
    )
    run_in_both(pool, *arguments, "--workers", 0, "--output", tmp_path / "two")
    assert main([*map(str, arguments), "--workers", "0", "--output", str(tmp_path / "one")]) == 0
    two, one = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("two", "one"))
    assert (two["images"], two["processes"]) == (5, 2)
    assert two["scores"] == one["scores"]
    assert "boundary_iou" in one["scores"]
    assert two["intervals"] == one["intervals"]
    assert two["calibration"] == one["calibration"]
    assert (tmp_path / "two/images.csv").read_text() == (tmp_path / "one/images.csv").read_text()
    assert len(list((tmp_path / "two/images").iterdir())) == 2


@pytest.mark.slow
def test_predict_leaves_no_image_out(pool, model, tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (40, 50 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    arguments = ("predict", "--model", model, "--images", tmp_path / "photos", "--workers", 0)
    run_in_both(pool, *arguments, "--output", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out/submission.zip") as archive:
        assert sorted(archive.namelist()) == ["0.png", "1.png", "2.png"]


@pytest.mark.slow
def test_segment_does_every_file_once(pool, model, tmp_path):
    """One of them cannot be read: both processes say so with their status, and none stops the other."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        pixels = rng.integers(0, 256, (40, 50 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos/3.png").write_bytes(b"junk")
    arguments = ("segment", "--model", model, tmp_path / "photos")
    table = tmp_path / "manifest"
    run_in_both(pool, *arguments, "--output", tmp_path / "two", "--manifest", table, status=1)
    assert main([*map(str, arguments), "--output", str(tmp_path / "one")]) == 1
    two, one = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("two", "one"))
    assert len(one) == 16
    assert two == one
    rows = sorted((Path(row["image"]).stem, row["process"], row["status"]) for row in pq.read_table(table).to_pylist())
    assert rows == [(str(index), index % 2, "failed" if index == 3 else "done") for index in range(5)]
