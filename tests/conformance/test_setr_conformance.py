# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SETR under transformers' own test suites."""

import tempfile
import unittest

import torch
from tests.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
    PostProcessSemanticSegmentationTestMixin,
)
from tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor
from transformers import AutoImageProcessor

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor


class SetrModelTester:
    def __init__(self, parent, decoder_type: str):
        self.parent = parent
        self.decoder_type = decoder_type
        self.batch_size = 2
        self.num_channels = 3
        self.image_size = 32
        self.patch_size = 8
        self.num_labels = 3
        self.hidden_size = 16
        self.num_attention_heads = 2
        self.num_hidden_layers = 4 if decoder_type == "mla" else 2
        self.seq_length = (self.image_size // self.patch_size) ** 2 + (decoder_type != "mla")
        self.is_training = True

    def get_config(self) -> SetrConfig:
        backbone_config = PlainVitConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=32,
            image_size=self.image_size,
            patch_size=self.patch_size,
            use_class_token=self.decoder_type != "mla",
            out_indices=list(range(1, self.num_hidden_layers + 1)),
        )
        return SetrConfig(
            backbone_config=backbone_config,
            decoder_type=self.decoder_type,
            decoder_hidden_size=8,
            mla_branch_size=4,
            num_labels=self.num_labels,
        )

    def prepare_config_and_inputs(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        labels = ids_tensor([self.batch_size, self.image_size, self.image_size], self.num_labels)
        return self.get_config(), pixel_values, labels

    def prepare_config_and_inputs_for_common(self):
        config, pixel_values, _ = self.prepare_config_and_inputs()
        return config, {"pixel_values": pixel_values}


class SetrModelTest(ModelTesterMixin):
    decoder_type: str
    all_model_classes = (SetrForSemanticSegmentation,)
    pipeline_model_mapping = {}
    test_resize_embeddings = False
    has_attentions = True

    def setUp(self):
        self.model_tester = SetrModelTester(self, self.decoder_type)

    def test_model_get_set_embeddings(self):
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        model = SetrForSemanticSegmentation(config)
        assert isinstance(model.get_input_embeddings(), torch.nn.Conv2d)
        new_embeddings = torch.nn.Conv2d(3, 16, 8, stride=8)
        model.set_input_embeddings(new_embeddings)
        assert model.backbone.embeddings.patch_embeddings is new_embeddings

    def test_logits_have_the_size_of_the_image(self):
        config, pixel_values, _ = self.model_tester.prepare_config_and_inputs()
        model = SetrForSemanticSegmentation(config).eval()
        with torch.no_grad():
            logits = model(pixel_values).logits
        assert logits.shape == (2, 3, 32, 32)


class SetrNaiveModelTest(SetrModelTest, unittest.TestCase):
    decoder_type = "naive"


class SetrPupModelTest(SetrModelTest, unittest.TestCase):
    decoder_type = "pup"


class SetrMlaModelTest(SetrModelTest, unittest.TestCase):
    decoder_type = "mla"

    @unittest.skip(reason="MLA taps four different layers, so its smallest model has four")
    def test_num_layers_is_small(self):
        pass


class SetrImageProcessingTester(ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        self.size = {"height": 20, "width": 30}
        self.num_labels = 4
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        return {"torchvision": SetrImageProcessor}


class SetrImageProcessingTest(ImageProcessingTestMixin, PostProcessSemanticSegmentationTestMixin, unittest.TestCase):
    image_processor_tester_class = SetrImageProcessingTester

    def test_image_processor_save_load_with_autoimageprocessor(self):
        # A processor is found by the configuration of the model that it lies beside.
        processor = SetrImageProcessor(**self.image_processor_dict)
        with tempfile.TemporaryDirectory() as folder:
            SetrConfig().save_pretrained(folder)
            processor.save_pretrained(folder)
            loaded = AutoImageProcessor.from_pretrained(folder)
        assert isinstance(loaded, SetrImageProcessor)
        assert loaded.to_dict() == processor.to_dict()
