# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""StructToken under transformers' own test suites."""

import unittest

from conformance.segmentation import (
    SegmentationImageProcessingTest,
    SegmentationImageProcessingTester,
    SegmentationModelTest,
    SegmentationModelTester,
)

from vitseg import StructTokenConfig, StructTokenForSemanticSegmentation, StructTokenImageProcessor


class StructTokenModelTester(SegmentationModelTester):
    extraction: str
    use_class_token = True

    def get_config(self) -> StructTokenConfig:
        return StructTokenConfig(
            backbone_config=self.get_backbone_config(out_indices=[self.num_hidden_layers]),
            extraction=self.extraction,
            decoder_hidden_size=8,
            decoder_num_layers=2,
            num_labels=self.num_labels,
        )


class StructTokenCseModelTester(StructTokenModelTester):
    extraction = "cse"


class StructTokenSseModelTester(StructTokenModelTester):
    extraction = "sse"


class StructTokenPweModelTester(StructTokenModelTester):
    extraction = "pwe"


class StructTokenModelTest(SegmentationModelTest):
    all_model_classes = (StructTokenForSemanticSegmentation,)


class StructTokenCseModelTest(StructTokenModelTest, unittest.TestCase):
    model_tester_class = StructTokenCseModelTester


class StructTokenSseModelTest(StructTokenModelTest, unittest.TestCase):
    model_tester_class = StructTokenSseModelTester


class StructTokenPweModelTest(StructTokenModelTest, unittest.TestCase):
    model_tester_class = StructTokenPweModelTester


class StructTokenImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = StructTokenImageProcessor


class StructTokenImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = StructTokenImageProcessingTester
    config_class = StructTokenConfig
