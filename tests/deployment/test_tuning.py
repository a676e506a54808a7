# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Tuned copies answer what the models answer, on processors of any maker, and leave the models alone."""

import copy

import pytest
import torch
from tiny_hlg import small_model as small_hlg
from torch import nn
from transformers import PreTrainedModel

import vitseg
from vitseg import HlgForImageClassification, HlgForObjectDetection, HlgForSemanticSegmentation, PlainVitConfig
from vitseg.deployment.linear import ConvolvedLinear
from vitseg.deployment.tuning import processor_vendor, tune


AMD, INTEL = "AuthenticAMD", "GenuineIntel"
ENCODER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 2, 2]}
SMALL_DECODER = {"decoder_hidden_size": 16, "decoder_num_layers": 1, "decoder_num_attention_heads": 2}


def small_vit(**kwargs) -> PlainVitConfig:
    settings = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    return PlainVitConfig(**settings, image_size=128, patch_size=16, **kwargs)


# Class, and its configuration's settings; of every method and of each form that holds batch norms or linear layers.
MODELS = {
    "cts-policy": ("CtsPolicyNet", {}),
    "cts-segmenter": (
        "CtsSegmenterForSemanticSegmentation",
        {"backbone_config": small_vit(token_sharing=2), "decoder_num_attention_heads": 2},
    ),
    "sctnet": ("SctNetForSemanticSegmentation", {"base_channels": 8, "context_channels": 8}),
    "sctnet-teacher": (
        "SctNetTeacherForSemanticSegmentation",
        {"encoder_config": ENCODER, "decoder_hidden_size": 8},
    ),
    "segvit": ("SegVitForSemanticSegmentation", {"backbone_config": small_vit(), **SMALL_DECODER}),
    "setr-mla": (
        "SetrForSemanticSegmentation",
        {"backbone_config": small_vit(out_indices=[1, 2, 3, 4]), "decoder_type": "mla", "decoder_hidden_size": 8},
    ),
    "setr-pup": (
        "SetrForSemanticSegmentation",
        {"backbone_config": small_vit(), "decoder_type": "pup", "decoder_hidden_size": 8},
    ),
    "structtoken": (
        "StructTokenForSemanticSegmentation",
        {"backbone_config": small_vit(), "decoder_hidden_size": 16, "decoder_num_layers": 1},
    ),
}
HLG = {
    "hlg": HlgForSemanticSegmentation,
    "hlg-classifier": HlgForImageClassification,
    "hlg-detector": HlgForObjectDetection,
}


def build(name: str) -> PreTrainedModel:
    """A small model whose batch norms have seen something."""
    torch.manual_seed(0)
    if name in HLG:
        model = small_hlg(HLG[name])
    else:
        class_name, settings = MODELS[name]
        model_class = getattr(vitseg, class_name)
        model = model_class(model_class.config_class(**settings)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


@torch.inference_mode()
def answers(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    pixel_values = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    return {name: value for name, value in model(pixel_values.to(dtype)).items() if torch.is_tensor(value)}


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


@pytest.mark.parametrize("name", ["sctnet", "setr-pup"])
def test_cannot_be_saved(name, tmp_path):
    tuned = tune(build(name))
    with pytest.raises(ValueError, match="only for inference: save the model that it was made of"):
        tuned.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_compiles():
    model = build("setr-pup")
    assert_same_answers(model, torch.compile(tune(model, AMD), backend="eager", fullgraph=True))


@pytest.mark.parametrize(
    ("cpuinfo", "vendor"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\n", AMD),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", INTEL),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", ""),
    ],
)
def test_vendor_of_the_processor(cpuinfo, vendor, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert processor_vendor(file) == vendor
