# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Where weights come from: digests of files, and what a conversion and a training note in a model folder."""

import hashlib
from pathlib import Path
from typing import Any

from ..replacing import read_record


FILE = "conversion.json"
TRAINING_FILE = "training.json"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(folder: str | Path) -> dict[str, str]:
    """The SHA-256 of each file of weights in a model folder; nothing where there is no such folder."""
    return {path.name: sha256(path) for path in sorted(Path(folder).glob("*.safetensors"))}


def read_conversion(folder: str | Path) -> dict[str, Any] | None:
    """
    What a conversion noted in a model folder, `None` if it was not converted (but trained, for example):

        recipe, method   the published result, or `None`, and its method
        file             name, bytes and sha256 of the original file
        meta             short entries of the record in it
        dropped          reason -> number of tensors
        zero             our names of the biases that the original does not have
        notes            what the model does otherwise than the original, a sentence each
        dtype            of the weights as saved
        vitseg           version that converted
    """
    return _read(Path(folder) / FILE)


def read_training(folder: str | Path) -> dict[str, Any] | None:
    """
    What a training noted in a model folder, `None` if there is nothing:

        recipe        its name
        iterations    optimizer steps
        encoder       folder or Hub name of the pretrained backbone, or `None`
        freeze        names of the modules that did not learn
        lora          rank, targets, alpha and dropout of the adapters, or `None`
        losses        what makes the loss another than the method's own: fields of the recipe's training, and values
        augmentation  transforms of torchvision in the place of the published ones, or `None`
        vitseg        version that trained
    """
    return _read(Path(folder) / TRAINING_FILE)


def _read(file: Path) -> dict[str, Any] | None:
    return read_record(file) if file.exists() else None
