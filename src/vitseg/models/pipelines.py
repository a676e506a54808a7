# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How transformers' pipelines learn of models, whether vitseg is imported or they were loaded as remote code."""

from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar

from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto


ModelClass = TypeVar("ModelClass", bound=type[PreTrainedModel])

# Pipelines know the models that they support by name, in a table for each task.
TABLES: Mapping[str, MutableMapping[str, Any]] = {
    "ForSemanticSegmentation": modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    "ForImageClassification": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "ForObjectDetection": modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
}


def known_to_pipelines(model_class: ModelClass) -> ModelClass:
    """Class decorator: pipelines of the task that the class's name ends with take its models without complaint."""
    for ending, table in TABLES.items():
        if model_class.__name__.endswith(ending):
            table[model_class.config_class.model_type] = model_class.__name__
    return model_class
