# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Model folders that earlier versions of vitseg wrote load, and answer what they answered.

`tests/saved_folders/VERSION/NAME` is a folder as it was saved, without the code files, and `answers.safetensors`: an
input, and what the model of that version made of it.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg import PlainVitBackbone


FOLDERS = sorted((Path(__file__).parents[1] / "saved_folders").glob("*/*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_folder_of_an_earlier_version(folder, recwarn):
    folder = str(folder)
    is_backbone = AutoConfig.from_pretrained(folder).architectures == ["PlainVitBackbone"]
    model = (PlainVitBackbone if is_backbone else AutoModelForSemanticSegmentation).from_pretrained(folder)
    answers = load_file(f"{folder}/answers.safetensors")
    pixel_values = answers.pop("pixel_values")
    with torch.no_grad():
        outputs = model(pixel_values)
    actual = {"logits": outputs["logits"]} if "logits" in outputs else {}
    actual |= {f"feature_maps.{index}": maps for index, maps in enumerate(outputs.get("feature_maps", ()))}
    assert set(actual) == set(answers)
    for name, expected in answers.items():
        torch.testing.assert_close(actual[name], expected, rtol=1e-4, atol=1e-5)
    assert is_backbone or AutoImageProcessor.from_pretrained(folder).size
    assert not recwarn.list
