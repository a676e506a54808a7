# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Sections of `make gpu` as nobody wants them."""

import os
import time

from gpu.running import Settings, Tell

from vitseg.extras import MissingExtraError


def tell_one(settings: Settings, tell: Tell, value: float) -> None:
    tell("a figure", value, f"{value} of 1")


def fail(settings: Settings, tell: Tell) -> None:
    with tell.failures("a row"):
        raise ArithmeticError("in a row")
    tell("b row", 1.0, "goes on")
    raise RuntimeError("out of cheese")


def hang(settings: Settings, tell: Tell) -> None:
    tell("before", 1.0, "told before")
    time.sleep(600)


def crash(settings: Settings, tell: Tell) -> None:
    os.abort()


def lack(settings: Settings, tell: Tell) -> None:
    raise MissingExtraError("This needs cheese: pip install 'vitseg[cheese]'")
