# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models for images of any number of bands, made of models for RGB."""

import copy
import json

import numpy as np
import pytest
import torch
from data.test_bands import folder_of, npy
from every_model import build, small_vit
from small_encoders import ENCODERS
from training_runs import train
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg import (
    CtsSegmenterConfig,
    CtsSegmenterForSemanticSegmentation,
    SetrConfig,
    SetrForSemanticSegmentation,
    SetrImageProcessor,
    cli,
)
from vitseg.conversion.fingerprint import largest_difference, take_fingerprint
from vitseg.data.bands import load_bands
from vitseg.scenes import write_scenes
from vitseg.training.bands import inflate, processor_of_bands, with_bands


SEGMENTERS = ("segmenter", "sctnet", "sctnet-teacher", "segvit", "setr-mla", "setr-pup", "structtoken", "hlg")


@pytest.mark.parametrize("num_bands", [1, 2, 4, 200])
def test_what_is_the_same_in_all_bands_is_answered_as_a_grey_picture_was(num_bands):
    weight, grey = torch.randn(8, 3, 4, 4), torch.randn(2, 1, 16, 16)
    expected = torch.conv2d(grey.expand(-1, 3, -1, -1), weight, stride=4)
    found = torch.conv2d(grey.expand(-1, num_bands, -1, -1), inflate(weight, num_bands), stride=4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_first_bands_keep_the_weights_of_their_colours():
    weight = torch.randn(8, 3, 4, 4)
    inflated = inflate(weight, 5)
    torch.testing.assert_close(inflated[:, 2], weight[:, 2])
    torch.testing.assert_close(inflated[:, 0] + inflated[:, 3], weight[:, 0])
    torch.testing.assert_close(inflated[:, 1], inflated[:, 4])


def segmenter():
    """Without token sharing, which is for RGB."""
    settings = {"backbone_config": small_vit(), "decoder_num_attention_heads": 2}
    return CtsSegmenterForSemanticSegmentation(CtsSegmenterConfig(**settings)).eval()


def assert_answers_alike(model, expected, grey):
    answers = (taker(grey.expand(-1, taker.num_channels, -1, -1)).logits for taker in (model, expected))
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_method_takes_any_number_of_bands(name):
    model = segmenter() if name == "segmenter" else build(name)
    grey = torch.randn(1, 1, *model.config.protocol().window_size)
    assert_answers_alike(with_bands(model, 6).eval(), model, grey)


@torch.no_grad()
@pytest.mark.parametrize("name", ["beit", "convnext", "dinov2", "dinov3_vit", "swin"])
def test_encoders_of_transformers_take_any_number_of_bands(name):
    config = copy.deepcopy(ENCODERS[name][1])
    settings = {"decoder_type": "naive", "decoder_hidden_size": 8, "num_labels": 3}
    model = SetrForSemanticSegmentation(SetrConfig(backbone_config=config, window_size=64, **settings)).eval()
    grey = torch.randn(1, 1, 64, 64)
    assert_answers_alike(with_bands(model, 4).eval(), model, grey)


@torch.no_grad()
def test_saved_and_loaded_it_takes_arrays_of_its_bands(tmp_path):
    mean, std = [100.0, 0.5, -3.0, 2000.0, 7.0], [10.0, 0.1, 1.0, 500.0, 2.0]
    model = with_bands(build("setr-pup"), 5).eval()
    processor = processor_of_bands(SetrImageProcessor(do_resize=False), mean, std)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path).eval()
    loaded_processor = AutoImageProcessor.from_pretrained(tmp_path)
    # Larger than a window of 128 pixels, so it goes through in several.
    image = np.random.default_rng(0).normal(mean, std, (140, 200, 5)).astype(np.float32)
    inputs = loaded_processor(image, return_tensors="pt")
    first = loaded_processor(np.moveaxis(image, -1, 0), return_tensors="pt")
    torch.testing.assert_close(inputs["pixel_values"], first["pixel_values"])
    expected = torch.from_numpy((image - np.float32(mean)) / np.float32(std)).permute(2, 0, 1)[None]
    torch.testing.assert_close(inputs["pixel_values"], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)
    assert loaded_processor.post_process_semantic_segmentation(loaded(**inputs), [(140, 200)])[0].shape == (140, 200)


def test_integers_are_taken_by_their_numbers():
    processor = processor_of_bands(SetrImageProcessor(do_resize=False), [0.0] * 4, [1.0] * 4)
    image = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8) * 300
    np.testing.assert_array_equal(processor(image)["pixel_values"][0], image)
    larger = processor(image, do_resize=True, size={"height": 12, "width": 16})["pixel_values"][0]
    assert larger.shape == (4, 12, 16)
    assert larger.max() == image.max()


def test_other_numbers_of_bands_are_refused():
    processor = processor_of_bands(SetrImageProcessor(do_resize=False), [0.0] * 4, [1.0] * 4)
    with pytest.raises(ValueError, match=r"shape \(20, 30, 3\); expected 4 bands"):
        processor(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match="5 bands, but the model takes 4: only one for RGB"):
        with_bands(with_bands(build("setr-pup"), 4), 5)
    with pytest.raises(ValueError, match="32 x 32 RGB pixels"):
        with_bands(build("cts-segmenter"), 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_recipe):
    """Data sets of four bands, of three of them, and of pictures, and a recipe."""
    folder = tmp_path_factory.mktemp("bands")
    rng = np.random.default_rng(0)
    files = {f"{name}.npy": npy(rng.normal(100, 20, (6, 8, 4)).astype(np.uint8)) for name in "abcdefgh"}
    for name, bands in (("four", ["all"]), ("three", ["1", "4", "2"])):
        assert cli.main([*folder_of(folder / name, files), str(folder / f"data-{name}"), "--bands", *bands]) == 0
    write_scenes(folder / "scenes", num_train=8, num_validation=1)
    tiny_recipe = copy.deepcopy(tiny_recipe)
    tiny_recipe["training"] |= {"iterations": 2, "batch_size": 2, "warmup_iterations": 0}
    (folder / "recipe.json").write_text(json.dumps(tiny_recipe))
    return folder


def train_on(folder, name, init, output, *options):
    what = ["--recipe", folder / "recipe.json", "--dataset", folder / name, "--init", init, "--output", output]
    return train(*what, "--workers", 0, "--validation-split", "none", *options)


@pytest.mark.usefixtures("own_state")
def test_training_goes_on_from_models_of_these_bands_or_of_rgb(tmp_path, data, capsys):
    assert train_on(data, "scenes", "none", tmp_path / "rgb") == 0
    runs = {"four": ("rgb", "data-four"), "more": ("four", "data-four"), "three": ("rgb", "data-three")}
    for output, (init, dataset) in runs.items():
        assert train_on(data, dataset, tmp_path / init / "model", tmp_path / output) == 0
    processors = {name: AutoImageProcessor.from_pretrained(tmp_path / name / "model") for name in runs}
    statistics = load_bands(data / "data-four")
    for name in ("four", "more"):
        assert tuple(processors[name].image_mean) == statistics.image_mean
    assert [processor.num_bands for processor in processors.values()] == [4, 4, 3]
    capsys.readouterr()
    for init, dataset, *options, message in (
        ("four", "scenes", "The model takes images of 4 bands, but"),
        ("four", "data-three", "have 3 bands, but the model takes 4: only one for RGB"),
        ("rgb", "data-four", "--save-adapter", "--freeze", "backbone", "--save-adapter"),
    ):
        assert train_on(data, dataset, tmp_path / init / "model", tmp_path / "refused", *options) == 1
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("own_state")
def test_own_augmentation_moves_bands_and_recolouring_is_refused_by_name(tmp_path, data, capsys):
    turns = '[{"name": "RandomAffine", "degrees": 20}, {"name": "GaussianBlur", "kernel_size": 3}]'
    assert train_on(data, "data-four", "none", tmp_path / "turns", "--set", f"training.augmentation={turns}") == 0
    colors = '[{"name": "ColorJitter", "hue": 0.2}]'
    assert train_on(data, "data-four", "none", tmp_path / "colors", "--set", f"training.augmentation={colors}") == 1
    assert "ColorJitter cannot be applied" in capsys.readouterr().err


def test_a_fingerprint_is_of_all_bands():
    model = with_bands(build("setr-pup"), 5).eval()
    processor = processor_of_bands(SetrImageProcessor(), [9] * 5, [3] * 5)
    fingerprint = take_fingerprint(model, processor)
    assert fingerprint["input_shape"][1] == 5
    assert largest_difference(fingerprint, take_fingerprint(model, processor)) == 0
