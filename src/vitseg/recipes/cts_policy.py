# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How the policy networks of content-aware token sharing are trained, one for each data set.

Source: https://github.com/tue-mps/cts-segmenter at commit e236188. No weights and no figures were published.
"""

from typing import Any

from .schema import PolicyTraining, PretrainedWeights, Recipe


PRETRAINED = PretrainedWeights(
    timm_model="efficientnet_lite0.ra_in1k",
    url=(
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
        "efficientnet_lite0_ra-37913777.pth"
    ),
)


def _recipe(data: str, crop: int, processor_size: dict[str, int], **training: Any) -> Recipe:
    """What all have in common; `processor_size` is what the trained network's image processor resizes to."""
    return Recipe(
        name=f"cts-policy-{data}-{crop}",
        method="cts_policy",
        task="policy",
        model={},
        image_processor={"size": processor_size},
        training=PolicyTraining(
            optimizer="adamw",
            learning_rate=5e-5,
            weight_decay=1e-3,
            iterations=50_000,
            batch_size=8,
            pretrained=PRETRAINED,
            **training,
        ),
    )


_SQUARE = {"height": 512, "width": 512}
_SHORT = {"shortest_edge": 512}
RECIPES = (
    _recipe("ade20k", 512, _SQUARE, size=_SQUARE, ignore_mixed_border=True),
    _recipe("pascal-context", 480, _SHORT, size=_SHORT, crop_size=(480, 480)),
    _recipe("cityscapes", 768, {"shortest_edge": 768}, crop_size=(768, 768)),
)
