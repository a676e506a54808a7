# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Work in threads beside a model: in order, within its bounds, and finished once it was begun."""

import threading

import pytest
import torch

from vitseg.overlapping import overlapping


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_and_few_wait(threads):
    asked = []

    def items():
        for item in range(50):
            asked.append(item)
            yield item

    results = overlapping(lambda item: 2 * item, items(), threads, waiting=4)
    for index, result in enumerate(results):
        assert result == 2 * index
        assert len(asked) - index - 1 <= (4 if threads else 0)
    assert result == 98


def test_it_overlaps():
    """What is asked for while the first item waits for it to be asked for."""
    second = threading.Event()

    def meet(item: int) -> bool:
        if item == 2:
            second.set()
        return second.wait(timeout=60)

    assert list(overlapping(meet, [1, 2], 2, waiting=1)) == [True, True]


def test_what_was_begun_is_finished():
    finished = []

    def items():
        yield from "abc"
        raise ValueError("d is broken")

    with pytest.raises(ValueError, match="d is broken"):
        list(overlapping(finished.append, items(), 1, waiting=5))
    assert finished == ["a", "b", "c"]


def test_failures_are_raised_when_they_are_due():
    results = overlapping(lambda item: 1 // item, [1, 0, 1], 2, waiting=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_compute_on_one_processor_and_the_model_on_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for there in overlapping(lambda _: torch.get_num_threads(), "ab", 1, waiting=1):
            assert (there, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)
