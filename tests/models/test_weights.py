# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The weights of every model are used where they are held, as they are at that moment, and in PyTorch's own modules.

Tools rely on it that change weights or modules in place: optimizers, adapters, quantizers, offloading, checkpointing.
"""

import copy
import re

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from every_model import HLG, MODELS, answers, build, labels_of, two_images
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSemanticSegmentation


EVERY = pytest.mark.parametrize("name", [*MODELS, *HLG])


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def changed_answers(name: str, model: nn.Module, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's answers, which are no longer what they were, but those of a new model with its weights."""
    after = answers(model)
    assert not torch.equal(after["logits"], before["logits"])
    fresh = build(name)
    fresh.load_state_dict(model.state_dict())
    assert_equal(after, answers(fresh))
    return after


# Weights that change.


@EVERY
def test_answers_follow_an_optimizer(name):
    model = build(name)
    before = answers(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, fused=True)
    for _ in range(2):
        model.train()(two_images(), labels=labels_of(name)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        before = changed_answers(name, model.eval(), before)


@EVERY
def test_answers_follow_weights_that_are_copied(name):
    model = build(name)
    before = answers(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(two_images())
    assert_equal(answers(model), before)
    averages = {key: 0.5 * weight for key, weight in model.named_parameters()}
    for key, weight in model.named_parameters():
        weight.data.copy_(averages[key])
    changed_answers(name, model, before)
    # As replicas on several devices, and ensembles, have other weights in the same module.
    with torch.inference_mode():
        weights = dict(build(name).named_parameters())
        replica = torch.func.functional_call(model, weights, (two_images(),))
        copied = answers(copy.deepcopy(model))
    assert torch.equal(replica["logits"], before["logits"])
    assert_equal(copied, answers(model))


@EVERY
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_answers_follow_adapters(name):
    model = build(name)
    before = answers(model)
    kinds = (nn.Linear, nn.Conv2d)
    targets = [key for key, module in model.named_modules() if isinstance(module, kinds)]
    targets = [key for key in targets if getattr(model.get_submodule(key), "groups", 1) == 1]
    torch.manual_seed(0)
    settings = LoraConfig(target_modules=targets, r=2, init_lora_weights=False)
    adapted = get_peft_model(model, settings).eval()
    adapted.add_adapter("other", settings)
    first = answers(adapted)
    adapted.set_adapter("other")
    other = answers(adapted)
    assert not torch.equal(first["logits"], other["logits"])
    with adapted.disable_adapter():
        assert_equal(answers(adapted), before)
    adapted.set_adapter("default")
    assert_equal(answers(adapted), first)


# Weights that are elsewhere.


@EVERY
def test_answers_where_weights_are_only_there_for_their_module(name, tmp_path):
    """They are on the meta device, but while the forward of the module runs that holds them."""
    expected = answers(build(name))
    offloaded = cpu_offload(build(name), execution_device=torch.device("cpu"))
    assert {weight.device.type for weight in offloaded.parameters()} == {"meta"}
    with torch.no_grad():
        assert torch.equal(offloaded(two_images()).logits, expected["logits"])
        loss = offloaded(two_images(), labels=labels_of(name)).loss
    torch.testing.assert_close(loss, build(name)(two_images(), labels=labels_of(name)).loss)
    on_disk = disk_offload(build(name), tmp_path, execution_device=torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(on_disk(two_images()).logits, expected["logits"])


@pytest.mark.parametrize("name", ["cts-segmenter", "hlg"])
def test_loads_with_weights_on_the_disk(name, tmp_path):
    model = build(name)
    model.save_pretrained(tmp_path / "model")
    parts = {key.partition(".")[0]: "disk" for key in model.state_dict()} | {"decode_head": "cpu"}
    loaded = AutoModelForSemanticSegmentation.from_pretrained(
        tmp_path / "model", device_map=parts, offload_folder=tmp_path / "offloaded"
    )
    with torch.no_grad():
        assert torch.equal(loaded(two_images()).logits, answers(model)["logits"])


# Gradients.


@pytest.mark.parametrize("name", [*(name for name in MODELS if name != "cts-policy"), *HLG])
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
def test_gradients_behind_a_frozen_input(name):
    """With reentrant checkpointing they only come if the input's module is called, which makes its output ask."""
    gradients = []
    for checkpoints in (False, True):
        model = build(name).train()
        for key, weight in model.named_parameters():
            weight.requires_grad_("embeddings" not in key and "stem" not in key and "policy_net" not in key)
        if checkpoints:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
        torch.manual_seed(0)
        model(two_images(), labels=labels_of(name)).loss.backward()
        gradients.append({key: weight.grad for key, weight in model.named_parameters()})
    assert any(gradient is not None for gradient in gradients[0].values())
    for key, expected in gradients[0].items():
        assert (gradients[1][key] is None) == (expected is None), key
        if expected is not None:
            torch.testing.assert_close(gradients[1][key], expected, rtol=1e-3, atol=1e-5)


@EVERY
def test_every_module_with_weights_is_called(name):
    """An adapter in its place would change nothing otherwise."""
    model, called = build(name).train(), set()
    with_weights = {key for key, module in model.named_modules() if [*module.parameters(recurse=False)]}
    for key in with_weights:
        model.get_submodule(key).register_forward_hook(lambda *_, key=key: called.add(key))
    model(two_images(), labels=labels_of(name))
    assert with_weights - called == set()


# PyTorch's own modules.


@EVERY
def test_modules_are_of_the_classes_of_pytorch(name):
    """What swaps modules makes others of their arguments, or looks for the class itself."""
    for key, module in build(name).named_modules():
        kinds = [kind for kind in type(module).__mro__[1:] if re.fullmatch(r"torch\.nn\.modules\..*", kind.__module__)]
        if not type(module).__module__.startswith(("torch.", "timm.")):
            assert kinds == [nn.Module], key


@EVERY
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_linear_layers_are_quantised(name):
    model = build(name)
    count = sum(isinstance(module, nn.Linear) for module in model.modules())
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    found = sum(isinstance(module, torch.ao.nn.quantized.dynamic.Linear) for module in quantised.modules())
    assert found == count
    logits = answers(quantised)["logits"]
    assert logits.shape == answers(model)["logits"].shape
    assert logits.isfinite().all()
