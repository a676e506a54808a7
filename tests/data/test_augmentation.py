# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation gives OpenCV's pixels at fixed parameters, draws parameters as published, and keeps labels intact."""

import numpy as np
import pytest
import torch
from golden_cases import GoldenCase, load_case

from vitseg import SetrImageProcessor
from vitseg.data.augmentation import (
    TrainingTransform,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    choose_window,
    distort_photometrically,
    scaled_size,
)
from vitseg.models.image_processing_semantic import keep_ratio_size, resize_bilinear, resize_nearest


def golden_image(case: GoldenCase, shape: list[int]) -> np.ndarray:
    """The case's BGR image as RGB."""
    random = np.random.RandomState(case.description["input"]["seed"])
    return random.randint(0, 256, shape).astype(np.uint8)[..., ::-1].copy()


def golden_label_map(case: GoldenCase, shape: list[int]) -> torch.Tensor:
    random = np.random.RandomState(case.description["input"]["seed"] + 1)
    return torch.from_numpy(random.randint(0, 150, shape).astype(np.uint8))


def channels_first(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def test_golden_sizes_of_the_keep_ratio_rule():
    case = load_case("evaluation", "resize_keep_ratio")
    sizes = []
    for width, height, *scale in case.description["input"]["rows"]:
        new_height, new_width = keep_ratio_size(height, width, min(scale), max(scale))
        sizes.append([new_width, new_height])
    case.assert_matches("sizes", torch.tensor(sizes))


def test_golden_sizes_at_a_ratio():
    case = load_case("evaluation", "resize_ratio_range")
    sizes = []
    for width, height, *scale, ratio in case.description["input"]["rows"]:
        new_height, new_width = scaled_size(height, width, tuple(scale), ratio)
        sizes.append([new_width, new_height])
    torch.testing.assert_close(torch.tensor(sizes).float(), case.expected["sizes"][:, 2:], rtol=0, atol=0)


def test_golden_sizes_with_a_smallest_short_side():
    case = load_case("evaluation", "resize_min_short")
    sizes = []
    for width, height, *scale, ratio, smallest in case.description["input"]["rows"]:
        new_height, new_width = keep_ratio_size(height, width, max(int(min(scale) * ratio), smallest))
        sizes.append([new_width, new_height])
    case.assert_matches("sizes", torch.tensor(sizes))


@pytest.mark.parametrize("name", ["pixels_up", "pixels_down"])
def test_golden_pixels_through_the_image_processor(name):
    case = load_case("evaluation", name)
    shape = case.description["input"]["shape"]
    image, label_map = channels_first(golden_image(case, shape)), golden_label_map(case, shape[:2])
    size = {"shortest_edge": min(case.config["img_scale"]), "longest_edge": max(case.config["img_scale"])}
    processed = SetrImageProcessor(size=size)(image, label_map, return_tensors="pt")
    case.assert_matches("normalized", processed["pixel_values"][0])
    new_size = tuple(case.expected["label"].shape)
    resized_bgr = resize_bilinear(image, new_size).flip(0).permute(1, 2, 0)
    assert resized_bgr.float().equal(case.expected["resized"])
    assert processed["labels"][0].float().equal(case.expected["label"])
    assert resize_nearest(label_map, new_size).float().equal(case.expected["label"])


def test_golden_photometric_operations():
    case = load_case("evaluation", "photometric")
    # One pixel wide, for which OpenCV takes the same way on every processor.
    image = golden_image(case, [12 * 16, 1, 3])
    answers = {
        "brightness": adjust_brightness(image, 13.7),
        "brightness_negative": adjust_brightness(image, -27.4),
        "contrast": adjust_contrast(image, 1.3),
        "saturation": adjust_saturation(image, 0.6),
        "hue": adjust_hue(image, 11),
        "hue_negative": adjust_hue(image, -11),
    }
    assert answers.keys() == case.expected.keys()
    for name, answer in answers.items():
        assert answer.dtype == np.uint8
        case.assert_matches(name, torch.from_numpy(answer[..., ::-1].reshape(12, 16, 3).copy()))


def test_the_training_crop_has_the_pixels_of_the_image_processor():
    # OpenCV resizes for training and the image processor for inference: not a byte may differ between them.
    rng = np.random.default_rng(0)
    for seed in range(100):
        height, width = rng.integers(1, 90, 2).tolist()
        image, label_map = random_sample(seed, height, width)
        ratio = rng.uniform(0.25, 2.5)
        transform = TrainingTransform(
            crop_size=(300, 300),
            scale=(100, 40),
            ratio_range=(ratio, ratio),
            flip_probability=0,
            photometric_distortion=False,
            image_mean=(0, 0, 0),
            image_std=(1, 1, 1),
        )
        example = transform(image, label_map, rng)
        size = scaled_size(height, width, (100, 40), ratio)
        crop = (..., slice(size[0]), slice(size[1]))
        assert (example["pixel_values"][crop] * 255).round().equal(resize_bilinear(image, size).float())
        assert example["labels"][crop].equal(resize_nearest(label_map, size).long())


class ScriptedGenerator:
    """Gives out fixed numbers in 0..1 in place of random ones."""

    def __init__(self, *numbers: float):
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, low: float, high: float) -> float:
        return low + self.numbers.pop(0) * (high - low)

    def integers(self, low: int, high: int) -> int:
        return low + int(self.numbers.pop(0) * (high - low))


YES, NO = 0.49, 0.51


def test_photometric_distortion_in_the_published_order():
    image = np.array([[[200, 120, 60]]], np.uint8)
    bright = adjust_brightness(image, 16.0)
    early = ScriptedGenerator(YES, 0.75, YES, YES, 1.0, YES, 0.0, YES, 0.0)
    expected = adjust_hue(adjust_saturation(adjust_contrast(bright, 1.5), 0.5), -18)
    assert np.array_equal(distort_photometrically(image, early), expected)
    late = ScriptedGenerator(YES, 0.75, NO, YES, 1.0, YES, 0.999, YES, 0.0)
    expected = adjust_contrast(adjust_hue(adjust_saturation(bright, 1.5), 17), 0.5)
    assert np.array_equal(distort_photometrically(image, late), expected)
    assert not early.numbers
    assert not late.numbers
    assert np.array_equal(distort_photometrically(image, ScriptedGenerator(NO, YES, NO, NO, NO)), image)
    assert np.array_equal(distort_photometrically(image, ScriptedGenerator(NO, NO, NO, NO, NO)), image)


def test_photometric_distortion_leaves_a_quarter_of_grey_images_alone():
    # Grey has no hue or saturation, and brightness and contrast each change it with probability 1/2, but for the
    # amounts 0..1 of -32..32 and the factors 1..1 + 1/128 of 0.5..1.5, which truncation hides.
    grey = np.full((1, 1, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    unchanged = np.mean([np.array_equal(distort_photometrically(grey, rng), grey) for _ in range(4000)])
    expected = (1 / 2 + 1 / 2 / 64) * (1 / 2 + 1 / 2 / 128)
    assert unchanged == pytest.approx(expected, abs=0.03)


def windows(label_map: torch.Tensor, size: tuple[int, int], share: float, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([choose_window(label_map, size, share, rng) for _ in range(count)])


def test_good_windows_are_uniform_and_reach_the_ends():
    checkers = torch.arange(6)[:, None].add(torch.arange(5)).remainder(2)
    positions, counts = np.unique(windows(checkers, (4, 4), 0.75, 3000), axis=0, return_counts=True)
    assert positions.tolist() == [[top, left, 4, 4] for top in range(3) for left in range(2)]
    assert counts / 3000 == pytest.approx(1 / 6, abs=0.04)


def test_a_share_exactly_at_the_limit_is_too_much():
    label_map = torch.tensor([[0, 0, 0, 1, 0, 0, 1, 1]], dtype=torch.uint8)
    # The windows at 0, 1 and 2 hold three of class 0 and one of class 1.
    lefts = windows(label_map, (1, 4), 0.75, 500)[:, 1]
    assert np.mean(lefts >= 3) > 0.95
    lefts = windows(label_map, (1, 4), 0.7501, 500)[:, 1]
    assert np.mean(lefts >= 3) == pytest.approx(2 / 5, abs=0.1)


@pytest.mark.parametrize(
    ("labels", "share", "good"),
    [
        # At 0 two classes share equally what is not ignored; at 1 there is one class.
        ([0, 1] + [255] * 9, 0.75, 0),
        # At 0 there is one class; at 1 the commoner of two has four pixels of five.
        ([0, 255] * 5 + [1], 0.81, 1),
    ],
)
def test_ignored_pixels_count_for_nothing_in_a_window(labels, share, good):
    lefts = windows(torch.tensor([labels], dtype=torch.uint8), (1, 10), share, 200)[:, 1]
    assert np.mean(lefts == good) > 0.95


def test_the_window_after_ten_bad_ones_is_taken():
    label_map = torch.zeros(1, 13, dtype=torch.int64)
    label_map[0, 0], label_map[0, 1] = 1, 2
    # One window in ten is good, so one is found among ten and the last with probability 1 - 0.9^11.
    lefts = windows(label_map, (1, 4), 0.74, 3000)[:, 1]
    assert np.mean(lefts == 0) == pytest.approx(1 - 0.9**11, abs=0.02)


@pytest.mark.parametrize("value", [7, 255])
def test_one_class_or_none_still_gives_a_window(value):
    label_map = torch.full((9, 9), value, dtype=torch.uint8)
    assert {tuple(window) for window in windows(label_map, (8, 9), 0.75, 50)} == {(0, 0, 8, 9), (1, 0, 8, 9)}


def test_without_a_limit_any_window_will_do():
    lefts = windows(torch.zeros(1, 5, dtype=torch.uint8), (1, 4), 1.0, 1000)[:, 1]
    assert lefts.mean() == pytest.approx(0.5, abs=0.1)


def test_a_small_image_is_cropped_only_where_it_is_large():
    label_map = torch.arange(30, dtype=torch.uint8).view(3, 10)
    chosen = windows(label_map, (8, 4), 0.75, 200)
    assert set(map(tuple, chosen[:, [0, 2, 3]])) == {(0, 3, 4)}
    assert set(chosen[:, 1]) == set(range(7))


def random_sample(seed: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    label_map = torch.tensor([3, 17, 149, 255], dtype=torch.uint8)[
        torch.randint(0, 4, (height, width), generator=generator)
    ]
    return image, label_map


@pytest.mark.parametrize(("height", "width"), [(40, 53), (53, 40), (8, 200), (1, 1), (64, 64)])
def test_examples_have_the_crop_size_and_no_new_labels(height, width):
    transform = TrainingTransform(crop_size=(32, 48), scale=(160, 40))
    image, label_map = random_sample(0, height, width)
    for seed in range(20):
        example = transform(image, label_map, np.random.default_rng(seed))
        assert example["pixel_values"].shape == (3, 32, 48)
        assert example["pixel_values"].dtype == torch.float32
        assert example["labels"].shape == (32, 48)
        assert example["labels"].dtype == torch.int64
        assert set(example["labels"].unique().tolist()) <= {*label_map.unique().tolist(), 255}


def test_the_generator_decides_everything():
    transform = TrainingTransform(crop_size=(32, 32), scale=(160, 40))
    sample = random_sample(0, 40, 53)
    first, again, other = (transform(*sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for key in ("pixel_values", "labels"):
        assert first[key].equal(again[key])
        assert not first[key].equal(other[key])


def test_image_and_labels_stay_aligned():
    label_map = torch.randint(0, 25, (40, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    image = (label_map * 10).expand(3, -1, -1)
    transform = TrainingTransform(
        crop_size=(32, 32),
        scale=(60, 40),
        ratio_range=(1, 1),
        photometric_distortion=False,
        image_mean=(0, 0, 0),
        image_std=(1, 1, 1),
    )
    corners = set()
    for seed in range(20):
        example = transform(image, label_map, np.random.default_rng(seed))
        grey = (example["pixel_values"] * 255).round().long()
        assert grey.equal((example["labels"] * 10).expand(3, -1, -1))
        corners.add(tuple(example["labels"][0, :4].tolist()))
    assert len(corners) > 10


@pytest.mark.parametrize(("probability", "expected", "tolerance"), [(0, 0, 0), (0.5, 0.5, 0.06), (1, 1, 0)])
def test_flips_are_as_frequent_as_asked_for(probability, expected, tolerance):
    transform = TrainingTransform(
        crop_size=(2, 4), scale=(4, 2), ratio_range=(1, 1), flip_probability=probability, photometric_distortion=False
    )
    label_map = torch.arange(8, dtype=torch.uint8).view(2, 4)
    image = (label_map * 30).expand(3, -1, -1)
    flips = []
    for seed in range(1000 if tolerance else 50):
        example = transform(image, label_map, np.random.default_rng(seed))
        is_flipped = example["labels"].equal(label_map.long().flip(-1))
        assert is_flipped or example["labels"].equal(label_map.long())
        assert bool(example["pixel_values"][0, 0, 0] > example["pixel_values"][0, 0, 1]) == is_flipped
        flips.append(is_flipped)
    assert np.mean(flips) == pytest.approx(expected, abs=tolerance)


def test_ratios_are_uniform_between_the_ends():
    image, label_map = torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8)
    transform = TrainingTransform(crop_size=(80, 80), scale=(40, 40), photometric_distortion=False)
    sides = np.array(
        [(transform(image, label_map, np.random.default_rng(s))["labels"][0] == 0).sum().item() for s in range(1000)]
    )
    assert sides.min() in (20, 21)
    assert sides.max() in (78, 79)
    assert sides.mean() == pytest.approx(49.5, abs=2)
    assert np.mean(sides < 35) == pytest.approx(1 / 4, abs=0.05)


@pytest.mark.parametrize(("ratio", "height", "width"), [(0.5, 20, 30), (1.0, 40, 60), (1.9999, 79, 119)])
def test_padding_is_the_mean_colour_at_the_bottom_and_right(ratio, height, width):
    image, label_map = torch.full((3, 40, 60), 255, dtype=torch.uint8), torch.full((40, 60), 5, dtype=torch.uint8)
    transform = TrainingTransform(
        crop_size=(100, 130), scale=(60, 40), ratio_range=(ratio, ratio), photometric_distortion=False
    )
    example = transform(image, label_map, np.random.default_rng(0))
    is_image = torch.zeros(100, 130, dtype=torch.bool)
    is_image[:height, :width] = True
    assert example["labels"].eq(5).equal(is_image)
    assert example["labels"].eq(255).equal(~is_image)
    assert (example["pixel_values"] != 0).all(dim=0).equal(is_image)
    assert (example["pixel_values"] == 0).all(dim=0).equal(~is_image)


@pytest.mark.parametrize("statistics", [{}, {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125]}])
def test_normalisation_is_the_image_processors(statistics):
    image, label_map = random_sample(0, 40, 60)
    transform = TrainingTransform(
        crop_size=(40, 60),
        scale=(60, 40),
        ratio_range=(1, 1),
        flip_probability=0,
        photometric_distortion=False,
        **statistics,
    )
    processor = SetrImageProcessor(do_resize=False, **statistics)
    torch.testing.assert_close(
        transform(image, label_map, np.random.default_rng(0))["pixel_values"],
        processor(image, return_tensors="pt")["pixel_values"][0],
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_size", (0, 512)),
        ("scale", (2048, 0)),
        ("ratio_range", (0.0, 2.0)),
        ("ratio_range", (2.0, 0.5)),
        ("max_category_share", 0.0),
        ("max_category_share", 75),
        ("flip_probability", 1.5),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    settings = {"crop_size": (512, 512), "scale": (2048, 512), name: value}
    with pytest.raises(ValueError, match=name):
        TrainingTransform(**settings)


@pytest.mark.parametrize(
    ("image", "label_map"),
    [
        (torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.uint8)),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)),
    ],
)
def test_samples_of_the_wrong_kind_are_refused(image, label_map):
    transform = TrainingTransform(crop_size=(4, 4), scale=(4, 4))
    with pytest.raises(ValueError, match=r"expected torch\.uint8"):
        transform(image, label_map, np.random.default_rng(0))
