# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""CTS Segmenter, with and without token sharing, under transformers' own test suites."""

import unittest

from conformance.segmentation import (
    SegmentationImageProcessingTest,
    SegmentationImageProcessingTester,
    SegmentationModelTest,
    SegmentationModelTester,
)

from vitseg import CtsSegmenterConfig, CtsSegmenterForSemanticSegmentation, CtsSegmenterImageProcessor


class CtsSegmenterModelTester(SegmentationModelTester):
    decoder_type: str
    use_class_token = True
    backbone_arguments: dict = {}

    def get_config(self) -> CtsSegmenterConfig:
        return CtsSegmenterConfig(
            backbone_config=self.get_backbone_config(
                out_indices=[self.num_hidden_layers], use_final_norm=True, **self.backbone_arguments
            ),
            decoder_type=self.decoder_type,
            decoder_num_layers=1,
            num_labels=self.num_labels,
        )


class CtsSegmenterMaskModelTester(CtsSegmenterModelTester):
    decoder_type = "mask_transformer"


class CtsSegmenterLinearModelTester(CtsSegmenterModelTester):
    decoder_type = "linear"


class CtsSegmenterSharedModelTester(CtsSegmenterModelTester):
    decoder_type = "mask_transformer"
    image_size = 64
    patch_size = 16
    backbone_arguments = {"token_sharing": 2, "freeze_policy": True}

    def __init__(self, parent):
        super().__init__(parent)
        # 16 patches, of which two times four share a token, and the class token.
        self.seq_length = 16 - 2 * 3 + 1


class CtsSegmenterModelTest(SegmentationModelTest):
    all_model_classes = (CtsSegmenterForSemanticSegmentation,)


class CtsSegmenterMaskModelTest(CtsSegmenterModelTest, unittest.TestCase):
    model_tester_class = CtsSegmenterMaskModelTester


class CtsSegmenterLinearModelTest(CtsSegmenterModelTest, unittest.TestCase):
    model_tester_class = CtsSegmenterLinearModelTester


class CtsSegmenterSharedModelTest(CtsSegmenterModelTest, unittest.TestCase):
    model_tester_class = CtsSegmenterSharedModelTester

    @unittest.skip(reason="The policy network is one size, of 3 M parameters")
    def test_model_is_small(self):
        pass


class CtsSegmenterImageProcessingTester(SegmentationImageProcessingTester):
    image_processor_class = CtsSegmenterImageProcessor


class CtsSegmenterImageProcessingTest(SegmentationImageProcessingTest, unittest.TestCase):
    image_processor_tester_class = CtsSegmenterImageProcessingTester
    config_class = CtsSegmenterConfig
