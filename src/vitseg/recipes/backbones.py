# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The plain ViTs that several methods stand on: their sizes, and the ImageNet weights that training starts from."""

from typing import Any

from .schema import PretrainedWeights


# Width and number of blocks. Heads have 64 channels, MLPs four times the width.
SIZES = {
    "vit-t": (192, 12),
    "vit-s": (384, 12),
    "vit-b": (768, 12),
    "vit-b8": (768, 12),
    "vit-l": (1024, 24),
    "deit-b": (768, 12),
}

# Google's first weights, as timm has them. Of ViT-L, timm's name now means others of the same architecture.
_JX = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx"
FIRST_VIT_B = PretrainedWeights(
    timm_model="vit_base_patch16_384.orig_in21k_ft_in1k", url=f"{_JX}/jx_vit_base_p16_384-83fb41ba.pth"
)
FIRST_VIT_L = PretrainedWeights(
    timm_model="vit_large_patch16_384.augreg_in21k_ft_in1k",
    url=f"{_JX}/jx_vit_large_p16_384-b3be5167.pth",
    note="What timm offers under this name are later, AugReg weights of the same architecture.",
)
DEIT_B = PretrainedWeights(
    timm_model="deit_base_distilled_patch16_384.fb_in1k",
    url="https://dl.fbaipublicfiles.com/deit/deit_base_distilled_patch16_384-d0272ac0.pth",
)


def _augreg(size: str, training: str, rate: str) -> PretrainedWeights:
    return PretrainedWeights(
        timm_model=f"vit_{size}_patch16_384.augreg_in21k_ft_in1k",
        url=(
            f"https://storage.googleapis.com/vit_models/augreg/{training}"
            f"--imagenet2012-steps_20k-lr_{rate}-res_384.npz"
        ),
    )


# Google's later weights ("How to train your ViT?").
AUGREG = {
    "vit-t": _augreg("tiny", "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0", "0.03"),
    "vit-s": _augreg("small", "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0", "0.03"),
    "vit-b": _augreg("base", "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0", "0.01"),
    "vit-l": _augreg("large", "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1", "0.01"),
}


def plain_vit(name: str, image_size: int, **options: Any) -> dict[str, Any]:
    """The `backbone_config` of the ViT of this name, one of `SIZES`, for square images of `image_size` pixels."""
    hidden_size, depth = SIZES[name]
    return {
        "model_type": "plain_vit",
        "hidden_size": hidden_size,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
        "image_size": image_size,
        **options,
    }
