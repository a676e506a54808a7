# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLGs of a few thousand weights, in all their parts, and labels for detectors."""

import torch
from citizenship import NUM_LABELS
from transformers import PreTrainedModel

from vitseg import HlgConfig, HlgForSemanticSegmentation


# Blocks of such an encoder.
NUM_LAYERS = 5


def small_config(**kwargs) -> HlgConfig:
    """Both kinds of block in the first stage, one block in the others, and nothing random in training."""
    settings = {
        "hidden_sizes": [32, 32, 64, 64],
        "depths": [2, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "window_size": 64,
        "decoder_hidden_size": 64,
        "auxiliary_heads": [{"in_index": 2, "hidden_size": 8}],
        "pyramid_hidden_size": 16,
        "detector_hidden_size": 16,
        "detector_num_layers": 1,
        "drop_path_rate": 0.0,
        "decoder_dropout": 0.0,
        "num_labels": NUM_LABELS,
    }
    return HlgConfig(**{**settings, **kwargs})


def small_model(model_class: type[PreTrainedModel] = HlgForSemanticSegmentation, **kwargs) -> PreTrainedModel:
    torch.manual_seed(0)
    return model_class(small_config(**kwargs)).eval()


def objects(*counts: int) -> list[dict[str, torch.Tensor]]:
    """Labels of a detector: so many objects in each image."""
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "class_labels": torch.randint(0, NUM_LABELS, (count,), generator=generator),
            "boxes": torch.rand(count, 4, generator=generator) * 0.4 + 0.3,
        }
        for count in counts
    ]
