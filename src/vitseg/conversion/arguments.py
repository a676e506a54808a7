# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The classes that original configurations name, with all of their arguments, as data.

A configuration says what differs from the defaults of its classes. What it leaves out is therefore as much a part of
it as what it says, and is read in the same place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class OriginalClass:
    """
    A class of an original and its arguments.

    Args:
        names: what a configuration may call it.
        required: arguments without a default.
        carried: arguments whose values a conversion reads -> their defaults.
        fixed: arguments of which only the default can be converted -> that default.
        parts: arguments that are configurations themselves -> what they are of, and their default.
        ignored: arguments that say nothing of the trained model: how it was initialised, how memory was saved.
    """

    names: tuple[str, ...]
    required: tuple[str, ...] = ()
    carried: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "tuple[OriginalClass, dict[str, Any] | None]"] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def derived(
        self,
        *names: str,
        required: tuple[str, ...] = (),
        carried: Mapping[str, Any] | None = None,
        fixed: Mapping[str, Any] | None = None,
        parts: "Mapping[str, tuple[OriginalClass, dict[str, Any] | None]] | None" = None,
        ignored: tuple[str, ...] = (),
    ) -> "OriginalClass":
        """A class that takes the arguments of this one, too; what is said here goes before what is said there."""
        said = {*required, *(carried or {}), *(fixed or {}), *(parts or {}), *ignored}

        def without(arguments: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in arguments.items() if name not in said}

        return replace(
            self,
            names=names,
            required=(*(name for name in self.required if name not in said), *required),
            carried={**without(self.carried), **(carried or {})},
            fixed={**without(self.fixed), **(fixed or {})},
            parts={**without(self.parts), **(parts or {})},
            ignored=(*(name for name in self.ignored if name not in said), *ignored),
        )

    @property
    def known(self) -> set[str]:
        """The names of all arguments."""
        return {*self.required, *self.carried, *self.fixed, *self.parts, *self.ignored}

    def read(self, configuration: Any, owner: str | None = None) -> dict[str, Any]:
        """
        The arguments of an object that a configuration describes: required and carried ones, with the defaults of
        those that it leaves out, the arguments of the parts, and as `type` what errors call it. Tuples become lists.

        Args:
            configuration: a dictionary of arguments and `type`.
            owner: what errors call it, if not by its `type`.

        Raises:
            ValueError: naming class, argument and value of what cannot be converted: another class, an argument that
                it does not have, a value other than the fixed one.
            KeyError: if it lacks a required argument.
            TypeError: if it is no configuration.
        """
        if not isinstance(configuration, Mapping):
            raise TypeError(f"expected a dictionary of {self.names[0]}, not {configuration!r}")
        given = {name: _plain(value) for name, value in configuration.items()}
        stated_type = given.pop("type", self.names[0])
        if stated_type not in self.names:
            raise ValueError(f"The configuration has type={stated_type!r}; only {self._said_names} can be converted.")
        said_name = owner or stated_type
        if unknown := sorted(given.keys() - self.known):
            raise ValueError(
                f"{said_name} has {unknown[0]}={given[unknown[0]]!r}, an argument that is not known of it and cannot "
                f"be converted. Known are {', '.join(sorted(self.known))}."
            )
        refuse_unless({**given, "type": said_name}, **self.fixed)
        return {
            "type": said_name,
            **{name: given[name] for name in self.required},
            **{name: given.get(name, default) for name, default in self.carried.items()},
            **{
                name: part.read_part(said_name, name, given.get(name, default))
                for name, (part, default) in self.parts.items()
            },
        }

    def read_part(self, owner: str, argument: str, configuration: Any) -> dict[str, Any]:
        """As [`read`], for an argument of `owner`: one configuration, which may be alone in a list, and not none."""
        if isinstance(configuration, list | tuple) and len(configuration) == 1:
            configuration = configuration[0]
        is_one = isinstance(configuration, Mapping) and configuration.get("type") in self.names
        if not is_one:
            raise ValueError(f"{owner} has {argument}={configuration!r}; only {self._said_names} can be converted.")
        return self.read(configuration, f"{owner}'s {argument}")

    @property
    def _said_names(self) -> str:
        return " or ".join(repr(name) for name in self.names)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# Arguments that a trained model answers the same without.
FOR_TRAINING = {
    "attn_drop",
    "avg_non_ignore",
    "class_weight",
    "drop_path_rate",
    "dropout",
    "dropout_layer",
    "dropout_ratio",
    "ffn_drop",
    "frozen_exclude",
    "loss_weight",
    "proj_drop",
    "reduction",
    "sampler",
    "use_mask",
    "use_sigmoid",
}


def refuse_unless(arguments: Mapping[str, Any], /, **expected: Any) -> None:
    """
    Raises:
        ValueError: if arguments of a class, as [`OriginalClass.read`] gives them, are not those expected.
    """
    for name, value in expected.items():
        if name in arguments and arguments[name] != value:
            remedy = " Only training looks at it: change it in the configuration." if name in FOR_TRAINING else ""
            raise ValueError(
                f"{arguments['type']} has {name}={arguments[name]!r}; only {value!r} can be converted.{remedy}"
            )


def value_of_all(parts: list[dict[str, Any]], name: str) -> Any:
    """
    The value that an argument has in all parts, of which there is at least one.

    Raises:
        ValueError: if they differ.
    """
    values = [part[name] for part in parts]
    if any(value != values[0] for value in values):
        raise ValueError(f"The heads have {name}={values}; only one value for all can be converted.")
    return values[0]
