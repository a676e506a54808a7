# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Command-line arguments that several programs take."""

import argparse

from .processor import DTYPES


# Of those that operations of PyTorch use.
MOST_THREADS = 1024


def add_computing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a model computes; see `vitseg.processor.choose_computing`."""
    parser.add_argument(
        "--dtype", choices=(*DTYPES, "auto"), default=DTYPES[0], help="of the model; auto: bfloat16 where it is faster"
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="that a model computes in on a CPU (PyTorch's default)"
    )


def positive_int(text: str) -> int:
    """
    A whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: for any other; argparse makes an error message of it.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive: give a whole number from 1 on")
    return int(text)


def thread_count(text: str) -> int:
    """
    How many threads to start.

    Raises:
        argparse.ArgumentTypeError: if it is no number from 1 on, or more than any computer has use for.
    """
    count = positive_int(text)
    if count > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} are more than {MOST_THREADS}: give as many as there are processors")
    return count


def whole_number(text: str) -> int:
    """
    A whole number from 0 on.

    Raises:
        argparse.ArgumentTypeError: for any other.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of things: give a whole number from 0 on")
    return int(text)
