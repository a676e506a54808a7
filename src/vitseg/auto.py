# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Registration of vitseg's classes with the Auto classes of transformers.

`AutoModelForSemanticSegmentation.from_pretrained(...)` and `pipeline("image-segmentation", ...)` find vitseg's models
once vitseg is imported. Registering a class means importing it, and with it torch; so that `import vitseg` stays
quick, each table of transformers is filled when transformers itself loads it: nobody can look in it earlier.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


# Method -> prefix of its classes. The modules are models/configuration_<method>.py and so on.
SEGMENTATION_METHODS = {"setr": "Setr"}
BACKBONES = {"plain_vit": "PlainVit"}


def _load(kind: str, method: str, class_name: str) -> type:
    return getattr(importlib.import_module(f"vitseg.models.{kind}_{method}"), class_name)


def _register_configurations() -> None:
    from transformers import AutoConfig

    for method, prefix in (SEGMENTATION_METHODS | BACKBONES).items():
        config_class = _load("configuration", method, f"{prefix}Config")
        # Saved folders carry their code, so that they load where vitseg is not installed.
        config_class.register_for_auto_class("AutoConfig")
        AutoConfig.register(method, config_class)


def _register_models() -> None:
    from transformers import AutoBackbone, AutoModelForSemanticSegmentation

    for method, prefix in SEGMENTATION_METHODS.items():
        model_class = _load("modeling", method, f"{prefix}ForSemanticSegmentation")
        model_class.register_for_auto_class("AutoModelForSemanticSegmentation")
        AutoModelForSemanticSegmentation.register(model_class.config_class, model_class)
    for method, prefix in BACKBONES.items():
        backbone_class = _load("modeling", method, f"{prefix}Backbone")
        backbone_class.register_for_auto_class("AutoBackbone")
        AutoBackbone.register(backbone_class.config_class, backbone_class)


def _register_image_processors() -> None:
    from transformers import AutoImageProcessor

    for method, prefix in SEGMENTATION_METHODS.items():
        processor_class = _load("image_processing", method, f"{prefix}ImageProcessor")
        processor_class.register_for_auto_class("AutoImageProcessor")
        AutoImageProcessor.register(
            _load("configuration", method, f"{prefix}Config"),
            image_processor_classes={"torchvision": processor_class},
        )


# transformers' module -> what to do once it is loaded.
_REGISTRATIONS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_configurations,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.image_processing_auto": _register_image_processors,
}


class _RegisteringLoader(importlib.abc.Loader):
    """Loads a module with its own loader and then runs its registration."""

    def __init__(self, loader: importlib.abc.Loader, register: Callable[[], None]):
        self.loader = loader
        self.register = register

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.register()


class _RegisteringFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of `_REGISTRATIONS`, each once, and leaves every other import alone."""

    def __init__(self, registrations: dict[str, Callable[[], None]]):
        self.registrations = registrations

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        register = self.registrations.pop(fullname, None)
        if register is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, register)
        return spec


def register_auto_classes() -> None:
    """Register every class of vitseg, now where transformers' tables are loaded, else as soon as they are."""
    pending = {}
    for module_name, register in _REGISTRATIONS.items():
        if module_name in sys.modules:
            register()
        else:
            pending[module_name] = register
    if pending:
        sys.meta_path.insert(0, _RegisteringFinder(pending))
