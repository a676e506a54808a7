# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet's training: the teacher first, then the model, by the same program."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import (
    SHARDED,
    normalize_by_running_statistics,
    options_of,
    rows,
    stop_after,
    train,
    train_in_two,
    weights,
)
from transformers import AutoModelForSemanticSegmentation, SegformerConfig, SegformerForSemanticSegmentation

from vitseg.scenes import SCENE_CLASSES, write_scenes


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
ENCODER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 2, 2]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set, recipes of a tiny teacher and model, and the teacher trained."""
    folder = tmp_path_factory.mktemp("sctnet")
    write_scenes(folder / "scenes", num_train=12, num_validation=2)
    evaluation = tiny_recipe["evaluation"] | {"mode": "whole", "window_size": None, "window_stride": None}
    training = tiny_recipe["training"] | {"iterations": 6, "warmup_iterations": 1, "parameter_rules": {}}
    common = tiny_recipe | {"evaluation": evaluation, "training": training}
    teacher = {"encoder_config": ENCODER, "decoder_hidden_size": 8, "image_size": 32}
    model = {"base_channels": 8, "context_channels": 8, "image_size": 32}
    (folder / "teacher.json").write_text(json.dumps(common | {"method": "sctnet_teacher", "model": teacher}))
    (folder / "sctnet.json").write_text(json.dumps(common | {"method": "sctnet", "model": model}))
    torch.set_num_threads(1)
    assert run(folder, "teacher", folder / "teacher") == 0
    return folder


def command(folder: Path, recipe: str, output: Path, *options: str) -> list[str]:
    return [*options_of(folder, recipe, output), "--checkpoint-every=3", "--validate-every=3", *options]


def run(folder: Path, recipe: str, output: Path, *options: str) -> int:
    return train(*command(folder, recipe, output, *options))


def test_a_run_goes_on_with_its_own_teacher_alone(folder, tmp_path, monkeypatch, capfd):
    shutil.copytree(folder / "teacher" / "best", tmp_path / "teacher")
    options = ("--teacher", str(tmp_path / "teacher"))
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        run(folder, "sctnet", tmp_path / "run", *options)
    former = tmp_path / "teacher" / "model.safetensors"
    changed = {name: tensor + 0.01 * tensor.is_floating_point() for name, tensor in load_file(former).items()}
    save_file(changed, former, metadata={"format": "pt"})
    assert run(folder, "sctnet", tmp_path / "run", *options, "--resume=latest") == 1
    assert f"The teacher {tmp_path / 'teacher'} is not what the run" in capfd.readouterr().err
    shutil.copy(folder / "teacher" / "best" / "model.safetensors", former)
    assert run(folder, "sctnet", tmp_path / "run", *options, "--resume=latest") == 0


def test_two_commands(folder, tmp_path):
    """The teacher, then the model that learns from it; and on from a checkpoint, as if nothing had happened."""
    teacher = ["--teacher", str(folder / "teacher" / "best")]
    teacher_weights = weights(folder / "teacher", "best")
    assert run(folder, "sctnet", tmp_path / "whole", *teacher) == 0
    losses = [row for row in rows(tmp_path / "whole") if "loss" in row]
    assert {"decode.loss_ce", "aux_0.loss_ce", "aux_1.loss_guidance"} <= losses[0].keys()
    # What is saved is for inference alone, and the checkpoints hold no part of the teacher.
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "whole" / "model")
    assert list(model.config.id2label.values()) == list(SCENE_CLASSES)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "decode_head"}
    checkpoint = load_file(tmp_path / "whole" / "checkpoints" / "step-00000006" / "model.safetensors")
    assert {name.split(".")[0] for name in checkpoint} == {"student", "auxiliary_head", "alignment"}
    for name, tensor in weights(folder / "teacher", "best").items():
        assert torch.equal(tensor, teacher_weights[name])

    shutil.rmtree(tmp_path / "whole" / "checkpoints" / "step-00000006")
    expected_rows, expected = rows(tmp_path / "whole"), weights(tmp_path / "whole")
    assert run(folder, "sctnet", tmp_path / "whole", *teacher, "--resume", "latest") == 0
    assert rows(tmp_path / "whole") == expected_rows
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("environment", [{}, SHARDED], ids=["copied", "sharded"])
def test_two_processes_learn_from_a_teacher_like_one(environment, processes, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", normalize_by_running_statistics)
    options = ["--teacher", str(folder / "teacher" / "best"), "--iterations=4", "--checkpoint-every=2"]
    assert run(folder, "sctnet", tmp_path / "one", *options) == 0
    two = command(folder, "sctnet", tmp_path / "two", *options)
    train_in_two(processes, *two, log=tmp_path / "two.log", **environment)
    first = [next(row for row in rows(tmp_path / name) if "loss" in row) for name in ("one", "two")]
    for name in ("decode.loss_ce", "aux_0.loss_ce"):
        assert first[1][name] == pytest.approx(first[0][name], rel=1e-4)
    # As in the original, features are matched to the statistics of the images that a process has: of two or of four
    # they are alike, not the same.
    guidance = [
        sum(row["aux_1.loss_guidance"] for row in rows(tmp_path / name) if "loss" in row) for name in ("one", "two")
    ]
    assert guidance[0] == pytest.approx(guidance[1], rel=0.1)
    expected = weights(tmp_path / "two")
    assert expected.keys() == weights(tmp_path / "one").keys()
    if environment:
        shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-00000004")
        printed = train_in_two(processes, *two, "--resume", log=tmp_path / "two.log", **environment)
        assert "after step 2" in printed
        for name, tensor in weights(tmp_path / "two").items():
            torch.testing.assert_close(tensor, expected[name])


def test_without_a_teacher_and_on_from_a_model(folder, tmp_path, capsys):
    assert run(folder, "sctnet", tmp_path / "alone", "--teacher", "none") == 0
    assert "aux_1.loss_guidance" not in rows(tmp_path / "alone")[1]
    # A model folder gets what only training needs again.
    options = ["--init", str(tmp_path / "alone" / "model"), "--teacher", str(folder / "teacher" / "model")]
    assert run(folder, "sctnet", tmp_path / "taught", *options, "--ema=0.9") == 0
    assert "Not from" in capsys.readouterr().out
    assert "aux_1.loss_guidance" in next(row for row in rows(tmp_path / "taught") if "loss" in row)
    assert weights(tmp_path / "taught").keys() == weights(tmp_path / "alone").keys()


def test_a_segformer_of_transformers_teaches_and_starts_teachers(folder, tmp_path, capsys):
    labels = dict(enumerate(SCENE_CLASSES))
    config = SegformerConfig(
        **ENCODER, decoder_hidden_size=8, id2label=labels, label2id={name: index for index, name in labels.items()}
    )
    torch.manual_seed(0)
    segformer = SegformerForSemanticSegmentation(config)
    segformer.save_pretrained(tmp_path / "segformer")
    assert run(folder, "sctnet", tmp_path / "taught", "--teacher", str(tmp_path / "segformer")) == 0
    assert "aux_1.loss_guidance" in next(row for row in rows(tmp_path / "taught") if "loss" in row)
    options = ["--init", str(tmp_path / "segformer"), "--learning-rate", "1e-9"]
    assert run(folder, "teacher", tmp_path / "teacher", *options) == 0
    assert "decode_head" in capsys.readouterr().out
    teacher = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "teacher" / "model")
    for name, tensor in segformer.segformer.state_dict().items():
        # Six steps at the floor of the schedule, 1e-5.
        torch.testing.assert_close(teacher.encoder.state_dict()[name], tensor, rtol=0.0, atol=2e-4)


def test_teachers_that_cannot_teach(folder, tmp_path, capsys):
    config = SegformerConfig(**ENCODER, decoder_hidden_size=8, num_labels=3)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "three")
    names = list(reversed(SCENE_CLASSES))
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    config = SegformerConfig(**ENCODER, decoder_hidden_size=8, **labels)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "reversed")
    assert run(folder, "sctnet", tmp_path / "alone", "--teacher", "none", "--iterations=1") == 0
    for teacher, message in [
        (tmp_path / "nothing", "Train one on the same classes first, or convert one"),
        (tmp_path / "three", f"knows 3 classes and the data set {len(names)}"),
        (tmp_path / "reversed", "has other classes than the data set, or in another order"),
        (tmp_path / "alone" / "model", "is a 'sctnet'; a teacher is a 'sctnet_teacher' or a 'segformer'"),
    ]:
        assert run(folder, "sctnet", tmp_path / "refused", "--teacher", str(teacher)) == 1
        assert message in capsys.readouterr().err
    assert run(folder, "teacher", tmp_path / "refused", "--teacher", str(tmp_path / "three")) == 1
    assert "from whom only SCTNet learns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "starts from weights that only its authors have"),
        (["--init", "none"], "There is no teacher sctnet-teacher-mit-b2-ade20k"),
    ],
)
def test_a_published_recipe_asks_for_what_it_needs(options, message, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = ["--recipe", "sctnet-s-ade20k-512-160k", "--dataset", str(folder / "scenes"), "--workers=0", *options]
    assert train(*command, "--output", str(tmp_path / "run")) == 1
    assert message in capsys.readouterr().err
