# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Saved HLG models of all tasks load through Auto classes and pipelines, with vitseg imported or as remote code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitseg import (
    HlgConfig,
    HlgForImageClassification,
    HlgForObjectDetection,
    HlgForSemanticSegmentation,
    HlgImageProcessor,
)
from vitseg.publishing.fresh_process import run_script


LABELS = ["sky", "sea", "sand"]
TASKS = {
    "image-classification": HlgForImageClassification,
    "image-segmentation": HlgForSemanticSegmentation,
    "object-detection": HlgForObjectDetection,
}

ANSWER = """
import sys
from pathlib import Path

import {first}
import torch
import transformers
from PIL import Image

AUTO_CLASSES = {{
    "image-classification": transformers.AutoModelForImageClassification,
    "image-segmentation": transformers.AutoModelForSemanticSegmentation,
    "object-detection": transformers.AutoModelForObjectDetection,
}}
models, image_file, output_file = sys.argv[1:]
image, answers = Image.open(image_file), {{}}
for task, auto_class in AUTO_CLASSES.items():
    folder = Path(models) / task
    model = auto_class.from_pretrained(folder, **{arguments})
    assert type(model).__module__.startswith("{module}"), type(model)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, **{arguments})
    with torch.no_grad():
        logits = model(**processor(image, return_tensors="pt")).logits
    options = {{"threshold": 0.3}} if task == "object-detection" else {{}}
    parts = transformers.pipeline(task, model=str(folder), device="cpu", **{arguments})(image, **options)
    parts = [{{key: value for key, value in part.items() if key != "mask"}} for part in parts]
    answers[task] = logits, parts
torch.save(answers, output_file)
"""
IMPORTED = ANSWER.format(first="vitseg", arguments="{}", module="vitseg.")
REMOTE = "import sys\nsys.modules['vitseg'] = None\n" + ANSWER.format(
    first="json", arguments="{'trust_remote_code': True}", module="transformers_modules."
)


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 70, 3), dtype=np.uint8)).save(file)
    return file


@pytest.fixture(scope="module")
def saved(image, tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder with a model folder of each task, and the logits of each for the image."""
    models, expected = tmp_path_factory.mktemp("hlg"), {}
    config = HlgConfig(
        hidden_sizes=[16, 16, 32, 32],
        depths=[2, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        window_size=64,
        decoder_hidden_size=16,
        pyramid_hidden_size=8,
        detector_hidden_size=8,
        detector_num_layers=1,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    for task, model_class in TASKS.items():
        torch.manual_seed(0)
        model = model_class(config).eval()
        padding = {}
        if task == "object-detection":
            padding = {"do_pad": True, "size_divisor": 32, "return_pixel_mask": True}
            with torch.no_grad():
                model.bbox_head.classifier.bias += 4
                model.bbox_head.classifier.weight *= 20
        processor = HlgImageProcessor(size={"shortest_edge": 48, "longest_edge": 96}, **padding)
        with torch.no_grad():
            expected[task] = model(**processor(Image.open(image), return_tensors="pt")).logits
        model.save_pretrained(models / task)
        processor.save_pretrained(models / task)
    return models, expected


@pytest.mark.slow
@pytest.mark.parametrize("script", [IMPORTED, REMOTE], ids=["imported", "remote"])
def test_answers_the_same(script, saved, image, tmp_path, monkeypatch):
    models, expected = saved
    arguments = [str(models), str(image), str(tmp_path / "answers.pt")]
    if script is IMPORTED:
        # In a fresh process models of all tasks are loaded with vitseg in test_publish.py.
        monkeypatch.setattr("sys.argv", ["", *arguments])
        exec(script, {})
    else:
        run_script(script, *arguments, folder=tmp_path)
    answers = torch.load(tmp_path / "answers.pt")
    assert list(answers) == list(TASKS)
    for task, (logits, parts) in answers.items():
        torch.testing.assert_close(logits, expected[task], rtol=1e-5, atol=1e-6)
        assert parts
        assert {part["label"] for part in parts} <= set(LABELS)
    scores = expected["image-classification"][0].softmax(dim=0).sort(descending=True)
    _, classes = answers["image-classification"]
    assert [part["label"] for part in classes] == [LABELS[index] for index in scores.indices]
    assert [part["score"] for part in classes] == pytest.approx(scores.values.tolist(), rel=1e-4)
    _, objects = answers["object-detection"]
    for part in objects:
        box = part["box"]
        assert 0 <= box["xmin"] <= box["xmax"] <= 70
        assert 0 <= box["ymin"] <= box["ymax"] <= 40
        assert part["score"] > 0.3


def test_published_folders_hold_the_code_that_they_run(saved):
    common = {
        "configuration_hlg",
        "configuration_semantic",
        "image_processing_hlg",
        "image_processing_semantic",
        "strict",
    }
    common |= {"images", "labels", "layers", "modeling_hlg", "pipelines", "position_groups", "score_maps", "strict"}
    needed = {
        "image-classification": set(),
        "image-segmentation": {
            "adapters",
            "modeling_hlg_segmentation",
            "modeling_semantic",
            "pixel_losses",
            "sliding_window",
        },
        "object-detection": {"modeling_hlg_detection"},
    }
    for task in TASKS:
        assert {path.stem for path in (saved[0] / task).glob("*.py")} == common | needed[task], task
