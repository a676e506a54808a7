# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What vitseg can do beyond loading, segmenting and converting needs more packages: the extras of pyproject.toml."""

import itertools
from collections.abc import Mapping
from importlib.util import find_spec


# Extra -> the modules that come with it and not with the core.
_DATA = ("cv2", "datasets", "pyarrow", "scipy")
_EVAL = (*_DATA, "accelerate", "evaluate", "matplotlib")
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "data": _DATA,
    "eval": _EVAL,
    "train": _EVAL,
    "adapters": ("peft",),
    "detection": ("pycocotools",),
    "export": ("onnx", "onnx_ir", "onnxruntime", "onnxscript"),
    "geo": ("rasterio",),
    "labels": ("pycocotools",),
    "video": ("av", "cv2"),
}


class MissingExtraError(ImportError):
    """Packages of an extra are not installed; the message names the command that installs them."""


def is_of_extra(error: ImportError) -> bool:
    """Whether something is missing that comes with an extra, so that installing it is the remedy."""
    return isinstance(error, MissingExtraError) or error.name in {*itertools.chain(*EXTRAS.values())}


def require(extra: str) -> None:
    """
    Check that the packages of an extra are there.

    Raises:
        MissingExtraError: if one is not.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"This needs {', '.join(missing)}: pip install 'vitseg[{extra}]'")
