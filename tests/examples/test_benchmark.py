# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks print and leave: a table for a person, and rows for a file."""

import contextlib
import csv
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benchmark
import numpy as np
import psutil
import pytest
import torch
from benchmarks import (
    data,
    encoder,
    loading,
    masks,
    models,
    named_models,
    precision,
    sharing,
    speed,
    startup,
    throughput,
    training,
    windows,
)
from benchmarks.throughput import ModelSettings
from PIL import Image

from vitseg import (
    PlainVitConfig,
    SctNetConfig,
    SctNetForSemanticSegmentation,
    SetrConfig,
    SetrForSemanticSegmentation,
    SetrImageProcessor,
)
from vitseg.recipes import RECIPES, load_recipe


SCTNET_RECIPE = "sctnet-s-ade20k-512-160k"
SHARING_RECIPE = "cts-segmenter-mask-30-vit-t-ade20k-512"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds `setr` and `sctnet`, model folders, and `photo.png`."""
    folder = tmp_path_factory.mktemp("models")
    backbone_config = PlainVitConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        out_indices=[1],
    )
    config = SetrConfig(
        backbone_config=backbone_config,
        decoder_type="naive",
        decoder_hidden_size=8,
        auxiliary_heads=[],
        num_labels=3,
        window_size=[32, 32],
        window_stride=[32, 32],
        inference_mode="slide",
    )
    SetrForSemanticSegmentation(config).save_pretrained(folder / "setr")
    SetrImageProcessor(do_resize=False).save_pretrained(folder / "setr")
    config = SctNetConfig(base_channels=8, context_channels=8, image_size=[64, 96], num_labels=3)
    SctNetForSemanticSegmentation(config).save_pretrained(folder / "sctnet")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


@pytest.fixture
def here_and_now(monkeypatch, folder):
    """Functions run in this process, on little, and names are those of files in `folder`."""
    for module in (
        encoder,
        masks,
        models,
        precision,
        speed,
        startup,
        sharing,
        training,
        windows,
    ):
        monkeypatch.setattr(module, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(throughput, "MATMUL_SIZE", {"cpu": 64})
    monkeypatch.setattr(data, "NUM_EXAMPLES", 2)
    monkeypatch.setattr(loading, "NUM_EXAMPLES", 2)
    monkeypatch.setattr(masks, "CASES", {"small": (3, (8, 8), (16, 16))})
    monkeypatch.setattr(startup, "import_seconds", lambda statement: 1.0)
    monkeypatch.setattr(training, "load_recipe", small_recipe)
    monkeypatch.setattr(sharing, "get_recipe", small_recipe)
    monkeypatch.chdir(folder)


def small_recipe(name: str) -> SimpleNamespace:
    """A published recipe for crops of 128 x 128 and three classes."""
    changes: dict[str, Any] = {"training.crop_size": [128, 128]}
    if RECIPES[name].model.get("backbone_config", {}).get("token_sharing"):
        changes["model.backbone_config.token_sharing"] = 6
    recipe = load_recipe(name, changes)
    return SimpleNamespace(
        training=recipe.training, build_config=lambda _=None: recipe.build_config({0: "sky", 1: "road", 2: "car"})
    )


def first_cells(output: str) -> list[str]:
    """Those of the table's lines."""
    return [line.split("|")[1].strip() for line in output.splitlines() if line.startswith("|")][2:]


# Command -> the first cells of the lines of its table, and of each row of its file some of what tells them apart.
COMMANDS = {
    "data": (["vitseg", "OpenCV and NumPy"], [{"benchmark": "data", "reference": "OpenCV and NumPy"}]),
    "metric": (["vitseg", "NumPy histograms"], [{"benchmark": "metric", "reference": "NumPy histograms"}]),
    "loading --milliseconds 1 --batch-size 2 --workers 1": (["1"], [{"workers": 1, "batch_size": 2}]),
    "encoder --sizes tiny --side 32": (["ViT-tiny"], [{"size": "tiny", "side": 32, "batch_size": 1}]),
    "models setr --peer timm:vit_tiny_patch16_224 --batch-size 2 --warmup 1": (
        list(models.FIGURES)[1:],
        [
            {"model": "setr", "batch_size": 2, "height": 32, "width": 32, "dtype": "float32"},
            {"model": "timm:vit_tiny_patch16_224", "batch_size": 2, "height": 32, "width": 32},
        ],
    ),
    "growth setr --sides 32 64 --side 32 --batch-sizes 1 2": (
        ["setr"] * 3,
        [{"batch_size": number, "height": side} for number, side in ((1, 32), (1, 64), (2, 32))],
    ),
    f"sharing {SHARING_RECIPE} --batch-size 1": ([SHARING_RECIPE], [{"model": SHARING_RECIPE, "batch_size": 1}]),
    "speed sctnet --seconds 0.05 --variants unfused fused --peer segformer-b0": (
        ["sctnet"],
        [{"height": 64, "width": 96, "published": None}],
    ),
    "windows setr --image-size 64 96 --together 4": (["setr"], [{"together": 4}]),
    "windows setr --image-size 64 96 --multi-scale 0.5 1 --flip": (
        ["setr"],
        [{"protocol": "original size times 0.5, 1; windows of 32 x 32 at a stride of 32 x 32; with flip"}],
    ),
    "masks": (["small"], [{"case": "small"}]),
    f"training {SCTNET_RECIPE}": ([SCTNET_RECIPE], [{"model": SCTNET_RECIPE, "batch_size": 2}]),
    f"training {SHARING_RECIPE} --forms frozen lora --batch-size 1": ([SHARING_RECIPE], [{"model": SHARING_RECIPE}]),
    "precision --model setr --images photo.png --forms bfloat16 onnx": (
        ["bfloat16", "onnx"],
        [{"form": form, "height": 32, "width": 48} for form in ("bfloat16", "onnx")],
    ),
    "startup setr": (list(startup.FIGURES)[1:], [{"model": "setr"}]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_prints_a_table_and_leaves_rows(command, tmp_path, capsys, here_and_now):
    cells, expected = COMMANDS[command]
    file, arguments = tmp_path / "figures.json", command.split()
    if arguments[0] not in ("data", "metric", "loading", "startup"):
        arguments += ["--device", "cpu"]
    if arguments[0] == "growth":
        arguments += ["--plot", str(tmp_path / "growth.png")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert benchmark.main([*arguments, "--repeats", "1", "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert first_cells(printed) == cells
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [{key: row[key] for key in facts} for row, facts in zip(rows, expected, strict=True)] == expected
    for row in rows:
        check_figures(row, printed)
    if arguments[0] == "growth":
        with Image.open(tmp_path / "growth.png") as picture:
            assert len(set(picture.convert("L").get_flattened_data())) > 10


def check_figures(row: dict, printed: str) -> None:
    """Ratios are of what they say, and what is known beforehand comes out."""
    if row["benchmark"] in ("data", "metric"):
        assert row["ratio"] == pytest.approx(row["images_per_second"] / row["reference_images_per_second"])
        assert f"vitseg is {row['ratio']:.2f} times as fast" in printed
    elif row["benchmark"] == "encoder":
        assert row["ratio"] == pytest.approx(row["milliseconds_timm"] / row["milliseconds_vitseg"])
    elif row["benchmark"] == "masks":
        assert row["ratio"] == pytest.approx(row["seconds_whole"] / row["seconds_bands"])
    elif row["benchmark"] == "windows":
        assert row["ratio"] == pytest.approx(row["seconds_one_by_one"] / row["seconds_together"])
    elif row["benchmark"] == "sharing":
        for key, other in (("ratio", "without"), ("original_ratio", "original")):
            assert row[key] == pytest.approx(row["images_per_second_with"] / row[f"images_per_second_{other}"])
        assert row["published_ratio"] == pytest.approx(1.08, abs=0.005)
    elif row["benchmark"] == "precision":
        assert row["agreement"] > 0.9
    elif row.get("model") == "setr" and row["benchmark"] in ("models", "startup"):
        parameters = SetrForSemanticSegmentation.from_pretrained("setr").num_parameters()
        assert parameters in (row.get("parameters"), round(row.get("weights_mb", 0) * 1e6 / 4))


def test_rows_are_added_to_a_table_for_spreadsheets(tmp_path, here_and_now):
    file = tmp_path / "figures.csv"
    for _ in range(2):
        assert benchmark.main(["metric", "--repeats", "1", "--output", str(file)]) == 0
    with file.open(newline="", encoding="utf-8") as stream:
        assert [row["benchmark"] for row in csv.DictReader(stream)] == ["metric", "metric"]


def test_an_image_larger_than_the_window_goes_through_at_once(folder):
    model = named_models.build_model(str(folder / "setr"), (64, 48)).eval()
    sizes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape)))
    model(torch.zeros(1, 3, 64, 48))
    assert sizes == [(1, 3, 64, 48)]


def test_models_of_vitseg_are_tuned_and_peers_are_not(folder):
    for name, is_tuned in ((str(folder / "sctnet"), True), ("segformer-b0", False)):
        model = named_models.build_model(name, (64, 64))
        assert (named_models.tune_ours(model, name) is not model) == is_tuned


class SmallMachine:
    """Measures models, with memory for `capacity` images."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.batch_sizes: list[int] = []

    def __call__(self, function, name, settings):
        self.batch_sizes.append(settings.batch_size)
        if settings.batch_size > self.capacity:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return {"batch_size": settings.batch_size}


def test_batches_are_halved_until_they_fit(monkeypatch, capsys):
    machine = SmallMachine(capacity=2)
    monkeypatch.setattr(models, "in_own_process", machine)
    row = models.measure_in_own_process("segformer-b0", ModelSettings(batch_size=9))
    assert row == {"batch_size": 2}
    assert machine.batch_sizes == [9, 4, 2]
    assert capsys.readouterr().err.splitlines() == [
        "segformer-b0: out of memory; trying again with a batch size of 4.",
        "segformer-b0: out of memory; trying again with a batch size of 2.",
    ]


def test_a_model_that_does_not_fit_at_all_is_named(monkeypatch):
    monkeypatch.setattr(models, "in_own_process", SmallMachine(capacity=0))
    with pytest.raises(ValueError, match="segformer-b0 does not fit into memory, even with one image at a time"):
        models.measure_in_own_process("segformer-b0", ModelSettings(batch_size=2))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("models setr --peer segformer-b9", "'segformer-b9'. Did you mean 'segformer-b"),
        ("speed setr-pup-vit-l-ade20k-512-160k", "is not an SCTNet"),
        ("sharing segmenter-mask-vit-b-ade20k-512", "is not a recipe with token sharing"),
        ("windows segformer-b0", "is not tested in windows"),
        ("training setr-pup-vit-l", "There is no recipe 'setr-pup-vit-l'"),
    ],
)
def test_names_are_refused_before_anything_is_measured(command, message, tmp_path, capsys, here_and_now):
    output = tmp_path / "figures.csv"
    assert benchmark.main([*command.split(), "--device", "cpu", "--output", str(output)]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [["data", "--repeats", "0"], ["metric", "--output", "table.txt"], ["models"], ["models", "x", "--dtype", "int8"]],
    ids=" ".join,
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(arguments)
    assert stop.value.code == 2


def test_the_published_rows_are_measured_at_their_own_size(monkeypatch, capsys, here_and_now):
    measured = {}

    def measure(name, variants, device, dtype, seconds):
        config = named_models.load_config(name)
        measured[name] = config.image_size
        height, width = config.image_size
        published = RECIPES[name].published
        return {
            "model": name,
            "height": height,
            "width": width,
            **dict.fromkeys(variants, 1.0),
            "published": published.frames_per_second,
            "published_tensorrt": published.frames_per_second_tensorrt,
        }

    monkeypatch.setattr(speed, "measure_speed", measure)
    assert benchmark.main(["speed", "--device", "cpu"]) == 0
    assert len(measured) == 8
    assert measured["sctnet-b-seg100-cityscapes-1024-160k"] == [1024, 2048]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| sctnet")]
    assert [cell.strip() for cell in lines[3].split("|")[-3:-1]] == ["160.3", "451.2"]


def test_the_published_pairs_of_token_sharing_are_known():
    pairs = sharing.recipe_pairs()
    assert len(pairs) == 6
    assert pairs["cts-segmenter-mask-44-vit-s-cityscapes-768"] == "cts-segmenter-mask-0-vit-s-cityscapes-768"
    assert all(name in RECIPES for name in pairs.values())


def test_what_int8_needs_is_said(capsys, monkeypatch, here_and_now):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    assert (
        benchmark.main(["precision", "--model", "setr", "--images", "photo.png", "--forms", "int8", "--device", "cpu"])
        == 2
    )
    assert "pip install torchao" in capsys.readouterr().err


def test_everything_is_one_command(monkeypatch, capsys):
    ran = []

    def run_within(seconds, command):
        ran.append((seconds, command))
        return {"data": None, "metric": 2}.get(command[0], 0)

    monkeypatch.setattr(benchmark, "run_within", run_within)
    assert benchmark.main(["all", "--device", "cpu", "--output", "figures.json"]) == 0
    assert all(command[-2:] == ["--output", "figures.json"] for _, command in ran)
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__.split('+')[0]}" in printed.splitlines()[0]
    assert printed.count("## ") == len(ran)
    assert printed.endswith("Without figures:\n- data: stopped after 30 s\n- metric: status 2\n")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_everything_takes_twenty_minutes_at_the_most(device):
    commands = benchmark.everything(device)
    assert sum(commands.values()) <= 20 * 60
    for command in commands:
        arguments = benchmark.parse_arguments(command.split())
        for name in (*getattr(arguments, "models", []), *getattr(arguments, "recipes", [])):
            named_models.check_name(name)


def test_a_command_is_stopped_with_what_it_started(monkeypatch, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "time.sleep(600 if len(sys.argv) > 2 else 0)\n"
    )
    monkeypatch.setattr(benchmark, "__file__", str(program))
    for name, more, status in (("ended", [], 0), ("stopped", ["slowly"], None)):
        assert benchmark.run_within(2.0, [str(tmp_path / name), *more]) == status
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int((tmp_path / name).read_text())).wait(30)
