# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Stand-ins for what cannot be imported, and is asked for: mmcv's compiled operators, which mmcv-lite lacks, and
mmpretrain's language models. To be imported before mmseg; none of the models here calls one.
"""

import importlib.machinery
import sys
import types


class _Operators(types.ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*arguments, **keywords):
            raise NotImplementedError(f"mmcv-lite has no {name}.")

        return missing


sys.modules["mmcv._ext"] = _Operators("mmcv._ext")
# mmengine asks whether mmcv has operators before it looks for layers that call them.
sys.modules["mmcv._ext"].__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
# Language models, which need an old transformers, of the package that has mmsegmentation's ConvNeXt.
sys.modules["mmpretrain.models.multimodal"] = types.ModuleType("mmpretrain.models.multimodal")
