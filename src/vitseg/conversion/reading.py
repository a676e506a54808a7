# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Reading files of weights without executing anything that they hold.

A pickle may name any function and call it. So the names that a file refers to are looked at before anything is read,
and those outside a short list are refused; PyTorch's `weights_only` reader then reads what is left. What a file claims
to hold must also fit into it: a few bytes could claim gigabytes.
"""

import codecs
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file


# What NumPy makes its values and arrays of when they are read.
NUMPY_MAKERS: dict[str, Any] = {"scalar": np.float64().__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}


class _Unused:
    """What stands for the curves that mmengine keeps of losses, and for their functions, in what is read."""

    def __init__(self, *arguments: Any):
        pass


# What checkpoints hold besides tensors and plain Python types: in the meta records of mmcv, numbers and palettes that
# NumPy computed, under the names of NumPy 1 (`numpy.core`) or of NumPy 2.
HARMLESS_TYPES: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    np.dtype,
    np.ndarray,
    *(type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"),
    *(
        (maker, f"numpy.{core}.multiarray.{name}")
        for name, maker in NUMPY_MAKERS.items()
        for core in ("core", "_core")
    ),
    # The settings of Swin's trainer, a dictionary with attributes.
    (OrderedDict, "yacs.config.CfgNode"),
    # Curves hold functions of their own class, by name. Neither is looked up, whatever the name.
    (_Unused, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Unused, "builtins.getattr"),
]
# All that a file may refer to. PyTorch's own list is longer, and lets a file ask for memory without bound.
HARMLESS_NAMES = re.compile(
    r"""
    collections\.(OrderedDict | Counter)
    | (__builtin__ | builtins)\.(set | getattr)     # the latter is not what is called, see HARMLESS_TYPES
    | mmengine\.logging\.history_buffer\.HistoryBuffer
    | torch\.(Size | \w+Storage | float\d+ | bfloat16 | u?int\d+ | bool | device)
    | torch\.storage\.UntypedStorage
    | torch\._utils\._rebuild_(tensor | tensor_v2 | parameter)
    | torch\.nn\.parameter\.Parameter
    | numpy\.(dtype | ndarray)
    | numpy\.(core | _core)\.multiarray\.(scalar | _reconstruct)
    | numpy\.dtypes\.\w+DType
    | yacs\.config\.CfgNode                  # the settings of Swin's trainer, read as a dictionary
    | _codecs\.encode                        # how a pickle of protocol 2 holds the bytes of a NumPy value
    """,
    re.VERBOSE,
)
# A file of PyTorch's old format begins with pickles: magic number, version, platform, content and storages.
MAX_PICKLES = 5
# Where the weights lie in the files of the originals: mmcv, DeiT, Swin's trainer and plain PyTorch. Where there is a
# moving average, it is what was published.
STATE_DICT_KEYS = ("model_ema", "state_dict_ema", "state_dict", "model")
# Other weights, which are read where they are asked for. mmengine's EMAHook saves the moving average under
# `state_dict`, and here the weights that were trained; mmcv's keeps its copy among the weights, under names that begin
# so and have no dots.
OTHER_STATE_DICT_KEY, COPY_PREFIX = "ema_state_dict", "ema_"


@dataclass(frozen=True)
class Checkpoint:
    """
    An original file: its tensors by name, the record of classes, versions and configuration beside them, the key that
    the tensors lie under, and the keys of other weights in the file.
    """

    path: Path
    state_dict: dict[str, torch.Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    entry: str = ""
    other_entries: tuple[str, ...] = ()


def read_checkpoint(path: str | Path, entry: str | None = None) -> Checkpoint:
    """
    Read a `.pth` file of mmcv, DeiT, timm or plain PyTorch, a `.safetensors` file, or an `.npz` file of JAX, on the
    CPU.

    A prefix `module.`, left by distributed training, is taken off the names.

    Args:
        path: the file.
        entry: the key of the weights in a file that holds several; by default the first of `STATE_DICT_KEYS`.

    Raises:
        ValueError: if the file is missing, damaged, not a checkpoint, refers to anything but tensors and plain values
            (such references could run code when read), or claims to hold more than fits into it; or if there are no
            weights under `entry`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no checkpoint file {path}.")
    content = READERS.get(path.suffix, _load_pickle)(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors.")

    meta = content.get("meta")
    state_dicts = _state_dicts(content)
    if not state_dicts:
        raise ValueError(f"{path} holds no tensors; its entries are {sorted(map(str, content))[:8]}.")
    for tensors in state_dicts.values():
        _check_sizes(path, tensors)
    if entry is None:
        entry = next(iter(state_dicts))
    if entry not in state_dicts:
        raise ValueError(f"{path} holds no weights under {entry!r}, but under {sorted(filter(None, state_dicts))}.")
    others = tuple(key for key in state_dicts if key != entry)
    return Checkpoint(path, state_dicts[entry], meta if isinstance(meta, dict) else {}, entry, others)


def _state_dicts(content: dict[Any, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """The weights in a file by their keys, "" where there is none; those that are read by default come first."""
    keys = [key for key in (*STATE_DICT_KEYS, OTHER_STATE_DICT_KEY) if isinstance(content.get(key), dict)]
    if not keys or keys == [OTHER_STATE_DICT_KEY]:
        keys = ["", *keys]
    state_dicts = {key: tensors for key in keys if (tensors := _tensors_of(content[key] if key else content))}
    first = next(iter(state_dicts), "")
    main = state_dicts.get(first, {})
    copies = {f"{COPY_PREFIX}{name.replace('.', '_')}": name for name in main if "." in name}
    copied = {copies[name]: tensor for name, tensor in main.items() if name in copies}
    if copied:
        # What is no parameter, such as the statistics of batch norms, has no copy.
        state_dicts[first] = {name: tensor for name, tensor in main.items() if name not in copies}
        state_dicts[COPY_PREFIX] = {**state_dicts[first], **copied}
    return state_dicts


def _tensors_of(state_dict: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {
        str(name).removeprefix("module."): tensor
        for name, tensor in state_dict.items()
        # mmengine counts the steps of a moving average beside it.
        if isinstance(tensor, torch.Tensor) and name != "steps"
    }


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}.") from error


def _load_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except _Refused:
        raise
    except Exception as error:  # As for pickles.
        raise ValueError(f"{path} is not a complete .npz file of arrays of numbers: {error}") from error


def _load_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            _check_names(path, file)
        with torch.serialization.safe_globals(HARMLESS_TYPES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _Refused:
        raise
    except Exception as error:  # A damaged file leads the readers to almost any of them.
        raise ValueError(_not_a_checkpoint(path)) from error


READERS: Mapping[str, Callable[[Path], Any]] = {".safetensors": _load_safetensors, ".npz": _load_npz}


class _Refused(ValueError):
    """A file that could do harm."""


def _check_names(path: Path, file: BinaryIO) -> None:
    """
    Raises:
        _Refused: if one of the file's pickles refers to something that is not in `HARMLESS_NAMES`.
    """
    for names, texts in _scan_pickles(path, file):
        if unknown := [name for name in dict.fromkeys(names) if not HARMLESS_NAMES.fullmatch(name)]:
            raise _Refused(
                f"{path} refers to {', '.join(unknown[:5])}, which is neither a tensor nor a plain value. Reading it "
                "could run code, so the file is refused."
            )
        if "_codecs.encode" in names and (codec := next(filter(_grows_bytes, set(texts)), None)):
            raise _Refused(f"{path} refers to _codecs.encode and {codec!r}, which could fill the memory.")


def _scan_pickles(path: Path, file: BinaryIO) -> Iterator[tuple[list[str], list[str]]]:
    """Of each pickle in the file, without running it: the names of what it refers to, and the start of its texts."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            _check_archive(path, archive)
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    yield _scan_pickle(archive.open(entry))
        return
    file.seek(0)
    for _ in range(MAX_PICKLES):
        try:
            yield _scan_pickle(file)
        except ValueError:
            # After the last pickle. What is no pickle at all is the reader's to refuse.
            return


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """
    Raises:
        _Refused: if the archive holds more than its own size: neither PyTorch nor JAX compresses.
    """
    if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
        raise _Refused(f"{path} claims to hold more than its {path.stat().st_size} bytes, so it is refused.")


def _scan_pickle(file: Any) -> tuple[list[str], list[str]]:
    names: list[str] = []
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            names.append(str(argument).replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":
            # Of a protocol that PyTorch neither writes nor reads.
            names.append(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument[:99])
    return names, texts


def _grows_bytes(name: str) -> bool:
    """Whether this is the name of a codec from bytes to bytes, which many could be chained of."""
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    try:
        "".encode(name)
    except LookupError:
        return True
    return False


def _check_sizes(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """
    Raises:
        _Refused: if the tensors claim more bytes than the file has.
    """
    size = path.stat().st_size
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    for name, tensor in tensors.items():
        if tensor.numel() * tensor.element_size() > size or sum(storages.values()) > size:
            raise _Refused(
                f"{path}: {name} has shape {tuple(tensor.shape)}, more than its {size} bytes hold. It is refused."
            )


def _not_a_checkpoint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    return (
        f"{path} is damaged or not a PyTorch checkpoint ({path.stat().st_size} bytes, beginning with {start!r}). Was "
        "it downloaded completely, and is it not a web page?"
    )
