# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG under transformers' own test suites: the backbone, the three tasks, and the image processor."""

import copy
import unittest
from typing import Any, ClassVar

import torch
from conformance.segmentation import SegmentationImageProcessingTest, SegmentationImageProcessingTester
from tests.test_backbone_common import BackboneTesterMixin
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from torch import nn

from vitseg import (
    HlgBackbone,
    HlgConfig,
    HlgForImageClassification,
    HlgForObjectDetection,
    HlgForSemanticSegmentation,
    HlgImageProcessor,
)


class HlgModelTester:
    """Makes the configuration of a tiny model, and inputs for it."""

    batch_size = 2
    num_channels = 3
    image_size = 32
    num_labels = 3
    # Feature maps are counted: that of the stem and those of the stages.
    num_hidden_layers = 2
    num_attention_heads = 1
    is_training = True

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> HlgConfig:
        return HlgConfig(
            hidden_sizes=[16, 16, 32, 32],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 2, 2],
            window_size=self.image_size,
            decoder_hidden_size=16,
            decoder_num_layers=2,
            auxiliary_heads=[],
            pyramid_hidden_size=8,
            detector_hidden_size=8,
            detector_num_layers=1,
            num_labels=self.num_labels,
            out_indices=[1, 2, 3, 4],
        )

    def prepare_config_and_inputs(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        return self.get_config(), pixel_values, None

    def prepare_config_and_inputs_for_common(self):
        config, pixel_values, _ = self.prepare_config_and_inputs()
        return config, {"pixel_values": pixel_values}


class HlgModelTest(ModelTesterMixin):
    pipeline_model_mapping: ClassVar[dict[str, Any]] = {}
    test_resize_embeddings = False
    has_attentions = True
    config_class = HlgConfig
    # See the same in SegmentationModelTest.
    test_bc_torch_dtype = None

    def setUp(self):
        self.model_tester = HlgModelTester(self)

    def labels(self):
        """The same in each call; an encoder has none."""

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict, labels = copy.deepcopy(inputs_dict), self.labels()
        return {**inputs_dict, "labels": labels} if return_labels and labels is not None else inputs_dict

    def test_model_get_set_embeddings(self):
        (model_class,) = self.all_model_classes
        model = model_class(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), nn.Conv2d)
        new_embeddings = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        model.set_input_embeddings(new_embeddings)
        assert model.get_input_embeddings() is new_embeddings

    def test_hidden_states_output(self):
        (model_class,) = self.all_model_classes
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = model_class(config).eval()
        for arguments in ({"output_hidden_states": True}, {}):
            with torch.no_grad():
                hidden_states = model(**inputs, **arguments).hidden_states
            sizes = [(16, 16, 16), (16, 8, 8), (16, 4, 4), (32, 2, 2), (32, 1, 1)]
            assert [tuple(hidden_state.shape) for hidden_state in hidden_states] == [(2, *size) for size in sizes]
            model.config.output_hidden_states = True

    @unittest.skip(reason="Blocks attend to windows of their stage, so their attentions differ in shape")
    def test_attention_outputs(self):
        pass

    @unittest.skip(reason="A model that has a summary of each window has no layer of tokens to keep gradients of")
    def test_retain_grad_hidden_states_attentions(self):
        pass


# Images have no padding tokens and no mask of them: of the variants that differ in these alone, one is run.
for test in dir(ModelTesterMixin):
    if test.startswith("test_eager_matches_sdpa_inference") and ("pad_left" in test or "no_attn_mask" in test):
        setattr(HlgModelTest, test, None)


class HlgBackboneTest(HlgModelTest, BackboneTesterMixin, unittest.TestCase):
    all_model_classes = (HlgBackbone,)

    def setUp(self):
        super().setUp()
        # A backbone has no loss; it is trained under its tasks.
        self.model_tester.is_training = False


class HlgClassificationTest(HlgModelTest, unittest.TestCase):
    all_model_classes = (HlgForImageClassification,)

    def labels(self):
        return torch.zeros(2, dtype=torch.int64)


class HlgSegmentationTest(HlgModelTest, unittest.TestCase):
    all_model_classes = (HlgForSemanticSegmentation,)

    def labels(self):
        return torch.arange(2 * 32 * 32).view(2, 32, 32) % 3


class HlgDetectionTest(HlgModelTest, unittest.TestCase):
    all_model_classes = (HlgForObjectDetection,)

    def labels(self):
        boxes = torch.tensor([[0.4, 0.5, 0.3, 0.2], [0.6, 0.3, 0.2, 0.4]])
        return [{"class_labels": torch.tensor([2, 0]), "boxes": boxes} for _ in range(2)]


class HlgImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = HlgImageProcessor


class HlgImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = HlgImageProcessingTester
    config_class = HlgConfig
