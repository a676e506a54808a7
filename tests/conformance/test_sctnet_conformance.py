# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet, its backbone and its teacher under transformers' own test suites."""

import unittest

from conformance.segmentation import (
    SegmentationImageProcessingTest,
    SegmentationImageProcessingTester,
    SegmentationModelTest,
    SegmentationModelTester,
)
from tests.test_backbone_common import BackboneTesterMixin
from torch import nn
from transformers import SegformerConfig

from vitseg import (
    SctNetBackbone,
    SctNetConfig,
    SctNetForSemanticSegmentation,
    SctNetImageProcessor,
    SctNetTeacherConfig,
    SctNetTeacherForSemanticSegmentation,
    SctNetTeacherImageProcessor,
)


class SctNetModelTester(SegmentationModelTester):
    num_hidden_layers = 5
    out_features: list[str] | None = None

    def get_config(self) -> SctNetConfig:
        return SctNetConfig(
            base_channels=4,
            context_channels=4,
            stage_depths=[1, 1, 1],
            image_size=self.image_size,
            use_auxiliary_head=True,
            num_labels=self.num_labels,
            out_features=self.out_features,
        )


class SctNetTests(SegmentationModelTest):
    has_attentions = False
    model_tester_class = SctNetModelTester

    def test_hidden_states_output(self):
        """Maps, whose channels and size differ from stage to stage."""
        (model_class,) = self.all_model_classes
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        hidden_states = model_class(config).eval()(**inputs, output_hidden_states=True).hidden_states
        # Of the stem and of each stage.
        assert [tuple(state.shape[1:]) for state in hidden_states] == [
            (4, 8, 8),
            (4, 8, 8),
            (8, 4, 4),
            (16, 2, 2),
            (32, 1, 1),
            (16, 4, 4),
        ]

    @unittest.skip(reason="SCTNet has five stages, however small it is")
    def test_num_layers_is_small(self):
        pass


class SctNetModelTest(SctNetTests, unittest.TestCase):
    all_model_classes = (SctNetForSemanticSegmentation,)

    def test_model_get_set_embeddings(self):
        model = SctNetForSemanticSegmentation(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), nn.Conv2d)
        new_embeddings = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        model.set_input_embeddings(new_embeddings)
        assert model.backbone.stem[0].conv is new_embeddings


class SctNetBackboneTester(SctNetModelTester):
    is_training = False
    out_features = ["stage2", "stage4"]


class SctNetBackboneTest(SctNetTests, BackboneTesterMixin, unittest.TestCase):
    all_model_classes = (SctNetBackbone,)
    config_class = SctNetConfig
    model_tester_class = SctNetBackboneTester

    def test_model_get_set_embeddings(self):
        model = SctNetBackbone(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), nn.Conv2d)

    @unittest.skip(reason="A backbone gives feature maps, not logits")
    def test_logits_have_the_size_of_the_image(self):
        pass

    @unittest.skip(reason="The first output of a backbone is a tuple of feature maps, not a tensor")
    def test_retain_grad_hidden_states_attentions(self):
        pass


class SctNetTeacherModelTester(SegmentationModelTester):
    def get_config(self) -> SctNetTeacherConfig:
        encoder_config = SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], drop_path_rate=0.0
        )
        return SctNetTeacherConfig(
            encoder_config=encoder_config, decoder_hidden_size=8, image_size=32, num_labels=self.num_labels
        )


class SctNetTeacherModelTest(SegmentationModelTest, unittest.TestCase):
    all_model_classes = (SctNetTeacherForSemanticSegmentation,)
    model_tester_class = SctNetTeacherModelTester
    has_attentions = False

    def test_model_get_set_embeddings(self):
        model = SctNetTeacherForSemanticSegmentation(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), nn.Conv2d)

    def test_hidden_states_output(self):
        """One map for each stage of the encoder."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = SctNetTeacherForSemanticSegmentation(config).eval()
        hidden_states = model(**inputs, output_hidden_states=True).hidden_states
        assert [tuple(state.shape[1:]) for state in hidden_states] == [(8, 8, 8), (8, 4, 4), (16, 2, 2), (16, 1, 1)]


class SctNetImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = SctNetImageProcessor


class SctNetImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = SctNetImageProcessingTester
    config_class = SctNetConfig


class SctNetTeacherImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = SctNetTeacherImageProcessor


class SctNetTeacherImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = SctNetTeacherImageProcessingTester
    config_class = SctNetTeacherConfig
