# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Original files are read without executing anything, and files that are none are refused with the reason."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import load_checkpoint
from golden_cases import load_case
from safetensors.torch import save_file


WEIGHTS = {"backbone.blocks.0.norm1.weight": torch.arange(6.0), "decode_head.conv_0.bias": torch.tensor([-1.0, 2.0])}
WEB_PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"


class Unknown:
    """A class that no checkpoint should hold."""


class Attack:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def saved(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def old_format(content) -> bytes:
    return saved(content, _use_new_zipfile_serialization=False)


def plain_pickle(content) -> bytes:
    return pickle.dumps(content, protocol=2)


@pytest.fixture
def original_config(command) -> Path:
    return command.original_config(load_case("setr", "tiny_naive").config)


def assert_same_weights(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("truncated.pth", saved({"state_dict": WEIGHTS})[:-200], "was it downloaded completely"),
        ("truncated_old_format.pth", old_format({"state_dict": WEIGHTS})[:-10], "was it downloaded completely"),
        ("truncated_names.pth", old_format({"state_dict": WEIGHTS})[:150], "was it downloaded completely"),
        ("empty.pth", b"", "0 bytes"),
        ("web_page.pth", WEB_PAGE, "web page"),
        ("text.pth", b"model = dict(type='EncoderDecoder')\n", "not a pytorch checkpoint"),
        # A c is also the mark that a pickle refers to a class by.
        ("config.pth", b"config = dict(\n    type='EncoderDecoder',\n)\n", "not a pytorch checkpoint"),
        ("noise.pth", bytes(range(256)), "not a pytorch checkpoint"),
        ("truncated.safetensors", b"\x40\x00\x00\x00\x00\x00\x00\x00{", "not a complete safetensors file"),
        ("empty.safetensors", b"", "not a complete safetensors file"),
        ("web_page.safetensors", WEB_PAGE, "not a complete safetensors file"),
        ("list.pth", saved([1, 2]), "holds a list"),
        ("tensor.pth", saved(torch.ones(2)), "holds a tensor"),
        ("record.pth", saved({"epoch": 3, "lr": 0.1}), "no tensors; its entries are ['epoch', 'lr']"),
    ],
)
def test_files_that_are_no_checkpoint(name, content, message, command, original_config):
    checkpoint = command.folder / name
    checkpoint.write_bytes(content)
    answer = command.convert(checkpoint, original_config)
    assert message in answer.err.lower()
    command.assert_refused(answer, str(checkpoint))


def test_missing_file(command, original_config):
    answer = command.convert(command.folder / "nowhere.pth", original_config)
    command.assert_refused(answer, "There is no checkpoint file", "nowhere.pth")


def test_folder_instead_of_a_file(command, original_config):
    command.assert_refused(command.convert(command.folder, original_config), "There is no checkpoint file")


@pytest.mark.parametrize("save", [saved, old_format, plain_pickle])
def test_code_in_a_file_is_not_run(save, command, original_config):
    marker = command.folder / "marker"
    content = save({"meta": Attack(f"touch {marker}"), "state_dict": WEIGHTS})
    pickle.loads(pickle.dumps(Attack(f"touch {marker}")))
    assert marker.exists(), "the attack does nothing, so that this test would prove nothing"
    marker.unlink()

    checkpoint = command.folder / "attack.pth"
    checkpoint.write_bytes(content)
    answer = command.convert(checkpoint, original_config)
    assert not marker.exists()
    command.assert_refused(answer, str(checkpoint), f"refers to {os.system.__module__}.system", "could run code")


@pytest.mark.parametrize("save", [saved, old_format])
def test_unknown_class(save, command, original_config):
    checkpoint = command.folder / "unknown.pth"
    checkpoint.write_bytes(save({"state_dict": WEIGHTS, "meta": {"hook": Unknown()}}))
    command.assert_refused(command.convert(checkpoint, original_config), f"refers to {__name__}.Unknown")


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": WEIGHTS, "meta": {"iter": 1}, "optimizer": {"state": {}}},
        {"model": WEIGHTS},
        WEIGHTS,
        {"state_dict": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}},
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        {"state_dict": {**WEIGHTS, "version": 2}},
    ],
    ids=["mmcv", "deit", "flat", "distributed", "flat_distributed", "number_among_tensors"],
)
@pytest.mark.parametrize("save", [saved, old_format])
def test_layouts(content, save, tmp_path):
    path = tmp_path / "original.pth"
    path.write_bytes(save(content))
    assert_same_weights(load_checkpoint(path).state_dict, WEIGHTS)


def test_safetensors(tmp_path):
    path = tmp_path / "original.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, path)
    checkpoint = load_checkpoint(path)
    assert_same_weights(checkpoint.state_dict, WEIGHTS)
    assert checkpoint.meta == {}


@pytest.mark.parametrize("numpy_package", [b"numpy.core", b"numpy._core"], ids=["numpy1", "numpy2"])
@pytest.mark.parametrize(
    "value",
    [np.float64(0.25), np.float32(0.5), np.int64(-3), np.int32(7), np.uint8(9), np.bool_(True), np.array([[1, 2]])],
    ids=lambda value: f"{value.dtype}_{value.ndim}d",
)
def test_records_with_numpy_values(value, numpy_package, tmp_path):
    meta = {"CLASSES": ("wall", "sky"), "mIoU": value}
    content = old_format({"state_dict": WEIGHTS, "meta": meta})
    content = content.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", b"c" + numpy_package + b".")
    assert numpy_package + b".multiarray" in content
    path = tmp_path / "original.pth"
    path.write_bytes(content)
    checkpoint = load_checkpoint(path)
    assert_same_weights(checkpoint.state_dict, WEIGHTS)
    assert checkpoint.meta["CLASSES"] == ("wall", "sky")
    assert np.array_equal(checkpoint.meta["mIoU"], value)
    assert checkpoint.meta["mIoU"].dtype == value.dtype
