# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of CTS Segmenter, with and without token sharing, and of Segmenter: those of its authors'
repository, and those of mmsegmentation's re-implementation.

Sources: the READMEs and configurations of https://github.com/tue-mps/cts-segmenter at commit e236188 and of
https://github.com/rstrudel/segmenter at commit 20d1bfa, and the model zoo of mmsegmentation 0.30.0. Where they leave
something open, the record holds what the published model must have been: how many tokens CTS shares with ViT-L is
nowhere stated, and 160 shared ones reduce their number by the 30% of the table.
"""

from dataclasses import replace
from typing import Any

from . import datasets
from .backbones import AUGREG, DEIT_B, plain_vit
from .datasets import ADE20K, ADE20K_640, Benchmark
from .schema import PublishedRecipe, PublishedResult, TrainingRecipe, Weights


CTS = "https://github.com/tue-mps/cts-segmenter"
SEGMENTER = "https://github.com/rstrudel/segmenter"
CHECKPOINTS = "https://www.rocq.inria.fr/cluster-willow/rstrudel/segmenter/checkpoints"
MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/segmenter"
DEIT_PIXELS = {
    "image_mean": [123.68 / 255, 116.28 / 255, 103.53 / 255],
    "image_std": [58.4 / 255, 57.12 / 255, 57.38 / 255],
}


# The original reads a ViT-B with patches of 8 pixels from `vit_base_patch8_384.pth`, a file of its own that is not
# published.
PRETRAINED = {**AUGREG, "deit-b": DEIT_B, "vit-b8": None}

PASCAL_CONTEXT = replace(datasets.PASCAL_CONTEXT, scale=(4160, 520), limits_long_side=True)
CITYSCAPES = replace(datasets.CITYSCAPES, scale=(2048, 1024))
# Iterations, batch size, learning rate: 64, 256 and 216 epochs.
SCHEDULES = {
    "ade20k": (161_728, 8, 0.001),
    "pascal-context": (80_128, 16, 0.001),
    "cityscapes": (80_352, 8, 0.01),
}


def _recipe(
    prefix: str,
    backbone: str,
    data: Benchmark,
    *,
    model: dict[str, Any],
    backbone_options: dict[str, Any],
    stride: int | None,
    published: PublishedResult,
    weights: Weights,
    schedule: str = "",
    training_options: dict[str, Any] | None = None,
) -> PublishedRecipe:
    """What all rows have in common."""
    iterations, batch_size, learning_rate = SCHEDULES[data.name]
    backbone_config = plain_vit(
        backbone,
        data.crop,
        patch_size=8 if backbone == "vit-b8" else 16,
        drop_path_rate=0.1,
        layer_norm_eps=1e-5,
        interpolate_by_token_count=True,
        use_distillation_token=backbone == "deit-b",
        use_final_norm=True,
    )
    training = {
        "nesterov": True,
        "min_learning_rate": 1e-5,
        "iterations": iterations,
        "pretrained": PRETRAINED[backbone],
        **(training_options or {}),
    }
    return PublishedRecipe(
        name=f"{prefix}-{backbone}-{data.name}-{data.crop}{schedule}",
        method="cts_segmenter",
        model={**model, "backbone_config": {**backbone_config, **backbone_options}},
        image_processor={
            **data.image_processor,
            "do_reduce_labels": data.reduces_labels,
            **(DEIT_PIXELS if backbone == "deit-b" else {}),
        },
        label_set=data.label_set,
        training=TrainingRecipe(
            optimizer="sgd",
            learning_rate=learning_rate,
            weight_decay=0.0,
            batch_size=batch_size,
            crop_size=data.crop_size,
            scale=data.scale,
            **training,
        ),
        evaluation=data.sliding_test(stride),
        published=published,
        weights=weights,
    )


def _cts(
    backbone: str, data: Benchmark, reduction: int, shared: int | None, miou: float, images_per_second: float
) -> PublishedRecipe:
    """A row of CTS's table; `reduction` of the tokens is in percent, `shared` superpatches have one each."""
    return _recipe(
        f"cts-segmenter-mask-{reduction}",
        backbone,
        data,
        model={"decoder_type": "mask_transformer"},
        backbone_options={} if shared is None else {"token_sharing": shared},
        stride=data.crop if data.name == "ade20k" else None,
        published=PublishedResult(
            miou=miou,
            miou_multi_scale=None,
            source=f"README of {CTS}, median of 5 runs",
            images_per_second=images_per_second,
        ),
        weights=Weights(status="none", host="announced in the README, never released", url=None, licence="MIT"),
    )


def _segmenter(
    decoder: str, backbone: str, data: Benchmark, miou: float, miou_multi_scale: float, folder: str
) -> PublishedRecipe:
    """A row of Segmenter's table; `folder` holds the checkpoint."""
    decoder_type = {"mask": "mask_transformer", "linear": "linear"}[decoder]
    folder = f"{CHECKPOINTS}/{data.label_set.removesuffix('60')}/{folder}"
    return _recipe(
        f"segmenter-{decoder}",
        backbone,
        data,
        # By the number of its parameters, the model for Cityscapes has one block less.
        model={"decoder_type": decoder_type, **({"decoder_num_layers": 1} if data is CITYSCAPES else {})},
        backbone_options={},
        # Windows overlap more than in the evaluations during training.
        stride=data.crop - 32,
        published=PublishedResult(miou=miou, miou_multi_scale=miou_multi_scale, source=f"README of {SEGMENTER}"),
        weights=Weights(
            status="published",
            host="Inria, by the authors' README",
            url=f"{folder}/checkpoint.pth",
            licence="MIT",
        ),
    )


def _mmseg(
    decoder: str, backbone: str, data: Benchmark, miou: float, miou_multi_scale: float, stamp: str
) -> PublishedRecipe:
    """A row of mmsegmentation's model zoo; `stamp` ends the name of the checkpoint file."""
    original = f"segmenter_{backbone}_{decoder}_8x1_{data.crop}x{data.crop}_160k_ade20k"
    model = {"decoder_type": "mask_transformer", "decoder_dropout": 0.0, "decoder_drop_path_rate": 0.1}
    if decoder == "linear":
        model = {"decoder_type": "linear"}
    return _recipe(
        f"segmenter-mmseg-{decoder}",
        backbone,
        data,
        model={
            **model,
            "decoder_drop_path_on_attention": False,
            "crop_padding": False,
            "enlarge_small_images": False,
            "average_valid_pixels": False,
        },
        backbone_options={
            "drop_path_on_attention": False,
            "layer_norm_eps": 1e-6,
            "interpolation_mode": "bicubic",
        },
        stride=data.crop - 32,
        schedule="-160k",
        training_options={"nesterov": False, "min_learning_rate": 1e-4, "iterations": 160_000},
        published=PublishedResult(
            miou=miou,
            miou_multi_scale=miou_multi_scale,
            source=f"model zoo of mmsegmentation 0.30.0, configs/segmenter/{original}.py",
        ),
        weights=Weights(
            status="published",
            host="OpenMMLab's download server",
            url=f"{MMSEG}/{original}/{original}_{stamp}.pth",
            licence="Apache-2.0",
        ),
    )


RECIPES = (
    # Backbone, data, reduction of the tokens in percent, superpatches that share a token, mIoU, images/s.
    _cts("vit-t", ADE20K, 0, None, 38.1, 262),
    _cts("vit-t", ADE20K, 30, 103, 38.2, 284),
    _cts("vit-s", ADE20K, 0, None, 45.0, 122),
    _cts("vit-s", ADE20K, 30, 103, 45.1, 162),
    _cts("vit-b", ADE20K, 0, None, 48.5, 47),
    _cts("vit-b", ADE20K, 30, 103, 48.7, 69),
    _cts("vit-l", ADE20K_640, 0, None, 51.8, 9.7),
    _cts("vit-l", ADE20K_640, 30, 160, 51.6, 15),
    _cts("vit-s", PASCAL_CONTEXT, 0, None, 53.0, 157),
    _cts("vit-s", PASCAL_CONTEXT, 30, 90, 52.9, 203),
    _cts("vit-s", CITYSCAPES, 0, None, 76.5, 38),
    _cts("vit-s", CITYSCAPES, 44, 336, 76.5, 78),
    # Decoder, backbone, data, mIoU, with multi-scale and flip, folder.
    _segmenter("mask", "vit-t", ADE20K, 38.1, 38.8, "seg_tiny_mask"),
    _segmenter("mask", "vit-s", ADE20K, 45.3, 46.9, "seg_small_mask"),
    _segmenter("mask", "vit-b", ADE20K, 48.5, 50.0, "seg_base_mask"),
    _segmenter("linear", "vit-b8", ADE20K, 49.5, 50.5, "seg_base_patch8"),
    _segmenter("mask", "vit-l", ADE20K_640, 51.8, 53.6, "seg_large_mask_640"),
    _segmenter("linear", "deit-b", ADE20K, 47.1, 48.1, "seg_base_deit_linear"),
    _segmenter("mask", "deit-b", ADE20K, 48.7, 50.1, "seg_base_deit_mask"),
    _segmenter("mask", "vit-l", PASCAL_CONTEXT, 58.1, 59.0, "seg_large_mask"),
    _segmenter("mask", "vit-l", CITYSCAPES, 79.1, 81.3, "seg_large_mask"),
    # Decoder, backbone, data, mIoU, with multi-scale and flip, stamp of the file.
    _mmseg("mask", "vit-t", ADE20K, 39.99, 40.83, "20220105_151706-ffcf7509"),
    _mmseg("linear", "vit-s", ADE20K, 45.75, 46.82, "20220105_151713-39658c46"),
    _mmseg("mask", "vit-s", ADE20K, 46.19, 47.85, "20220105_151706-511bb103"),
    _mmseg("mask", "vit-b", ADE20K, 49.60, 51.07, "20220105_151706-bc533b08"),
    _mmseg("mask", "vit-l", ADE20K_640, 51.65, 53.58, "20220614_024513-4783a347"),
)
