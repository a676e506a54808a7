# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
import argparse

import pytest

from vitseg.arguments import positive_int, whole_number


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("640", 640)])
def test_positive_numbers(text, number):
    assert positive_int(text) == number


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", ""])
def test_anything_else_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a whole number from 1 on"):
        positive_int(text)


def test_whole_numbers():
    assert [whole_number(text) for text in ("0", "12")] == [0, 12]
    with pytest.raises(argparse.ArgumentTypeError, match="-1 is no number of things: give a whole number from 0 on"):
        whole_number("-1")
