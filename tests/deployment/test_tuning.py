# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Tuned copies answer what the models answer, on processors of any maker, and leave the models alone."""

import copy

import pytest
import torch
from every_model import HLG, MODELS, answers, build
from torch import nn
from transformers import PreTrainedModel

from vitseg.deployment.linear import ConvolvedLinear
from vitseg.deployment.tuning import tune


AMD, INTEL = "AuthenticAMD", "GenuineIntel"


def assert_same_answers(model: PreTrainedModel, tuned: PreTrainedModel) -> None:
    actual, expected = answers(tuned), answers(model)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-5 * value.abs().max().item())


@pytest.mark.parametrize("vendor", [AMD, INTEL])
@pytest.mark.parametrize("name", [*MODELS, *HLG])
def test_answers_as_the_model_does_and_leaves_it_alone(name, vendor):
    model = build(name).train()
    before = copy.deepcopy(model.state_dict())
    trained = [weight.requires_grad for weight in model.parameters()]
    tuned = tune(model, vendor)
    assert not tuned.training
    assert not any(weight.requires_grad for weight in tuned.parameters())
    assert_same_answers(copy.deepcopy(model).eval(), tuned)
    assert answers(tuned.to(torch.bfloat16), torch.bfloat16)

    assert model.training
    assert [weight.requires_grad for weight in model.parameters()] == trained
    assert all(type(module) is not ConvolvedLinear for module in model.modules())
    assert model.state_dict().keys() == before.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize(
    ("name", "kept"), [*((name, 0) for name in (*MODELS, *HLG) if name != "sctnet"), ("sctnet", 18)]
)
def test_batch_norms_are_folded(name, kept):
    """Those of SCTNet that stand before a convolution with padding cannot be."""
    tuned = tune(build(name), INTEL)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in tuned.modules()) == kept


@pytest.mark.parametrize(("vendor", "kind"), [(AMD, "convolved"), (INTEL, "sdpa")])
@pytest.mark.parametrize("name", ["structtoken", "segvit"])
def test_attention_is_convolutions_on_amd_alone(name, vendor, kind):
    model = build(name)
    tuned = tune(model, vendor)
    assert {part.config._attn_implementation for part in (tuned, tuned.backbone)} == {kind}
    assert {part.config._attn_implementation for part in (model, model.backbone)} == {"sdpa"}


def test_attention_that_was_chosen_stays():
    model = build("setr-pup")
    model.set_attn_implementation("eager")
    assert tune(model, AMD).backbone.config._attn_implementation == "eager"


@pytest.mark.parametrize(("vendor", "kind"), [(AMD, ConvolvedLinear), (INTEL, nn.Linear), ("", nn.Linear)])
def test_linear_layers_are_convolutions_on_amd_alone(vendor, kind):
    linear = [module for module in tune(build("structtoken"), vendor).modules() if isinstance(module, nn.Linear)]
    assert linear
    assert {type(module) for module in linear} == {kind}


def test_linear_layers_of_other_kinds_and_shared_ones_stay_what_they_are():
    class Adapted(nn.Linear):
        pass

    model = nn.Sequential(Adapted(4, 4), nn.Linear(4, 4))
    model.append(model[1])
    tuned = tune(model, AMD)
    assert type(tuned[0]) is Adapted
    assert type(tuned[1]) is ConvolvedLinear
    assert tuned[1] is tuned[2]


def test_synchronised_batch_norms_are_left_as_they_are():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(build("setr-pup"))
    tuned = tune(model, INTEL)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in tuned.modules())
    assert_same_answers(model, tuned)


@pytest.mark.parametrize("name", ["sctnet", "setr-pup", "hlg-classifier"])
def test_cannot_be_saved(name, tmp_path):
    tuned = tune(build(name))
    for broken in (tuned, tuned.backbone, copy.deepcopy(tuned), tune(tuned)):
        with pytest.raises(ValueError, match="only for inference: save the model that it was made of"):
            broken.save_pretrained(tmp_path / "model")
        with pytest.raises(ValueError, match="only for inference"):
            broken.push_to_hub("someone/model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["sctnet", "hlg", "cts-segmenter"])
def test_is_tuned_once(name):
    tuned = tune(build(name))
    assert_same_answers(tuned, tune(tuned))


@pytest.mark.slow
def test_compiles():
    model = build("setr-pup")
    assert_same_answers(model, torch.compile(tune(model, AMD), backend="eager", fullgraph=True))
