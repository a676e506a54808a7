# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the segmentation models' runs of transformers' own test suites have in common."""

import sys
import tempfile
from typing import Any, ClassVar

import torch
from tests.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
    PostProcessSemanticSegmentationTestMixin,
)
from tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor
from transformers import AutoImageProcessor, PreTrainedConfig, PreTrainedModel

from vitseg import PlainVitConfig
from vitseg.models.image_processing_semantic import SemanticImageProcessor, SemanticImageProcessorKwargs


class SegmentationModelTester:
    """Makes the configuration of a tiny model, and inputs for it."""

    batch_size = 2
    num_channels = 3
    image_size = 32
    patch_size = 8
    num_labels = 3
    hidden_size = 16
    num_attention_heads = 2
    num_hidden_layers = 2
    use_class_token = False
    is_training = True

    def __init__(self, parent):
        self.parent = parent
        self.seq_length = (self.image_size // self.patch_size) ** 2 + self.use_class_token

    def get_backbone_config(self, **kwargs) -> PlainVitConfig:
        return PlainVitConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=32,
            image_size=self.image_size,
            patch_size=self.patch_size,
            use_class_token=self.use_class_token,
            **{"out_indices": list(range(1, self.num_hidden_layers + 1)), **kwargs},
        )

    def get_config(self) -> PreTrainedConfig:
        raise NotImplementedError

    def prepare_config_and_inputs(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        labels = ids_tensor([self.batch_size, self.image_size, self.image_size], self.num_labels)
        return self.get_config(), pixel_values, labels

    def prepare_config_and_inputs_for_common(self):
        config, pixel_values, _ = self.prepare_config_and_inputs()
        return config, {"pixel_values": pixel_values}


class SegmentationModelTest(ModelTesterMixin):
    """The tests of a model; a subclass names `all_model_classes` and `model_tester_class`."""

    all_model_classes: tuple[type[PreTrainedModel]]
    model_tester_class: type[SegmentationModelTester]
    pipeline_model_mapping: ClassVar[dict[str, Any]] = {}
    test_resize_embeddings = False
    has_attentions = True
    # An old name of an argument that is transformers' own: the plain ViT's run shows that it is taken.
    test_bc_torch_dtype = None

    def setUp(self):
        self.model_tester = self.model_tester_class(self)

    def test_model_get_set_embeddings(self):
        (model_class,) = self.all_model_classes
        model = model_class(self.model_tester.get_config())
        assert isinstance(model.get_input_embeddings(), torch.nn.Conv2d)
        new_embeddings = torch.nn.Conv2d(3, 16, 8, stride=8)
        model.set_input_embeddings(new_embeddings)
        assert model.backbone.embeddings.patch_embeddings is new_embeddings

    def test_logits_have_the_size_of_the_image(self):
        (model_class,) = self.all_model_classes
        config, pixel_values, _ = self.model_tester.prepare_config_and_inputs()
        with torch.no_grad():
            logits = model_class(config).eval()(pixel_values).logits
        assert logits.shape == (2, 3, *pixel_values.shape[-2:])


class SegmentationImageProcessingTester(ImageProcessingTester):
    """Makes the settings of an image processor, and images for it."""

    image_processor_class: type[SemanticImageProcessor]

    def __init__(self, parent, **kwargs):
        self.size = {"height": 20, "width": 30}
        self.num_labels = 4
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        return {"torchvision": self.image_processor_class}


class SegmentationImageProcessingTest(ImageProcessingTestMixin, PostProcessSemanticSegmentationTestMixin):
    """The tests of an image processor; a subclass names `image_processor_tester_class` and `config_class`."""

    config_class: type[PreTrainedConfig]

    def test_valid_kwargs_set(self):
        # What differs between most of these processors are values; those that take more arguments say which.
        processor_class = self.image_processor_tester_class.image_processor_class
        own = getattr(sys.modules[processor_class.__module__], f"{processor_class.__name__}Kwargs", None)
        assert processor_class(**self.image_processor_dict).valid_kwargs is (own or SemanticImageProcessorKwargs)

    def test_image_processor_save_load_with_autoimageprocessor(self):
        # A processor is found by the configuration of the model that it lies beside.
        processor_class = self.image_processor_tester_class.image_processor_class
        processor = processor_class(**self.image_processor_dict)
        with tempfile.TemporaryDirectory() as folder:
            self.config_class().save_pretrained(folder)
            processor.save_pretrained(folder)
            loaded = AutoImageProcessor.from_pretrained(folder)
        assert isinstance(loaded, processor_class)
        assert loaded.to_dict() == processor.to_dict()
