# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The classes of a model in a data set that numbers or spells them otherwise."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class ClassMatch:
    """
    How the classes of a model are found in a data set.

    Args:
        names: the classes that are measured: the data set's, by their ids.
        ids: which of these each class of the model is, int64 `(num_labels,)`, and `len(names)` where it is none, which
            is wrong wherever it is predicted; `None` where the ids are the same.
        missing: those of `names` that the model lacks, whose IoU is 0.
        extra: classes of the model that the data set lacks.
        renamed: the names of the data set, where ids are the same and names are not.
    """

    names: list[str]
    ids: torch.Tensor | None = None
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    renamed: tuple[str, ...] | None = None

    def record(self) -> dict[str, Any]:
        """What is to be kept with a result: the classes that only one side has, where they were found by name."""
        if self.ids is None:
            return {}
        return {"unmatched_classes": {"data set": list(self.missing), "model": list(self.extra)}}

    def notes(self, model_names: Sequence[str]) -> list[str]:
        """What a person has to know, a sentence each."""
        if self.renamed is not None:
            pairs = zip(model_names, self.renamed, strict=True)
            different = [(index, *pair) for index, pair in enumerate(pairs) if pair[0] != pair[1]]
            first, here, there = different[0]
            return [
                f"{len(different)} of {len(model_names)} class names are others in the data set: class {first} is "
                f"{here!r} in the model and {there!r} in the data set"
            ]
        if self.ids is None:
            return []
        notes = [f"{len(self.names) - len(self.missing)} of {len(self.names)} classes are found in the model by name"]
        if self.missing:
            notes.append(f"the model lacks these, whose IoU is 0: {', '.join(self.missing)}")
        if self.extra:
            notes.append(f"the data set lacks these, which are wrong where predicted: {', '.join(self.extra)}")
        return notes


def match_classes(model_names: Sequence[str], data_names: Sequence[str], by: str | None = None) -> ClassMatch:
    """
    Find the classes of a model in a data set.

    Names are the same that differ in case, in spaces, hyphens and underscores, or in synonyms after commas or
    semicolons, as long as it is clear which is which.

    Args:
        model_names: by class id.
        data_names: likewise.
        by: `"name"` or `"id"`; by default the id, unless the same names stand elsewhere or there are not as many.

    Raises:
        ValueError: if there are not as many and they are not to be, or cannot be, found by name.
    """
    if list(model_names) == list(data_names):
        return ClassMatch(list(data_names))
    has_as_many = len(model_names) == len(data_names)
    if by is None and has_as_many:
        # Of two lists of the same classes, one with synonyms, a synonym alone is no reason to doubt the order.
        sure = _pairs(model_names, data_names, (_all_synonyms,))
        by = "id" if all(here == there for here, there in sure.items()) else "name"
    if by == "id":
        if not has_as_many:
            raise ValueError(f"has {len(data_names)} classes, but the model has {len(model_names)}.")
        return ClassMatch(list(model_names), renamed=tuple(data_names))
    pairs = _pairs(model_names, data_names, (_all_synonyms, _first_synonym, _synonyms))
    if not pairs:
        raise ValueError(
            f"has {len(data_names)} classes, but the model has {len(model_names)}, and none has the same name: "
            f"{data_names[0]!r}, ... in the data set, {model_names[0]!r}, ... in the model."
        )
    other = len(data_names)
    found = set(pairs.values())
    return ClassMatch(
        list(data_names),
        torch.tensor([pairs.get(index, other) for index in range(len(model_names))]),
        tuple(name for index, name in enumerate(data_names) if index not in found),
        tuple(name for index, name in enumerate(model_names) if index not in pairs),
    )


def _pairs(
    model_names: Sequence[str], data_names: Sequence[str], ways: Sequence[Callable[[str], list[str]]]
) -> dict[int, int]:
    """
    The id in the data set of each class of the model that is found there, in one way or else in the next: so door is
    "door, double door", and not "screen door, door".
    """
    pairs: dict[int, int] = {}
    for keys in ways:
        here = _only(model_names, keys, set(pairs))
        there = _only(data_names, keys, set(pairs.values()))
        for key in filter(there.__contains__, here):
            if here[key] not in pairs and there[key] not in pairs.values():
                pairs[here[key]] = there[key]
    return pairs


def _only(names: Sequence[str], keys: Callable[[str], list[str]], taken: set[int]) -> dict[str, int]:
    """The one class of each key, of those that are left."""
    ids: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        for key in dict.fromkeys(keys(name)) if index not in taken else ():
            ids.setdefault(key, []).append(index)
    return {key: found[0] for key, found in ids.items() if len(found) == 1}


def _synonyms(name: str) -> list[str]:
    spelled = (" ".join(re.split(r"[\s_-]+", synonym.strip().casefold())) for synonym in re.split("[,;]", name))
    return [synonym for synonym in spelled if synonym]


def _first_synonym(name: str) -> list[str]:
    return _synonyms(name)[:1]


def _all_synonyms(name: str) -> list[str]:
    return [", ".join(_synonyms(name))]
