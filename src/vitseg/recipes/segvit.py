# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of SegViT.

Sources: the README, configurations and issues of https://github.com/zbwxp/SegVit at commit 763137e. Where they leave
something open, the record holds what the published model must have been: the number of GPUs is nowhere stated, and a
batch of 16 is what the authors' launch scripts and hours suggest; the configurations for Pascal Context have 60
classes, its results and checkpoint names 59; that of ViT-B is known from an issue alone.
"""

from dataclasses import replace
from typing import Any

from .backbones import FIRST_VIT_B, FIRST_VIT_L, plain_vit
from .datasets import ADE20K, COCO_STUFF_10K, PASCAL_CONTEXT, Benchmark
from .schema import PublishedRecipe, PublishedResult, Weights


BACKBONES: dict[tuple[str, str], dict[str, Any]] = {
    ("atm", "vit-b"): {"drop_path_rate": 0.1, "out_indices": [6, 8, 12]},
    ("atm", "vit-l"): {"drop_path_rate": 0.3, "out_indices": [8, 16, 24]},
    ("shrunk", "vit-l"): {"drop_path_rate": 0.3, "out_indices": [8, 24], "shrink_layer": 9},
}
DECODERS = {
    "vit-b": {"decoder_hidden_size": 384, "decoder_num_attention_heads": 12},
    "vit-l": {"decoder_hidden_size": 512, "decoder_num_attention_heads": 16},
}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

PRETRAINED = {
    "vit-b": replace(
        FIRST_VIT_B, note="By the authors' word, the ViT-B that SETR starts from; their own file is not published."
    ),
    "vit-l": replace(
        FIRST_VIT_L,
        url=(
            "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segmenter/"
            "vit_large_p16_384_20220308-d4efb41d.pth"
        ),
        note="The file is mmsegmentation's copy of these weights, under names of its own.",
    ),
}

# Not ADE20K as others take it with this crop: the long side's limit stays 2048, and windows overlap by 32 pixels.
ADE20K_640 = replace(ADE20K, crop=640, scale=(2048, 640))
PASCAL_CONTEXT_59 = replace(PASCAL_CONTEXT, name="pascal-context-59", label_set="pascal_context59")
# Iterations / 1000, weight decay, power of the schedule.
SCHEDULES = {
    "ade20k": (160, 0.01, 1.0),
    "coco-stuff-10k": (80, 0.02, 2.0),
    "pascal-context-59": (80, 0.03, 1.0),
}


def _recipe(
    variant: str, backbone: str, data: Benchmark, miou: float, miou_multi_scale: float, file: str
) -> PublishedRecipe:
    """A row of the authors' table; `file` is the checkpoint's name in their model repository."""
    thousands, weight_decay, power = SCHEDULES[data.name]
    return PublishedRecipe(
        name=f"segvit-{variant}-{backbone}-{data.name}-{data.crop}-{thousands}k",
        method="segvit",
        model={
            "decoder_type": {"atm": "atm", "shrunk": "tpn_atm"}[variant],
            **DECODERS[backbone],
            "backbone_config": plain_vit(
                backbone,
                data.crop,
                **BACKBONES[variant, backbone],
                drop_path_on_attention=False,
                use_class_token=False,
                interpolation_mode="bicubic",
            ),
        },
        image_processor={**data.image_processor, **(IMAGENET if backbone == "vit-b" else {})},
        label_set=data.label_set,
        training=data.adamw_training(
            learning_rate=2e-5,
            weight_decay=weight_decay,
            # All of `decode_head`, its norms and biases too; else the backbone's layer norms.
            parameter_rules={"head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}},
            power=power,
            iterations=1000 * thousands,
            max_gradient_norm=35.0,
            pretrained=PRETRAINED[backbone],
        ),
        # The published files for ADE20K lack `min_short`, and would fail on views smaller than a window.
        evaluation=data.sliding_test(608 if data is ADE20K_640 else None, min_short=data.crop),
        published=PublishedResult(
            miou=miou, miou_multi_scale=miou_multi_scale, source="README of https://github.com/zbwxp/SegVit"
        ),
        weights=Weights(
            status="published",
            host="Hugging Face, Akide/SegViTv1",
            url=f"https://huggingface.co/Akide/SegViTv1/resolve/main/{file}",
            licence="LicenseRef-BSD-2-Clause-academic-use",
            note="not for commercial use",
        ),
    )


RECIPES = (
    _recipe("atm", "vit-b", ADE20K, 51.3, 53.0, "ade_51.3.pth"),
    _recipe("shrunk", "vit-l", ADE20K_640, 53.9, 55.1, "ade_shrunk_53.9.pth"),
    _recipe("atm", "vit-l", ADE20K_640, 54.6, 55.2, "ade_54.6.pth"),
    _recipe("shrunk", "vit-l", COCO_STUFF_10K, 49.1, 49.4, "COCOstuff10k_shrunk_49.1.pth"),
    _recipe("atm", "vit-l", COCO_STUFF_10K, 49.9, 50.3, "COCOstuff_49.9.pth"),
    _recipe("shrunk", "vit-l", PASCAL_CONTEXT_59, 62.3, 63.7, "PC59cls_62.3.pth"),
    _recipe("atm", "vit-l", PASCAL_CONTEXT_59, 64.1, 65.3, "PC59cls_64.1.pth"),
)
