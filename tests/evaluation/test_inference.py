# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Views of an image are resized, flipped, averaged and brought back to its size as the originals do it."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from golden_cases import GoldenCase, load_case, pixels
from PIL import Image
from tiny_setr import tiny_image_processor, tiny_setr
from torch import nn
from transformers import (
    AutoModelForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from vitseg.evaluation.inference import ViewInput, mean_probabilities, predict_images
from vitseg.models import score_maps
from vitseg.models.image_processing_semantic import resize_bilinear
from vitseg.models.sliding_window import slide_inference
from vitseg.recipes.protocol import Protocol, View


def network(case: GoldenCase):
    """The one-convolution network of the golden cases, run in their test mode."""
    state_dict, test_mode = case.state_dict(), case.config["test_cfg"]

    def whole(images: torch.Tensor) -> torch.Tensor:
        weight, bias = state_dict["decode_head.conv.weight"], state_dict["decode_head.conv.bias"]
        scores = nn.functional.conv2d(images, weight, bias, stride=4, padding=2)
        align_corners = case.config.get("align_corners", False)
        return nn.functional.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=align_corners)

    if test_mode["mode"] == "whole":
        return whole
    window_size, window_stride = tuple(test_mode["crop_size"]), tuple(test_mode["stride"])
    return lambda images: slide_inference(whole, images, window_size, window_stride, window_batch_size=4)


def golden_inputs(case: GoldenCase) -> list[ViewInput]:
    inputs = []
    for spec in case.description["input"].get("list", [case.description["input"]]):
        pixel_values = pixels(spec)
        height, width = case.config.get("img_shape", pixel_values.shape[-2:])
        pixel_values[..., height:, :] = 0
        pixel_values[..., width:] = 0
        view = View(height=height, width=width, flip=spec.get("flip", False))
        inputs.append(ViewInput(pixel_values, view))
    return inputs


@pytest.mark.parametrize("max_scores", [2**24, 4000])
@pytest.mark.parametrize(
    "name",
    [
        "aug_whole",
        "aug_slide",
        "padded_whole",
        "padded_slide",
        "slide_exact",
        "slide_odd",
        "slide_small",
        "slide_smaller_both",
        "whole_rescale",
        "whole_rescale_align",
    ],
)
def test_answers_as_the_original(name, max_scores, monkeypatch):
    monkeypatch.setattr(score_maps, "MAX_SCORES", max_scores)
    case = load_case("evaluation", name)
    predict, inputs, size = network(case), golden_inputs(case), tuple(case.config["ori_shape"])
    probabilities = mean_probabilities(predict, inputs, size, align_corners=case.config.get("align_corners", False))
    case.assert_matches("probabilities", probabilities[None])
    assert (probabilities.argmax(dim=0) != case.expected["argmax"][0]).float().mean() < 1e-3
    for index in (0, 1):
        if f"probabilities_{index}" in case.expected:
            alone = mean_probabilities(predict, [inputs[index]], size)
            case.assert_matches(f"probabilities_{index}", alone[None])


def test_setr_answers_as_the_original(converted_cases):
    case = load_case("setr", "tiny_mla_ms_flip")
    model = AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))
    with torch.no_grad():
        probabilities = mean_probabilities(
            lambda images: model(images).logits, golden_inputs(case), tuple(case.config["ori_shape"])
        )
    case.assert_matches("probabilities", probabilities[None])
    assert (probabilities.argmax(dim=0) != case.expected["argmax"][0]).float().mean() < 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_sums(dtype, tolerance):
    case = load_case("evaluation", "aug_slide")
    probabilities = mean_probabilities(network(case), golden_inputs(case), tuple(case.config["ori_shape"]), dtype)
    assert probabilities.dtype == dtype
    torch.testing.assert_close(probabilities[None].float(), case.expected["probabilities"], rtol=0, atol=tolerance)


def test_a_view_that_counts_twice():
    case = load_case("evaluation", "aug_whole")
    first, second = golden_inputs(case)[:2]
    size = tuple(case.config["ori_shape"])
    twice = ViewInput(first.pixel_values, View(height=first.view.height, width=first.view.width, weight=2))
    expected = mean_probabilities(network(case), [first, second, first], size)
    torch.testing.assert_close(mean_probabilities(network(case), [twice, second], size), expected)


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)).resize(
        (width, height)
    )


def predict(model, image_processor, examples, protocol, **kwargs):
    indices = range(len(examples))
    return list(predict_images(model, image_processor, examples, indices, Accelerator(cpu=True), protocol, **kwargs))


def expected_probabilities(model, image: Image.Image, sizes: list[tuple[int, int]], flips, padding=(0, 0)):
    """The protocol in a few lines, all at once."""
    mean, std = torch.tensor([[[0.485]], [[0.456]], [[0.406]]]), torch.tensor([[[0.229]], [[0.224]], [[0.225]]])
    image_bytes = torch.tensor(np.array(image)).permute(2, 0, 1)
    total = torch.zeros(())
    for height, width in sizes:
        for flip in flips:
            view = resize_bilinear(image_bytes, (height, width))
            view = view.flip(-1) if flip else view
            pixel_values = nn.functional.pad((view / 255 - mean) / std, (0, padding[1], 0, padding[0]))
            with torch.no_grad():
                logits = model(pixel_values[None]).logits[..., :height, :width]
            logits = nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
            total = total + (logits.flip(-1) if flip else logits).softmax(dim=1)[0]
    return total / (len(sizes) * len(flips))


def test_one_view():
    model, image_processor, image = tiny_setr("abcde"), tiny_image_processor(), photo(70, 101)
    (prediction,) = predict(
        model, image_processor, [{"image": image}], Protocol.of_model(model.config, image_processor)
    )
    expected = expected_probabilities(model, image, [(32, 46)], (False,))
    assert prediction.label_map.shape == (70, 101)
    assert (prediction.label_map != expected.argmax(dim=0)).float().mean() < 1e-3
    assert len(prediction.label_map.unique()) > 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_several_views(num_workers):
    model, image_processor, image = tiny_setr("abcde"), tiny_image_processor(), photo(70, 101)
    protocol = Protocol.of_model(model.config, image_processor, ratios=(1.0, 1.5), flip=True)
    examples = [{"image": image, "file_name": "a", "label_map": np.ones((70, 101), np.uint8)}]
    (prediction,) = predict(model, image_processor, examples, protocol, num_workers=num_workers)
    expected = expected_probabilities(model, image, [(32, 46), (48, 69)], (False, True))
    assert (prediction.label_map != expected.argmax(dim=0)).float().mean() < 1e-3
    assert (prediction.file_name, prediction.error) == ("a", None)
    assert prediction.reference.dtype == torch.uint8


def test_padding_comes_after_the_flip_and_is_cut_off():
    model, image = tiny_setr("abcde"), photo(70, 101)
    image_processor = tiny_image_processor(do_pad=True, pad_size={"height": 40, "width": 64})
    protocol = Protocol.of_model(model.config, image_processor, flip=True)
    (prediction,) = predict(model, image_processor, [{"image": image}], protocol)
    expected = expected_probabilities(model, image, [(32, 46)], (False, True), padding=(8, 18))
    assert (prediction.label_map != expected.argmax(dim=0)).float().mean() < 1e-3


def test_the_model_is_given_back_as_it_was():
    model, image_processor = tiny_setr("abcde").train(), tiny_image_processor()
    protocol, image = Protocol(mode="whole", size={"height": 48, "width": 64}), photo(40, 50)
    expected = expected_probabilities(tiny_setr("abcde", inference_mode="whole"), image, [(48, 64)], (False,))
    predictions = predict_images(
        model, image_processor, [{"image": image}] * 2, [0, 1], Accelerator(cpu=True), protocol
    )
    assert (next(predictions).label_map != expected.argmax(dim=0)).float().mean() < 1e-3
    assert not model.training
    assert model.config.inference_mode == "slide"
    predictions.close()
    assert model.training


def test_other_windows_than_the_configuration_has():
    image_processor, image = tiny_image_processor(), photo(70, 101)
    protocol = Protocol(mode="slide", window_size=(16, 24), window_stride=(8, 8), size={"height": 32, "width": 46})
    other = tiny_setr("abcde", window_size=[16, 24], window_stride=[8, 8])
    expected = expected_probabilities(other, image, [(32, 46)], (False,)).argmax(dim=0)
    for window_batch_size in (None, 1):
        (prediction,) = predict(
            tiny_setr("abcde"), image_processor, [{"image": image}], protocol, window_batch_size=window_batch_size
        )
        assert (prediction.label_map != expected).float().mean() < 1e-3


def tiny_segformer() -> tuple[SegformerForSemanticSegmentation, SegformerImageProcessor]:
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=5,
    )
    return SegformerForSemanticSegmentation(config).eval(), SegformerImageProcessor(size=(64, 96))


def test_a_model_of_transformers_itself():
    torch.manual_seed(0)
    model, image_processor = tiny_segformer()
    image = photo(70, 101)
    (prediction,) = predict(
        model, image_processor, [{"image": image}], Protocol.of_model(model.config, image_processor, flip=True)
    )
    total = 0
    for flip in (False, True):
        pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = model(pixel_values.flip(-1) if flip else pixel_values).logits
        scores = nn.functional.interpolate(logits, size=(70, 101), mode="bilinear", align_corners=False).softmax(1)
        total = total + (scores.flip(-1) if flip else scores)
    assert (prediction.label_map != total[0].argmax(dim=0)).float().mean() < 1e-2


def test_a_model_of_transformers_is_shown_windows():
    model, image_processor = tiny_segformer()
    image = photo(64, 96)
    protocol = Protocol(mode="slide", window_size=(64, 64), window_stride=(32, 32), size={"height": 64, "width": 96})
    (prediction,) = predict(model, image_processor, [{"image": image}], protocol)
    pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
    scores, counts = torch.zeros(1, 5, 64, 96), torch.zeros(96)
    for left in (0, 32):
        with torch.no_grad():
            logits = model(pixel_values[..., left : left + 64]).logits
        scores[..., left : left + 64] += nn.functional.interpolate(logits, size=(64, 64), mode="bilinear")
        counts[left : left + 64] += 1
    assert torch.equal(prediction.label_map, (scores / counts)[0].argmax(dim=0))


def test_half_precision_models():
    model, image_processor, image = tiny_setr("abcde"), tiny_image_processor(), photo(70, 101)
    protocol = Protocol.of_model(model.config, image_processor, flip=True)
    (expected,) = predict(model, image_processor, [{"image": image}], protocol)
    (actual,) = predict(model.to(torch.bfloat16), image_processor, [{"image": image}], protocol)
    assert (actual.label_map == expected.label_map).float().mean() > 0.9


class Broken:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        if index == 0:
            raise ValueError("Cannot decode the image of x.jpg")
        return {"image": photo(40, 50), "file_name": "y.jpg"}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_broken_images_are_named(num_workers):
    model, image_processor = tiny_setr("abc"), tiny_image_processor()
    protocol = Protocol.of_model(model.config, image_processor)
    broken, whole = predict(model, image_processor, Broken(), protocol, num_workers=num_workers)
    assert (broken.label_map, broken.error) == (None, "Cannot decode the image of x.jpg")
    assert (whole.file_name, whole.error, whole.label_map.shape) == ("y.jpg", None, (40, 50))
