# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What configurations of all methods refuse, and what models refuse to look at."""

import pytest
import torch
from citizenship import images
from every_model import HLG, MODELS, build, small_vit
from transformers import AutoConfig

from vitseg import PlainVitConfig, SctNetConfig, SetrConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_size": 64, "window_stride": 100}, "exceeds window_size"),
        ({"inference_mode": "sliding"}, "inference_mode is 'sliding'"),
        ({"window_size": "64"}, "Field 'window_size'.*'64'"),
        ({"window_batch_size": 1.5}, "Field 'window_batch_size'.*1.5"),
        ({"num_labels": 0}, "num_labels is 0"),
        ({"id2label": {1: "a", 2: "b"}}, "id2label has the ids"),
    ],
)
@pytest.mark.parametrize("config_class", [SetrConfig, SctNetConfig])
def test_wrong_settings_are_value_errors(config_class, settings, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        config_class(**settings)


def test_wrong_settings_of_decoders_and_backbones_are_value_errors():
    with pytest.raises(ValueError, match="feature_stride is 0"):
        SetrConfig(backbone_config=small_vit(), feature_stride=0)
    with pytest.raises(ValueError, match="decoder_type is 'fcn'"):
        SetrConfig(backbone_config=small_vit(), decoder_type="fcn")
    with pytest.raises(ValueError, match="hidden_size"):
        PlainVitConfig(hidden_size=65)
    config = SetrConfig(backbone_config=small_vit())
    with pytest.raises(ValueError, match="Field 'window_batch_size'"):
        config.window_batch_size = 1.5
    config.decoder_type = "fcn"
    with pytest.raises(ValueError, match="decoder_type is 'fcn'"):
        config.validate()


def test_classes_that_would_be_ignored_are_not_assigned(tmp_path):
    names = {index: f"class {index}" for index in range(300)}
    for assignment in ({"num_labels": 300}, {"id2label": names}):
        config = SetrConfig(backbone_config=small_vit(), num_labels=5)
        with pytest.raises(ValueError, match=r"Of 300 classes, 255 is one.*Assign semantic_loss_ignore_index first"):
            config.update(assignment)
        assert config.num_labels == 5
        config.semantic_loss_ignore_index = -100
        config.update(assignment)
        assert (config.num_labels, config.ignore_index) == (300, -100)
    # What was meant is left alone.
    config = SetrConfig(backbone_config=small_vit(), num_labels=300, semantic_loss_ignore_index=255)
    config.num_labels = 299
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).ignore_index == 255
    # In whatever order they are given.
    given = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    SetrConfig(backbone_config=small_vit(), num_labels=5).save_pretrained(tmp_path)
    for arguments in ({**given, "semantic_loss_ignore_index": -1}, {"semantic_loss_ignore_index": -1, **given}):
        config = AutoConfig.from_pretrained(tmp_path, **arguments)
        assert (config.num_labels, config.ignore_index, config.label2id["class 7"]) == (300, -1, 7)


@pytest.mark.parametrize("name", [*MODELS, *HLG])
def test_what_is_no_image_is_refused(name):
    model = build(name)
    for shape in ((0, 3, 128, 128), (0, 3, 300, 300), (2, 3, 0, 5)):
        with pytest.raises(ValueError, match=rf"pixel_values has shape \({shape[0]}, 3, .*no image"):
            model(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"pixel_values are torch\.uint8; expected floats"):
        model(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
    for value in (None, [images(3, 128, 128)], "photo.jpg"):
        with pytest.raises(TypeError, match=f"pixel_values is a {type(value).__name__}"):
            model(value)
