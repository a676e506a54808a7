# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The image processor gives the originals' pixels and labels for every kind of image that a user may have."""

import json

import numpy as np
import pytest
import torch
from golden_cases import GoldenCase, load_case
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, UperNetConfig
from transformers.image_utils import SizeDict
from transformers.modeling_outputs import SemanticSegmenterOutput

from vitseg import PlainVitConfig, SetrConfig, SetrImageProcessor
from vitseg.models import score_maps
from vitseg.models.image_processing_semantic import keep_ratio_size, resize_bilinear, resize_nearest


RANDOM = np.random.RandomState(0)
RGB = RANDOM.randint(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RANDOM.randint(0, 256, (20, 30), dtype=np.uint8)
ALPHA = RANDOM.randint(0, 256, (20, 30), dtype=np.uint8)
GREY_16_BIT = RANDOM.randint(0, 65536, (20, 30), dtype=np.uint16)
# 0 and 255 have a meaning of their own.
CLASS_IDS = RANDOM.choice(np.array([0, 1, 2, 3, 4, 5, 6, 255], dtype=np.uint8), (20, 30))
REDUCED_IDS = np.array([255, 0, 1, 2, 3, 4, 5, *[0] * 248, 255])[CLASS_IDS]


def as_they_are() -> SetrImageProcessor:
    """A processor that only converts: the values are those of the image."""
    return SetrImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)


def converted(image) -> np.ndarray:
    """The channels-last pixels that the processor reads from an image."""
    (pixel_values,) = as_they_are()(image, return_tensors="pt")["pixel_values"]
    return pixel_values.permute(1, 2, 0).numpy()


def normalized(pixels: np.ndarray) -> torch.Tensor:
    """mmsegmentation's normalisation of channels-last bytes."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return torch.from_numpy((pixels.astype(np.float64) - mean) / std).float().permute(2, 0, 1)


def grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


# Sizes and pixels of the originals.


@pytest.mark.parametrize("name", ["resize_keep_ratio", "resize_min_short"])
def test_sizes_as_the_original(name):
    case = load_case("evaluation", name)
    image_processor = SetrImageProcessor()
    for row, (expected_width, expected_height) in zip(
        case.description["input"]["rows"], case.expected["sizes"].int().tolist(), strict=True
    ):
        width, height, *img_scale = row[:4]
        shortest_edge, longest_edge = min(img_scale), max(img_scale)
        if name == "resize_min_short":
            ratio, min_size = row[4:]
            shortest_edge, longest_edge = max(int(shortest_edge * ratio), min_size), None
        assert keep_ratio_size(height, width, shortest_edge, longest_edge) == (expected_height, expected_width), row
        # Tensors on the meta device have sizes but no pixels.
        image = torch.empty(3, height, width, dtype=torch.uint8, device="meta")
        resized = image_processor.resize(image, SizeDict(shortest_edge=shortest_edge, longest_edge=longest_edge))
        assert resized.shape == (3, expected_height, expected_width), row


def golden_image(case: GoldenCase) -> tuple[np.ndarray, np.ndarray]:
    """The RGB image and the label map of a case, whose data are BGR."""
    seed, shape = case.description["input"]["seed"], case.description["input"]["shape"]
    image = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    label_map = np.random.RandomState(seed + 1).randint(0, 150, shape[:2]).astype(np.uint8)
    return np.ascontiguousarray(image[..., ::-1]), label_map


@pytest.mark.parametrize("name", ["pixels_up", "pixels_down"])
def test_resized_bytes_are_those_of_opencv(name):
    case = load_case("evaluation", name)
    image, label_map = golden_image(case)
    expected = case.expected["resized"].flip(-1).permute(2, 0, 1).to(torch.uint8)
    resized = resize_bilinear(torch.from_numpy(image).permute(2, 0, 1), tuple(expected.shape[-2:]))
    assert torch.equal(resized, expected)
    resized = resize_nearest(torch.from_numpy(label_map), tuple(expected.shape[-2:]))
    assert torch.equal(resized.float(), case.expected["label"])


@pytest.mark.parametrize("as_input", [Image.fromarray, lambda array: array, torch.from_numpy])
@pytest.mark.parametrize("name", ["pixels_up", "pixels_down"])
def test_processor_gives_the_pixels_of_the_original(name, as_input):
    case = load_case("evaluation", name)
    image, label_map = golden_image(case)
    shortest_edge, longest_edge = sorted(case.config["img_scale"])
    image_processor = SetrImageProcessor(size={"shortest_edge": shortest_edge, "longest_edge": longest_edge})
    inputs = image_processor(as_input(image), as_input(label_map), return_tensors="pt")
    case.assert_matches("normalized", inputs["pixel_values"][0])
    assert inputs["labels"].dtype == torch.int64
    assert torch.equal(inputs["labels"][0].float(), case.expected["label"])
    (resized,) = image_processor(as_input(image), do_rescale=False, do_normalize=False)["pixel_values"]
    assert torch.equal(resized.permute(1, 2, 0).flip(-1).float(), case.expected["resized"])


def test_fixed_size():
    inputs = SetrImageProcessor(size={"height": 13, "width": 21})(RGB, CLASS_IDS, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 13, 21)
    assert inputs["labels"].shape == (1, 13, 21)


def test_a_size_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="'shortest_edge'"):
        SetrImageProcessor(size={"longest_edge": 32})(RGB)


def test_floating_point_images_are_resized_like_bytes():
    image = torch.from_numpy(RGB).permute(2, 0, 1)
    resized = resize_bilinear(image.float(), (33, 14))
    assert (resized - resize_bilinear(image, (33, 14)).float()).abs().max() <= 1
    stack = torch.stack([image, image.flip(0)]).float()
    assert torch.equal(resize_bilinear(stack, (33, 14))[0], resized)


def test_resample_override():
    inputs = as_they_are()(RGB, do_resize=True, size={"height": 13, "width": 21}, resample=Image.Resampling.NEAREST)
    rows, columns = (np.arange(13) + 0.5) * 20 / 13, (np.arange(21) + 0.5) * 30 / 21
    expected = RGB[rows.astype(int)][:, columns.astype(int)]
    assert np.array_equal(inputs["pixel_values"][0].permute(1, 2, 0), expected)


# Kinds of images.


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RGB),
        RGB,
        RGB.transpose(2, 0, 1),
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        [RGB],
        RGB[None],
    ],
    ids=["pil", "hwc", "chw", "tensor_hwc", "tensor_chw", "list", "batch"],
)
def test_every_container_gives_the_same_pixels(image):
    inputs = SetrImageProcessor(do_resize=False)(image, return_tensors="pt")
    assert inputs["pixel_values"].dtype == torch.float32
    assert inputs["pixel_values"].shape == (1, 3, 20, 30)
    torch.testing.assert_close(inputs["pixel_values"][0], normalized(RGB), rtol=1e-5, atol=1e-5)


def test_rgb_grey_and_bilevel_pil_images():
    assert np.array_equal(converted(Image.fromarray(RGB)), RGB)
    assert np.array_equal(converted(Image.fromarray(GREY)), grey(GREY))
    bilevel = GREY > 127
    assert np.array_equal(converted(Image.fromarray(bilevel)), grey(np.where(bilevel, 255, 0)))


def test_palette_images_have_the_colours_of_the_palette():
    palette = RANDOM.randint(0, 256, (256, 3), dtype=np.uint8)
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    assert np.array_equal(converted(image), palette[GREY])


def test_cmyk_images():
    ink = RANDOM.randint(0, 256, (20, 30, 4), dtype=np.uint8).astype(int)
    image = Image.fromarray(ink.astype(np.uint8), mode="CMYK")
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert np.abs(converted(image) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "array"])
def test_transparency_is_composited_on_white(mode):
    colours = grey(GREY) if mode == "LA" else RGB
    if mode == "LA":
        image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    else:
        image = np.concatenate([RGB, ALPHA[..., None]], axis=-1)
        image = image if mode == "array" else Image.fromarray(image)
    opacity = ALPHA[..., None] / 255
    expected = colours * opacity + 255 * (1 - opacity)
    assert np.abs(converted(image) - expected).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY_16_BIT),
        Image.fromarray(GREY_16_BIT.astype(np.int32)),
        GREY_16_BIT[..., None],
        GREY_16_BIT[None],
        torch.from_numpy(GREY_16_BIT)[None],
    ],
    ids=["I;16", "I", "hw1", "1hw", "tensor"],
)
def test_16_bit_grey_is_read_by_its_high_byte(image):
    assert np.array_equal(converted(image), grey(GREY_16_BIT // 256))


def test_16_bit_colour_is_read_by_its_high_byte():
    image = RANDOM.randint(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert np.array_equal(converted(image), image // 256)


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (1, 1), "red"), Image.new("RGB", (1, 40)), Image.new("L", (50, 1))]
)
def test_thin_images(image):
    inputs = SetrImageProcessor(size={"shortest_edge": 8, "longest_edge": 32})(
        image, np.zeros((image.height, image.width), dtype=np.uint8), return_tensors="pt"
    )
    # The long side may not exceed 32, and no side vanishes.
    expected = (8, 8) if image.height == image.width else (32, 1) if image.height > image.width else (1, 32)
    assert inputs["pixel_values"].shape == (1, 3, *expected)
    assert inputs["labels"].shape == (1, *expected)
    assert inputs["pixel_values"].isfinite().all()


@pytest.mark.parametrize(
    "image",
    [Image.new("RGB", (0, 5)), np.zeros((0, 5, 3), dtype=np.uint8), torch.zeros(3, 5, 0, dtype=torch.uint8)],
    ids=["pil", "numpy", "tensor"],
)
def test_empty_images_are_refused(image):
    with pytest.raises(ValueError, match="Image 1 is empty"):
        SetrImageProcessor()([RGB, image])


# Batches.


def test_images_of_different_sizes():
    image_processor = SetrImageProcessor(size={"shortest_edge": 16, "longest_edge": 64})
    images = [RGB, RGB.transpose(1, 0, 2), RGB]
    inputs = image_processor(images)
    shapes = [pixel_values.shape for pixel_values in inputs["pixel_values"]]
    assert shapes == [(3, 16, 24), (3, 24, 16), (3, 16, 24)]
    # The order of the images stays, though those of one size are processed together.
    for image, pixel_values in zip(images, inputs["pixel_values"], strict=True):
        assert torch.equal(pixel_values, image_processor(image)["pixel_values"][0])
    with pytest.raises(ValueError, match="do_pad"):
        image_processor(images, return_tensors="pt")


def test_padding():
    image_processor = SetrImageProcessor(do_resize=False, do_pad=True)
    images = [RGB, RGB.transpose(1, 0, 2)]
    label_maps = [CLASS_IDS, CLASS_IDS.T]
    inputs = image_processor(images, label_maps, return_tensors="pt")
    assert inputs["pixel_values"].shape == (2, 3, 30, 30)
    assert inputs["labels"].shape == (2, 30, 30)
    for index, (image, label_map) in enumerate(zip(images, label_maps, strict=True)):
        height, width = label_map.shape
        pixel_values, labels = inputs["pixel_values"][index], inputs["labels"][index]
        torch.testing.assert_close(pixel_values[:, :height, :width], normalized(image), rtol=1e-5, atol=1e-5)
        assert torch.equal(labels[:height, :width], torch.from_numpy(label_map).long())
        assert (pixel_values[:, height:] == 0).all()
        assert (pixel_values[:, :, width:] == 0).all()
        assert (labels[height:] == 255).all()
        assert (labels[:, width:] == 255).all()
    inputs = image_processor(RGB, CLASS_IDS, pad_size={"height": 32, "width": 48}, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 32, 48)
    assert inputs["labels"].shape == (1, 32, 48)


@pytest.mark.parametrize("settings", [{"do_pad": True}, {"do_reduce_labels": True}])
def test_the_value_of_ignored_pixels_is_no_class(settings):
    label_map = CLASS_IDS.astype(np.int32) + 290
    labels = SetrImageProcessor(do_resize=False)(RGB, label_map, return_tensors="pt")["labels"][0]
    assert labels.numpy().tolist() == label_map.tolist()
    with pytest.raises(ValueError, match=r"A label map holds \d+, so 255 may be a class"):
        SetrImageProcessor(do_resize=False, **settings)(RGB, label_map)


def test_an_image_larger_than_the_padded_size_is_refused():
    with pytest.raises(ValueError, match="pad_size"):
        SetrImageProcessor(do_resize=False, do_pad=True, pad_size={"height": 8, "width": 8})(RGB)


# Label maps.


def with_palette(label_map: np.ndarray) -> Image.Image:
    image = Image.fromarray(label_map)
    image.putpalette(np.random.RandomState(1).randint(0, 256, 768, dtype=np.uint8).tobytes())
    return image


@pytest.mark.parametrize("do_reduce_labels", [False, True])
@pytest.mark.parametrize(
    "label_map",
    [
        Image.fromarray(CLASS_IDS),
        with_palette(CLASS_IDS),
        Image.fromarray(CLASS_IDS.astype(np.uint16)),
        CLASS_IDS,
        CLASS_IDS.astype(np.int32),
        CLASS_IDS.astype(np.uint16),
        torch.from_numpy(CLASS_IDS),
        torch.from_numpy(CLASS_IDS).long(),
        [CLASS_IDS],
        CLASS_IDS[None],
    ],
    ids=["pil_L", "pil_P", "pil_I;16", "uint8", "int32", "uint16", "tensor", "int64", "list", "batch"],
)
def test_label_maps_are_class_ids(label_map, do_reduce_labels):
    inputs = SetrImageProcessor(do_resize=False, do_reduce_labels=do_reduce_labels)(
        RGB, label_map, return_tensors="pt"
    )
    expected = REDUCED_IDS if do_reduce_labels else CLASS_IDS
    assert inputs["labels"].dtype == torch.int64
    assert torch.equal(inputs["labels"], torch.from_numpy(expected.astype(np.int64))[None])


def test_images_are_not_touched_by_label_arguments():
    plain = SetrImageProcessor()(RGB, return_tensors="pt")
    labelled = SetrImageProcessor()(RGB, CLASS_IDS, do_reduce_labels=True, return_tensors="pt")
    assert set(plain) == {"pixel_values"}
    assert set(labelled) == {"pixel_values", "labels"}
    assert torch.equal(plain["pixel_values"], labelled["pixel_values"])


def test_inputs_are_left_as_they_were():
    image, label_map = torch.from_numpy(RGB).permute(2, 0, 1).float(), torch.from_numpy(CLASS_IDS).long()
    image_copy, label_map_copy = image.clone(), label_map.clone()
    SetrImageProcessor(do_resize=False, do_reduce_labels=True)(image, label_map)
    assert torch.equal(image, image_copy)
    assert torch.equal(label_map, label_map_copy)


def test_coloured_label_maps_are_refused():
    with pytest.raises(ValueError, match="Segmentation map 0 has 3 channels"):
        SetrImageProcessor()(RGB, Image.fromarray(RGB))
    with pytest.raises(ValueError, match=r"segmentation map has the shape \(20, 30, 3\), with 3 channels"):
        SetrImageProcessor()(RGB, RGB)
    with pytest.raises(ValueError, match=r"segmentation map has the shape \(3, 20, 30\), with 3 channels"):
        SetrImageProcessor()(RGB, torch.from_numpy(RGB).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("image", "channels"),
    [(GREY, 1), (Image.fromarray(GREY), 1), (np.dstack([RGB, ALPHA]), 4), (Image.new("CMYK", (30, 20)), 4)],
)
def test_unconverted_images_need_the_channels_of_the_mean(image, channels):
    with pytest.raises(ValueError, match=rf"Image 0 has {channels} channels?, and image_mean has 3 numbers"):
        SetrImageProcessor()(image, do_convert_rgb=False)
    statistics = {"image_mean": [0.5] * channels, "image_std": [0.5] * channels}
    assert SetrImageProcessor()(image, do_convert_rgb=False, **statistics)["pixel_values"][0].shape[0] == channels


def test_no_image_and_no_numbers_to_see_are_refused():
    with pytest.raises(ValueError, match="There is no image: the list is empty"):
        SetrImageProcessor()([])
    with pytest.raises(ValueError, match="holds complex numbers"):
        SetrImageProcessor()(RGB.astype(np.complex64))


def test_files_may_be_given_as_paths(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "image.png")
    Image.fromarray(CLASS_IDS).save(tmp_path / "mask.png")
    processor = SetrImageProcessor(do_resize=False)
    expected = processor(RGB, CLASS_IDS, return_tensors="pt")
    for paths in (
        (tmp_path / "image.png", tmp_path / "mask.png"),
        ([tmp_path / "image.png"], [str(tmp_path / "mask.png")]),
    ):
        inputs = processor(*paths, return_tensors="pt")
        for name, value in expected.items():
            torch.testing.assert_close(inputs[name], value)


def test_label_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Got 1 segmentation maps for 2 images"):
        SetrImageProcessor()([RGB, RGB], [CLASS_IDS])
    with pytest.raises(ValueError, match=r"Segmentation map 1 is 20 x 29 pixels, its image 20 x 30"):
        SetrImageProcessor()([RGB, RGB], [CLASS_IDS, CLASS_IDS[:, 1:]])


# Post-processing.


def resized_scores(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("max_scores", [2**26, 5 * 77 * 3, 1], ids=["at_once", "three_rows", "single_rows"])
@pytest.mark.parametrize(
    ("shape", "target_sizes"),
    [
        ((16, 16), [(101, 77), (33, 77)]),
        ((64, 51), [(37, 77), (7, 77)]),
        ((7, 9), [(7, 33), (50, 9)]),
        ((1, 1), [(5, 3), (1, 1)]),
        ((33, 35), [(33, 35), (1, 90)]),
    ],
)
def test_label_maps_at_the_target_sizes(shape, target_sizes, max_scores, monkeypatch):
    monkeypatch.setattr(score_maps, "MAX_SCORES", max_scores)
    logits = torch.randn(2, 5, *shape, generator=torch.Generator().manual_seed(0))
    post_process = SetrImageProcessor().post_process_semantic_segmentation
    expected = [resized_scores(*pair).argmax(dim=0) for pair in zip(logits, target_sizes, strict=True)]
    for sizes in (target_sizes, torch.tensor(target_sizes)):
        label_maps = post_process(SemanticSegmenterOutput(logits=logits), target_sizes=sizes)
        assert len(label_maps) == 2
        for label_map, expected_map in zip(label_maps, expected, strict=True):
            assert label_map.dtype == torch.int64
            assert torch.equal(label_map, expected_map)


def test_label_maps_default_to_the_size_of_the_logits():
    logits = torch.randn(2, 5, 9, 11)
    label_maps = SetrImageProcessor().post_process_semantic_segmentation(SemanticSegmenterOutput(logits=logits))
    assert torch.equal(torch.stack(label_maps), logits.argmax(dim=1))


def test_segmentation_scores():
    logits, sizes = torch.randn(2, 5, 9, 11), [(20, 13), (9, 11)]
    results = SetrImageProcessor().post_process_semantic_segmentation(
        SemanticSegmenterOutput(logits=logits), target_sizes=sizes, return_segmentation_scores=True
    )
    for image_logits, size, result in zip(logits, sizes, results, strict=True):
        scores = resized_scores(image_logits, size)
        torch.testing.assert_close(result["segmentation_scores"], scores)
        assert torch.equal(result["segmentation"], scores.argmax(dim=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("max_scores", [1, 2**22], ids=["bands", "whole"])
def test_label_maps_are_the_same_with_and_without_scores(dtype, max_scores, monkeypatch):
    monkeypatch.setattr(score_maps, "MAX_SCORES", max_scores)
    generator = torch.Generator().manual_seed(0)
    outputs = SemanticSegmenterOutput(logits=torch.randn(1, 9, 30, 40, generator=generator).to(dtype))
    post_process = SetrImageProcessor().post_process_semantic_segmentation
    (result,) = post_process(outputs, target_sizes=[(210, 290)], return_segmentation_scores=True)
    assert result["segmentation_scores"].dtype == torch.float32
    assert torch.equal(result["segmentation"], post_process(outputs, target_sizes=[(210, 290)])[0])


def test_target_sizes_must_be_as_many_as_images():
    outputs = SemanticSegmenterOutput(logits=torch.randn(2, 5, 9, 11))
    with pytest.raises(ValueError, match="Got 1 target_sizes for 2 images"):
        SetrImageProcessor().post_process_semantic_segmentation(outputs, target_sizes=[(9, 11)])


# Saving.


SMALL_VIT = PlainVitConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, image_size=32, num_labels=2
)


@pytest.mark.parametrize("beside", ["nothing", "adapter", "upernet", "backbone", "model"])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_class_that_was_saved_is_loaded(beside, is_first, tmp_path):
    """Wherever it is saved, before the model or after it."""
    processor = SetrImageProcessor(size={"shortest_edge": 48})

    def save_neighbour() -> None:
        if beside == "adapter":
            (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        elif beside == "upernet":
            UperNetConfig(backbone_config=SMALL_VIT).save_pretrained(tmp_path)
        elif beside == "backbone":
            SMALL_VIT.save_pretrained(tmp_path)
        elif beside == "model":
            SetrConfig(backbone_config=SMALL_VIT, decoder_type="naive").save_pretrained(tmp_path)

    steps = [lambda: processor.save_pretrained(tmp_path), save_neighbour]
    for step in steps if is_first else reversed(steps):
        step()
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is SetrImageProcessor
    assert loaded.size == processor.size
    # Where config.json names the code, only that does: without vitseg, the name alone would be looked at.
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert ("image_processor_type" in settings) == (beside != "model")
    assert "auto_map" not in settings


def test_save_and_load(tmp_path):
    settings = {
        "size": {"shortest_edge": 16, "longest_edge": 40},
        "do_reduce_labels": True,
        "do_pad": True,
        "pad_size": {"height": 48, "width": 48},
        "image_mean": (0.1, 0.2, 0.3),
        "image_std": (0.4, 0.5, 0.6),
    }
    image_processor = SetrImageProcessor(**settings)
    image_processor.save_pretrained(tmp_path)
    loaded = SetrImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == image_processor.to_dict()
    assert {name: loaded.to_dict()[name] for name in settings} == settings
    expected = image_processor(RGB, CLASS_IDS, return_tensors="pt")
    inputs = loaded(RGB, CLASS_IDS, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 48, 48)
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])
    assert torch.equal(inputs["labels"], expected["labels"])


# Numbers that do not mean what is done with them.

FLOATS = RGB.astype(np.float32)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (FLOATS / 255, r"Image 0 holds numbers from 0 to 1; .*do_rescale=False"),
        (torch.from_numpy(FLOATS / 255).permute(2, 0, 1), r"from 0 to 1; .*multiply by 255"),
        (FLOATS.astype(np.float64) / 255, r"from 0 to 1; .*do_rescale=False"),
        (np.dstack([FLOATS, FLOATS[..., :1]]) / 255, r"to 1; .*do_rescale=False"),
        (FLOATS / 127.5 - 1, r"from -1 to 1; .*do_rescale=False and do_normalize=False"),
        (normalized(RGB), r"from -2\.\d+ to 2\.\d+; .*do_normalize=False"),
        (FLOATS * 257, r"from 0 to 65535; .*uint16"),
        (np.where(RGB == 3, np.nan, FLOATS), "NaN"),
        (RGB > 99, "booleans.*multiply by 255"),
        (torch.from_numpy(GREY > 99), "booleans"),
        (RGB.astype(np.int32) * 257, r"integers .*from 0 to 65535"),
        (RGB.astype(np.int64) - 1, r"integers .*from -1 to 254"),
        (RGB.astype(np.uint16) * 16, r"largest number is 4080 of 65535.*12 bits"),
        (Image.fromarray(GREY.astype(np.uint16) * 16), r"An image has 16 bits.*12 bits"),
        (Image.fromarray(GREY / np.float32(255)), r"floating-point numbers from 0 to 1"),
        (Image.fromarray(GREY.astype(np.int32) * 300), r"integers from 0 to 76500"),
        (Image.fromarray(GREY.astype(np.int32)), r"largest number is 255 of 65535"),
        (np.concatenate([RGB, RGB], axis=-1), r"shape \(20, 30, 6\); expected 1 .*3 .*4 channels"),
        (RGB[..., :2], r"shape \(20, 30, 2\)"),
    ],
)
def test_numbers_that_are_not_of_the_expected_range_are_refused_with_what_they_look_like(image, message):
    with pytest.raises(ValueError, match=message):
        SetrImageProcessor()(image)


@pytest.mark.parametrize(
    "image",
    [
        np.ascontiguousarray(RGB[..., ::-1])[..., ::-1],
        np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape),
        RGB.astype(np.int64),
        RGB.astype(np.uint32),
        RGB.astype(">i4"),
        (RGB.astype(np.uint16) * 257).astype(">u2"),
        FLOATS,
        FLOATS.astype(np.float64),
        np.dstack([FLOATS, np.full((20, 30), 255.0)]),
    ],
    ids=["flipped", "read_only", "int64", "uint32", "int32_swapped", "uint16_swapped", "float32", "float64", "rgba"],
)
def test_arrays_however_they_lie_in_memory(image):
    pixel_values = SetrImageProcessor(do_resize=False)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values[0].float(), normalized(RGB), rtol=1e-5, atol=1e-5)


def test_who_does_not_rescale_may_have_any_numbers():
    expected = SetrImageProcessor()(RGB, return_tensors="pt")["pixel_values"]
    scaled = SetrImageProcessor()(FLOATS / 255, do_rescale=False, return_tensors="pt")["pixel_values"]
    # Bytes are rounded when they are resized.
    assert (scaled - expected).abs().max() < 0.02
    plain = SetrImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    assert torch.equal(plain(normalized(RGB))["pixel_values"][0], normalized(RGB))
    assert not SetrImageProcessor(do_normalize=False)(np.zeros_like(FLOATS))["pixel_values"][0].any()


@pytest.mark.parametrize("scale", [1, 255])
def test_transparency_of_floating_point_numbers_is_scaled_as_their_colours(scale):
    image = np.dstack([FLOATS, ALPHA.astype(np.float32)]) / 255 * scale
    opacity = ALPHA[..., None] / 255
    expected = (RGB * opacity + 255 * (1 - opacity)) / 255 * scale
    np.testing.assert_allclose(converted(image), expected, rtol=1e-5, atol=1e-4)


def test_grey_arrays_need_no_channel():
    for image in (GREY, torch.from_numpy(GREY), [GREY]):
        assert np.array_equal(converted(image), grey(GREY))


@pytest.mark.parametrize(
    "label_map",
    [
        CLASS_IDS[..., None],
        torch.from_numpy(CLASS_IDS)[..., None],
        [CLASS_IDS[..., None]],
        CLASS_IDS[None, ..., None],
        torch.from_numpy(CLASS_IDS)[None, None],
        np.ascontiguousarray(CLASS_IDS[:, ::-1])[:, ::-1],
        CLASS_IDS.astype(">u2"),
        CLASS_IDS.astype(np.float32),
    ],
    ids=["hw1", "tensor_hw1", "list_hw1", "batch_hw1", "batch_1hw", "flipped", "swapped", "whole_floats"],
)
def test_label_maps_may_have_a_channel_and_lie_in_memory_as_they_like(label_map):
    inputs = SetrImageProcessor(do_resize=False)(RGB, label_map, return_tensors="pt")
    assert torch.equal(inputs["labels"], torch.from_numpy(CLASS_IDS.astype(np.int64))[None])


def test_as_many_label_maps_with_a_channel_as_images():
    maps = [CLASS_IDS[..., None], REDUCED_IDS[..., None]]
    for label_maps in (maps, np.stack(maps)):
        labels = SetrImageProcessor(do_resize=False)([RGB, RGB], label_maps, return_tensors="pt")["labels"]
        assert np.array_equal(labels, np.stack([CLASS_IDS, REDUCED_IDS]))


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (CLASS_IDS / 255, r"Segmentation map 0 holds 0\.\d+.*ToTensor"),
        (torch.from_numpy(CLASS_IDS / np.float32(255)), r"ToTensor"),
        (np.where(CLASS_IDS == 1, np.nan, CLASS_IDS), r"holds nan"),
        (np.where(CLASS_IDS == 1, np.inf, CLASS_IDS), r"holds inf"),
        (Image.fromarray(CLASS_IDS.astype(np.float32)), "segmentation map has mode 'F'"),
    ],
)
def test_label_maps_that_hold_no_ids_are_refused(label_map, message):
    with pytest.raises(ValueError, match=message):
        SetrImageProcessor()(RGB, label_map)


def test_label_maps_from_files_are_read_as_everywhere(tmp_path):
    Image.fromarray(CLASS_IDS).save(tmp_path / "lossy.png", format="JPEG")
    with pytest.raises(ValueError, match="segmentation map is JPEG"):
        SetrImageProcessor()(RGB, Image.open(tmp_path / "lossy.png"))
    two_greys = Image.fromarray(CLASS_IDS // 255)
    two_greys.putpalette([0, 0, 0, 255, 255, 255])
    with pytest.raises(ValueError, match="palette of grey levels"):
        SetrImageProcessor()(RGB, two_greys)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("old", "new"), [((24, 32), (190, 250)), ((40, 31), (13, 64)), ((1, 9), (7, 50)), ((9, 1), (30, 1))]
)
def test_classes_are_those_of_all_scores_where_few_pixels_lie_between_classes(old, new, align_corners, monkeypatch):
    coarse = torch.randn(1, 50, 2, 2, generator=torch.Generator().manual_seed(old[0]))
    logits = nn.functional.interpolate(coarse, size=old, mode="bilinear", align_corners=True)
    scores = nn.functional.interpolate(logits, size=new, mode="bilinear", align_corners=align_corners)[0]
    monkeypatch.setattr(score_maps, "resized_bands", None)  # which would resize the scores of all
    label_map = score_maps.resized_argmax(logits[0], new, align_corners)
    assert label_map.dtype == torch.int64
    lacking = scores.max(dim=0).values - scores.gather(0, label_map[None])[0]
    assert lacking.max() < 1e-5  # of scores around 1: another class only where two are as high
    assert (label_map == scores.argmax(dim=0)).float().mean() > 0.999
