# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How the policy networks of content-aware token sharing are trained, one for each data set.

Source: https://github.com/tue-mps/cts-segmenter at commit e236188. No weights were published.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .lookup import unknown_name


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe:
    """
    The training of a policy network: AdamW at a constant rate, from ImageNet weights, on images from -1 to 1.

    Args:
        name: of the recipe.
        learning_rate: of all parameters.
        weight_decay: likewise.
        iterations: number of optimizer steps.
        batch_size: images per optimizer step, over all devices.
        size: what images are resized to: `{"height": ..., "width": ...}`, or `{"shortest_edge": ...}` (the ratio of
            the sides is kept), or nothing.
        crop_size: height and width of a random crop, `None` for none. They, or `size`, must be multiples of 32.
        flip_probability: of the horizontal flip.
        ignore_mixed_border: whether the loss leaves out superpatches at the border that hold one class and ignored
            pixels. Elsewhere such superpatches are to have four tokens.
    """

    name: str
    learning_rate: float = 5e-5
    weight_decay: float = 1e-3
    iterations: int = 50_000
    batch_size: int = 8
    size: Mapping[str, int]
    crop_size: tuple[int, int] | None = None
    flip_probability: float = 0.5
    ignore_mixed_border: bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "iterations", "batch_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a positive number.")
        if set(self.size) not in ({"height", "width"}, {"shortest_edge"}, set()):
            raise ValueError(f"size is {dict(self.size)}; expected height and width, shortest_edge, or nothing.")
        if "shortest_edge" in self.size and self.crop_size is None:
            raise ValueError(f"size is {dict(self.size)}, so images differ in size: give a crop_size.")
        final = self.crop_size or (self.size.get("height", 0), self.size.get("width", 0))
        if min(final) < 1 or final[0] % 32 or final[1] % 32:
            raise ValueError(f"Images of {final[0]} x {final[1]} pixels: sides must be multiples of 32.")


POLICY_RECIPES: Mapping[str, PolicyRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            PolicyRecipe(name="cts-policy-ade20k-512", size={"height": 512, "width": 512}, ignore_mixed_border=True),
            PolicyRecipe(name="cts-policy-pascal-context-480", size={"shortest_edge": 512}, crop_size=(480, 480)),
            PolicyRecipe(name="cts-policy-cityscapes-768", size={}, crop_size=(768, 768)),
        )
    }
)


def get_policy_recipe(name: str) -> PolicyRecipe:
    """
    The recipe of this name.

    Raises:
        ValueError: if there is none; the message gives the closest names.
    """
    if name not in POLICY_RECIPES:
        raise unknown_name("policy recipe", name, POLICY_RECIPES)
    return POLICY_RECIPES[name]
