# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label sets: the published class lists, in the published order, and the meaning of annotation values."""

import pytest

from vitseg.recipes import LABEL_SETS, load_id2label, load_label_set


# Number of classes, first and last name, colour of class 0.
PUBLISHED = {
    "ade20k": (150, "wall", "flag", (120, 120, 120)),
    "cityscapes": (19, "road", "bicycle", (128, 64, 128)),
    "coco_stuff10k": (171, "person", "wood", (0, 192, 64)),
    "coco_stuff164k": (171, "person", "wood", (0, 192, 64)),
    "pascal_context59": (59, "aeroplane", "wood", (180, 120, 120)),
    "pascal_context60": (60, "background", "wood", (120, 120, 120)),
}


def test_all_label_sets_are_known():
    assert sorted(LABEL_SETS) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_classes(name):
    num_labels, first, last, colour = PUBLISHED[name]
    labels = load_label_set(name)
    assert labels.num_labels == len(labels.names) == len(labels.palette) == num_labels
    assert (labels.names[0], labels.names[-1], labels.palette[0]) == (first, last, colour)
    assert len(set(labels.names)) == num_labels
    assert all(label == label.strip() != "" for label in labels.names)
    assert all(len(rgb) == 3 and min(rgb) >= 0 and max(rgb) <= 255 for rgb in labels.palette)
    assert [labels.id2label[index] for index in range(num_labels)] == list(labels.names)
    assert labels.label2id == {label: index for index, label in labels.id2label.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_class_has_one_raw_value(name):
    labels = load_label_set(name)
    targets = [target for target in labels.raw_to_train.values() if target != labels.ignore_index]
    assert labels.ignore_index == 255
    assert sorted(targets) == list(range(PUBLISHED[name][0]))


@pytest.mark.parametrize(
    ("name", "raw", "label"),
    [
        ("ade20k", 1, "wall"),
        ("ade20k", 8, "bed"),  # "bed " in the published table
        ("cityscapes", 7, "road"),
        ("cityscapes", 33, "bicycle"),
        ("coco_stuff10k", 1, "person"),
        ("coco_stuff164k", 0, "person"),
        ("coco_stuff10k", 182, "wood"),
        ("coco_stuff164k", 181, "wood"),
        ("pascal_context60", 0, "background"),
        ("pascal_context60", 2, "aeroplane"),
        ("pascal_context59", 2, "aeroplane"),
    ],
)
def test_raw_values(name, raw, label):
    labels = load_label_set(name)
    assert labels.names[labels.raw_to_train[raw]] == label


@pytest.mark.parametrize(
    ("name", "raw"),
    [("ade20k", 0), ("cityscapes", -1), ("coco_stuff10k", 0), ("coco_stuff164k", 255), ("pascal_context59", 0)],
)
def test_ignored_raw_values(name, raw):
    assert load_label_set(name).raw_to_train[raw] == 255


def test_reduce_labels_is_set_where_the_originals_do():
    reduced = {name for name in LABEL_SETS if load_label_set(name).reduce_labels}
    assert reduced == {"ade20k", "coco_stuff10k", "pascal_context59"}


def test_cityscapes_submissions_undo_the_training_ids():
    labels = load_label_set("cityscapes")
    assert labels.label_ids["car"] == 26
    assert labels.train_to_label_id[13] == 26
    assert {labels.raw_to_train[raw]: raw for raw in labels.train_to_label_id.values()} == labels.train_to_label_id


def test_pascal_context_keeps_the_wrong_names_apart():
    labels = load_label_set("pascal_context60")
    assert labels.names[:3] == ("background", "aeroplane", "bag")
    assert labels.names_in_older_mmseg[:3] == ("background", "aeroplane", "bicycle")
    assert sorted(labels.names_in_older_mmseg) == sorted(labels.names)


def test_unknown_label_set_names_the_closest():
    with pytest.raises(ValueError, match=r"no label set 'pascal_context'.*'pascal_context60'"):
        load_label_set("pascal_context")
    with pytest.raises(ValueError, match=r"no label set 'voc'\. Valid are ade20k, cityscapes"):
        load_label_set("voc")


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("imagenet1k", 1000, {0: "tench", 207: "golden retriever", 999: "toilet tissue"}),
        ("coco", 80, {0: "person", 11: "stop sign", 79: "toothbrush"}),
        ("ade20k", 150, {0: "wall"}),
    ],
)
def test_class_names(name, count, some):
    id2label = load_id2label(name)
    assert list(id2label) == list(range(count))
    assert len(set(id2label.values())) == count
    for index, label in some.items():
        assert id2label[index] == label
