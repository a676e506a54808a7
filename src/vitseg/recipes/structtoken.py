# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of StructToken.

Sources: the README, configurations and release of https://github.com/RockeyCoss/StructToken at commit 2611e2d. The
paper's results on Cityscapes and COCO-Stuff-10K have neither configurations nor weights there.
"""

from dataclasses import dataclass
from typing import Any

from .schema import EvaluationRecipe, PretrainedWeights, PublishedRecipe, PublishedResult, TrainingRecipe, Weights


REPOSITORY = "https://github.com/RockeyCoss/StructToken"
AUGREG = "https://storage.googleapis.com/vit_models/augreg"
SIX_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class Backbone:
    """A ViT as StructToken uses it; `file` are its ImageNet weights, without the beginning and end of the name."""

    name: str
    hidden_size: int
    depth: int
    crop: int
    stride: int
    timm_size: str
    file: str

    @property
    def config(self) -> dict[str, Any]:
        return {
            "model_type": "plain_vit",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.hidden_size // 64,
            "intermediate_size": 4 * self.hidden_size,
            "image_size": self.crop,
            "drop_path_rate": 0.1,
            "interpolate_by_token_count": True,
            "interpolation_mode": "bicubic",
        }

    @property
    def pretrained(self) -> PretrainedWeights:
        return PretrainedWeights(
            timm_model=f"vit_{self.timm_size}_patch16_384.augreg_in21k_ft_in1k",
            url=f"{AUGREG}/{self.file}-res_384.npz",
            note=f"The original reads them from a copy, `vit_{self.timm_size}_p16_384.pth`.",
        )


_TINY = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03"
_SMALL = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03"
_BASE = "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.01"
_LARGE = "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-steps_20k-lr_0.01"
BACKBONES = {
    "vit-t": Backbone("vit-t", 192, 12, 512, 341, "tiny", _TINY),
    "vit-s": Backbone("vit-s", 384, 12, 512, 341, "small", _SMALL),
    "vit-b": Backbone("vit-b", 768, 12, 512, 341, "base", _BASE),
    "vit-l": Backbone("vit-l", 1024, 24, 640, 426, "large", _LARGE),
}


def _recipe(
    extraction: str,
    backbone_name: str,
    miou: float,
    miou_multi_scale: float,
    normalization: str,
    learning_rate: float,
    head_factor: float,
) -> PublishedRecipe:
    """A row of the README; `normalization` of the pixels is that of ImageNet or by `"half"`, to -1..1."""
    backbone = BACKBONES[backbone_name]
    crop, scale = (backbone.crop, backbone.crop), (4 * backbone.crop, backbone.crop)
    key = f"struct-token-{extraction}_{backbone.name}_ade20k"
    image_processor: dict[str, Any] = {
        "size": {"shortest_edge": scale[1], "longest_edge": scale[0]},
        "do_reduce_labels": True,
    }
    if normalization == "half":
        image_processor |= {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    original = f"{backbone.name}_struct-token-{extraction}_ade20k_{backbone.crop}x{backbone.crop}.py"
    wrong_link = (extraction, backbone.name) == ("sse", "vit-s")
    return PublishedRecipe(
        name=f"structtoken-{extraction}-{backbone.name}-ade20k-{backbone.crop}-160k",
        method="structtoken",
        model={"extraction": extraction, "decoder_drop_path_rate": 0.1, "backbone_config": backbone.config},
        image_processor=image_processor,
        label_set="ade20k",
        training=TrainingRecipe(
            optimizer="adamw",
            learning_rate=learning_rate,
            weight_decay=0.01,
            # The original's rule against the decay of norms reaches none: the backbone's have other names there, and
            # in the head a longer rule comes first.
            parameter_rules={
                "position_embeddings": {"decay_mult": 0.0},
                "cls_token": {"decay_mult": 0.0},
                "decode_head": {"lr_mult": head_factor},
            },
            power=1.0,
            min_learning_rate=0.0,
            warmup_iterations=1500,
            warmup_ratio=1e-6,
            iterations=160_000,
            batch_size=16,
            crop_size=crop,
            scale=scale,
            pretrained=backbone.pretrained,
        ),
        evaluation=EvaluationRecipe(
            mode="slide",
            window_size=crop,
            window_stride=(backbone.stride, backbone.stride),
            scale=scale,
            ratios=SIX_RATIOS,
            min_short=None,
        ),
        published=PublishedResult(
            miou=miou, miou_multi_scale=miou_multi_scale, source=f"README of {REPOSITORY}, {original}"
        ),
        weights=Weights(
            status="published",
            host="release v0.1.0 of the authors' repository",
            url=f"{REPOSITORY}/releases/download/v0.1.0/{key}.pth",
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
