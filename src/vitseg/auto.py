# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Registration of vitseg's classes with the Auto classes of transformers.

`AutoModelForSemanticSegmentation.from_pretrained(...)` and `pipeline("image-segmentation", ...)` find vitseg's models
once vitseg is imported. Registering a class means importing it, and with it torch; so that `import vitseg` stays
quick, vitseg waits for transformers to load its tables, and its classes are imported when a table is first looked at.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections import UserDict
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


# Method -> prefix of its classes.
SEGMENTATION_METHODS = {
    "cts_segmenter": "CtsSegmenter",
    "hlg": "Hlg",
    "sctnet": "SctNet",
    "sctnet_teacher": "SctNetTeacher",
    "segvit": "SegVit",
    "setr": "Setr",
    "structtoken": "StructToken",
}
BACKBONES = {"hlg": "Hlg", "plain_vit": "PlainVit", "sctnet": "SctNet"}
# Those that do more than segment: also <prefix>Model, <prefix>ForImageClassification and <prefix>ForObjectDetection.
ALL_TASKS = {"hlg": "Hlg"}
# The policy network of token sharing, whose images are those of the method.
POLICY_NET = {"cts_policy": "CtsPolicyNet"}


def _load(class_name: str) -> Any:
    # The package knows the modules of its classes.
    return getattr(importlib.import_module("vitseg"), class_name)


def _register_configurations() -> None:
    from transformers import AutoConfig

    for method, prefix in (SEGMENTATION_METHODS | BACKBONES | POLICY_NET).items():
        config_class = _load(f"{prefix}Config")
        AutoConfig.register(method, config_class)


def _register_segmentation_models() -> None:
    from transformers import AutoModelForSemanticSegmentation

    for prefix in SEGMENTATION_METHODS.values():
        model_class = _load(f"{prefix}ForSemanticSegmentation")
        AutoModelForSemanticSegmentation.register(model_class.config_class, model_class)


def _register_models() -> None:
    from transformers import AutoModel

    for name in (*(f"{prefix}Model" for prefix in ALL_TASKS.values()), *POLICY_NET.values()):
        model_class = _load(name)
        AutoModel.register(model_class.config_class, model_class)


def _register_classifiers() -> None:
    from transformers import AutoModelForImageClassification

    for prefix in ALL_TASKS.values():
        model_class = _load(f"{prefix}ForImageClassification")
        AutoModelForImageClassification.register(model_class.config_class, model_class)


def _register_detectors() -> None:
    from transformers import AutoModelForObjectDetection

    for prefix in ALL_TASKS.values():
        model_class = _load(f"{prefix}ForObjectDetection")
        AutoModelForObjectDetection.register(model_class.config_class, model_class)


def _register_backbones() -> None:
    from transformers import AutoBackbone

    for prefix in BACKBONES.values():
        backbone_class = _load(f"{prefix}Backbone")
        AutoBackbone.register(backbone_class.config_class, backbone_class)


def _register_image_processors() -> None:
    from transformers import AutoImageProcessor

    for prefix in SEGMENTATION_METHODS.values():
        processor_class = _load(f"{prefix}ImageProcessor")
        config_class = _load(f"{prefix}Config")
        AutoImageProcessor.register(config_class, image_processor_classes={"torchvision": processor_class})
    processor_class = _load("CtsSegmenterImageProcessor")
    for prefix in POLICY_NET.values():
        config_class = _load(f"{prefix}Config")
        AutoImageProcessor.register(config_class, image_processor_classes={"torchvision": processor_class})


# transformers' module -> its tables, and what fills each.
_TABLES: dict[str, dict[str, Callable[[], None]]] = {
    "transformers.models.auto.configuration_auto": {"CONFIG_MAPPING": _register_configurations},
    "transformers.models.auto.modeling_auto": {
        "MODEL_MAPPING": _register_models,
        "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING": _register_classifiers,
        "MODEL_FOR_OBJECT_DETECTION_MAPPING": _register_detectors,
        "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING": _register_segmentation_models,
        "MODEL_FOR_BACKBONE_MAPPING": _register_backbones,
    },
    "transformers.models.auto.image_processing_auto": {"IMAGE_PROCESSOR_MAPPING": _register_image_processors},
}


class _DeferredEntries(UserDict):
    """The registered entries of a table, to which vitseg's are added when they are first looked at."""

    def __init__(self, entries: dict[Any, Any], register: Callable[[], None]):
        self._entries = entries
        self._register: Callable[[], None] | None = register

    @property
    def data(self) -> dict[Any, Any]:  # type: ignore[override]
        if self._register is not None:
            # Registering looks at the entries itself.
            register, self._register = self._register, None
            register()
        return self._entries


def _defer_registration(module: ModuleType) -> None:
    # Registering at once would import vitseg's classes while transformers is halfway through its own imports.
    for name, register in _TABLES[module.__name__].items():
        table = getattr(module, name)
        table._extra_content = _DeferredEntries(table._extra_content, register)


class _TableLoader(importlib.abc.Loader):
    """Loads a module of transformers with its own loader, and prepares its tables."""

    def __init__(self, loader: importlib.abc.Loader):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _defer_registration(module)


class _TableFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of `_TABLES`, each once, and leaves every other import alone."""

    def __init__(self, module_names: set[str]):
        self.module_names = module_names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.module_names:
            return None
        self.module_names.remove(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _TableLoader(spec.loader)
        return spec


def register_auto_classes() -> None:
    """Have every class of vitseg registered when transformers looks for it, whether it is loaded already or later."""
    for name in _TABLES.keys() & sys.modules.keys():
        _defer_registration(sys.modules[name])
    sys.meta_path.insert(0, _TableFinder(_TABLES.keys() - sys.modules.keys()))
