# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: what a run leaves, how it goes on after any kind of stop, and what it refuses."""

import json
import math
import re
import shutil
import signal
from io import BytesIO
from pathlib import Path

import huggingface_hub
import numpy as np
import psutil
import pytest
import torch
from accelerate.utils import TorchDynamoPlugin
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import (
    SHARDED,
    assert_same_run,
    losses,
    normalize_by_running_statistics,
    options_of,
    rows,
    send_to_all,
    start,
    start_two,
    stop_after,
    train,
    train_in_two,
    wait_for,
    weights,
)
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.cli import main
from vitseg.data.dataset_labels import DatasetLabels
from vitseg.data.shards import write_shard
from vitseg.scenes import SCENE_CLASSES, write_scenes
from vitseg.training import loop
from vitseg.training.checkpoints import find_checkpoint


pytestmark = pytest.mark.usefixtures("own_state")
SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set (`scenes`) and a recipe (`tiny.json`)."""
    folder = tmp_path_factory.mktemp("training")
    write_scenes(folder / "scenes", num_train=24, num_validation=3)
    (folder / "tiny.json").write_text(json.dumps(tiny_recipe))
    return folder


def command(folder: Path, output: Path, *options: str) -> list[str]:
    return [*options_of(folder, "tiny", output), "--checkpoint-every=4", "--validate-every=8", *options]


def run(folder: Path, output: Path, *options: str) -> int:
    return train(*command(folder, output, *options))


@pytest.fixture(scope="module")
def uninterrupted(folder) -> Path:
    """What all stopped runs are compared with."""
    output = folder / "uninterrupted"
    torch.set_num_threads(1)
    assert run(folder, output) == 0
    return output


def test_a_run_leaves_a_model_metrics_and_a_curve(uninterrupted):
    training = [row for row in rows(uninterrupted) if "loss" in row]
    assert [row["step"] for row in training] == list(range(1, 21))
    assert all(math.isfinite(row["loss"]) for row in training)
    assert np.mean([row["loss"] for row in training[-5:]]) < np.mean([row["loss"] for row in training[:3]])
    assert {"decode.loss_seg", "aux_0.loss_seg", "learning_rate"} <= training[0].keys()
    # Poly with the warm-up of the recipe, as used in steps 1, 3 and 20.
    assert training[0]["learning_rate"] == pytest.approx(0.1 * 0.002)
    assert training[2]["learning_rate"] == pytest.approx((1 - 0.9 / 2) * ((0.002 - 1e-5) * 0.9**0.9 + 1e-5))
    assert training[19]["learning_rate"] == pytest.approx((0.002 - 1e-5) * 0.05**0.9 + 1e-5)

    validation = [row for row in rows(uninterrupted) if "mean_iou" in row]
    assert [row["step"] for row in validation] == [8, 16, 20]
    assert {path.name for path in (uninterrupted / "checkpoints").iterdir()} == {"step-00000016", "step-00000020"}
    with Image.open(uninterrupted / "training.png") as curve:
        assert min(curve.size) > 300
    for name in ("model", "best"):
        model = AutoModelForSemanticSegmentation.from_pretrained(uninterrupted / name)
        assert list(model.config.id2label.values()) == list(SCENE_CLASSES)
        assert AutoImageProcessor.from_pretrained(uninterrupted / name).size.shortest_edge == SIZE


def last_step(output: Path) -> int:
    file = output / "metrics.jsonl"
    steps = re.findall(r'^{"step": (\d+),', file.read_text(), re.MULTILINE) if file.exists() else []
    return int(steps[-1]) if steps else 0


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(processes, folder, uninterrupted, tmp_path):
    output = tmp_path / "killed"
    log = tmp_path / "killed.log"
    for kill_after, options in [
        (2, []),
        (7, ["--resume=latest", "--workers=2"]),
        (11, ["--resume=latest", "--workers=1"]),
        (18, ["--resume=latest", "--workers=2"]),
    ]:
        process = start(processes, *command(folder, output, *options), log=log)
        wait_for(lambda step=kill_after: last_step(output) >= step)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = start(processes, *command(folder, output, "--resume=latest"), log=log)
    process.join()
    assert process.exitcode == 0
    assert_same_run(output, uninterrupted)
    assert "There is no checkpoint yet" in log.read_text()
    assert log.read_text().count("Going on from") == 3


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "number"), [(0, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_signal_saves_and_says_how_to_go_on(processes, folder, uninterrupted, tmp_path, workers, number):
    output, log = tmp_path / "terminated", tmp_path / "terminated.log"
    options = command(folder, output, f"--workers={workers}", "--checkpoint-every=1000")
    process = start(processes, *options, log=log)
    wait_for(lambda: last_step(output) >= 5)
    send_to_all(process, number)
    process.join()
    assert process.exitcode == 128 + number
    assert re.search(r"Stopped after step \d+\. To go on, add --resume latest to the command\.$", log.read_text())
    assert "Traceback" not in log.read_text()
    (checkpoint,) = (output / "checkpoints").iterdir()
    assert 5 <= int(checkpoint.name.removeprefix("step-")) < 20
    assert run(folder, output, "--resume=latest") == 0
    assert_same_run(output, uninterrupted)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(folder, uninterrupted, tmp_path, monkeypatch, capfd):
    output = tmp_path / "damaged"
    with monkeypatch.context() as patch:
        stop_after(14, patch)
        assert run(folder, output) == 128 + signal.SIGTERM
    newest = output / "checkpoints" / "step-00000014"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    assert run(folder, output, "--resume=latest") == 0
    printed = capfd.readouterr().out
    assert f"{newest} is damaged: model.safetensors changed. Using the one before." in printed
    assert "step-00000012, after step 12" in printed
    assert_same_run(output, uninterrupted)


def test_an_explicit_checkpoint_is_used_or_refused(folder, uninterrupted, tmp_path, monkeypatch, capfd):
    output = tmp_path / "explicit"
    with monkeypatch.context() as patch:
        stop_after(9, patch)
        run(folder, output)
    checkpoints = output / "checkpoints"
    (checkpoints / "step-00000009" / "optimizer.bin").unlink()
    assert run(folder, output, f"--resume={checkpoints / 'step-00000009'}") == 1
    assert "step-00000009 is damaged: optimizer.bin is missing" in capfd.readouterr().err
    assert run(folder, output, f"--resume={checkpoints / 'step-00000008'}") == 0
    assert_same_run(output, uninterrupted)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(processes, folder, tmp_path, monkeypatch):
    output = tmp_path / "full"
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder, output)
    good = output / "checkpoints" / "step-00000004"
    largest = max(file.stat().st_size for file in good.iterdir())
    options = ("--resume=latest", "--validate-every=100")
    file = tmp_path / "full.log"
    process = start(processes, *command(folder, output, *options), log=file, limit_file_size=largest // 2)
    process.join()
    assert process.exitcode == 1
    log = file.read_text()
    assert "The checkpoint of step 8 could not be written" in log
    assert "MB are free there" in log
    assert f"{good}, is intact" in log
    assert "Traceback" not in log
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step-00000004"]


def test_divergence_stops_the_run_before_it_is_saved(folder, tmp_path, capfd):
    output = tmp_path / "diverged"
    options = ("--learning-rate=1e30", "--set", "training.max_gradient_norm=null", "--validate-every=100")
    assert run(folder, output, *options, "--log-every=100") == 1
    message = capfd.readouterr().err
    assert "The training diverged" in message
    assert "max_gradient_norm=1" in message
    assert find_checkpoint(output / "checkpoints") == (None, [])


def test_other_settings_are_not_resumed(folder, uninterrupted, capfd):
    assert run(folder, uninterrupted) == 1
    assert "holds a run already. Go on with --resume latest" in capfd.readouterr().err
    assert run(folder, uninterrupted, "--resume=latest", "--seed=1", "--iterations=30") == 1
    assert "had other settings (recipe.training.iterations 20, now 30, seed 0, now 1)" in capfd.readouterr().err


def test_a_slash_at_the_end_of_a_data_set_is_no_other_setting(folder, uninterrupted):
    assert run(folder, uninterrupted, "--resume=latest", f"--dataset={folder / 'scenes'}/") == 0


def test_what_is_no_checkpoint_is_said(folder, uninterrupted, capfd):
    for name in (uninterrupted, uninterrupted / "nothing", "newest"):
        assert run(folder, uninterrupted, f"--resume={name}") == 1
        assert f"--resume {name} is no checkpoint, such as" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("file", "content"), [("settings.json", ""), ("settings.json", "[1]"), ("metrics.jsonl", "{]\n")]
)
def test_a_damaged_file_of_a_run_is_named(file, content, folder, uninterrupted, tmp_path, capfd):
    output = tmp_path / "run"
    shutil.copytree(uninterrupted, output)
    (output / file).write_text(content)
    assert run(folder, output, "--resume=latest") == 1
    assert f"{output / file} is damaged" in capfd.readouterr().err


def test_a_file_in_the_place_of_the_run_is_refused_at_once(folder, tmp_path, capfd):
    (tmp_path / "run").write_text("")
    assert run(folder, tmp_path / "run") == 1
    assert "run is a file, and no folder for a run" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ema=1.5"], "decay of the moving average (--ema) is 1.5; expected 0 to 1"),
        (["--learning-rate=nan"], "learning_rate is nan; expected a positive number"),
        (["--set", "training.warmup_iterations=-1"], "warmup_iterations is -1; expected 0 or more"),
        (["--label-column=file_name"], "cannot be the label and the file_name at once"),
        (["--itertions=3"], "no option '--itertions=3'. Did you mean '--iterations'"),
        (["--set", "training.itertions=3"], "no key of training 'itertions'. Did you mean 'iterations'"),
        (["--set", "training.power"], "has no value"),
        (["--iterations=0"], "0 is not positive"),
        (["--per-device-batch-size=3"], "A batch of 4 images cannot be made of 3 at a time"),
        (["--init=nowhere"], "nowhere is neither a model folder"),
        (["--init=timm"], "names no weights to start from"),
        (["--recipe=setr-pup-vit-l-ade20k-512"], "Did you mean 'setr-pup-vit-l-ade20k-512-160k'"),
        (["--validation-split=test"], "no split 'test'"),
        (["--labels=nowhere.json"], "nowhere.json is not a label table"),
        (["--report-to", "tensorboard", "comet_ml"], "--report-to comet_ml: not installed (pip install comet_ml)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_settings_are_refused_in_plain_words(folder, tmp_path, monkeypatch, capfd, options, message):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    output = tmp_path / "refused"
    try:
        status = run(folder, output, *options)
    except SystemExit as error:
        status = error.code
    assert status
    captured = capfd.readouterr().err
    assert message in captured
    assert "Traceback" not in captured


def test_accumulated_batches_give_the_losses_of_whole_ones(folder, tmp_path, without_batchnorm):
    for name, size in (("whole", 4), ("parts", 1)):
        assert run(folder, tmp_path / name, *DETERMINISTIC, f"--per-device-batch-size={size}") == 0
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


@pytest.fixture
def without_batchnorm(monkeypatch):
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", normalize_by_running_statistics)


# Losses of images do not depend on their batches: no batch normalisation, no dropped paths.
DETERMINISTIC = ("--iterations=12", "--set", "model.backbone_config.drop_path_rate=0.0")


@pytest.mark.slow
def test_two_processes_train_like_one_and_each_resumes_the_other(processes, folder, tmp_path, without_batchnorm):
    one, two = tmp_path / "one", tmp_path / "two"

    def run_two(output: Path, *options: str) -> str:
        run_options = command(folder, output, *DETERMINISTIC, "--workers=1", *options)
        return train_in_two(processes, *run_options, log=tmp_path / "two.log")

    assert run(folder, one, *DETERMINISTIC) == 0
    expected = losses(one)
    assert "2 process(es) on cpu, 2 images at a time" in run_two(two)
    assert losses(two) == pytest.approx(expected, rel=1e-5)

    for output in (one, two):
        shutil.rmtree(output / "checkpoints" / "step-00000012")
    assert run(folder, two, *DETERMINISTIC, "--resume=latest") == 0
    assert losses(two) == pytest.approx(expected, rel=1e-5)
    assert "step-00000008, after step 8" in run_two(one, "--resume=latest")
    assert losses(one) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_two_processes_stop_after_one_step(processes, folder, tmp_path):
    output, log = tmp_path / "two", tmp_path / "two.log"
    options = command(folder, output, "--workers=1", "--iterations=300", "--checkpoint-every=1000", "--keep=9")
    ranks = start_two(processes, *options, log=log)
    wait_for(lambda: last_step(output) >= 3)
    # One is asked to stop, and so are its workers; those of the other one have their own news of it.
    send_to_all(ranks[1], signal.SIGTERM)
    for child in psutil.Process(ranks[0].pid).children():
        child.terminate()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [128 + signal.SIGTERM] * 2, log.read_text()
    (checkpoint,) = (output / "checkpoints").iterdir()
    assert f"Stopped after step {int(checkpoint.name.removeprefix('step-'))}." in log.read_text()


@pytest.mark.slow
def test_sharded_training_is_the_same_training(processes, folder, tmp_path, without_batchnorm):
    one, sharded = tmp_path / "one", tmp_path / "sharded"
    assert run(folder, one, *DETERMINISTIC) == 0

    def run_sharded(*options: str) -> str:
        run_options = command(folder, sharded, *DETERMINISTIC, *options)
        return train_in_two(processes, *run_options, log=tmp_path / "sharded.log", **SHARDED)

    run_sharded()
    assert losses(sharded) == pytest.approx(losses(one), rel=1e-5)
    whole = weights(sharded)
    for name, tensor in weights(one).items():
        assert whole[name].allclose(tensor, atol=1e-5)
    shutil.rmtree(sharded / "checkpoints" / "step-00000012")
    assert "step-00000008, after step 8" in run_sharded("--resume=latest")
    for name, tensor in weights(sharded).items():
        assert whole[name].equal(tensor)


def test_an_average_of_the_weights_is_saved_on_request(folder, tmp_path):
    # The average starts with the weights after the first step; with decay 1 it stays there, with decay 0 it follows.
    assert run(folder, tmp_path / "first", "--iterations=1") == 0
    assert run(folder, tmp_path / "still", "--iterations=3", "--ema=1.0") == 0
    assert run(folder, tmp_path / "plain", "--iterations=3") == 0
    assert run(folder, tmp_path / "close", "--iterations=3", "--ema=0.0") == 0
    first, still, plain, close = (weights(tmp_path / name) for name in ("first", "still", "plain", "close"))
    for name in (name for name, tensor in first.items() if tensor.is_floating_point()):
        assert still[name].equal(first[name])
        assert close[name].equal(plain[name])
    name = "decode_head.classifier.weight"
    assert not first[name].equal(plain[name])


def test_a_resumed_average_is_the_same(folder, tmp_path, monkeypatch):
    assert run(folder, tmp_path / "whole", "--ema=0.8") == 0
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        run(folder, tmp_path / "resumed", "--ema=0.8")
    assert run(folder, tmp_path / "resumed", "--ema=0.8", "--resume=latest") == 0
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


def test_what_saves_memory_or_time_does_not_change_the_losses(folder, tmp_path, monkeypatch):
    # Compiled with the backend that needs no compiler of the system.
    monkeypatch.setattr(loop, "TorchDynamoPlugin", lambda backend: TorchDynamoPlugin(backend="aot_eager"))
    savers = {"checkpointed": ["--gradient-checkpointing"], "compiled": ["--compile"], "eager": ["--attention=eager"]}
    for name, options in {"plain": [], **savers}.items():
        assert run(folder, tmp_path / name, *DETERMINISTIC, *options, "--iterations=4") == 0
    for name in savers:
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
    assert weights(tmp_path / "compiled").keys() == weights(tmp_path / "plain").keys()


def test_mixed_precision_follows_the_launcher(folder, tmp_path, monkeypatch):
    assert run(folder, tmp_path / "float32", *DETERMINISTIC, "--iterations=4") == 0
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert run(folder, tmp_path / "bfloat16", *DETERMINISTIC, "--iterations=4", "--ema=0.5") == 0
    whole, mixed = losses(tmp_path / "float32"), losses(tmp_path / "bfloat16")
    assert mixed != whole
    assert mixed == pytest.approx(whole, rel=0.02)
    assert {tensor.dtype for tensor in weights(tmp_path / "bfloat16").values()} == {torch.float32, torch.int64}


def test_a_precision_that_a_processor_lacks_is_refused(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert run(folder, tmp_path / "out") == 1
    assert "On a CPU there is no mixed precision fp16" in capfd.readouterr().err


def test_an_attention_that_is_not_there_is_refused(folder, tmp_path, capfd):
    assert run(folder, tmp_path / "out", "--attention=lightning") == 1
    assert "--attention lightning cannot be had" in capfd.readouterr().err


def test_parts_of_a_model_can_be_frozen(folder, tmp_path, monkeypatch):
    rules = ("--set", 'training.parameter_rules={"backbone": {"lr_mult": 0}}', "--iterations=6")
    before = tmp_path / "before"
    assert run(folder, before, "--iterations=1", *rules[:2], "--validation-split=none") == 0
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder, tmp_path / "out", *rules)
    assert run(folder, tmp_path / "out", *rules, "--resume=latest") == 0
    start, end = weights(before), weights(tmp_path / "out")
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "out" / "model")
    for name, _ in model.named_parameters():
        assert start[name].equal(end[name]) == name.startswith("backbone."), name


def test_what_the_learning_rate_does_not_reach_is_said(folder, tmp_path, capfd):
    options = ("--iterations=3", "--set", "training.warmup_iterations=30", "--validation-split=none")
    assert run(folder, tmp_path / "out", *options) == 0
    assert "Warning: The warm-up of 30 steps is longer than the run of 3" in capfd.readouterr().out


def test_a_lack_of_the_system_is_told_without_promises(folder, tmp_path, monkeypatch, capfd):
    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(loop, "train_loader", fail)
    assert run(folder, tmp_path / "out") == 1
    assert capfd.readouterr().err.strip().splitlines()[-1] == "error: no space left"


def test_a_validation_that_cannot_work_fails_before_the_training(folder, tmp_path, capfd):
    good, bad = np.zeros((40, 40), np.uint8), np.full((40, 40), 7, np.uint8)
    source = write_pairs(tmp_path / "pairs", [good] * 4, validation=[good, bad])
    assert run(folder, tmp_path / "out", "--dataset", str(source)) == 1
    assert "photo_1: a reference holds 7, but the 3 classes are 0..2" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_trackers_get_the_figures(folder, tmp_path):
    output = tmp_path / "tracked"
    assert run(folder, output, "--iterations=3", "--report-to", "tensorboard") == 0
    (events,) = output.rglob("events.out.tfevents.*")
    tracked = EventAccumulator(str(events.parent)).Reload()
    assert {"loss", "learning_rate", "images_per_second", "mean_iou"} <= set(tracked.Tags()["scalars"])
    assert [event.value for event in tracked.Scalars("loss")] == pytest.approx(losses(output), rel=1e-5)


def test_a_model_is_fine_tuned_on_other_classes(folder, uninterrupted, tmp_path, capfd):
    labels = tmp_path / "labels.json"
    names = [*SCENE_CLASSES, "bridge"]
    labels.write_text(json.dumps(names))
    capfd.readouterr()
    model = str(uninterrupted / "model")
    options = ("--init", model, "--labels", str(labels), "--iterations=1", "--learning-rate=1e-20")
    assert run(folder, tmp_path / "tuned", *options, "--set", "training.min_learning_rate=0.0") == 0
    captured = capfd.readouterr()
    (line,) = (line for line in captured.out.splitlines() if line.startswith(f"Not from {model}"))
    assert re.findall(r"[\w.]+classifier\.\w+", line) == re.findall(
        r"[\w.]+\.\w+", line.split("random: ")[1].rstrip(".")
    )
    assert "decode_head.classifier.weight" in line
    assert "Some weights" not in captured.err
    tuned = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "tuned" / "model")
    assert list(tuned.config.id2label.values()) == names
    assert tuned.config.label2id["bridge"] == 12
    # With next to no learning rate, the rest is still what it was.
    name = "backbone.layers.1.attention.q_proj.weight"
    assert weights(tmp_path / "tuned")[name].allclose(weights(uninterrupted)[name], atol=1e-6)


def write_pairs(folder: Path, label_maps: list[np.ndarray], validation: list[np.ndarray] | None = None) -> Path:
    """A data set of grey images with these label maps; without others for validation, with the same ones there."""
    (folder / "data").mkdir(parents=True)
    for split, maps in (("train", label_maps), ("validation", validation or label_maps)):
        rows = []
        for number, label_map in enumerate(maps):
            encoded = []
            for image in (Image.new("RGB", label_map.shape[::-1], (90, 90, 90)), Image.fromarray(label_map)):
                file = BytesIO()
                image.save(file, "PNG")
                encoded.append({"bytes": file.getvalue(), "path": f"{number}.png"})
            rows.append({"image": encoded[0], "label": encoded[1], "file_name": f"photo_{number}"})
        write_shard(rows, folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "labels.json").write_text(DatasetLabels(names=("ground", "sky", "water")).to_json())
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_outside_the_classes_is_named(folder, tmp_path, capfd, workers):
    good, bad = np.zeros((40, 40), np.uint8), np.full((40, 40), 7, np.uint8)
    source = write_pairs(tmp_path / "pairs", [good, good, good, bad])
    options = ("--dataset", str(source), f"--workers={workers}", "--validation-split=none")
    assert run(folder, tmp_path / "out", *options) == 1
    message = capfd.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: photo_3: its label map holds 7, but the 3 classes are 0 to 2")


def test_zero_can_mean_no_class(folder, tmp_path):
    source = write_pairs(tmp_path / "pairs", [np.full((40, 40), value, np.uint8) for value in (0, 1, 2, 3)])
    options = ("--dataset", str(source), "--iterations=2", "--validate-every=2")
    assert run(folder, tmp_path / "raw", *options) == 1
    assert run(folder, tmp_path / "reduced", *options, "--reduce-labels") == 0
    assert AutoImageProcessor.from_pretrained(tmp_path / "reduced" / "model").do_reduce_labels


def test_zero_is_a_class_in_what_was_prepared(tmp_path, folder, capfd):
    for name in ("images", "masks"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            content = Image.new("RGB" if name == "images" else "L", (40, 40), number % 2)
            content.save(tmp_path / f"photos/{name}/{number}.png")
    (tmp_path / "labels.json").write_text('{"0": "ground", "1": "sky"}')
    data = tmp_path / "data"
    options = ["--source", str(tmp_path / "photos"), "--labels", str(tmp_path / "labels.json"), "--output", str(data)]
    assert main(["prepare", "folder", *options]) == 0
    assert run(folder, tmp_path / "run", f"--dataset={data}", "--reduce-labels", "--validation-split=none") == 1
    assert "written by `vitseg prepare`, so its label maps hold train ids" in capfd.readouterr().err


def test_the_data_set_can_be_shuffled_from_the_cache(folder, tmp_path, uninterrupted):
    assert run(folder, tmp_path / "cached", "--iterations=3", "--cache") == 0
    cached, streamed = losses(tmp_path / "cached"), losses(uninterrupted)
    assert cached[0] != streamed[0]
    assert all(map(math.isfinite, cached))
