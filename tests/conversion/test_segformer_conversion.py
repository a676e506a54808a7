# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegFormer of its authors as transformers' own class; mmsegmentation's own is another network."""

import copy
import re
from typing import Any

import pytest
import torch
from golden_cases import load_case, pixels
from transformers import SegformerForSemanticSegmentation

from vitseg.conversion.transformers_models.segformer import SegformerConverter


CASE = load_case("transformers_models", "segformer")


def test_answers_as_the_original(command):
    arguments = ("--original-config", command.original_config(CASE.config))
    checkpoint = command.checkpoint({"state_dict": CASE.state_dict()})
    answer = command.run(*arguments, "--checkpoint", checkpoint, "--output", command.output)
    assert answer.status == 0, answer.err
    assert "Dropped 2 (the original does not use it either): decode_head.conv_seg" in answer.out
    model = SegformerForSemanticSegmentation.from_pretrained(command.output)
    for output, description in CASE.description["outputs"].items():
        with torch.no_grad():
            CASE.assert_matches(output, model(pixels(description["input"])).logits)


def test_that_of_mmsegmentation_is_refused_with_what_it_converts_as(command):
    golden = load_case("mmsegmentation", "segformer")
    command.method = "segformer"
    answer = command.convert(command.checkpoint(golden.state_dict()), command.original_config(golden.config))
    command.assert_refused(answer, "another head, that transformers does not have, and converts as sctnet_teacher")


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("backbone", {"type": "mit_b6"}, "type='mit_b6'; only 'mit_b0' or 'mit_b1'"),
        ("backbone", {"depths": [1, 1, 1, 1]}, "mit_b0 has depths=[1, 1, 1, 1], an argument that is not known"),
        ("decode_head", {"in_index": [3, 2, 1, 0]}, "SegFormerHead has in_index=[3, 2, 1, 0]"),
        ("decode_head", {"feature_strides": [8, 8, 16, 32]}, "feature_strides=[8, 8, 16, 32]"),
        ("decode_head", {"align_corners": True}, "align_corners=True; only False"),
    ],
)
def test_arguments_are_refused_by_name_and_value(place, changes, message):
    config: dict[str, Any] = copy.deepcopy(CASE.config)
    config[place] |= changes
    with pytest.raises(ValueError, match=re.escape(message)):
        SegformerConverter(CASE.state_dict()).read_config(config)
