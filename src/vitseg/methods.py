# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The table of methods: what each is called and what it does. Public names, registration, recipes, conversion and tests
read it; to add a method is to add its files and a line here (see docs/architecture.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Task(NamedTuple):
    """How the classes of a task are named, and the Auto class of transformers that builds them."""

    suffix: str
    auto_class: str


TASKS: Mapping[str, Task] = {
    "segmentation": Task("ForSemanticSegmentation", "AutoModelForSemanticSegmentation"),
    "classification": Task("ForImageClassification", "AutoModelForImageClassification"),
    "detection": Task("ForObjectDetection", "AutoModelForObjectDetection"),
    "backbone": Task("Backbone", "AutoBackbone"),
    "encoder": Task("Model", "AutoModel"),
    "policy": Task("", "AutoModel"),
}


@dataclass(frozen=True)
class Method:
    """
    A method.

    Args:
        model_type: its name in configurations and of its files, such as `"setr"`.
        prefix: of its classes, such as `"Setr"`.
        tasks: what its classes do, see `TASKS`.
        modules: task -> the file of models/ with the class, where that is not `modeling_<model_type>`.
        processor_of: the method whose image processor it takes, if that is not its own; `None` for a backbone, which
            takes that of the model it is part of.
    """

    model_type: str
    prefix: str
    tasks: tuple[str, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    processor_of: str | None = ""

    @property
    def config_class(self) -> str:
        return f"{self.prefix}Config"

    @property
    def processor_class(self) -> str | None:
        """The image processor, if it has one."""
        if self.processor_of is None:
            return None
        return f"{METHODS[self.processor_of or self.model_type].prefix}ImageProcessor"

    def class_name(self, task: str) -> str:
        """The class that does a task, such as `"SetrForSemanticSegmentation"`."""
        return f"{self.prefix}{TASKS[task].suffix}"

    @property
    def modules_of_classes(self) -> dict[str, str]:
        """Every public class of the method, and the file of models/ that defines it."""
        modules = {self.config_class: f"configuration_{self.model_type}"}
        modules |= {
            self.class_name(task): self.modules.get(task, f"modeling_{self.model_type}") for task in self.tasks
        }
        if self.processor_of == "":
            modules[f"{self.prefix}ImageProcessor"] = f"image_processing_{self.model_type}"
        return modules


METHODS: Mapping[str, Method] = {
    method.model_type: method
    for method in (
        Method("cts_policy", "CtsPolicyNet", ("policy",), processor_of="cts_segmenter"),
        Method("cts_segmenter", "CtsSegmenter", ("segmentation",)),
        Method(
            "hlg",
            "Hlg",
            ("segmentation", "classification", "detection", "backbone", "encoder"),
            modules={"segmentation": "modeling_hlg_segmentation", "detection": "modeling_hlg_detection"},
        ),
        Method("plain_vit", "PlainVit", ("backbone",), processor_of=None),
        Method("sctnet", "SctNet", ("segmentation", "backbone")),
        Method("sctnet_teacher", "SctNetTeacher", ("segmentation",)),
        Method("segvit", "SegVit", ("segmentation",)),
        Method("setr", "Setr", ("segmentation",)),
        Method("structtoken", "StructToken", ("segmentation",)),
    )
}


def methods_for(task: str) -> list[str]:
    """The methods that do a task, by their `model_type`."""
    return [method.model_type for method in METHODS.values() if task in method.tasks]
