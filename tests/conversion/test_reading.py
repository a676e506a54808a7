# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Original files are read without executing anything, and files that are none are refused with the reason."""

import _codecs
import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import load_case
from safetensors.torch import save_file

from vitseg.conversion.reading import read_checkpoint


WEIGHTS = {"backbone.blocks.0.norm1.weight": torch.arange(6.0), "decode_head.conv_0.bias": torch.tensor([-1.0, 2.0])}
TEN_GIGABYTES = 10 * 2**30
WEB_PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"


class Unknown:
    """A class that no checkpoint should hold."""


class Attack:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def saved(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def old_format(content) -> bytes:
    return saved(content, _use_new_zipfile_serialization=False)


def arrays(**content: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


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
        ("truncated.npz", arrays(cls=np.zeros((1, 1, 32), np.float32))[:-30], "not a complete .npz file"),
        ("objects.npz", arrays(cls=np.array([{"an": "object"}], dtype=object)), "not a complete .npz file"),
        ("texts.npz", arrays(cls=np.array(["a text"])), "not a complete .npz file"),
        ("web_page.npz", WEB_PAGE, "not a complete .npz file"),
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


def chained_codecs(count: int) -> Any:
    """Bytes that double in length with each call when they are unpickled."""
    value: Any = b"ab"
    for _ in range(count):
        value = Call(_codecs.encode, value, "hex")
    return value


def rezipped(
    content: bytes, compression: int = zipfile.ZIP_STORED, added: tuple[tuple[str, bytes], ...] = ()
) -> bytes:
    """A file of PyTorch's, packed again with further entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        for name, data in added:
            new.writestr(f"archive/{name}", data)
    return file.getvalue()


def zipped_symlink(target: Path) -> bytes:
    """A file of PyTorch's old tar format whose pickle is a link to another file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("pickle")
        link.type, link.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(link)
    return file.getvalue()


def claiming(elements: int) -> bytes:
    """A file whose storage of four numbers claims to hold more."""
    content = saved({"state_dict": {"weight": torch.arange(4.0)}})
    honest, claimed = b"cpuq\x08K\x04", b"cpuq\x08\x8a\x05" + elements.to_bytes(5, "little")
    assert honest in content
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry).replace(honest, claimed))
    return file.getvalue()


def claiming_array(elements: int) -> bytes:
    """A file of an array of four numbers that claims to hold more."""
    array, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (elements,)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weight.npy", array.getvalue() + np.arange(4.0, dtype=np.float32).tobytes())
    return file.getvalue()


WITH_MARKER = {"meta": Attack("touch marker"), "state_dict": WEIGHTS}
BOMBS = {
    "call_for_memory": (
        saved({"state_dict": WEIGHTS, "meta": Call(bytearray, 2**50)}),
        "refers to __builtin__.bytearray",
    ),
    "chained_codecs": (saved({"state_dict": WEIGHTS, "meta": chained_codecs(40)}), "_codecs.encode and 'hex'"),
    "protocol_4": (pickle.dumps(WITH_MARKER, protocol=4), f"refers to {os.system.__module__}.system"),
    "expanded_tensor": (
        saved({"state_dict": {"weight": torch.zeros(1).expand(10**12)}}),
        "has shape (1000000000000,)",
    ),
    "compressed_tensor": (
        rezipped(saved({"state_dict": {"weight": torch.zeros(10**6)}}), zipfile.ZIP_DEFLATED),
        "claims to hold more than its",
    ),
    "compressed_array.npz": (
        rezipped(arrays(weight=np.zeros(10**6)), zipfile.ZIP_DEFLATED),
        "claims to hold more than its",
    ),
    "array_of_10_gb.npz": (claiming_array(TEN_GIGABYTES), "not a complete .npz file"),
    "storage_of_10_gb": (claiming(TEN_GIGABYTES), "not a PyTorch checkpoint"),
    "header_of_10_gb": (TEN_GIGABYTES.to_bytes(8, "little") + b'{"weight":', "not a complete safetensors file"),
    "hostile_pickle_beside": (
        rezipped(saved({"state_dict": WEIGHTS}), added=(("more.pkl", plain_pickle(WITH_MARKER)),)),
        "system",
    ),
    "zip_in_a_zip": (
        rezipped(rezipped(b"PK\x05\x06" + bytes(18)), added=(("data.pkl", saved(WITH_MARKER)),)),
        "not a PyTorch",
    ),
    "symlink_in_an_archive": (zipped_symlink(Path("/etc/hostname")), "not a PyTorch checkpoint"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_files_are_refused(name, command, original_config, monkeypatch):
    content, message = BOMBS[name]
    monkeypatch.chdir(command.folder)
    suffix = "" if name.endswith(".npz") else ".safetensors" if "header" in name else ".pth"
    checkpoint = command.folder / f"{name}{suffix}"
    checkpoint.write_bytes(content)
    command.assert_refused(command.convert(checkpoint, original_config), str(checkpoint), message)
    assert not (command.folder / "marker").exists()


def test_record_that_is_endless_when_read(command, original_config):
    """Ten lists of ten times the list before: 10 ** 12 numbers in a file of a few kilobytes."""
    endless: list[Any] = [0]
    for _ in range(12):
        endless = [endless] * 10
    golden = load_case("setr", "tiny_naive")
    meta = {"CLASSES": endless[:7], "iter": 3, "mIoU": float("nan"), "log": endless}
    answer = command.convert(command.checkpoint({"meta": meta, "state_dict": golden.state_dict()}), original_config)
    assert answer.status == 0, answer.err
    assert "Its record: CLASSES (7 entries), iter 3, mIoU nan, log (10 entries)" in answer.out


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
    assert_same_weights(read_checkpoint(path).state_dict, WEIGHTS)


def test_safetensors(tmp_path):
    path = tmp_path / "original.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, path)
    checkpoint = read_checkpoint(path)
    assert_same_weights(checkpoint.state_dict, WEIGHTS)
    assert checkpoint.meta == {}


def test_arrays(tmp_path):
    path = tmp_path / "original.npz"
    path.write_bytes(arrays(**{name: tensor.numpy() for name, tensor in WEIGHTS.items()}))
    assert_same_weights(read_checkpoint(path).state_dict, WEIGHTS)


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
    checkpoint = read_checkpoint(path)
    assert_same_weights(checkpoint.state_dict, WEIGHTS)
    assert checkpoint.meta["CLASSES"] == ("wall", "sky")
    assert np.array_equal(checkpoint.meta["mIoU"], value)
    assert checkpoint.meta["mIoU"].dtype == value.dtype


def test_curves_of_mmengine_are_passed_over(monkeypatch, tmp_path):
    """Its checkpoints hold objects of a class of its own, with methods by name; none of them is looked up."""
    names = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    curve_class = type("HistoryBuffer", (), {"__module__": names[-1]})
    sys.modules[names[-1]].HistoryBuffer = curve_class  # type: ignore[attr-defined]

    class Method:
        def __reduce__(self):
            return getattr, (curve_class, "__reduce__")

    curve = curve_class()
    curve.statistics_methods = {"mean": Method()}
    curve.log_history = np.arange(3.0)
    checkpoint = tmp_path / "iter_10.pth"
    checkpoint.write_bytes(saved({"message_hub": {"log_scalars": {"loss": curve}}, "state_dict": WEIGHTS}))
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    assert_same_weights(read_checkpoint(checkpoint).state_dict, WEIGHTS)
