# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vitseg.deployment.linear import MIN_ROWS, Linear, mix_channels


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
    return Linear(48, 20)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (3, 48), (MIN_ROWS, 48), (2, 100, 48), (1, 4, 60, 48), (0, 48)])
def test_answers_as_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    layer, values = Linear(48, 20, bias=bias), torch.randn(shape)
    expected = values.double() @ layer.weight.double().T
    if bias:
        expected = expected + layer.bias.double()
    with torch.no_grad():
        torch.testing.assert_close(layer(values), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(values), expected.float(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_takes_views(layer):
    values = torch.randn(2, 48, 300)
    expected = torch.einsum("bcn,dc->bnd", values.double(), layer.weight.double()) + layer.bias.double()
    torch.testing.assert_close(layer(values.transpose(1, 2)), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(values.transpose(1, 2)[:, ::2]), expected[:, ::2].float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "gradients"), [(MIN_ROWS, False), (MIN_ROWS - 1, False), (MIN_ROWS, True)])
def test_many_rows_without_gradients_go_through_a_convolution_on_x86(layer, rows, gradients):
    called = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            called.append(function)
            return function(*args, **(kwargs or {}))

    with torch.set_grad_enabled(gradients), Watch():
        layer(torch.randn(rows, 48))
    on_x86 = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    convolves = rows >= MIN_ROWS and not gradients and on_x86
    assert (nn.functional.conv2d in called, nn.functional.linear in called) == (convolves, not convolves)


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
def test_leaves_other_kinds_of_weights_to_themselves(layer):
    class Doubled(torch.Tensor):
        """As quantised weights do, it answers for `nn.functional.linear` alone."""

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is nn.functional.linear:
                values, weight, bias = args
                return 2 * nn.functional.linear(values, weight.as_subclass(torch.Tensor), bias)
            return super().__torch_function__(function, types, args, kwargs or {})

    values = torch.randn(MIN_ROWS, 48)
    expected = 2 * (values @ layer.weight.T + layer.bias)
    layer.weight = nn.Parameter(layer.weight.data.as_subclass(Doubled), requires_grad=False)
    torch.testing.assert_close(layer(values), expected)


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
    torch.testing.assert_close(mix_channels(maps, weights), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(mix_channels(maps, weights), expected, rtol=1e-5, atol=1e-5)
