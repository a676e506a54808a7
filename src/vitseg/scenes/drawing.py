# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From a seed to a street scene, with its label map or with the things in it."""

from typing import NamedTuple

from PIL import Image

from .canvas import SceneObject
from .painting import paint_scene


class AnnotatedScene(NamedTuple):
    """A picture, an index of `SCENE_KINDS`, and the things in it, the farthest first."""

    image: Image.Image
    kind: int
    objects: tuple[SceneObject, ...]


def draw_scene(seed: int) -> tuple[Image.Image, Image.Image]:
    """Draws one street scene and its label map.

    Args:
        seed: any non-negative integer. The same seed gives the same scene on every machine.

    Returns:
        The picture (mode "RGB") and its label map (mode "L"), both 128 to 192 pixels high and 160 to 307 wide. Label
        values index `SCENE_CLASSES`; 255 (ignored) marks the outlines of vehicles and people, about one pixel in a
        hundred.
    """
    scene, _ = paint_scene(seed)
    return scene.develop()


def draw_annotated_scene(seed: int) -> AnnotatedScene:
    """Draws the same picture as `draw_scene`, and says what it shows as a whole and which things there are."""
    scene, kind = paint_scene(seed)
    image, _ = scene.develop()
    return AnnotatedScene(image, kind, scene.objects())
