# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Anchors, targets and losses of HLG's detector."""

import pytest
import torch
from citizenship import images
from tiny_hlg import objects, small_config, small_model
from torch import nn

from vitseg import HlgForObjectDetection
from vitseg.models.modeling_hlg_detection import (
    PYRAMID_STRIDES,
    decode_boxes,
    encode_boxes,
    level_anchors,
    match_anchors,
)


def test_anchors():
    anchors = level_anchors(small_config(), 16, (2, 3), torch.device("cpu"))
    assert anchors.shape == (2 * 3 * 9, 4)
    for index, anchor in enumerate(anchors.tolist()):
        cell, number = divmod(index, 9)
        row, column = divmod(cell, 3)
        ratio, scale = (0.5, 1.0, 2.0)[number // 3], 4 * 2 ** (number % 3 / 3)
        width, height = 16 * scale / ratio**0.5, 16 * scale * ratio**0.5
        # Centred on the corner of the cell, not on its middle.
        expected = [16 * column - width / 2, 16 * row - height / 2, 16 * column + width / 2, 16 * row + height / 2]
        assert anchor == pytest.approx(expected, abs=1e-4)


def test_box_coding():
    anchors = torch.tensor([[0.0, 0, 10, 20], [5, 5, 15, 15]])
    boxes = torch.tensor([[2.0, 4, 22, 14], [5, 5, 15, 15]])
    deltas = encode_boxes(boxes, anchors)
    torch.testing.assert_close(
        deltas[0],
        torch.tensor([0.7, -0.05, 2.0, 0.5])
        .log()
        .where(torch.tensor([0, 0, 1, 1]) > 0, torch.tensor([0.7, -0.05, 0, 0])),
    )
    assert not deltas[1].any()
    torch.testing.assert_close(decode_boxes(deltas, anchors), boxes)
    # No box is more than 62.5 times as wide or high as its anchor.
    huge = decode_boxes(torch.tensor([[0.0, 0, 100, -100]]), torch.tensor([[0.0, 0, 16, 16]]))
    torch.testing.assert_close(huge, torch.tensor([[8 - 500.0, 8 - 0.128, 8 + 500, 8 + 0.128]]))


def assign_by_hand(anchors: torch.Tensor, corners: list[list[float]]) -> list[int]:
    """The rule, one box after the other: 0 nothing, -1 ignored, i the i-th object."""
    # In the precision of the model, where ties are ties.
    boxes = torch.tensor(corners)
    overlaps = []
    for anchor in anchors:
        sides = (torch.minimum(anchor[2:], boxes[:, 2:]) - torch.maximum(anchor[:2], boxes[:, :2])).clamp(min=0)
        both = sides.prod(dim=1)
        either = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (anchor[2:] - anchor[:2]).prod() - both
        overlaps.append((both / either).tolist())
    assigned = []
    for of_anchor in overlaps:
        best = max(of_anchor)
        assigned.append(0 if best < 0.4 else of_anchor.index(best) + 1 if best >= 0.5 else -1)
    for number in range(len(boxes)):
        best = max(of_anchor[number] for of_anchor in overlaps)
        for index, of_anchor in enumerate(overlaps):
            if of_anchor[number] == best:
                assigned[index] = number + 1
    return assigned


def test_matching_of_anchors_and_objects():
    anchors = level_anchors(small_config(), 16, (6, 6), torch.device("cpu"))
    # The second lies inside several anchors of the same size, the third and the fourth are the same.
    boxes = [[8.0, 8, 80, 72], [40, 40, 44, 44], [16, 0, 80, 64], [16, 0, 80, 64], [30, 30, 76, 70]]
    expected = assign_by_hand(anchors, boxes)
    assert sorted(set(expected)) == [-1, 0, 1, 2, 3, 4, 5]
    assert expected.count(2) > 1
    classes = torch.tensor([[0, 1, 2, 3, 4]])
    targets = match_anchors(anchors, torch.ones(1, len(anchors), dtype=torch.bool), torch.tensor([boxes]), classes, 5)
    labels = [5 if number < 1 else number - 1 for number in expected]
    assert targets.labels[0].tolist() == labels
    assert targets.counts[0].tolist() == [number >= 0 for number in expected]
    assert targets.positive[0].tolist() == [number > 0 for number in expected]
    for index, number in enumerate(expected):
        if number > 0:
            delta = encode_boxes(torch.tensor(boxes[number - 1]), anchors[index])
            torch.testing.assert_close(targets.deltas[0, index], delta)
        else:
            assert not targets.deltas[0, index].any()


def test_images_without_objects():
    model, pixel_values = small_model(HlgForObjectDetection), images(2, 3, 64, 64)
    both = model(pixel_values, labels=objects(0, 0))
    assert all(both.loss_dict[f"loss_bbox_{level}"] == 0 for level in range(5))
    one_hot = torch.zeros_like(both.logits)
    probability = both.logits.sigmoid()
    focal = (
        0.75 * probability**2 * nn.functional.binary_cross_entropy_with_logits(both.logits, one_hot, reduction="none")
    )
    # Each of the two counts as one positive.
    torch.testing.assert_close(both.loss, focal.sum() / 2)


def test_anchors_beyond_an_image_do_not_count():
    """An image that fills a corner of the batch, padded to a multiple of 32 on its own."""
    torch.manual_seed(0)
    model = HlgForObjectDetection(small_config()).eval()
    mask = torch.zeros(1, 128, 160, dtype=torch.int64)
    mask[:, :50, :70] = 1
    pixel_values, found = images(1, 3, 128, 160), []
    original = model.find_targets
    model.find_targets = lambda *arguments: found.append(original(*arguments)) or found[-1]
    outputs = model(pixel_values, pixel_mask=mask, labels=objects(2))
    (targets,) = found
    # 64 x 96 pixels: cells of 8, 16, 32, 64 and 128 pixels, of 16 x 20, 8 x 10, 4 x 5, 2 x 3 and 1 x 2.
    inside = [(8, 12, 20), (4, 6, 10), (2, 3, 5), (1, 2, 3), (1, 1, 2)]
    for level, (rows, columns, width) in enumerate(inside):
        counts = (targets.counts | targets.positive)[0, outputs.levels[0] == level].view(-1, width, 9)
        assert not counts[rows:].any()
        assert not counts[:, columns:].any()
        assert counts[:rows, :columns].any()
    # Boxes are shares of the 50 x 70 pixels, and never reach beyond them.
    centres, sizes = outputs.pred_boxes.split(2, dim=-1)
    assert (centres - sizes / 2).min() >= -1e-5
    assert (centres + sizes / 2).max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (objects(1), "labels hold the objects of 1 images; expected those of 2"),
        (
            [{"class_labels": torch.tensor([5]), "boxes": torch.rand(1, 4)}, *objects(0)],
            r"labels\[0\] holds the class 5",
        ),
        (
            [{"class_labels": torch.tensor([1]), "boxes": torch.rand(2, 4)}, *objects(0)],
            r"boxes of shape \(2, 4\) for 1",
        ),
    ],
)
def test_wrong_objects_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        small_model(HlgForObjectDetection)(images(2, 3, 64, 64), labels=labels)


def test_a_wrong_mask_is_refused():
    with pytest.raises(ValueError, match=r"pixel_mask has shape \(2, 32, 64\).*\(2, 64, 64\)"):
        small_model(HlgForObjectDetection)(images(2, 3, 64, 64), pixel_mask=torch.ones(2, 32, 64))


def test_nothing_waits_for_the_device(monkeypatch):
    """No value of a tensor is read in a training step on an accelerator; here, under a device that has no values."""
    with torch.device("meta"):
        model = HlgForObjectDetection(small_config()).train()
        pixel_values, mask = torch.empty(2, 3, 64, 64), torch.empty(2, 64, 64)
        labels = [
            {"class_labels": torch.empty(count, dtype=torch.int64), "boxes": torch.empty(count, 4)} for count in (2, 1)
        ]
    outputs = model(pixel_values, pixel_mask=mask, labels=labels)
    assert outputs.loss.device.type == "meta"
    assert PYRAMID_STRIDES == (8, 16, 32, 64, 128)
