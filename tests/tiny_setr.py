# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny SETR with random weights that slides windows of 32 pixels over images of a short side of 32."""

from collections.abc import Sequence
from pathlib import Path

import torch

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor


def tiny_setr(names: Sequence[str], **settings) -> SetrForSemanticSegmentation:
    torch.manual_seed(0)
    backbone = PlainVitConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        initializer_range=0.2,
    )
    config = SetrConfig(
        backbone_config=backbone,
        decoder_type="naive",
        decoder_hidden_size=32,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **settings,
    )
    return SetrForSemanticSegmentation(config).eval()


def tiny_image_processor(**kwargs) -> SetrImageProcessor:
    return SetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}, **kwargs)


def save_tiny_setr(folder: Path, names: Sequence[str], **settings) -> Path:
    tiny_setr(names, **settings).save_pretrained(folder)
    tiny_image_processor().save_pretrained(folder)
    return folder
