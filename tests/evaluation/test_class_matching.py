# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Which class of a data set each class of a model is."""

import pytest

from vitseg.evaluation.class_matching import match_classes


def test_the_same_names_in_another_order_and_spelling():
    match = match_classes(
        ["Sky", "traffic_light", "door;double door", "screen, door"], ["door", "traffic light", "sky"]
    )
    assert match.names == ["door", "traffic light", "sky"]
    assert match.ids.tolist() == [2, 1, 0, 3]
    assert (match.missing, match.extra) == ((), ("screen, door",))
    assert match.notes(["Sky", "traffic_light", "door;double door", "screen, door"]) == [
        "3 of 3 classes are found in the model by name",
        "the data set lacks these, which are wrong where predicted: screen, door",
    ]


def test_what_is_not_clear_is_not_matched():
    match = match_classes(["car, vehicle", "bus, vehicle", "road"], ["vehicle", "road"])
    assert match.ids.tolist() == [2, 2, 1]
    assert match.missing == ("vehicle",)


def test_ids_hold_where_names_do_not_say_otherwise():
    assert match_classes(["sky", "road"], ["sky", "road"]).ids is None
    match = match_classes(["sky", "way"], ["sky", "road"])
    assert match.ids is None
    assert match.names == ["sky", "way"]
    assert match.notes(["sky", "way"]) == [
        "1 of 2 class names are others in the data set: class 1 is 'way' in the model and 'road' in the data set"
    ]
    assert match_classes(["a", "b"], ["b", "c"], by="id").ids is None
    assert match_classes(["a", "b"], ["b", "c"]).ids.tolist() == [2, 0]
    assert match_classes(["step, stair", "stairway", "wall"], ["step", "stair", "wall"]).ids is None
    assert match_classes(["sky", "way"], ["sky", "road"], by="name").ids.tolist() == [0, 2]


def test_refusals():
    with pytest.raises(ValueError, match=r"has 3 classes, but the model has 2, and none has the same name: 'x'"):
        match_classes(["a", "b"], ["x", "y", "z"])
    with pytest.raises(ValueError, match=r"has 1 classes, but the model has 2\."):
        match_classes(["a", "b"], ["a"], by="id")
    with pytest.raises(ValueError, match="none has the same name"):
        match_classes(["a"], ["b"], by="name")
