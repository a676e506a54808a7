# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Kinds of command-line arguments that several programs take."""

import argparse


def positive_int(text: str) -> int:
    """
    A whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: for any other; argparse makes an error message of it.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive: give a whole number from 1 on")
    return int(text)


def whole_number(text: str) -> int:
    """
    A whole number from 0 on.

    Raises:
        argparse.ArgumentTypeError: for any other.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of things: give a whole number from 0 on")
    return int(text)
