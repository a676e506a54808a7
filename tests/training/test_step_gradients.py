# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The gradient of a step is that of its images together, however they are divided among batches and processes.

Batch norms, and SCTNet's alignment of statistics, look at a whole batch, and are replaced here by what looks at one
image.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_hlg
import tiny_sctnet
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from citizenship import NUM_LABELS, images
from programs import printed_by, start_two
from torch import nn
from torch.utils.data import default_collate
from transformers import PreTrainedModel, TrainingArguments

from vitseg import (
    CtsPolicyNet,
    CtsPolicyNetConfig,
    CtsSegmenterConfig,
    CtsSegmenterForSemanticSegmentation,
    HlgForImageClassification,
    HlgForObjectDetection,
    PlainVitConfig,
    SctNetTeacherConfig,
    SctNetTeacherForSemanticSegmentation,
    SegVitConfig,
    SegVitForSemanticSegmentation,
    SetrConfig,
    SetrForSemanticSegmentation,
    StructTokenConfig,
    StructTokenForSemanticSegmentation,
)
from vitseg.data.dataset_labels import DatasetLabels
from vitseg.recipes import OhemRecipe
from vitseg.training import distillation
from vitseg.training.classification import ClassificationTask
from vitseg.training.detection import DetectionTask
from vitseg.training.distillation import Distillation
from vitseg.training.loop import Training
from vitseg.training.losses import WithDiceLoss, change_loss
from vitseg.training.policy import PolicyTask
from vitseg.training.segmentation import SegmentationTask
from vitseg.training.state import Progress
from vitseg.training.tasks import Task
from vitseg.training.trainer import StepTrainer


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
COUNT = 8


# Models and images.


def over_a_vit(model_class: type[PreTrainedModel], config_class: type, **settings: Any) -> PreTrainedModel:
    backbone_config = PlainVitConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=64,
        out_indices=[1, 2],
    )
    return model_class(config_class(backbone_config=backbone_config, num_labels=NUM_LABELS, **settings))


def segmenter(**settings: Any) -> PreTrainedModel:
    settings = {"decoder_num_attention_heads": 2, "decoder_dropout": 0.0, "decoder_drop_path_rate": 0.0, **settings}
    return over_a_vit(CtsSegmenterForSemanticSegmentation, CtsSegmenterConfig, **settings)


def segvit(decoder_type: str) -> PreTrainedModel:
    settings = {"decoder_hidden_size": 16, "decoder_num_layers": 2, "decoder_num_attention_heads": 2}
    return over_a_vit(
        SegVitForSemanticSegmentation, SegVitConfig, decoder_type=decoder_type, decoder_dropout=0.0, **settings
    )


def teacher() -> PreTrainedModel:
    encoder = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 2, 2]}
    return SctNetTeacherForSemanticSegmentation(
        SctNetTeacherConfig(
            encoder_config={**encoder, "drop_path_rate": 0.0},
            decoder_hidden_size=12,
            classifier_dropout_prob=0.0,
            image_size=64,
            num_labels=NUM_LABELS,
        )
    )


def setr() -> PreTrainedModel:
    return over_a_vit(
        SetrForSemanticSegmentation,
        SetrConfig,
        decoder_hidden_size=8,
        auxiliary_heads=[{"in_index": 0, "kernel_size": 1, "upsample_scales": [4]}],
    )


def structtoken() -> PreTrainedModel:
    return over_a_vit(
        StructTokenForSemanticSegmentation,
        StructTokenConfig,
        decoder_hidden_size=16,
        decoder_num_layers=2,
        decoder_drop_path_rate=0.0,
    )


def with_losses(trained: nn.Module) -> nn.Module:
    """All that a recipe can change of a loss."""
    training: Any = SimpleNamespace(
        changed_losses=["class_weights", "label_smoothing", "ohem", "dice"],
        label_smoothing=0.1,
        ohem=OhemRecipe(threshold=0.25, min_kept=1000),
        dice=0.5,
    )
    class_weights = [0.2, 1.0, 3.0, 0.5, 1.0]
    return change_loss(trained, student_of(trained), training, class_weights)


def student_of(trained: nn.Module) -> Any:
    """The model that is trained, which may be inside of another module."""
    if isinstance(trained, WithDiceLoss):
        return student_of(trained.trained)
    return trained.student if isinstance(trained, Distillation) else trained


MODELS: dict[str, Callable[[], nn.Module]] = {
    "setr": setr,
    "segvit": lambda: segvit("atm"),
    "segvit single": lambda: segvit("single_atm"),
    "structtoken": structtoken,
    "segmenter": segmenter,
    "segmenter, all pixels": lambda: segmenter(average_valid_pixels=False),
    "sctnet": tiny_sctnet.small_model,
    "sctnet, taught": lambda: Distillation(tiny_sctnet.small_model(), teacher()),
    "sctnet teacher": teacher,
    "hlg": tiny_hlg.small_model,
    "hlg classifier": lambda: tiny_hlg.small_model(HlgForImageClassification),
    "hlg detector": lambda: tiny_hlg.small_model(HlgForObjectDetection),
    "policy network": lambda: CtsPolicyNet(CtsPolicyNetConfig()),
    "setr, other losses": lambda: with_losses(setr()),
    "segmenter, other losses": lambda: with_losses(segmenter()),
    "sctnet, taught, other losses": lambda: with_losses(Distillation(tiny_sctnet.small_model(), teacher())),
}


def examples_for(name: str) -> list[dict[str, Any]]:
    """Images of which one is nearly ignored, and one shows fewer classes than the others."""
    generator = torch.Generator().manual_seed(5)
    pixel_values = images(COUNT, 3, 64, 64)
    side = 2 if name == "policy network" else 64
    labels = torch.randint(0, 2 if name == "policy network" else NUM_LABELS, (COUNT, side, side), generator=generator)
    labels[0, 0] = 255
    labels[3] = 255
    labels[3, -1, -1] = 1
    labels[6] = labels[6].clamp(max=1)
    if name == "hlg classifier":
        labels = labels[:, -1, -1]
    if name == "hlg detector":
        return [
            {"pixel_values": image, "pixel_mask": torch.ones(64, 64), "labels": objects}
            for image, objects in zip(pixel_values, tiny_hlg.objects(1, 0, 5, 2, 1, 9, 1, 3), strict=True)
        ]
    return [{"pixel_values": image, "labels": label} for image, label in zip(pixel_values, labels, strict=True)]


def batch_of(examples: list[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(examples[0]["labels"], dict):
        tensors = [{key: value for key, value in example.items() if key != "labels"} for example in examples]
        return {**default_collate(tensors), "labels": [example["labels"] for example in examples]}
    return default_collate(examples)


def task_of(name: str) -> Task:
    kinds = {"hlg classifier": ClassificationTask, "hlg detector": DetectionTask, "policy network": PolicyTask}
    kind: Any = kinds.get(name, SegmentationTask)
    task = kind.__new__(kind)
    task.labels = DatasetLabels(names=tuple("abcde"))
    task.mixup, task.training = None, SimpleNamespace(label_smoothing=0.1)
    return task


# A step.


class Recorder(torch.optim.SGD):
    """An optimizer whose steps keep the gradient and leave the weights."""

    gradient: torch.Tensor

    def step(self, closure=None):
        (group,) = self.param_groups
        self.gradient = torch.cat([parameter.grad.flatten() for parameter in group["params"]])


class OneStep(Training):
    """The training loop where it makes a step, with a model at hand."""

    state: Any
    recipe: Any

    def __init__(self, name: str, num_batches: int) -> None:
        self.task = task_of(name)
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=num_batches)
        torch.manual_seed(0)
        trained = MODELS[name]()
        look_at_one_image(trained)
        model = student_of(trained)
        self.recorder = Recorder([parameter for parameter in trained.parameters() if parameter.requires_grad], lr=1.0)
        trained, optimizer = self.accelerator.prepare(trained, self.recorder)
        progress = Progress(self.accelerator.device)
        self.state = SimpleNamespace(
            model=model,
            trained=trained,
            optimizer=optimizer,
            progress=progress,
            begin_step=trained.train,
            end_step=lambda: 0.0,
        )
        self.recipe = SimpleNamespace(training=SimpleNamespace(max_gradient_norm=None))


def look_at_one_image(model: nn.Module) -> None:
    """Batch norms stay in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            vars(module)["train"] = lambda mode=True, module=module: module


def step(name: str, batch_size: int, rank: int = 0, world_size: int = 1) -> tuple[torch.Tensor, float]:
    """The gradient of a step, and the loss that is logged for it."""
    part = COUNT // world_size
    examples = examples_for(name)[rank * part : (rank + 1) * part]
    batches = [batch_of(examples[first : first + batch_size]) for first in range(0, part, batch_size)]
    training = OneStep(name, len(batches))
    training.make_step(batches)
    return training.recorder.gradient, training.state.progress.losses.read(training.accelerator)["loss"]


def assert_same_step(actual: tuple[torch.Tensor, float], expected: tuple[torch.Tensor, float]) -> None:
    assert expected[0].norm() > 0
    assert (actual[0] - expected[0]).norm() < 1e-5 * expected[0].norm()
    assert actual[1] == pytest.approx(expected[1], rel=1e-5)


@pytest.fixture(autouse=True)
def one_image_at_a_time(monkeypatch):
    monkeypatch.setattr(distillation, "match_statistics", lambda maps, reference: maps)


@pytest.mark.parametrize("name", MODELS)
def test_batches_of_a_step(name):
    together = step(name, COUNT)
    for batch_size in (4, 1):
        assert_same_step(step(name, batch_size), together)


@pytest.mark.parametrize("name", ["segvit", "segmenter", "hlg classifier", "policy network"])
def test_batches_of_a_step_in_trainer(name, tmp_path):
    """Of eight, and of three, three and two images."""

    def step_in_trainer(batch_size: int, num_batches: int) -> tuple[torch.Tensor, float]:
        torch.manual_seed(0)
        model = MODELS[name]()
        look_at_one_image(model)
        recorder = Recorder(model.parameters(), lr=1.0)
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=num_batches,
            max_grad_norm=0.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = StepTrainer(
            model=model,
            args=arguments,
            train_dataset=examples_for(name),
            eval_dataset=examples_for(name),
            data_collator=batch_of,
            optimizers=(recorder, torch.optim.lr_scheduler.LambdaLR(recorder, lambda step: 1.0)),
        )
        trainer.train()
        loss = trainer.state.log_history[0]["loss"]
        assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=0.5)
        return recorder.gradient, loss

    assert_same_step(step_in_trainer(3, 3), step_in_trainer(COUNT, 1))


def steps_in_two(output: Path) -> int:
    distillation.match_statistics = lambda maps, reference: maps
    rank = int(os.environ["RANK"])
    steps = {name: step(name, 2, rank, world_size=2) for name in MODELS}
    torch.save(steps, output / f"{rank}.pt")
    return 0


def test_processes_of_a_step(processes, tmp_path):
    """Of two batches each."""
    log = tmp_path / "log.txt"
    printed_by(*start_two(processes, steps_in_two, tmp_path, log=log), log=log)
    AcceleratorState._reset_state()
    PartialState._reset_state()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name in MODELS:
        together = step(name, COUNT)
        assert_same_step(first[name], together)
        assert_same_step(second[name], together)
