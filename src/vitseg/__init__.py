# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
vitseg: plain-ViT and real-time semantic segmentation for Hugging Face transformers.

Importing vitseg makes its models known to transformers' Auto classes and pipelines. Names are loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .auto import register_auto_classes


__version__ = "0.1.0"

if TYPE_CHECKING:
    from .models.configuration_plain_vit import PlainVitConfig
    from .models.configuration_setr import SetrConfig
    from .models.image_processing_setr import SetrImageProcessor
    from .models.modeling_plain_vit import PlainVitBackbone
    from .models.modeling_setr import SetrForSemanticSegmentation

_MODULES = {
    "PlainVitBackbone": "models.modeling_plain_vit",
    "PlainVitConfig": "models.configuration_plain_vit",
    "SetrConfig": "models.configuration_setr",
    "SetrForSemanticSegmentation": "models.modeling_setr",
    "SetrImageProcessor": "models.image_processing_setr",
}

__all__ = [
    "PlainVitBackbone",
    "PlainVitConfig",
    "SetrConfig",
    "SetrForSemanticSegmentation",
    "SetrImageProcessor",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_auto_classes()
