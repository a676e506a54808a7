# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How a street scene is painted: its sky, road, roadsides and what moves there, from far to near."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from .canvas import SUPERSAMPLING, Label, Point, Scene, SceneObject, Span, to_image, to_rgb


_FARTHEST = 3000.0  # metres; the horizon to within a pixel
_ROAD = 2.8  # metres from the middle of the road to its edge
_KERB = 5.6  # metres from the middle of the road to the far edge of the sidewalk

# Some paints of walls, vehicles, clothes and fences are alike: a colour alone does not give a class away.
_WALLS = (
    (226, 206, 170),
    (196, 96, 76),
    (222, 170, 96),
    (176, 126, 108),
)
_LACQUERS = (
    (204, 62, 56),
    (58, 104, 176),
    (72, 78, 90),
    (52, 142, 136),
)
_CLOTHES = (
    (214, 70, 96),
    (250, 196, 64),
    (126, 66, 132),
    (224, 120, 52),
)
_FENCES = ((240, 236, 226), (150, 104, 66), (112, 74, 54))
_ROOFS = ((150, 74, 58), (112, 84, 76), (92, 96, 110), (176, 104, 72))
_FOLIAGE = ((76, 122, 62), (98, 142, 70), (58, 104, 72), (188, 128, 56))
_GRASSES = ((116, 158, 78), (140, 164, 84), (156, 170, 92))
_ROCKS = ((126, 132, 146), (146, 130, 142), (104, 120, 150))
_SKINS = ((240, 204, 176), (206, 158, 122), (150, 104, 76), (104, 72, 54))
_HAIRS = ((52, 40, 36), (112, 76, 48), (200, 164, 100), (150, 150, 152))
_BARKS = ((92, 70, 52), (120, 104, 88))
_POSTS = ((150, 154, 160), (124, 128, 134))
_SIGNALS = ((200, 48, 48), (46, 92, 176), (240, 196, 60), (60, 130, 90))
_GLASS = np.array((84.0, 102.0, 124.0))
_LAMPLIGHT = np.array((255.0, 222.0, 150.0))
_RUBBER = np.array((44.0, 46.0, 52.0))
_WHITE = np.array((238.0, 240.0, 244.0))

# Half the width, length, height, height of the waist (metres), and where the cabin starts and ends (share of length).
_VEHICLES = ((1.1, 3.8, 1.7, 0.95, 0.15, 0.75), (1.15, 4.4, 2.3, 1.2, 0.0, 1.0), (1.25, 8.0, 2.9, 1.2, 0.0, 1.0))
_VEHICLE_ODDS = (0.6, 0.2, 0.2)

# Outlines of sign boards of radius 1: octagon, square, triangle, diamond.
_BOARDS = (
    ((-1.0, 0.41), (-0.41, 1.0), (0.41, 1.0), (1.0, 0.41), (1.0, -0.41), (0.41, -1.0), (-0.41, -1.0), (-1.0, -0.41)),
    ((-0.95, -0.95), (-0.95, 0.95), (0.95, 0.95), (0.95, -0.95)),
    ((-1.2, -0.85), (0.0, 1.15), (1.2, -0.85)),
    ((-1.2, 0.0), (0.0, 1.2), (1.2, 0.0), (0.0, -1.2)),
)


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
    scene, _ = _paint_scene(seed)
    return scene.develop()


def draw_annotated_scene(seed: int) -> AnnotatedScene:
    """Draws the same picture as `draw_scene`, and says what it shows as a whole and which things there are."""
    scene, kind = _paint_scene(seed)
    image, _ = scene.develop()
    return AnnotatedScene(image, kind, scene.objects())


def _paint_scene(seed: int) -> tuple[Scene, int]:
    scene = Scene(seed)
    _paint_sky(scene)
    if scene.rng.rand() < 0.7:
        _paint_mountains(scene)
    _paint_road(scene)
    roadsides = (_paint_town, _paint_park, _paint_shore)
    left, right = scene.rng.permutation(len(roadsides))[:2]
    roadsides[left](scene, -1)
    roadsides[right](scene, 1)
    _paint_street_life(scene)
    # Of two out of three, the sum of their numbers tells which.
    return scene, int(left + right) - 1


def _paint_sky(scene: Scene) -> None:
    rng, width, horizon = scene.rng, scene.width, scene.horizon
    scene.subject = Label.SKY
    gradient = np.linspace(scene.zenith, scene.haze, horizon)[:, None]
    scene.image.paste(to_image(gradient).resize((width, horizon)))
    if scene.dusk:
        sun_x, sun_y = int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.3, 0.8) * horizon)
        for radius, opacity in ((0.12, 40), (0.09, 60), (0.06, 220)):
            extent = int(radius * scene.height)
            bounds = (sun_x - extent, sun_y - extent, sun_x + extent, sun_y + extent)
            scene.ellipse(*bounds, np.array((255, 236, 200)), opacity)
    for _ in range(rng.randint(0, 6)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, 0.75 * horizon), rng.uniform(0.05, 0.12) * width
        for _ in range(rng.randint(3, 6)):
            left, top = int(x + rng.uniform(-1.5, 1.5) * size), int(y + rng.uniform(-0.2, 0.2) * size)
            puff = rng.uniform(0.5, 1.0) * size
            scene.ellipse(left, top, left + int(2 * puff), top + int(0.7 * puff), scene.haze * 0.5 + 128, 120)


def _paint_mountains(scene: Scene) -> None:
    """A range of mountains on the horizon, the highest and haziest first."""
    rng, horizon = scene.rng, scene.horizon
    scene.subject = Label.MOUNTAIN
    rock, num_peaks, snow = scene.pick(_ROCKS), rng.randint(3, 6), rng.rand() < 0.8
    heights = sorted(rng.uniform(0.45, 0.85, num_peaks) * horizon, reverse=True)
    places = (rng.permutation(num_peaks) + rng.uniform(0.2, 0.8, num_peaks)) / num_peaks * scene.width
    for index, (height, x) in enumerate(zip(heights, places, strict=True)):
        color = rock + (scene.haze - rock) * (0.35 - 0.25 * index / num_peaks)
        _paint_mountain(scene, x, height, height * rng.uniform(1.0, 1.7), color, snow)


def _paint_mountain(scene: Scene, x: float, height: float, spread: float, color: np.ndarray, snow: bool) -> None:
    """A peak `height` pixels above the horizon, with a sunny and a shady flank that meet in a ridge."""
    rng, foot = scene.rng, scene.horizon + 2

    def descent(direction: float, roughness: float) -> list[Point]:
        """A jagged line from the peak down to the foot."""
        steps = np.linspace(0, 1, 6)
        across = steps * direction + np.concatenate(([0], rng.uniform(-roughness, roughness, 5)))
        down = foot - height * (1 - steps)
        return [(int(x + a * spread), int(d)) for a, d in zip(across, down, strict=True)]

    left, right, ridge = descent(-1, 0.06), descent(1, 0.06), descent(rng.uniform(-0.1, 0.2), 0.08)
    brightness = (1.08, 0.82)[:: -scene.sun_side]
    scene.polygon([*left, *reversed(ridge)], color * brightness[0])
    scene.polygon([*right, *reversed(ridge)], color * brightness[1])
    if snow:
        scene.polygon([left[1], left[0], right[1], ridge[2]], 0.75 * _WHITE + 0.25 * scene.haze)


def _paint_road(scene: Scene) -> None:
    """The land, and the road through it."""
    rng, everywhere = scene.rng, 4 * _FARTHEST
    scene.subject = Label.GRASS
    scene.slab((-everywhere, everywhere), 0, (0, _FARTHEST), scene.pick(_GRASSES))
    scene.subject = Label.ROAD
    asphalt = rng.uniform(92, 140) + rng.uniform(-10, 10, 3)
    scene.slab((-_ROAD, _ROAD), 0, (0, _FARTHEST), asphalt)
    paint = asphalt + rng.uniform(50, 90)
    if rng.rand() < 0.8:
        for z in np.arange(rng.uniform(0, 3), 45, 4.0):
            scene.slab((-0.1, 0.1), 0, (z, z + 2), paint)
    if rng.rand() < 0.5:
        for x in (-0.9 * _ROAD, 0.9 * _ROAD):
            scene.slab((x - 0.07, x + 0.07), 0, (0, 300), paint)
    if rng.rand() < 0.4:
        z = rng.uniform(5, 9)
        for x in np.arange(-0.85 * _ROAD, 0.8 * _ROAD, 0.8):
            scene.slab((x, x + 0.42), 0, (z, z + 2.2), paint)


def _paint_town(scene: Scene, side: int) -> None:
    """A sidewalk with a row of buildings, and perhaps trees."""
    rng = scene.rng
    scene.subject = Label.SIDEWALK
    paving = rng.uniform(165, 205) + rng.uniform(-14, 14, 3)
    scene.slab((side * _ROAD, side * _KERB), 0, (0, 300), paving)
    for z in np.arange(1.5, 30, 1.2):
        scene.slab((side * _ROAD, side * _KERB), 0, (z, z + 0.08), paving * 0.72)
    scene.slab((side * _ROAD, side * (_ROAD + 0.22)), 0, (0, 300), paving * 1.15)

    lots = [rng.uniform(1.0, 7.0)]
    while lots[-1] < 60:
        lots.append(lots[-1] + rng.uniform(6, 12))
    for start, end in reversed(list(pairwise(lots))):
        _paint_building(scene, side, (start, end - rng.choice((0.0, 0.0, 1.5))))
    if rng.rand() < 0.6:
        for z in sorted(rng.uniform(9, 30, rng.randint(1, 4)), reverse=True):
            _paint_tree(scene, side * rng.uniform(3.2, 3.6), z, rng.uniform(3.4, 5.0))


def _paint_building(scene: Scene, side: int, z: Span) -> None:
    """A house along the sidewalk, low ones under a gable roof."""
    rng = scene.rng
    scene.subject = Label.BUILDING
    num_floors = rng.choice((1, 2, 2, 3, 4, 5))
    height, depth = 2.8 * num_floors + 0.6, rng.uniform(6, 9)
    near, far = side * _KERB, side * (_KERB + depth)
    color, trim = scene.pick(_WALLS), scene.pick(_WALLS)
    light = scene.side_light(-side)
    if num_floors <= 3 and rng.rand() < 0.8:
        ridge, top = (near + far) / 2, height + 0.55 * depth
        roof = [(near, height, z[0]), (ridge, top, z[0]), (ridge, top, z[1]), (near, height, z[1])]
        scene.surface(roof, scene.pick(_ROOFS))
        scene.surface([(near, height, z[0]), (far, height, z[0]), (ridge, top, z[0])], color * 0.86)
    scene.panel((near, far), (0, height), z[0], color * 0.86)
    scene.wall(near, (0, height), z, color * light)
    scene.wall(near, (height - 0.35, height), z, trim * light)
    for floor in range(num_floors):
        sill = 2.8 * floor + 0.9
        for start in np.arange(z[0] + 0.7, z[1] - 1.5, 2.1):
            if floor == 0 and rng.rand() < 0.3:
                scene.wall(near, (0, 2.2), (start, start + 1.1), trim * 0.7)
            else:
                pane = _LAMPLIGHT if scene.dusk and rng.rand() < 0.5 else _GLASS
                scene.wall(near, (sill, sill + 1.4), (start, start + 1.2), pane + rng.uniform(-12, 12))
        for start in np.arange(0.8, depth - 1.6, 2.2):
            x = (near + side * start, near + side * (start + 1.2))
            scene.panel(x, (sill, sill + 1.4), z[0], _GLASS + rng.uniform(-12, 12))


def _paint_park(scene: Scene, side: int) -> None:
    """Trees, mostly behind a fence."""
    rng = scene.rng
    for z in np.arange(70, 40, -5.0):
        _paint_tree(scene, side * rng.uniform(8, 30), z, rng.uniform(8, 12))
    for z in sorted(rng.uniform(7, 34, rng.randint(3, 7)), reverse=True):
        _paint_tree(scene, side * (5.0 + rng.uniform(0.0, 0.45) * z), z, rng.uniform(4.5, 8.0))
    if rng.rand() < 0.8:
        z = (rng.uniform(2, 6), rng.uniform(12, 22))
        _paint_fence(scene, side, rng.uniform(3.3, 4.2), z, turns=rng.rand() < 0.5)


def _paint_shore(scene: Scene, side: int) -> None:
    """A lake or the sea, which mirrors sky and mountains, and a fence or a tree on the bank."""
    rng, width, height, horizon = scene.rng, scene.width, scene.height, scene.horizon
    scene.subject = Label.WATER
    bank = rng.uniform(3.8, 5.0)
    backdrop = scene.image.crop((0, 0, width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    deep = scene.zenith * 0.7 + rng.uniform(-10, 20, 3)
    scene.slab((side * bank, side * 4 * _FARTHEST), 0, (0, rng.choice((22.0, _FARTHEST))), deep)
    mirrored = Image.blend(
        backdrop.resize((width, height - horizon)),
        Image.new("RGB", (width, height - horizon), to_rgb(deep)),
        rng.uniform(0.35, 0.6),
    )
    is_water = np.asarray(scene.label)[horizon:] == Label.WATER
    scene.image.paste(mirrored, (0, horizon), Image.fromarray(is_water))
    if rng.rand() < 0.55:
        _paint_fence(scene, side, bank - 0.4, (rng.uniform(2, 6), rng.uniform(12, 22)), turns=False)
    elif rng.rand() < 0.6:
        _paint_tree(scene, side * (bank + 0.2), rng.uniform(7, 12), rng.uniform(4.5, 6.5))


def _paint_tree(scene: Scene, x: float, z: float, height: float) -> None:
    scene.subject = Label.TREE
    scene.shadow(x, z, 0.28 * height)
    trunk = 0.05 * height
    scene.panel((x - trunk, x + trunk), (0, 0.5 * height), z, scene.pick(_BARKS))
    paint_leaves = _paint_needles if scene.rng.rand() < 0.35 else _paint_crown
    paint_leaves(scene, x, z, height, scene.pick(_FOLIAGE))


def _paint_needles(scene: Scene, x: float, z: float, height: float, color: np.ndarray) -> None:
    """Three tiers of a conifer, each with a sunny side."""
    for tier in range(3):
        low, high = (0.2 + 0.22 * tier) * height, (0.58 + 0.21 * tier) * height
        spread, shade = (0.3 - 0.07 * tier) * height, 0.8 + 0.1 * tier
        scene.surface([(x - spread, low, z), (x + spread, low, z), (x, high, z)], color * shade)
        sunny = scene.sun_side * spread
        scene.surface([(x + sunny, low, z), (x, high, z), (x + 0.25 * sunny, low, z)], color * (shade + 0.15))


def _paint_crown(scene: Scene, x: float, z: float, height: float, color: np.ndarray) -> None:
    """Clumps of leaves, the sunny ones last."""
    rng = scene.rng
    for shade in (0.82, 1.0, 1.2):
        up = 0.3 * (shade - 1.0)
        for _ in range(4):
            across, above = rng.uniform(-0.2, 0.2) + scene.sun_side * up, 0.7 + rng.uniform(-0.16, 0.16) + up
            scene.ball(x + across * height, above * height, z, (0.36 - 0.14 * shade) * height, color * shade)


def _paint_fence(scene: Scene, side: int, distance: float, z: Span, turns: bool) -> None:
    """A fence along the road, of pickets or of planks, that may turn away from the road at its far end."""
    rng, x = scene.rng, side * distance
    scene.subject = Label.FENCE
    height, color = rng.uniform(1.2, 1.6), scene.pick(_FENCES)
    if turns:
        scene.panel((x, x + side * 12), (0, height), z[1], color * 0.9)
        for step in np.arange(0, 12, 0.7):
            scene.panel((x + side * step, x + side * (step + 0.15)), (0, height), z[1], color * 0.5)
    color = color * scene.side_light(-side)
    scene.wall(x, (0, height), z, color)
    if rng.rand() < 0.7:
        for start in np.arange(z[0] + 0.3, z[1] - 0.2, 0.5):
            scene.wall(x, (0.05, height), (start, start + 0.17), color * 0.5)
        scene.wall(x, (0.65 * height, 0.8 * height), z, color * 1.1)
    else:
        for share in (0.28, 0.62):
            scene.wall(x, (share * height, (share + 0.1) * height), z, color * 0.5)
        for start in np.arange(z[0], z[1], 2.0):
            scene.wall(x, (0, 1.1 * height), (start, start + 0.25), color * 1.15)


def _paint_street_life(scene: Scene) -> None:
    """Vehicles, people and signs, the nearest last."""
    rng = scene.rng
    things: list[tuple[float, float, Callable[[Scene, float, float], None]]] = []
    for lane in rng.permutation((-1, 1))[: rng.choice((0, 1, 1, 1, 2))]:
        things.append((rng.uniform(5, 9), lane * rng.uniform(1.3, 1.6), _paint_vehicle))
    for _ in range(rng.choice((0, 1, 2, 2, 3))):
        things.append((rng.uniform(3.4, 4.8), rng.uniform(-4.2, 4.2), _paint_person))
    for side in rng.permutation((-1, 1))[: rng.choice((0, 1, 1, 2))]:
        things.append((rng.uniform(4.2, 6.0), side * rng.uniform(3.0, 3.4), _paint_sign))
    for z, x, paint in sorted(things, key=lambda thing: -thing[0]):
        paint(scene, x, z)


def _paint_vehicle(scene: Scene, x: float, z: float) -> None:
    """A car, a van or a bus, seen from behind on the right of the road and from the front on the left."""
    rng = scene.rng
    scene.subject = Label.VEHICLE
    half, length, height, waist, start, end = _VEHICLES[rng.choice(len(_VEHICLES), p=_VEHICLE_ODDS)]
    color, glass = scene.pick(_LACQUERS), _GLASS * rng.uniform(0.7, 1.1)
    scene.shadow(x, z, 1.3 * half)
    for axle in (z + 0.75 * length, z + 0.12 * length):
        for left in (x - half, x + half - 0.28):
            scene.box((left, left + 0.28), (0, 0.6), (axle, axle + 0.6), _RUBBER)
    scene.box((x - half, x + half), (0.3, waist), (z, z + length), color)
    cabin = (z + start * length, z + end * length)
    scene.box((x - half, x + half), (waist, height), cabin, color)

    windows = (waist + 0.04, height - 0.14)
    scene.panel((x - half + 0.12, x + half - 0.12), windows, cabin[0], glass)
    if abs(x - scene.camera_x) > half:
        facing = -1 if x > scene.camera_x else 1
        edges = np.linspace(*cabin, max(3, int((cabin[1] - cabin[0]) / 1.6) + 1))
        for pane in pairwise(edges):
            scene.wall(x + facing * half, windows, (pane[0] + 0.12, pane[1] - 0.12), glass * scene.side_light(facing))
    lamp = np.array((214, 52, 44) if x > 0 else (252, 240, 206))
    for left in (x - half + 0.08, x + half - 0.43):
        scene.panel((left, left + 0.35), (0.62, 0.86), z, lamp)
    scene.panel((x - 0.3, x + 0.3), (0.42, 0.6), z, _WHITE * 0.94)


def _paint_person(scene: Scene, x: float, z: float) -> None:
    rng = scene.rng
    scene.subject = Label.PERSON
    size, stride = rng.uniform(0.9, 1.15), rng.uniform(0.0, 0.22)
    skin, hair = scene.pick(_SKINS, 6), scene.pick(_HAIRS, 6)
    coat, trousers = scene.pick(_CLOTHES), scene.pick(_CLOTHES) * 0.7

    def part(outline: Sequence[tuple[float, float]], color: np.ndarray) -> None:
        scene.surface([(x + dx * size, y * size, z) for dx, y in outline], color)

    scene.shadow(x, z, 0.5)
    for leg, shade in ((-1, 0.85), (1, 1.0)):
        foot = leg * (0.15 + stride)
        part([(leg * 0.3, 0.85), (0, 0.85), (foot - 0.14, 0), (foot + 0.14, 0)], trousers * shade)
    if rng.rand() < 0.35:
        part([(-0.25, 1.1), (0.25, 1.1), (0.48, 0.45), (-0.48, 0.45)], coat * 0.9)
    part([(-0.38, 1.42), (0.38, 1.42), (0.32, 0.8), (-0.32, 0.8)], coat)
    for arm in (-1, 1):
        hand = arm * rng.uniform(0.45, 0.7)
        part(
            [(arm * 0.25, 1.42), (arm * 0.42, 1.38), (hand + arm * 0.08, 0.85), (hand - arm * 0.12, 0.82)], coat * 0.84
        )
    if rng.rand() < 0.3:
        part([(0.38, 1.0), (0.72, 1.0), (0.72, 0.62), (0.38, 0.62)], scene.pick(_CLOTHES))
    scene.ball(x, 1.64 * size, z, 0.29 * size, hair)
    scene.ball(x + rng.uniform(-0.05, 0.05), 1.57 * size, z, 0.23 * size, skin)


def _paint_sign(scene: Scene, x: float, z: float) -> None:
    """A traffic sign on its post."""
    rng = scene.rng
    scene.subject = Label.SIGN
    radius, top = rng.uniform(0.7, 0.85), rng.uniform(2.3, 2.9)
    post = 4 * SUPERSAMPLING / scene.pixels_per_metre(z)  # eight pixels wide at any distance, to be learnable
    scene.panel((x - post, x + post), (0, top), z, scene.pick(_POSTS))
    board, color = _BOARDS[rng.randint(len(_BOARDS))], scene.pick(_SIGNALS)
    for scale, fill in ((1.0, color), (0.72, _WHITE), (0.4, color * 0.6)):
        scene.surface([(x + dx * scale * radius, top + dy * scale * radius, z) for dx, dy in board], fill)
