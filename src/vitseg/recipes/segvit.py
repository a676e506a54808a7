# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of SegViT.

Sources: the README, configurations and issues of https://github.com/zbwxp/SegVit at commit 763137e. Where they leave
something open, the record holds what the published model must have been: the number of GPUs is nowhere stated, and a
batch of 16 is what the authors' launch scripts and hours suggest; the configurations for Pascal Context have 60
classes, its results and checkpoint names 59; that of ViT-B is known from an issue alone.
"""

from dataclasses import dataclass
from typing import Any

from .schema import EvaluationRecipe, PretrainedWeights, PublishedRecipe, PublishedResult, TrainingRecipe, Weights


LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "drop_path_rate": 0.3,
}
BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "drop_path_rate": 0.1,
}
BACKBONES: dict[tuple[str, str], dict[str, Any]] = {
    ("atm", "vit-b"): {**BASE, "out_indices": [6, 8, 12]},
    ("atm", "vit-l"): {**LARGE, "out_indices": [8, 16, 24]},
    ("shrunk", "vit-l"): {**LARGE, "out_indices": [8, 24], "shrink_layer": 9},
}
DECODERS = {
    "vit-b": {"decoder_hidden_size": 384, "decoder_num_attention_heads": 12},
    "vit-l": {"decoder_hidden_size": 512, "decoder_num_attention_heads": 16},
}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

PRETRAINED = {
    "vit-b": PretrainedWeights(
        timm_model="vit_base_patch16_384.orig_in21k_ft_in1k",
        url=(
            "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
            "jx_vit_base_p16_384-83fb41ba.pth"
        ),
        note="By the authors' word, the ViT-B that SETR starts from; their own file is not published.",
    ),
    "vit-l": PretrainedWeights(
        timm_model="vit_large_patch16_384.augreg_in21k_ft_in1k",
        url=(
            "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segmenter/"
            "vit_large_p16_384_20220308-d4efb41d.pth"
        ),
        note="The file is mmsegmentation's copy of these weights, under names of its own.",
    ),
}


@dataclass(frozen=True)
class Benchmark:
    """A data set as SegViT is trained and tested on it; `size` is that of the single-scale test."""

    name: str
    label_set: str
    crop: int
    stride: int
    scale: tuple[int, int]
    size: dict[str, int]
    thousands: int
    weight_decay: float
    power: float = 1.0


ADE20K = Benchmark(
    "ade20k",
    "ade20k",
    crop=640,
    stride=608,
    scale=(2048, 640),
    size={"shortest_edge": 640, "longest_edge": 2048},
    thousands=160,
    weight_decay=0.01,
)
ADE20K_512 = Benchmark(
    "ade20k",
    "ade20k",
    crop=512,
    stride=341,
    scale=(2048, 512),
    size={"shortest_edge": 512, "longest_edge": 2048},
    thousands=160,
    weight_decay=0.01,
)
# The single-scale test of the other two leaves the long side free, although the training scale does not.
COCO_STUFF = Benchmark(
    "coco-stuff-10k",
    "coco_stuff10k",
    crop=512,
    stride=341,
    scale=(2048, 512),
    size={"shortest_edge": 512},
    thousands=80,
    weight_decay=0.02,
    power=2.0,
)
PASCAL_CONTEXT = Benchmark(
    "pascal-context-59",
    "pascal_context59",
    crop=480,
    stride=320,
    scale=(520, 520),
    size={"shortest_edge": 520},
    thousands=80,
    weight_decay=0.03,
)


def _recipe(
    variant: str, backbone: str, data: Benchmark, miou: float, miou_multi_scale: float, file: str
) -> PublishedRecipe:
    """A row of the authors' table; `file` is the checkpoint's name in their model repository."""
    return PublishedRecipe(
        name=f"segvit-{variant}-{backbone}-{data.name}-{data.crop}-{data.thousands}k",
        method="segvit",
        model={
            "decoder_type": {"atm": "atm", "shrunk": "tpn_atm"}[variant],
            **DECODERS[backbone],
            "backbone_config": {
                "model_type": "plain_vit",
                **BACKBONES[variant, backbone],
                "drop_path_on_attention": False,
                "image_size": data.crop,
                "use_class_token": False,
                "interpolation_mode": "bicubic",
            },
        },
        image_processor={
            "size": data.size,
            "do_reduce_labels": True,
            **(IMAGENET if backbone == "vit-b" else {}),
        },
        label_set=data.label_set,
        training=TrainingRecipe(
            optimizer="adamw",
            learning_rate=2e-5,
            weight_decay=data.weight_decay,
            # All of `decode_head`, its norms and biases too; else the backbone's layer norms.
            parameter_rules={"head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}},
            power=data.power,
            min_learning_rate=0.0,
            warmup_iterations=1500,
            warmup_ratio=1e-6,
            iterations=1000 * data.thousands,
            batch_size=16,
            crop_size=(data.crop, data.crop),
            scale=data.scale,
            max_gradient_norm=35.0,
            pretrained=PRETRAINED[backbone],
        ),
        evaluation=EvaluationRecipe(
            mode="slide",
            window_size=(data.crop, data.crop),
            window_stride=(data.stride, data.stride),
            scale=data.scale,
            ratios=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
            # The published files for ADE20K lack it, and would fail on views smaller than a window.
            min_short=data.crop,
        ),
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
    _recipe("atm", "vit-b", ADE20K_512, 51.3, 53.0, "ade_51.3.pth"),
    _recipe("shrunk", "vit-l", ADE20K, 53.9, 55.1, "ade_shrunk_53.9.pth"),
    _recipe("atm", "vit-l", ADE20K, 54.6, 55.2, "ade_54.6.pth"),
    _recipe("shrunk", "vit-l", COCO_STUFF, 49.1, 49.4, "COCOstuff10k_shrunk_49.1.pth"),
    _recipe("atm", "vit-l", COCO_STUFF, 49.9, 50.3, "COCOstuff_49.9.pth"),
    _recipe("shrunk", "vit-l", PASCAL_CONTEXT, 62.3, 63.7, "PC59cls_62.3.pth"),
    _recipe("atm", "vit-l", PASCAL_CONTEXT, 64.1, 65.3, "PC59cls_64.1.pth"),
)
