# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The drawn scenes: reproducible, learnable, aligned with their labels, and loadable with `datasets`."""

import json

import numpy as np
import pytest
from datasets import load_dataset

from vitseg.scenes import (
    SCENE_CLASSES,
    SCENE_KINDS,
    SCENE_PALETTE,
    SCENE_THINGS,
    draw_annotated_scene,
    draw_scene,
    write_scenes,
    writing,
)


@pytest.fixture(scope="module")
def hundred_scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(image), np.asarray(label)) for image, label in map(draw_scene, range(100))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "drawn"
    write_scenes(folder, num_train=7, num_validation=3, seed=5, num_shards=2)
    return folder


def boundary_contrast(image: np.ndarray, label: np.ndarray, shift: int) -> float:
    """Mean step in brightness across the class boundaries of a label map that is moved right by some pixels."""
    step = np.abs(np.diff(image.astype(float).mean(-1), axis=1))
    boundary = label[:, 1:] != label[:, :-1]
    return step[:, 8:-8][np.roll(boundary, shift, axis=1)[:, 8:-8]].mean()


def assert_aligned(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for flip in (False, True):
        if flip:  # vertical boundaries are the horizontal ones of the transposed picture
            pairs = [(image.transpose(1, 0, 2), label.T) for image, label in pairs]
        contrast = {
            shift: np.mean([boundary_contrast(image, label, shift) for image, label in pairs])
            for shift in (-2, -1, 0, 1, 2)
        }
        assert max(contrast, key=contrast.__getitem__) == 0


def test_same_seed_gives_the_same_scene():
    first_image, first_label = draw_scene(7)
    second_image, second_label = draw_scene(7)
    assert first_image.tobytes() == second_image.tobytes()
    assert first_label.tobytes() == second_label.tobytes()


def test_different_seeds_give_different_scenes(hundred_scenes):
    assert len({label.tobytes() for _, label in hundred_scenes}) == 100


def test_images_are_rgb_and_label_maps_have_their_size():
    image, label = draw_scene(3)
    assert (image.mode, label.mode) == ("RGB", "L")
    assert image.size == label.size


def test_sizes_vary_and_are_wider_than_high(hundred_scenes):
    shapes = np.array([label.shape for _, label in hundred_scenes])
    assert len(np.unique(shapes, axis=0)) > 50
    assert (shapes[:, 0] >= 128).all()
    assert (shapes[:, 0] <= 224).all()
    assert (shapes[:, 1] >= 160).all()
    assert (shapes[:, 1] <= 320).all()
    assert (shapes[:, 1] > shapes[:, 0]).all()


def test_names_and_colors_are_distinct():
    assert len(set(SCENE_CLASSES)) == len(SCENE_CLASSES) == len(SCENE_PALETTE) == 12
    assert len(set(SCENE_PALETTE)) == len(SCENE_PALETTE)


def test_labels_are_train_ids_or_ignored(hundred_scenes):
    values = np.unique(np.concatenate([label.ravel() for _, label in hundred_scenes]))
    assert values.tolist() == [*range(len(SCENE_CLASSES)), 255]


def test_about_one_pixel_in_a_hundred_is_ignored(hundred_scenes):
    share = np.mean([(label == 255).mean() for _, label in hundred_scenes])
    assert 0.004 < share < 0.02


def test_every_class_is_in_a_third_of_the_scenes_and_large_enough_to_learn(hundred_scenes):
    for index, name in enumerate(SCENE_CLASSES):
        areas = np.array([(label == index).sum() for _, label in hundred_scenes])
        assert (areas >= 64).mean() > 1 / 3, name
        assert np.median(areas[areas > 0]) > 300, name


def test_majority_class_alone_scores_low(hundred_scenes):
    counts = sum(np.bincount(label.ravel(), minlength=256)[: len(SCENE_CLASSES)] for _, label in hundred_scenes)
    # Predicted everywhere, a class has the IoU of its share of the pixels, and every other class has 0.
    assert counts.max() / counts.sum() / len(SCENE_CLASSES) < 0.15


def test_mean_color_does_not_tell_the_classes_apart(hundred_scenes):
    """A classifier that knows each class's mean colour, and nothing else, gets most pixels wrong."""
    pixels = np.concatenate([image[::7, ::7].reshape(-1, 3) for image, _ in hundred_scenes]).astype(float)
    labels = np.concatenate([label[::7, ::7].ravel() for _, label in hundred_scenes])
    pixels, labels = pixels[labels != 255], labels[labels != 255]
    means = np.stack([pixels[labels == index].mean(0) for index in range(len(SCENE_CLASSES))])
    nearest = ((pixels[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == labels).mean() < 0.5


def test_label_map_is_aligned_with_the_image(hundred_scenes):
    assert_aligned(hundred_scenes)


def test_objects_lie_where_the_label_map_has_them():
    categories = set()
    for seed in range(30):
        image, label_map = draw_scene(seed)
        scene = draw_annotated_scene(seed)
        assert np.array_equal(np.asarray(scene.image), np.asarray(image))
        label_map, covered = np.asarray(label_map), np.zeros(image.size[::-1], dtype=bool)
        for thing in scene.objects:
            categories.add(thing.category)
            x, y, width, height = thing.bbox
            label = SCENE_CLASSES.index(SCENE_THINGS[thing.category])
            inside = label_map[y : y + height, x : x + width]
            # Outlines are ignored in label maps.
            assert np.isin(inside, (label, 255)).sum() >= thing.area
            assert thing.area <= width * height
            covered[y : y + height, x : x + width] = True
        things = np.isin(label_map, [SCENE_CLASSES.index(name) for name in SCENE_THINGS])
        assert (things & ~covered).sum() < 80
    assert categories == set(range(len(SCENE_THINGS)))


def test_kinds_of_scenes_are_what_they_show():
    kinds, waters = set(), set()
    for seed in range(20):
        scene, label_map = draw_annotated_scene(seed), np.asarray(draw_scene(seed)[1])
        kinds.add(scene.kind)
        has_water = (label_map == SCENE_CLASSES.index("water")).sum() > 200
        # The water may be hidden, but there is none elsewhere.
        assert not has_water or "shore" in SCENE_KINDS[scene.kind]
        waters.add(has_water)
    assert waters == {False, True}
    assert kinds == set(range(len(SCENE_KINDS)))


def test_written_scenes_load_and_decode(folder, tmp_path):
    dataset = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 7, "validation": 3}
    names = [name for rows in dataset.values() for name in rows["file_name"]]
    assert len(set(names)) == 10
    pairs = []
    for rows in dataset.values():
        assert rows.column_names == ["image", "label", "file_name", "class_ids", "class_pixels"]
        for row in rows:
            assert row["image"].format == "JPEG"
            assert row["label"].format == "PNG"
            assert (row["image"].mode, row["label"].mode) == ("RGB", "L")
            assert row["image"].size == row["label"].size
            pairs.append((np.asarray(row["image"]), np.asarray(row["label"])))
            counts = {index: (pairs[-1][1] == index).sum() for index in range(len(SCENE_CLASSES))}
            counts = {index: count for index, count in counts.items() if count}
            assert dict(zip(row["class_ids"], row["class_pixels"], strict=True)) == counts
    assert len({label.tobytes() for _, label in pairs}) == 10
    assert_aligned(pairs)


def test_written_files(folder):
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "validation-00000-of-00002.parquet",
        "validation-00001-of-00002.parquet",
    ]
    labels = json.loads((folder / "labels.json").read_text())
    assert labels == {
        "names": list(SCENE_CLASSES),
        "palette": [list(color) for color in SCENE_PALETTE],
        "ignore_index": 255,
    }
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_splits_never_share_scenes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(writing, "draw_scene", lambda seed: drawn.append(seed) or draw_scene(0))
    train, validation = set(), set()
    for seed in range(3):
        drawn.clear()
        write_scenes(tmp_path / str(seed), num_train=4, num_validation=2, seed=seed)
        assert len(set(drawn)) == 6
        train |= set(drawn[:4])
        validation |= set(drawn[4:])
    assert len(train) == 12
    assert not train & validation


def test_existing_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="already exists: delete it"):
        write_scenes(tmp_path, num_train=1, num_validation=1)
    assert (tmp_path / "note.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 0, "num_validation": 1}, "num_train is 0"),
        ({"num_train": 1, "num_validation": 0}, "num_validation is 0"),
        ({"num_train": 1, "num_validation": 1, "num_shards": 0}, "num_shards is 0"),
        ({"num_train": 1, "num_validation": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / "drawn", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "drawn", num_train=1, num_validation=1)
    assert list(tmp_path.iterdir()) == []
