# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models that are traced or compiled answer for images of other sizes what they answer themselves, or refuse them."""

import io

import onnxruntime
import pytest
import torch
from citizenship import (
    cold_compiler,  # noqa: F401
    images,
    logits_of,
)
from every_model import HLG, MODELS, build
from torch import nn
from transformers import PreTrainedModel

from vitseg.models.modeling_semantic import SemanticSegmentationModel


pytestmark = pytest.mark.slow

EVERY = pytest.mark.parametrize("name", [*MODELS, *HLG])
TRACED, OTHERS = (1, 3, 80, 112), [(2, 3, 33, 47), (1, 3, 128, 97)]


class Logits(nn.Module):
    """Tracing takes tensors alone."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model.requires_grad_(False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def one_pass(model: PreTrainedModel, *shape: int) -> torch.Tensor:
    if isinstance(model, SemanticSegmentationModel):
        return logits_of(model, images(*shape), inference_mode="whole")
    return logits_of(model, images(*shape))


@EVERY
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_traced(name):
    model = build(name)
    traced = torch.jit.trace(Logits(model).eval(), images(*TRACED), check_trace=False)
    for shape in (TRACED, *OTHERS):
        expected = one_pass(model, *shape)
        torch.testing.assert_close(traced(images(*shape)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["setr-pup", "cts-segmenter", "sctnet"])
@pytest.mark.filterwarnings("ignore")
def test_exported_by_tracing(name):
    """To ONNX by the older of PyTorch's exporters: sizes that the program cannot take end in an error."""
    model, file, axes = build(name), io.BytesIO(), {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        Logits(model).eval(),
        (images(*TRACED),),
        file,
        dynamo=False,
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_axes={"pixel_values": axes, "logits": axes},
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for shape in (TRACED, *OTHERS):
        try:
            (logits,) = session.run(None, {"pixel_values": images(*shape).numpy()})
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            assert name == "cts-segmenter"
            assert shape != TRACED
            continue
        expected = one_pass(model, *shape)
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("cold_compiler")
@pytest.mark.parametrize("dynamic", [None, True])
def test_windows_of_many_sizes_are_compiled_once(dynamic):
    model, graphs = build("setr-pup"), []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend, dynamic=dynamic)
    counts = []
    for step in range(10):
        pixel_values = images(1, 3, 140 + 24 * step, 300 - 12 * step)
        torch.testing.assert_close(logits_of(compiled, pixel_values), logits_of(model, pixel_values))
        counts.append(len(graphs))
    assert counts[-1] == counts[5] <= 6


@pytest.mark.usefixtures("cold_compiler")
def test_windows_are_no_part_of_a_single_graph():
    compiled = torch.compile(build("setr-pup"), backend="eager", fullgraph=True)
    assert logits_of(compiled, images(1, 3, 100, 128)).shape == (1, 2, 100, 128)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="compile without fullgraph=True"):
        logits_of(compiled, images(1, 3, 100, 129))
