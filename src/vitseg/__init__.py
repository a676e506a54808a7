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
    from .models.configuration_cts_policy import CtsPolicyNetConfig
    from .models.configuration_cts_segmenter import CtsSegmenterConfig
    from .models.configuration_hlg import HlgConfig
    from .models.configuration_plain_vit import PlainVitConfig
    from .models.configuration_sctnet import SctNetConfig
    from .models.configuration_sctnet_teacher import SctNetTeacherConfig
    from .models.configuration_segvit import SegVitConfig
    from .models.configuration_setr import SetrConfig
    from .models.configuration_structtoken import StructTokenConfig
    from .models.image_processing_cts_segmenter import CtsSegmenterImageProcessor
    from .models.image_processing_hlg import HlgImageProcessor
    from .models.image_processing_sctnet import SctNetImageProcessor
    from .models.image_processing_sctnet_teacher import SctNetTeacherImageProcessor
    from .models.image_processing_segvit import SegVitImageProcessor
    from .models.image_processing_setr import SetrImageProcessor
    from .models.image_processing_structtoken import StructTokenImageProcessor
    from .models.modeling_cts_policy import CtsPolicyNet
    from .models.modeling_cts_segmenter import CtsSegmenterForSemanticSegmentation
    from .models.modeling_hlg import HlgBackbone, HlgForImageClassification, HlgModel
    from .models.modeling_hlg_detection import HlgForObjectDetection
    from .models.modeling_hlg_segmentation import HlgForSemanticSegmentation
    from .models.modeling_plain_vit import PlainVitBackbone
    from .models.modeling_sctnet import SctNetBackbone, SctNetForSemanticSegmentation
    from .models.modeling_sctnet_teacher import SctNetTeacherForSemanticSegmentation
    from .models.modeling_segvit import SegVitForSemanticSegmentation
    from .models.modeling_setr import SetrForSemanticSegmentation
    from .models.modeling_structtoken import StructTokenForSemanticSegmentation

_MODULES = {
    "CtsPolicyNet": "models.modeling_cts_policy",
    "CtsPolicyNetConfig": "models.configuration_cts_policy",
    "CtsSegmenterConfig": "models.configuration_cts_segmenter",
    "CtsSegmenterForSemanticSegmentation": "models.modeling_cts_segmenter",
    "CtsSegmenterImageProcessor": "models.image_processing_cts_segmenter",
    "HlgBackbone": "models.modeling_hlg",
    "HlgConfig": "models.configuration_hlg",
    "HlgForImageClassification": "models.modeling_hlg",
    "HlgForObjectDetection": "models.modeling_hlg_detection",
    "HlgForSemanticSegmentation": "models.modeling_hlg_segmentation",
    "HlgImageProcessor": "models.image_processing_hlg",
    "HlgModel": "models.modeling_hlg",
    "PlainVitBackbone": "models.modeling_plain_vit",
    "PlainVitConfig": "models.configuration_plain_vit",
    "SctNetBackbone": "models.modeling_sctnet",
    "SctNetConfig": "models.configuration_sctnet",
    "SctNetForSemanticSegmentation": "models.modeling_sctnet",
    "SctNetImageProcessor": "models.image_processing_sctnet",
    "SctNetTeacherConfig": "models.configuration_sctnet_teacher",
    "SctNetTeacherForSemanticSegmentation": "models.modeling_sctnet_teacher",
    "SctNetTeacherImageProcessor": "models.image_processing_sctnet_teacher",
    "SegVitConfig": "models.configuration_segvit",
    "SegVitForSemanticSegmentation": "models.modeling_segvit",
    "SegVitImageProcessor": "models.image_processing_segvit",
    "SetrConfig": "models.configuration_setr",
    "SetrForSemanticSegmentation": "models.modeling_setr",
    "SetrImageProcessor": "models.image_processing_setr",
    "StructTokenConfig": "models.configuration_structtoken",
    "StructTokenForSemanticSegmentation": "models.modeling_structtoken",
    "StructTokenImageProcessor": "models.image_processing_structtoken",
}

__all__ = [
    "CtsPolicyNet",
    "CtsPolicyNetConfig",
    "CtsSegmenterConfig",
    "CtsSegmenterForSemanticSegmentation",
    "CtsSegmenterImageProcessor",
    "HlgBackbone",
    "HlgConfig",
    "HlgForImageClassification",
    "HlgForObjectDetection",
    "HlgForSemanticSegmentation",
    "HlgImageProcessor",
    "HlgModel",
    "PlainVitBackbone",
    "PlainVitConfig",
    "SctNetBackbone",
    "SctNetConfig",
    "SctNetForSemanticSegmentation",
    "SctNetImageProcessor",
    "SctNetTeacherConfig",
    "SctNetTeacherForSemanticSegmentation",
    "SctNetTeacherImageProcessor",
    "SegVitConfig",
    "SegVitForSemanticSegmentation",
    "SegVitImageProcessor",
    "SetrConfig",
    "SetrForSemanticSegmentation",
    "SetrImageProcessor",
    "StructTokenConfig",
    "StructTokenForSemanticSegmentation",
    "StructTokenImageProcessor",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_auto_classes()
