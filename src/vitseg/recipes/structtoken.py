# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of StructToken.

Sources: the README, configurations and release of https://github.com/RockeyCoss/StructToken at commit 2611e2d. The
paper's results on Cityscapes and COCO-Stuff-10K have neither configurations nor weights there.
"""

from dataclasses import replace

from .backbones import AUGREG, plain_vit
from .datasets import ADE20K, ADE20K_640
from .schema import PublishedRecipe, PublishedResult, Weights


REPOSITORY = "https://github.com/RockeyCoss/StructToken"


def _recipe(
    extraction: str,
    backbone: str,
    miou: float,
    miou_multi_scale: float,
    normalization: str,
    learning_rate: float,
    head_factor: float,
) -> PublishedRecipe:
    """A row of the README; `normalization` of the pixels is that of ImageNet or by `"half"`, to -1..1."""
    data = ADE20K_640 if backbone == "vit-l" else ADE20K
    half = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]} if normalization == "half" else {}
    backbone_config = plain_vit(
        backbone, data.crop, drop_path_rate=0.1, interpolate_by_token_count=True, interpolation_mode="bicubic"
    )
    pretrained = AUGREG[backbone]
    size = str(pretrained.timm_model).split("_")[1]
    original = f"{backbone}_struct-token-{extraction}_ade20k_{data.crop}x{data.crop}.py"
    wrong_link = (extraction, backbone) == ("sse", "vit-s")
    return PublishedRecipe(
        name=f"structtoken-{extraction}-{backbone}-ade20k-{data.crop}-160k",
        method="structtoken",
        model={"extraction": extraction, "decoder_drop_path_rate": 0.1, "backbone_config": backbone_config},
        image_processor={**data.image_processor, **half},
        label_set=data.label_set,
        training=data.adamw_training(
            learning_rate=learning_rate,
            weight_decay=0.01,
            # The original's rule against the decay of norms reaches none: the backbone's have other names there, and
            # in the head a longer rule comes first.
            parameter_rules={
                "position_embeddings": {"decay_mult": 0.0},
                "cls_token": {"decay_mult": 0.0},
                "decode_head": {"lr_mult": head_factor},
            },
            iterations=160_000,
            pretrained=replace(pretrained, note=f"The original reads them from a copy, `vit_{size}_p16_384.pth`."),
        ),
        evaluation=data.sliding_test(),
        published=PublishedResult(
            miou=miou, miou_multi_scale=miou_multi_scale, source=f"README of {REPOSITORY}, {original}"
        ),
        weights=Weights(
            status="published",
            host="release v0.1.0 of the authors' repository",
            url=f"{REPOSITORY}/releases/download/v0.1.0/struct-token-{extraction}_{backbone}_ade20k.pth",
            licence="Apache-2.0",
            note="the README's link leads to the PWE file" if wrong_link else "",
        ),
    )


RECIPES = (
    # Extraction, backbone, mIoU, with multi-scale and flip, normalisation, learning rate, factor for the decode head.
    _recipe("cse", "vit-t", 39.12, 40.23, "imagenet", 2e-5, 9.0),
    _recipe("pwe", "vit-t", 41.87, 42.99, "imagenet", 2e-5, 9.0),
    _recipe("sse", "vit-t", 40.81, 42.24, "imagenet", 2e-5, 9.0),
    _recipe("cse", "vit-s", 45.86, 47.44, "imagenet", 2e-5, 8.0),
    _recipe("pwe", "vit-s", 47.36, 48.89, "imagenet", 2e-5, 8.0),
    _recipe("sse", "vit-s", 47.11, 49.07, "imagenet", 2e-5, 8.0),
    _recipe("cse", "vit-b", 49.51, 50.87, "imagenet", 2e-5, 8.0),
    _recipe("pwe", "vit-b", 50.92, 51.82, "half", 1e-5, 9.0),
    _recipe("sse", "vit-b", 50.72, 51.85, "half", 2e-5, 8.0),
    _recipe("pwe", "vit-l", 52.95, 54.03, "half", 2e-5, 8.0),
    _recipe("sse", "vit-l", 53.04, 53.95, "half", 2e-5, 6.0),
)
