# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Transforms of torchvision in a recipe: image and mask move together, no id is made up, and the sample decides."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from vitseg import SetrImageProcessor
from vitseg.data.augmentation import TrainingTransform
from vitseg.recipes import Recipe, TrainingRecipe, load_recipe, recipe_to_json
from vitseg.recipes.augmentation import REFUSED, TRANSFORMS, build_augmentation


NAME = "setr-pup-vit-l-ade20k-512-160k"
CROP = (24, 32)
# For each transform that needs arguments, or does more with them, some.
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "ColorJitter": {"brightness": 0.5, "contrast": [0.5, 1.5], "hue": 0.2},
    "ElasticTransform": {"alpha": 90.0, "sigma": 1.0},
    "GaussianBlur": {"kernel_size": 3},
    "Pad": {"padding": [3, 9]},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 30, "translate": [0.3, 0.3], "scale": [0.5, 2.0], "shear": 20},
    "RandomApply": {"transforms": [{"name": "RandomVerticalFlip"}, {"name": "Pad", "padding": 2}]},
    "RandomChoice": {"transforms": [{"name": "Identity"}, {"name": "RandomZoomOut"}]},
    "RandomCrop": {"size": [30, 30]},
    "RandomOrder": {"transforms": [{"name": "RandomRotation", "degrees": 20}, {"name": "RandomInvert"}]},
    "RandomPerspective": {"p": 1.0, "interpolation": "nearest"},
    "RandomPosterize": {"bits": 3},
    "RandomResize": {"min_size": 12, "max_size": 60},
    "RandomResizedCrop": {"size": [20, 40]},
    "RandomRotation": {"degrees": 90, "expand": True, "interpolation": "bilinear", "fill": 7},
    "RandomShortestSize": {"min_size": [20, 40]},
    "RandomSolarize": {"threshold": 128},
    "Resize": {"size": [33, 21], "interpolation": "bicubic"},
    "ScaleJitter": {"target_size": [50, 50]},
}


def entry(name: str) -> dict[str, Any]:
    return {"name": name, **ARGUMENTS.get(name, {})}


def recipe_with(*entries: Any, **changes: Any) -> Recipe:
    values = {"crop_size": list(CROP), "augmentation": list(entries), **changes}
    return load_recipe(NAME, {f"training.{name}": value for name, value in values.items()})


def transform_of(*entries: Any, **changes: Any) -> TrainingTransform:
    training = recipe_with(*entries, **changes).training
    assert isinstance(training, TrainingRecipe)
    image_processor = SetrImageProcessor(image_mean=[0.5, 0.25, 0.75], image_std=[1 / 255] * 3)
    return TrainingTransform.from_recipe(training, image_processor)


def bytes_of(example: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The pixels before `transform_of` normalised them."""
    return (example["pixel_values"] + torch.tensor([127.5, 63.75, 191.25])[:, None, None]).round().long()


def random_sample(rng: np.random.Generator, dtype: torch.dtype = torch.uint8) -> tuple[torch.Tensor, torch.Tensor]:
    """An image whose red is the id of its label map; blotches of some ids, of which 255 may be one."""
    height, width = rng.integers(10, 70, 2).tolist()
    ids = torch.from_numpy(rng.choice(256, 4, replace=False))
    blotches = torch.from_numpy(rng.integers(0, 4, (1, 1, 6, 5))).float()
    label_map = ids[torch.nn.functional.interpolate(blotches, (height, width))[0, 0].long()].to(dtype)
    return label_map.to(torch.uint8).expand(3, -1, -1).clone(), label_map


@pytest.mark.filterwarnings("error")
def test_a_mask_never_holds_an_id_that_it_did_not_hold():
    rng = np.random.default_rng(0)
    # Each transform alone, then random lists.
    lists = [[name] for name in TRANSFORMS] + [rng.choice(TRANSFORMS, 3, replace=False).tolist() for _ in range(60)]
    for names in lists:
        transform = transform_of(*map(entry, names))
        for dtype in (torch.uint8, torch.int32):
            image, label_map = random_sample(rng, dtype)
            example = transform(image, label_map, rng)
            assert example["labels"].shape == CROP, names
            assert example["labels"].dtype == torch.int64
            assert example["pixel_values"].shape == (3, *CROP)
            assert example["pixel_values"].dtype == torch.float32
            assert set(example["labels"].unique().tolist()) <= {*label_map.unique().tolist(), 255}, names


@pytest.mark.parametrize("name", ["RandomAffine", "RandomPerspective", "RandomRotation", "RandomZoomOut", "Pad"])
def test_new_pixels_are_ignored_and_have_the_mean_colour(name):
    label_map = torch.full((40, 40), 9, dtype=torch.uint8)
    image = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    # Nearest pixels, so that no colour lies between the image's and the mean.
    arguments = {key: value for key, value in entry(name).items() if key not in ("interpolation", "fill")}
    nearest = {"interpolation": "nearest"} if name == "RandomPerspective" else {}
    transform = transform_of(arguments | nearest, crop_size=[80, 80])
    counts = 0
    for seed in range(10):
        example = transform(image, label_map, np.random.default_rng(seed))
        is_new = example["labels"] == 255
        colours = bytes_of(example)
        assert set(example["labels"].unique().tolist()) <= {9, 255}
        assert (colours[:, ~is_new] == 200).all()
        assert (colours[:, is_new] - torch.tensor([[128], [64], [191]])).abs().max() <= 1
        counts += is_new.sum().item()
    assert counts > 10 * (80 * 80 - 40 * 40 - 1)


def test_another_fill_is_the_images_alone():
    transform = transform_of({"name": "Pad", "padding": 8, "fill": [1, 2, 3]})
    image, label_map = torch.zeros(3, 8, 16, dtype=torch.uint8), torch.zeros(8, 16, dtype=torch.uint8)
    example = transform(image, label_map, np.random.default_rng(0))
    assert bytes_of(example)[:, 0, 0].tolist() == [1, 2, 3]
    assert example["labels"][0, 0] == 255
    assert example["labels"].eq(0).sum() == 8 * 16


@pytest.mark.parametrize(
    "name", ["ElasticTransform", "RandomAffine", "RandomCrop", "RandomHorizontalFlip", "RandomVerticalFlip"]
)
def test_image_and_mask_move_together(name):
    rng = np.random.default_rng(1)
    transform = transform_of(entry(name), max_category_share=1.0)
    for _ in range(10):
        image, label_map = random_sample(rng)
        example = transform(image, label_map, rng)
        red, labels = bytes_of(example)[0], example["labels"]
        agree = (red == labels) | (labels == 255)
        # A bilinear elastic image has colours of its own along the borders of its classes.
        assert agree.float().mean() > (0.5 if name == "ElasticTransform" else 0.999)


def test_the_list_takes_the_place_of_resizing_flipping_and_distortion():
    image, label_map = random_sample(np.random.default_rng(2))
    transform = transform_of(crop_size=[80, 80])
    for seed in range(5):
        example = transform(image, label_map, np.random.default_rng(seed))
        height, width = label_map.shape
        assert bytes_of(example)[:, :height, :width].equal(image.long())
        assert example["labels"][:height, :width].equal(label_map.long())
        assert example["labels"][height:].eq(255).all()
        assert example["labels"][:, width:].eq(255).all()


def test_the_sample_decides_and_torch_goes_on_undisturbed():
    transform = transform_of(entry("RandomAffine"), entry("ColorJitter"), {"name": "GaussianNoise"})
    image, label_map = random_sample(np.random.default_rng(3))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = transform(image, label_map, np.random.default_rng(1))
    assert torch.rand(3).equal(expected)
    again = transform(image, label_map, np.random.default_rng(1))
    other = transform(image, label_map, np.random.default_rng(2))
    for key in ("pixel_values", "labels"):
        assert first[key].equal(again[key])
        assert not first[key].equal(other[key])


def test_the_number_of_threads_changes_no_byte():
    # Without contrast an image is its mean, which two threads sum up to another number than one.
    transform = transform_of({"name": "ColorJitter", "contrast": [0, 0]}, crop_size=[513, 700])
    image, label_map = torch.full((3, 513, 700), 76, dtype=torch.uint8), torch.zeros(513, 700, dtype=torch.uint8)
    before = torch.get_num_threads()
    examples = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            examples.append(transform(image, label_map, np.random.default_rng(0)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert examples[0]["pixel_values"].equal(examples[1]["pixel_values"])


def test_transforms_of_ones_own_in_python():
    class Repaint(v2.Transform):
        def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
            return torch.full_like(inpt, 40) if isinstance(inpt, tv_tensors.Image) else inpt

    image, label_map = random_sample(np.random.default_rng(4))
    settings = {"crop_size": CROP, "scale": CROP, "image_mean": (0, 0, 0), "image_std": (1 / 255,) * 3}
    transform = TrainingTransform(**settings, augmentation=[Repaint()])
    example = transform(image, label_map, np.random.default_rng(0))
    assert set(example["pixel_values"].round().unique().tolist()) <= {0, 40}
    floats = TrainingTransform(**settings, augmentation=[v2.ToDtype(torch.float32)])
    with pytest.raises(ValueError, match=r"image is torch\.float32"):
        floats(image, label_map, np.random.default_rng(0))


def test_a_recipe_keeps_the_list_and_gives_it_back(tmp_path):
    entries = [entry("RandomApply"), entry("RandomAffine")]
    recipe = recipe_with(*entries)
    file = tmp_path / "mine.json"
    file.write_text(recipe_to_json(recipe))
    assert json.loads(file.read_text())["training"]["augmentation"] == entries
    assert load_recipe(file).training == recipe.training
    assert load_recipe(NAME).training.augmentation is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "RandomRotate", "degrees": 10}, "no transform .* 'RandomRotate'. Did you mean 'RandomRotation'"),
        ({"name": "RandomRotation", "degree": 10}, "no argument of RandomRotation 'degree'. Did you mean 'degrees'"),
        ({"name": "RandomRotation"}, "RandomRotation: .*degrees"),
        ({"name": "RandomRotation", "degrees": "ten"}, "RandomRotation: "),
        ({"name": "RandomRotation", "degrees": 10, "interpolation": "cubic"}, "interpolation .* 'cubic'.*'bicubic'"),
        ({"name": "RandomHorizontalFlip", "p": 1.5}, "RandomHorizontalFlip: "),
        ({"degrees": 10}, "expected a transform with its arguments"),
        ({"name": "Normalize", "mean": [0.5], "std": [0.5]}, "has Normalize, .* normalises. Leave it out"),
        ({"name": "ToDtype", "dtype": "float32"}, "has ToDtype, .*changes the type"),
        ({"name": "MixUp", "num_classes": 3}, "has MixUp, .*mixes several images"),
        ({"name": "AutoAugment"}, "has AutoAugment, .*without its mask. .*RandomAffine"),
        ({"name": "RandomErasing"}, "has RandomErasing, .*Leave it out"),
        ({"name": "CenterCrop", "size": 8}, "has CenterCrop, .*Use RandomCrop"),
        ({"name": "RandomApply", "transforms": [{"name": "RandomIoUCrop"}]}, "has RandomIoUCrop, .*RandomResizedCrop"),
        ({"name": "RandomApply", "transforms": "Pad"}, "expected a transform with its arguments"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        recipe_with(given)


@pytest.mark.parametrize("given", [{"name": "Pad", "padding": 1}, "Pad", ["Pad"]])
def test_what_is_no_list_of_transforms_is_refused(given):
    with pytest.raises(ValueError, match=r"augmentation .*expected|'augmentation' .*expected"):
        load_recipe(NAME, {"training.augmentation": given})


def test_every_transform_of_torchvision_is_known():
    there = {name for name, value in vars(v2).items() if isinstance(value, type) and issubclass(value, v2.Transform)}
    assert there - {"Transform"} <= {*TRANSFORMS, *REFUSED}
    assert not set(TRANSFORMS) & set(REFUSED)
    assert len(build_augmentation([entry(name) for name in TRANSFORMS], fill={})) == len(TRANSFORMS)


def test_an_image_that_is_too_small_is_named_with_the_transform():
    transform = transform_of({"name": "GaussianBlur", "kernel_size": 9})
    with pytest.raises(ValueError, match="augmentation: GaussianBlur cannot be applied to an image of 2 x 3 pixels"):
        transform(
            torch.zeros(3, 2, 3, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8), np.random.default_rng(0)
        )
