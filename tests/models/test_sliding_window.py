# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Windowed inference visits the windows and averages the logits of the original test mode."""

from collections.abc import Callable

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case
from torch import nn
from transformers.modeling_outputs import SemanticSegmenterOutput

from vitseg import SetrImageProcessor
from vitseg.models.sliding_window import slide_inference


SLIDE_CASES = [name for name in case_names("evaluation") if name.startswith("slide_")]
# One window as large as the image is the whole image.
WHOLE_CASES = ["whole_rescale", "padded_whole"]


class Network:
    """The one-convolution network of the golden cases, which remembers the windows it was given."""

    def __init__(self, case: GoldenCase):
        state_dict = case.state_dict()
        self.weight, self.bias = state_dict["decode_head.conv.weight"], state_dict["decode_head.conv.bias"]
        self.chunks: list[torch.Size] = []

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.chunks.append(windows.shape)
        scores = nn.functional.conv2d(windows, self.weight, self.bias, stride=4, padding=2)
        return nn.functional.interpolate(scores, size=windows.shape[-2:], mode="bilinear", align_corners=False)

    @property
    def window_sizes(self) -> list[list[int]]:
        return [list(chunk[-2:]) for chunk in self.chunks for _ in range(chunk[0])]


def pixel_values_of(case: GoldenCase) -> torch.Tensor:
    pixel_values = case.pixel_values()
    if "zero_from" in case.description["input"]:
        row, column = case.description["input"]["zero_from"]
        pixel_values[..., row:, :] = 0
        pixel_values[..., column:] = 0
    return pixel_values


def segment(predict: Callable, case: GoldenCase, pixel_values: torch.Tensor, window_batch_size: int) -> torch.Tensor:
    test_mode = case.config["test_cfg"]
    window_size = test_mode.get("crop_size", pixel_values.shape[-2:])
    window_stride = test_mode.get("stride", window_size)
    return slide_inference(predict, pixel_values, tuple(window_size), tuple(window_stride), window_batch_size)


@pytest.mark.parametrize("window_batch_size", [1, 3, 100])
@pytest.mark.parametrize("name", [*SLIDE_CASES, "padded_slide", *WHOLE_CASES])
def test_answers_as_the_original(name, window_batch_size):
    case = load_case("evaluation", name)
    network, pixel_values = Network(case), pixel_values_of(case)
    logits = segment(network, case, pixel_values, window_batch_size)
    if "logits" in case.expected:
        case.assert_matches("logits", logits)
    if "window_sizes" in case.expected:
        assert network.window_sizes == case.expected["window_sizes"].int().tolist() * len(pixel_values)
    chunk_sizes = [chunk[0] for chunk in network.chunks]
    assert set(chunk_sizes[:-1]) <= {window_batch_size}
    assert 1 <= chunk_sizes[-1] <= window_batch_size

    height, width = case.config.get("img_shape", pixel_values.shape[-2:])
    outputs = SemanticSegmenterOutput(logits=logits[..., :height, :width])
    target_sizes = [tuple(case.config["ori_shape"])] * len(logits)
    results = SetrImageProcessor().post_process_semantic_segmentation(
        outputs, target_sizes, return_segmentation_scores=True
    )
    scores = torch.stack([result["segmentation_scores"] for result in results])
    if "logits_ori" in case.expected:
        case.assert_matches("logits_ori", scores)
    case.assert_matches("probabilities", scores.softmax(dim=1))
    label_maps = torch.stack(SetrImageProcessor().post_process_semantic_segmentation(outputs, target_sizes))
    assert (label_maps != case.expected["argmax"]).float().mean() < 1e-3


def test_images_of_a_batch_do_not_mix():
    case = load_case("evaluation", "slide_rect_batch_rescale")
    pixel_values = case.pixel_values()
    # Chunks of 4 hold windows of both images: each image has 9.
    together = segment(Network(case), case, pixel_values, window_batch_size=4)
    alone = [segment(Network(case), case, image[None], window_batch_size=4) for image in pixel_values]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    # Nine windows cover the middle pixel of 5 x 5; the logits of window n are n / 3, which neither type can hold.
    visited = iter(range(9))

    def predict(windows: torch.Tensor) -> torch.Tensor:
        assert windows.dtype == dtype
        return torch.stack([torch.full((1, 3, 3), next(visited) / 3, dtype=dtype) for _ in windows])

    logits = slide_inference(predict, torch.zeros(1, 3, 5, 5, dtype=dtype), (3, 3), (1, 1), window_batch_size=2)
    rounded = (torch.arange(9) / 3).to(dtype).double()
    assert logits.dtype == dtype
    assert logits[0, 0, 2, 2] == rounded.mean().to(dtype)
    assert logits[0, 0, 0, 0] == rounded[0]
    assert logits[0, 0, 4, 4] == rounded[8]


def test_the_network_is_given_the_pixels_of_each_window():
    pixel_values = torch.arange(2 * 7 * 10.0).reshape(2, 1, 7, 10)
    seen = []

    def predict(windows: torch.Tensor) -> torch.Tensor:
        seen.extend(windows)
        return windows

    logits = slide_inference(predict, pixel_values, (4, 6), (3, 5), window_batch_size=5)
    assert torch.equal(logits, pixel_values)
    expected = [
        image[:, top : top + 4, left : left + 6] for image in pixel_values for top in (0, 3) for left in (0, 4)
    ]
    assert torch.equal(torch.stack(seen), torch.stack(expected))
