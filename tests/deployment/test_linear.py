# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers as convolutions answer what linear layers answer, whatever they are given and wherever they are."""

import pytest
import torch
from torch import nn

from vitseg.deployment.linear import MIN_ROWS, ConvolvedClassScores, ConvolvedLinear


@pytest.fixture(params=[1, 2])
def threads(request):
    """PyTorch chooses other kernels for a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return ConvolvedLinear.of(nn.Linear(48, 20))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (3, 48), (MIN_ROWS, 48), (2, 100, 48), (1, 4, 60, 48), (0, 48)])
def test_answers_as_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    layer, values = ConvolvedLinear.of(nn.Linear(48, 20, bias=bias)), torch.randn(shape)
    expected = values.double() @ layer.weight.double().T
    if bias:
        expected = expected + layer.bias.double()
    with torch.inference_mode():
        torch.testing.assert_close(layer(values), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(values), expected.float(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_takes_views(layer):
    values = torch.randn(2, 48, 300)
    expected = torch.einsum("bcn,dc->bnd", values.double(), layer.weight.double()) + layer.bias.double()
    torch.testing.assert_close(layer(values.transpose(1, 2)), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(values.transpose(1, 2)[:, ::2]), expected[:, ::2].float(), rtol=1e-5, atol=1e-5)


def test_has_the_gradients_of_a_linear_layer(layer):
    values = torch.randn(MIN_ROWS, 48, requires_grad=True)
    layer(values).sum().backward()
    torch.testing.assert_close(layer.weight.grad, values.detach().sum(dim=0).expand(20, -1))
    torch.testing.assert_close(values.grad, layer.weight.detach().sum(dim=0).expand(MIN_ROWS, -1))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_precision(layer, dtype):
    assert layer.to(dtype)(torch.randn(MIN_ROWS, 48, dtype=dtype)).dtype == dtype


@torch.no_grad()
def test_exported_programs_hold_a_linear_layer_for_any_number_of_rows(layer):
    rows = torch.export.Dim("rows")
    program = torch.export.export(layer, (torch.randn(MIN_ROWS, 48),), dynamic_shapes=({0: rows},))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == ["aten.linear.default"]
    values = torch.randn(3, 48)
    torch.testing.assert_close(program.module()(values), values @ layer.weight.T + layer.bias)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(3, 5), (16, 20)])
def test_mixes_the_channels_of_each_image(size, memory_format):
    torch.manual_seed(0)
    maps = torch.randn(2, 7, *size).to(memory_format=memory_format)
    weights = torch.randn(2, 7, 4).transpose(1, 2)
    expected = (weights.double() @ maps.double().flatten(2)).unflatten(2, size).float()
    mix = ConvolvedClassScores().mix_channels
    torch.testing.assert_close(mix(maps, weights), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(mix(maps, weights), expected, rtol=1e-5, atol=1e-5)
