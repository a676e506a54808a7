# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configurations that refuse wrong values with a ValueError, as everything else does."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from huggingface_hub import dataclasses
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError


Config = TypeVar("Config", bound=type)


class FieldValueError(StrictDataclassFieldValidationError, ValueError):
    """A value of the wrong type."""

    def __init__(self, message: str):
        ValueError.__init__(self, message)


class ConfigValueError(StrictDataclassClassValidationError, ValueError):
    """Values that are impossible, by themselves or together."""

    def __init__(self, message: str):
        ValueError.__init__(self, message)


def strict(config_class: Config) -> Config:
    """huggingface_hub's decorator of the same name, whose errors are no ValueErrors."""
    checked: Any = dataclasses.strict(config_class)
    for name in ("__init__", "__setattr__", "validate"):
        setattr(checked, name, _with_value_errors(getattr(checked, name)))
    return checked


def _with_value_errors(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except (FieldValueError, ConfigValueError):
            raise  # of the base class's method
        except StrictDataclassFieldValidationError as error:
            raise FieldValueError(str(error)) from error.__cause__
        except StrictDataclassClassValidationError as error:
            raise ConfigValueError(str(error)) from error.__cause__

    return checked
