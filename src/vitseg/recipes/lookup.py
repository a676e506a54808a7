# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors for names that do not exist."""

import difflib
from collections.abc import Iterable


def unknown_name(what: str, name: str, valid_names: Iterable[str], hint: str = "") -> ValueError:
    """
    The error for `name`, which is none of `valid_names`: it offers the closest of them, or all if none is close.

    `what` says what the name should have been of, as in "recipe"; `hint` is a closing sentence.
    """
    valid_names = sorted(valid_names)
    closest = difflib.get_close_matches(name, valid_names, n=3)
    advice = f"Did you mean {' or '.join(map(repr, closest))}?" if closest else f"Valid are {', '.join(valid_names)}."
    return ValueError(f"There is no {what} {name!r}. {advice} {hint}".rstrip())
