# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A small data set of drawn street scenes, to train and test on without downloading anything.

A scene is a world in metres (x to the right, y up, z away from the viewer, the road along x = 0) seen by a pinhole
camera: a road between two different roadsides (town, park or shore) with buildings, trees, fences, signs, vehicles and
people, painted from far to near. The picture and its label map receive the same strokes on one grid of twice the final
size; then the picture is averaged and the label map is sampled, so the two stay aligned and ids never blend. Paints
are shared between classes, light and weather vary, and all of it is a function of the seed.
"""

from ..extras import require


require("data")

from .canvas import SCENE_CLASSES, SCENE_KINDS, SCENE_PALETTE, SCENE_THINGS, SceneObject
from .painting import AnnotatedScene, draw_annotated_scene, draw_scene
from .writing import write_annotated_scenes, write_scenes


__all__ = [
    "SCENE_CLASSES",
    "SCENE_KINDS",
    "SCENE_PALETTE",
    "SCENE_THINGS",
    "AnnotatedScene",
    "SceneObject",
    "draw_annotated_scene",
    "draw_scene",
    "write_annotated_scenes",
    "write_scenes",
]
