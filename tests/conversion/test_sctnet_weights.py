# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The SCTNet authors' pre-trained backbones start a training."""

import pytest
import torch
from golden_cases import load_case

from vitseg.recipes import load_recipe
from vitseg.training.initialization import initial_model


LABELS = {index: f"class {index}" for index in range(7)}


@pytest.fixture
def recipe():
    changes = {"model.base_channels": 8, "model.context_channels": 16, "training.teacher": None}
    return load_recipe("sctnet-s-ade20k-512-160k", changes)


@pytest.fixture(scope="module")
def case():
    return load_case("sctnet", "tiny_square")


@pytest.mark.parametrize("form", ["bare", "state_dict", "with a classifier"])
def test_a_pretrained_backbone(form, recipe, case, tmp_path):
    """Its names have no `backbone.` before them."""
    weights = {
        name.removeprefix("backbone."): tensor
        for name, tensor in case.state_dict().items()
        if name.startswith("backbone.")
    }
    if form == "with a classifier":
        weights |= {"head.weight": torch.zeros(1000, 64)}
    file = tmp_path / "SCT-S_Pretrain.pth"
    torch.save({"state_dict": weights} if form == "state_dict" else weights, file)
    model, image_processor, random = initial_model(str(file), recipe, LABELS)
    assert type(image_processor).__name__ == "SctNetImageProcessor"
    assert {name.split(".")[0] for name in random} == {"decode_head", "auxiliary_head"}
    with torch.no_grad():
        hidden_states = model.eval()(case.pixel_values(), output_hidden_states=True).hidden_states
    for name, hidden_state in zip(("stem", "layer1", "layer2", "layer3_2", "layer5"), hidden_states, strict=False):
        case.assert_matches(name, hidden_state)


def test_a_backbone_of_another_width_is_refused(recipe, tmp_path):
    file = tmp_path / "SCT-B_Pretrain.pth"
    torch.save({"conv1.0.weight": torch.zeros(16, 3, 3, 3)}, file)
    with pytest.raises(
        ValueError, match=r"(?s)does not fit the SctNetBackbone.*stem\.0\.conv\.weight \(16, 3, 3, 3\), expected"
    ):
        initial_model(str(file), recipe, LABELS)


def test_timm_has_no_such_weights(recipe):
    with pytest.raises(ValueError, match=r"only its authors have.*--init none"):
        initial_model("timm", recipe, LABELS)
