# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading original checkpoint files without executing anything that they hold."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file


# What the meta records of mmcv checkpoints hold besides plain Python types: numbers and palettes that NumPy computed,
# under the names of NumPy 1 (`numpy.core`) or of NumPy 2.
HARMLESS_TYPES = [
    np.dtype,
    np.ndarray,
    *(type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"),
    *(
        (getattr(np._core.multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ),
]
# Where the weights lie in the files of the originals: mmcv, DeiT and plain PyTorch.
STATE_DICT_KEYS = ("state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """An original file: its tensors by name, and the record of classes, versions and configuration beside them."""

    path: Path
    state_dict: dict[str, torch.Tensor]
    meta: dict[str, Any]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """
    Read a `.pth` file of mmcv, DeiT or plain PyTorch, or a `.safetensors` file, on the CPU.

    A prefix `module.`, left by distributed training, is taken off the names.

    Raises:
        ValueError: if the file is missing, damaged, not a checkpoint, or refers to anything but tensors and plain
            values (such references could run code when read).
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no checkpoint file {path}.")
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors.")

    meta = content.get("meta")
    state_dict = next((content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), dict)), content)
    tensors = {
        str(name).removeprefix("module."): tensor
        for name, tensor in state_dict.items()
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        raise ValueError(f"{path} holds no tensors; its entries are {sorted(map(str, content))[:8]}.")
    return Checkpoint(path, tensors, meta if isinstance(meta, dict) else {})


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}.") from error


def _load_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(HARMLESS_TYPES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file leads the reader to almost any of them.
        if name := re.search(r"GLOBAL (\S+) (was not|whose module)", str(error)):
            raise ValueError(
                f"{path} refers to {name.group(1)}, which is neither a tensor nor a plain value. Reading it could run "
                "code, so the file is refused."
            ) from None
        raise ValueError(_not_a_checkpoint(path)) from error


def _not_a_checkpoint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    return (
        f"{path} is damaged or not a PyTorch checkpoint ({path.stat().st_size} bytes, beginning with {start!r}). Was "
        "it downloaded completely, and is it not a web page?"
    )
