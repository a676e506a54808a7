# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ONNX programs of models, for images of any size, and their check in ONNX Runtime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import torch
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from ..models.layers import as_pair
from ..models.modeling_sctnet import SctNetForSemanticSegmentation
from ..recipes.protocol import holds_protocol
from ..replacing import replacing


# Largest difference to the model's logits, in parts of their largest value.
TOLERANCE = 1e-3
PROGRAM = "model.onnx"


def export(source: str, output: Path) -> None:
    """
    Write the folder `output`, a program in float32, whatever the weights are stored in.

    Raises:
        OSError, ValueError: saying what is wrong; nothing is left half-written.
    """
    check_output(output)
    model = AutoModelForSemanticSegmentation.from_pretrained(source, dtype=torch.float32)
    if not holds_protocol(model.config):
        raise ValueError(f"{source} is a {model.config.model_type}, which is not exported: it is no model of vitseg.")
    image_processor = AutoImageProcessor.from_pretrained(source)
    if isinstance(model, SctNetForSemanticSegmentation):
        model = model.fuse()
    # What is traced; sides on which some map would have a single row could be taken for fixed.
    height, width = (max(side, 288) for side in as_pair(model.config.window_size))
    program = to_onnx(model, torch.randn(2, model.num_channels, height, width))
    with replacing(output) as folder:
        folder.mkdir()
        onnx_ir.save(program, str(folder / PROGRAM))
        model.config.save_pretrained(folder)
        image_processor.save_pretrained(folder)
        check(model, folder / PROGRAM, [(1, height, width), (2, 3 * height // 4 + 1, width + 33)])
    print(f"Wrote {output / PROGRAM}, {(output / PROGRAM).stat().st_size / 1e6:.1f} MB.")


def check_output(output: Path) -> None:
    """
    Raises:
        ValueError: if a folder would be replaced that is no earlier export, such as the model's.
    """
    if output.exists() and not (output / PROGRAM).exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} already exists, and holds no {PROGRAM} of an earlier export: give a new folder.")


def to_onnx(model: PreTrainedModel, pixel_values: torch.Tensor) -> onnx_ir.Model:
    """
    The program of one pass, for any number and size of images.

    Raises:
        ValueError: if the model holds something that ONNX has no operator for.
    """
    dynamic = torch.export.Dim.DYNAMIC
    config = OnnxConfig(dynamic_shapes={"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}})
    try:
        with quiet_exporters():
            exported = OnnxExporter().export(model, {"pixel_values": pixel_values}, config)
    except Exception as error:  # The exporter raises whatever its steps do.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"This model, a {model.config.model_type}, cannot be exported to ONNX: {reason}") from error
    # transformers returns a program of PyTorch's up to 5.17, and later one of its own.
    return exported.model if hasattr(exported, "model") else exported.program


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Without the exporters' progress, and what they say about each other's versions and about single operators."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(disabled)


def onnx_session(model: PreTrainedModel, pixel_values: torch.Tensor) -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime, on the device of `pixel_values`, without writing a file."""
    # Of one image, the number would be fixed.
    program = onnx_ir.to_proto(to_onnx(model.cpu(), pixel_values.cpu().repeat(2, 1, 1, 1)))
    providers = ["CUDAExecutionProvider"] if pixel_values.is_cuda else ["CPUExecutionProvider"]
    options = onnxruntime.SessionOptions()
    # Threads that wait for the next pass by spinning would slow whatever is timed in turn with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(program.SerializeToString(), options, providers=providers)


def check(model: PreTrainedModel, file: Path, shapes: list[tuple[int, int, int]]) -> None:
    """
    Compare the file's answers in ONNX Runtime with those of a whole pass of the model, for `(batch, height, width)`.

    Raises:
        ValueError: if they differ by more than rounding, or ONNX Runtime cannot load the file.
    """
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's have no class in common.
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"ONNX Runtime does not take the program of this {model.config.model_type}: {reason}"
        ) from error
    for batch, height, width in shapes:
        pixel_values = torch.randn(batch, model.num_channels, height, width)
        with torch.inference_mode():
            expected = model(pixel_values, inference_mode="whole").logits.numpy()
        logits, *_ = session.run(["logits"], {"pixel_values": pixel_values.numpy()})
        difference = np.abs(logits - expected).max() / np.abs(expected).max()
        shape = " x ".join(map(str, pixel_values.shape))
        print(f"{shape} in ONNX Runtime: largest difference {difference:.1e} of the largest logit.")
        if not difference < TOLERANCE:
            raise ValueError(f"The exported program answers otherwise than the model, by {difference:.1e}.")
