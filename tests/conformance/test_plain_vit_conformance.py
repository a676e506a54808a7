# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The plain ViT backbone under transformers' own test suites."""

import unittest
from typing import Any, ClassVar

from tests.test_backbone_common import BackboneTesterMixin
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from torch import nn

from vitseg import PlainVitBackbone, PlainVitConfig


class PlainVitModelTester:
    def __init__(self, parent):
        self.parent = parent
        self.batch_size = 2
        self.num_channels = 3
        self.image_size = 32
        self.patch_size = 8
        self.hidden_size = 16
        self.num_attention_heads = 2
        self.num_hidden_layers = 2
        self.seq_length = (self.image_size // self.patch_size) ** 2 + 1
        # A backbone has no loss; it is trained under the decoders.
        self.is_training = False

    def get_config(self) -> PlainVitConfig:
        return PlainVitConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=32,
            image_size=self.image_size,
            patch_size=self.patch_size,
            out_indices=[1, 2],
        )

    def prepare_config_and_inputs(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        return self.get_config(), pixel_values, None

    def prepare_config_and_inputs_for_common(self):
        config, pixel_values, _ = self.prepare_config_and_inputs()
        return config, {"pixel_values": pixel_values}


class PlainVitBackboneTest(ModelTesterMixin, BackboneTesterMixin, unittest.TestCase):
    all_model_classes = (PlainVitBackbone,)
    config_class = PlainVitConfig
    pipeline_model_mapping: ClassVar[dict[str, Any]] = {}
    test_resize_embeddings = False
    has_attentions = True

    def setUp(self):
        self.model_tester = PlainVitModelTester(self)

    def test_model_get_set_embeddings(self):
        model = PlainVitBackbone(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), nn.Conv2d)
        new_embeddings = nn.Conv2d(3, 16, 8, stride=8)
        model.set_input_embeddings(new_embeddings)
        assert model.embeddings.patch_embeddings is new_embeddings

    @unittest.skip(reason="The first output of a backbone is a tuple of feature maps, not a tensor")
    def test_retain_grad_hidden_states_attentions(self):
        pass
