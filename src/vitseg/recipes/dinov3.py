# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The decoders over DINOv3's ViTs (https://arxiv.org/abs/2508.10104), to train on classes of one's own. Nothing was
published of them.

The encoder is frozen, as in its authors' own segmentation; the layers that a decoder takes are at the shares of the
depth that it was published with. The training is AdamW's usual one for heads over such features.
"""

from typing import Any

from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .backbones import SIZES
from .datasets import ADE20K
from .schema import PretrainedWeights, Recipe


# Decoder -> its method, its settings, and the layers that it takes of 12 and of 24.
DECODERS: dict[str, tuple[str, dict[str, Any], list[int], list[int]]] = {
    "setr-naive": ("setr", {"decoder_type": "naive"}, [3, 6, 9, 12], [10, 15, 20, 24]),
    "setr-pup": ("setr", {"decoder_type": "pup"}, [5, 8, 10, 12], [10, 15, 20, 24]),
    "setr-mla": ("setr", {"decoder_type": "mla"}, [3, 6, 9, 12], [6, 12, 18, 24]),
    "segvit": (
        "segvit",
        {"decoder_type": "atm", "decoder_hidden_size": 384, "decoder_num_attention_heads": 12},
        [6, 8, 12],
        [8, 16, 24],
    ),
    "structtoken-pwe": ("structtoken", {"extraction": "pwe"}, [12], [24]),
    "segmenter": ("cts_segmenter", {"decoder_type": "mask_transformer"}, [12], [24]),
}


def _recipe(decoder: str, size: str) -> Recipe:
    method, model, of_twelve, of_twentyfour = DECODERS[decoder]
    hidden_size, depth = SIZES[size]
    backbone_config = {
        "model_type": "dinov3_vit",
        "hidden_size": hidden_size,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
        "num_register_tokens": 4,
        "out_indices": of_twelve if depth == 12 else of_twentyfour,
    }
    return Recipe(
        name=f"dinov3-{decoder}-{size}",
        method=method,
        model={**model, "backbone_config": backbone_config},
        image_processor={
            "size": {"shortest_edge": 512, "longest_edge": 2048},
            "image_mean": list(IMAGENET_DEFAULT_MEAN),
            "image_std": list(IMAGENET_DEFAULT_STD),
        },
        training=ADE20K.adamw_training(
            learning_rate=1e-4,
            weight_decay=0.05,
            # The backbone's rate counts where it is not frozen.
            parameter_rules={"head": {"lr_mult": 10.0}, "neck": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}},
            warmup_iterations=500,
            warmup_ratio=1e-3,
            iterations=10_000,
            pretrained=PretrainedWeights(model=f"facebook/dinov3-{size.replace('-', '')}16-pretrain-lvd1689m"),
            freeze=("backbone",),
        ),
        evaluation=ADE20K.sliding_test(),
    )


RECIPES = tuple(_recipe(decoder, size) for size in ("vit-s", "vit-b", "vit-l") for decoder in DECODERS)
