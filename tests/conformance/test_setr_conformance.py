# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SETR under transformers' own test suites."""

import unittest

from conformance.segmentation import (
    SegmentationImageProcessingTest,
    SegmentationImageProcessingTester,
    SegmentationModelTest,
    SegmentationModelTester,
)

from vitseg import SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor


class SetrModelTester(SegmentationModelTester):
    decoder_type: str
    use_class_token = True

    def get_config(self) -> SetrConfig:
        return SetrConfig(
            backbone_config=self.get_backbone_config(),
            decoder_type=self.decoder_type,
            decoder_hidden_size=8,
            mla_branch_size=4,
            num_labels=self.num_labels,
        )


class SetrNaiveModelTester(SetrModelTester):
    decoder_type = "naive"


class SetrPupModelTester(SetrModelTester):
    decoder_type = "pup"


class SetrMlaModelTester(SetrModelTester):
    decoder_type = "mla"
    num_hidden_layers = 4
    use_class_token = False


class SetrModelTest(SegmentationModelTest):
    all_model_classes = (SetrForSemanticSegmentation,)


class SetrNaiveModelTest(SetrModelTest, unittest.TestCase):
    model_tester_class = SetrNaiveModelTester


class SetrPupModelTest(SetrModelTest, unittest.TestCase):
    model_tester_class = SetrPupModelTester


class SetrMlaModelTest(SetrModelTest, unittest.TestCase):
    model_tester_class = SetrMlaModelTester

    @unittest.skip(reason="MLA taps four different layers, so its smallest model has four")
    def test_num_layers_is_small(self):
        pass


class SetrImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = SetrImageProcessor


class SetrImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = SetrImageProcessingTester
    config_class = SetrConfig
