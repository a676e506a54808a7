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

from dataclasses import dataclass
from typing import Any

from .schema import EvaluationRecipe, PretrainedWeights, PublishedRecipe, PublishedResult, TrainingRecipe, Weights


CTS = "https://github.com/tue-mps/cts-segmenter"
SEGMENTER = "https://github.com/rstrudel/segmenter"
CHECKPOINTS = "https://www.rocq.inria.fr/cluster-willow/rstrudel/segmenter/checkpoints"
MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/segmenter"
AUGREG = "https://storage.googleapis.com/vit_models/augreg"
SIX_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
DEIT_PIXELS = {
    "image_mean": [123.68 / 255, 116.28 / 255, 103.53 / 255],
    "image_std": [58.4 / 255, 57.12 / 255, 57.38 / 255],
}


def _augreg(size: str, file: str) -> PretrainedWeights:
    return PretrainedWeights(
        timm_model=f"vit_{size}_patch16_384.augreg_in21k_ft_in1k", url=f"{AUGREG}/{file}-res_384.npz"
    )


@dataclass(frozen=True)
class Backbone:
    """A ViT as Segmenter uses it."""

    hidden_size: int
    depth: int
    pretrained: PretrainedWeights | None
    patch_size: int = 16
    is_deit: bool = False

    def config(self, crop: int) -> dict[str, Any]:
        return {
            "model_type": "plain_vit",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.hidden_size // 64,
            "intermediate_size": 4 * self.hidden_size,
            "image_size": crop,
            "patch_size": self.patch_size,
            "drop_path_rate": 0.1,
            "layer_norm_eps": 1e-5,
            "interpolate_by_token_count": True,
            "use_distillation_token": self.is_deit,
            "use_final_norm": True,
        }


_TINY = _augreg("tiny", "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03")
_SMALL = _augreg("small", "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03")
_BASE = _augreg("base", "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.01")
_LARGE = _augreg("large", "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-steps_20k-lr_0.01")
_DEIT = PretrainedWeights(
    timm_model="deit_base_distilled_patch16_384.fb_in1k",
    url="https://dl.fbaipublicfiles.com/deit/deit_base_distilled_patch16_384-d0272ac0.pth",
)
BACKBONES = {
    "vit-t": Backbone(192, 12, _TINY),
    "vit-s": Backbone(384, 12, _SMALL),
    "vit-b": Backbone(768, 12, _BASE),
    "vit-l": Backbone(1024, 24, _LARGE),
    # The original reads `vit_base_patch8_384.pth`, a file of its own that is not published.
    "vit-b8": Backbone(768, 12, None, patch_size=8),
    "deit-b": Backbone(768, 12, _DEIT, is_deit=True),
}


@dataclass(frozen=True)
class Benchmark:
    """A data set as Segmenter is trained and tested on it; `stride` is that of CTS's evaluation."""

    name: str
    label_set: str
    crop: int
    stride: int
    short_side: int
    long_sides: int
    iterations: int
    batch_size: int
    learning_rate: float
    reduce_labels: bool = False

    @property
    def scale(self) -> tuple[int, int]:
        return self.long_sides * self.short_side, self.short_side


# 64, 256 and 216 epochs.
ADE20K = Benchmark("ade20k", "ade20k", 512, 512, 512, 4, 161_728, 8, 0.001, reduce_labels=True)
ADE20K_640 = Benchmark("ade20k", "ade20k", 640, 640, 640, 4, 161_728, 8, 0.001, reduce_labels=True)
PASCAL_CONTEXT = Benchmark("pascal-context", "pascal_context60", 480, 320, 520, 8, 80_128, 16, 0.001)
CITYSCAPES = Benchmark("cityscapes", "cityscapes", 768, 512, 1024, 2, 80_352, 8, 0.01)


def _recipe(
    prefix: str,
    backbone_name: str,
    data: Benchmark,
    *,
    model: dict[str, Any],
    backbone_options: dict[str, Any],
    stride: int,
    published: PublishedResult,
    weights: Weights,
    schedule: str = "",
    training_options: dict[str, Any] | None = None,
) -> PublishedRecipe:
    """What all rows have in common."""
    backbone = BACKBONES[backbone_name]
    crop = (data.crop, data.crop)
    size = {"shortest_edge": data.scale[1], "longest_edge": data.scale[0]}
    training = {
        "nesterov": True,
        "min_learning_rate": 1e-5,
        "iterations": data.iterations,
        "pretrained": backbone.pretrained,
        **(training_options or {}),
    }
    return PublishedRecipe(
        name=f"{prefix}-{backbone_name}-{data.name}-{data.crop}{schedule}",
        method="cts_segmenter",
        model={**model, "backbone_config": {**backbone.config(data.crop), **backbone_options}},
        image_processor={
            "size": size,
            "do_reduce_labels": data.reduce_labels,
            **(DEIT_PIXELS if backbone.is_deit else {}),
        },
        label_set=data.label_set,
        training=TrainingRecipe(
            optimizer="sgd",
            learning_rate=data.learning_rate,
            weight_decay=0.0,
            batch_size=data.batch_size,
            crop_size=crop,
            scale=data.scale,
            **training,
        ),
        evaluation=EvaluationRecipe(
            mode="slide",
            window_size=crop,
            window_stride=(stride, stride),
            scale=data.scale,
            ratios=SIX_RATIOS,
            min_short=None,
        ),
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
        stride=data.stride,
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
