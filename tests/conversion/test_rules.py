# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Rules rename every tensor or say what is wrong with it, and every method's converter keeps to its interface."""

import inspect

import pytest
import torch

from vitseg.conversion.base import CONVERTIBLE, Converter, converter_of
from vitseg.conversion.rules import Rule, StateDictMismatch, rename


EXPECTED = {"q.weight": torch.zeros(2, 3), "k.weight": torch.zeros(2, 3), "norm.num_batches_tracked": torch.tensor(0)}
TABLE = [
    Rule(r"attn\.weight", ("q.weight", "k.weight")),
    Rule(r"head\.(.*)", reason="of no use"),
    Rule(r"(norm)\.(.*)", r"\1.\2"),
]


def test_the_first_rule_that_matches_counts():
    tensors = {"attn.weight": torch.arange(12.0).view(4, 3).double(), "head.weight": torch.ones(1)}
    renamed = rename(tensors, [*TABLE, Rule(".*", "lost")], EXPECTED)
    assert torch.equal(renamed.state_dict["q.weight"], torch.arange(6.0).view(2, 3))
    assert torch.equal(renamed.state_dict["k.weight"], torch.arange(6.0, 12.0).view(2, 3))
    assert renamed.state_dict["norm.num_batches_tracked"] == 0
    assert renamed.dropped == {"of no use": ["head.weight"]}


def test_everything_that_does_not_fit_is_listed():
    tensors = {"attn.weight": torch.zeros(5, 3), "norm.scale": torch.zeros(1), "extra": torch.zeros(2)}
    with pytest.raises(StateDictMismatch) as mismatch:
        rename(tensors, TABLE, {**EXPECTED, "bias": torch.zeros(7)})
    assert str(mismatch.value).splitlines() == [
        "The checkpoint does not fit the model.",
        "  not known to the conversion (1):",
        "    extra (2,)",
        "  missing (1):",
        "    bias (7,)",
        "  not in the model (1):",
        "    norm.scale (1,)",
        "  of another shape (1):",
        "    q.weight (3, 3), expected (2, 3)",
    ]
    assert set(mismatch.value.names) == {"extra", "bias", "norm.scale", "q.weight"}


@pytest.mark.parametrize("method", CONVERTIBLE)
def test_a_converter_of_each_method(method):
    converter = converter_of(method)
    assert issubclass(converter, Converter)
    assert not inspect.isabstract(converter)
    with pytest.raises(ValueError, match=r"another\.weight"):
        converter({"another.weight": torch.zeros(1)})
