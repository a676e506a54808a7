# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SegViT under transformers' own test suites."""

import unittest

from conformance.segmentation import (
    SegmentationImageProcessingTest,
    SegmentationImageProcessingTester,
    SegmentationModelTest,
    SegmentationModelTester,
)

from vitseg import SegVitConfig, SegVitForSemanticSegmentation, SegVitImageProcessor


class SegVitModelTester(SegmentationModelTester):
    decoder_type: str
    backbone_arguments: dict = {}

    def get_config(self) -> SegVitConfig:
        return SegVitConfig(
            backbone_config=self.get_backbone_config(**self.backbone_arguments),
            decoder_type=self.decoder_type,
            decoder_hidden_size=8,
            decoder_num_layers=1,
            decoder_num_attention_heads=2,
            query_stride=self.patch_size,
            num_labels=self.num_labels,
        )


class SegVitAtmModelTester(SegVitModelTester):
    decoder_type = "atm"


class SegVitSingleModelTester(SegVitModelTester):
    decoder_type = "single_atm"
    backbone_arguments = {"out_indices": [2]}


class SegVitShrunkModelTester(SegVitModelTester):
    decoder_type = "tpn_atm"
    backbone_arguments = {"shrink_layer": 2}


class SegVitModelTest(SegmentationModelTest):
    all_model_classes = (SegVitForSemanticSegmentation,)


class SegVitAtmModelTest(SegVitModelTest, unittest.TestCase):
    model_tester_class = SegVitAtmModelTester


class SegVitSingleModelTest(SegVitModelTest, unittest.TestCase):
    model_tester_class = SegVitSingleModelTester


class SegVitShrunkModelTest(SegVitModelTest, unittest.TestCase):
    model_tester_class = SegVitShrunkModelTester


class SegVitImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = SegVitImageProcessor


class SegVitImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = SegVitImageProcessingTester
    config_class = SegVitConfig
