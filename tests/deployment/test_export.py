# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Exported programs answer in ONNX Runtime what the models answer, for every method and images of any size."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from transformers import AutoImageProcessor, PreTrainedConfig

import vitseg
from vitseg import PlainVitConfig, cli
from vitseg.deployment import onnx


# To trace a layer takes a second.
VIT = PlainVitConfig(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=64,
    patch_size=16,
    out_indices=[1],
)
MODELS = {
    "sctnet": ("SctNet", {"base_channels": 8, "context_channels": 8, "image_size": 64}),
    "setr-naive": (
        "Setr",
        {"backbone_config": VIT, "decoder_type": "naive", "decoder_hidden_size": 8, "auxiliary_heads": []},
    ),
    "segvit-single": (
        "SegVit",
        {
            "backbone_config": VIT,
            "decoder_type": "single_atm",
            "decoder_hidden_size": 16,
            "decoder_num_layers": 1,
            "decoder_num_attention_heads": 2,
        },
    ),
    "cts_segmenter-mask": (
        "CtsSegmenter",
        {"backbone_config": VIT, "decoder_num_layers": 1, "decoder_num_attention_heads": 2},
    ),
    "structtoken-cse": (
        "StructToken",
        {"backbone_config": VIT, "extraction": "cse", "decoder_hidden_size": 8, "decoder_num_layers": 1},
    ),
}


def config_of(name: str) -> PreTrainedConfig:
    prefix, arguments = MODELS[name]
    return getattr(vitseg, f"{prefix}Config")(**arguments, num_labels=3)


def save(name: str, folder: Path) -> torch.nn.Module:
    """The model of a folder, in float32; SCTNet's is stored in half precision."""
    prefix, _ = MODELS[name]
    torch.manual_seed(0)
    model = getattr(vitseg, f"{prefix}ForSemanticSegmentation")(config_of(name)).eval()
    if name == "sctnet":
        model = model.half()
    model.save_pretrained(folder)
    getattr(vitseg, f"{prefix}ImageProcessor")(size={"shortest_edge": 48}).save_pretrained(folder)
    return model.float()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_program_answers_what_the_model_answers(name, tmp_path, capsys, caplog):
    model = save(name, tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        assert cli.main(["export", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "exported")]) == 0
    assert "in ONNX Runtime: largest difference" in capsys.readouterr().out
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []

    model.config.inference_mode = "whole"
    session = onnxruntime.InferenceSession(str(tmp_path / "exported" / "model.onnx"))
    for shape in ((1, 3, 64, 64), (3, 3, 97, 130)):
        pixel_values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = model(pixel_values).logits.numpy()
        (logits,) = session.run(["logits"], {"pixel_values": pixel_values.numpy()})
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    # How to prepare images, and what the classes mean.
    assert AutoImageProcessor.from_pretrained(tmp_path / "exported").size.shortest_edge == 48
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert len(config["id2label"]) == 3
    assert config["dtype"] == "float32"


def test_only_an_earlier_export_is_replaced(tmp_path, capsys):
    save("sctnet", tmp_path / "model")
    before = sorted(path.name for path in (tmp_path / "model").iterdir())
    for output in (tmp_path / "model", tmp_path, tmp_path / "model" / "config.json"):
        assert cli.main(["export", "--model", str(tmp_path / "model"), "--output", str(output)]) == 1
        assert "already exists" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == before


def test_a_program_that_onnx_runtime_refuses_is_said_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx.onnx_ir, "save", lambda program, file: Path(file).write_bytes(b"no program"))
    monkeypatch.setattr(onnx, "to_onnx", lambda model, pixel_values: None)
    save("sctnet", tmp_path / "model")
    assert cli.main(["export", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "exported")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ONNX Runtime does not take the program of this sctnet")
    assert not (tmp_path / "exported").exists()


def test_what_cannot_be_exported_says_so(tmp_path, capsys, monkeypatch):
    save("setr-naive", tmp_path / "model")

    def fail(*arguments):
        raise RuntimeError("no operator for aten::bake\nand a long trace")

    monkeypatch.setattr(onnx.OnnxExporter, "export", fail)
    assert cli.main(["export", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "exported")]) == 1
    error = capsys.readouterr().err
    assert "This model, a setr, cannot be exported to ONNX: no operator for aten::bake" in error
    assert not (tmp_path / "exported").exists()


NEGATIVE = """<ir_version: 8, opset_import: ["" : 17]>
negative (float[n, 3, h, w] pixel_values) => (float[n, 3, h, w] logits) { logits = Neg (pixel_values) }"""


def test_a_program_that_answers_otherwise_is_not_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx, "to_onnx", lambda model, pixel_values: onnx_ir.from_onnx_text(NEGATIVE))
    save("sctnet", tmp_path / "model")
    assert cli.main(["export", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "exported")]) == 1
    assert "answers otherwise than the model" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()
