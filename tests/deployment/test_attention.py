# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention as convolutions answers what attention answers, whatever it is given."""

import pytest
import torch
from torch import nn

from vitseg.deployment import attention
from vitseg.deployment.linear import MIN_ROWS


@pytest.fixture
def module():
    module = nn.Module()
    module.is_causal = False
    return module


def states(num_queries: int, num_keys: int) -> list[torch.Tensor]:
    """Of two images and three heads, laid out as linear layers leave them: query, key, value."""
    torch.manual_seed(0)
    return [torch.randn(2, rows, 3, 8).transpose(1, 2) for rows in (num_queries, num_keys, num_keys)]


def expected_of(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    scores = (0.3 * query.double() @ key.double().transpose(2, 3) + mask.double()).softmax(dim=-1)
    return (scores @ value.double()).transpose(1, 2).float()


@torch.no_grad()
@pytest.mark.parametrize("max_scores", [2**24, MIN_ROWS * 50, 100], ids=["together", "heads one by one", "too many"])
@pytest.mark.parametrize("num_queries", [MIN_ROWS, 5])
def test_answers_as_attention_does(num_queries, max_scores, module, monkeypatch):
    monkeypatch.setattr(attention, "MAX_SCORES", max_scores)
    query, key, value = states(num_queries, 50)
    attended, _ = attention.convolved_attention(module, query, key, value, None, scaling=0.3)
    torch.testing.assert_close(attended, expected_of(query, key, value, torch.zeros(())), rtol=1e-5, atol=1e-5)
    assert query.equal(states(num_queries, 50)[0])


@torch.no_grad()
def test_takes_masks(module):
    query, key, value = states(MIN_ROWS, 50)
    mask = torch.randn(2, 3, MIN_ROWS, 50)
    attended, _ = attention.convolved_attention(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(attended, expected_of(query, key, value, mask), rtol=1e-5, atol=1e-5)


def test_has_gradients(module):
    gradients = []
    for function in (
        lambda *tensors: attention.convolved_attention(module, *tensors, None, scaling=0.3)[0],
        lambda *tensors: expected_of(*tensors, torch.zeros(())),
    ):
        leaves = [tensor.requires_grad_() for tensor in states(MIN_ROWS, 50)]
        gradients.append(torch.autograd.grad(function(*leaves).square().sum(), leaves))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
