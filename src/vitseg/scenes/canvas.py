# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a drawn street scene is made on: a picture and its label map under one brush, seen by a camera."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


class Label(IntEnum):
    SKY = 0
    MOUNTAIN = 1
    GRASS = 2
    ROAD = 3
    SIDEWALK = 4
    WATER = 5
    BUILDING = 6
    TREE = 7
    FENCE = 8
    SIGN = 9
    VEHICLE = 10
    PERSON = 11


# What is counted one by one, and found by a detector.
THINGS = (Label.SIGN, Label.VEHICLE, Label.PERSON)

SCENE_CLASSES: tuple[str, ...] = tuple(label.name.lower() for label in Label)
SCENE_PALETTE: tuple[tuple[int, int, int], ...] = (
    (126, 190, 232),
    (150, 128, 158),
    (142, 196, 92),
    (92, 96, 112),
    (214, 188, 190),
    (38, 110, 184),
    (226, 138, 92),
    (38, 122, 72),
    (166, 108, 64),
    (250, 206, 62),
    (96, 62, 172),
    (224, 58, 92),
)
# What a scene shows on the two sides of its road, and what a detector finds in it.
SCENE_KINDS: tuple[str, ...] = ("town and park", "town and shore", "park and shore")
SCENE_THINGS: tuple[str, ...] = tuple(label.name.lower() for label in THINGS)
IGNORE_INDEX = 255

Color = tuple[float, float, float]
Point = tuple[int, int]
Span = tuple[float, float]

SUPERSAMPLING = 2
_SMALLEST_THING = 4  # pixels; what is narrower or lower is left out of the objects
NEAREST = 1.0  # metres; what is nearer than this is always below the picture

# Light: colour at the top of the sky, colour at the horizon, tint of all that is lit. The sun is low from _DUSK on.
_LIGHTS = (
    ((92, 156, 222), (206, 228, 240), (1.00, 1.00, 1.00)),
    ((122, 176, 216), (238, 236, 220), (1.06, 1.02, 0.94)),
    ((158, 168, 180), (214, 216, 216), (0.88, 0.90, 0.92)),
    ((104, 120, 188), (252, 196, 150), (1.02, 0.93, 0.86)),
    ((70, 70, 128), (232, 142, 122), (0.92, 0.85, 0.92)),
)
_DUSK = 3

# Surface of each class: strength in grey levels of fine grain, of blotches and of horizontal ripples.
_SURFACES = np.array(
    (
        (1, 4, 0),  # sky
        (4, 9, 0),  # mountain
        (11, 8, 2),  # grass
        (6, 4, 0),  # road
        (4, 4, 0),  # sidewalk
        (2, 3, 18),  # water
        (3, 3, 0),  # building
        (12, 13, 0),  # tree
        (5, 3, 0),  # fence
        (2, 2, 0),  # sign
        (2, 3, 0),  # vehicle
        (3, 3, 0),  # person
    ),
    np.float32,
)
_IS_GROUND = np.isin(np.arange(256), (Label.GRASS, Label.ROAD, Label.SIDEWALK, Label.WATER)).astype(np.float32)


class SceneObject(NamedTuple):
    """A thing in a scene: an index of `SCENE_THINGS`, and what is visible of it, in pixels."""

    category: int
    bbox: tuple[int, int, int, int]  # x, y, width, height
    area: int


class Scene:
    """A picture and its label map under one brush, the camera that looks at the world, and the light.

    `subject` is what the brush paints: the label of the strokes that follow. Places are in metres, colours 0 to 255.
    """

    def __init__(self, seed: int) -> None:
        # RandomState's numbers are frozen for all versions of numpy; those of a Generator are not.
        self.rng = rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
        height = rng.randint(128, 193)
        width = max(int(height * rng.uniform(1.2, 1.6)), 160)
        self.height, self.width = height * SUPERSAMPLING, width * SUPERSAMPLING
        self.thing_labels: list[Label] = []
        self.image = Image.new("RGB", (self.width, self.height))
        self.label = Image.new("L", (self.width, self.height), Label.SKY)
        # Number of the thing at each pixel, counted from 1; 0 where there is none.
        self.things = Image.new("L", (self.width, self.height))
        self.subject = Label.SKY
        self._thing_brush = ImageDraw.Draw(self.things)
        self._image_brush = ImageDraw.Draw(self.image, "RGBA")
        self._label_brush = ImageDraw.Draw(self.label)

        self.focal_length = self.height * rng.uniform(0.8, 1.05)
        self.camera_x, self.camera_y = rng.uniform(-2.0, 2.0), rng.uniform(2.2, 3.0)
        self.vanishing_x = self.width * rng.uniform(0.35, 0.65)
        self.horizon = int(self.height * rng.uniform(0.36, 0.48))

        light = rng.randint(len(_LIGHTS))
        self.zenith, self.haze, self.tint = (np.array(values, np.float32) for values in _LIGHTS[light])
        self.dusk = light >= _DUSK
        self.sun_side = 1 if rng.rand() < 0.5 else -1

    @property
    def subject(self) -> Label:
        return self._subject

    @subject.setter
    def subject(self, label: Label) -> None:
        """Each thing is a subject of its own; what is no thing covers those behind it."""
        self._subject, self._thing = label, 0
        if label in THINGS:
            self.thing_labels.append(label)
            self._thing = len(self.thing_labels)

    def pick(self, colors: Sequence[Color], variation: float = 14.0) -> np.ndarray:
        """One of the colours, varied a little."""
        return np.array(colors[self.rng.randint(len(colors))]) + self.rng.uniform(-variation, variation, 3)

    def pixels_per_metre(self, z: float) -> float:
        return self.focal_length / max(z, NEAREST)

    def project(self, x: float, y: float, z: float) -> Point:
        """The pixel where a point of the world is seen. Whole pixels hide the last bits of a float."""
        scale = self.pixels_per_metre(z)
        across, down = (x - self.camera_x) * scale, (self.camera_y - y) * scale
        return int(self.vanishing_x + across), int(self.horizon + down)

    def polygon(self, points: Sequence[Point], color: np.ndarray) -> None:
        """Fills a polygon that is given in pixels."""
        self._image_brush.polygon(points, fill=to_rgb(color))
        self._label_brush.polygon(points, fill=self.subject)
        self._thing_brush.polygon(points, fill=self._thing)

    def ellipse(self, left: int, top: int, right: int, bottom: int, color: np.ndarray, opacity: int = 255) -> None:
        """Fills an ellipse that is given in pixels."""
        self._image_brush.ellipse((left, top, right, bottom), fill=(*to_rgb(color), opacity))
        self._label_brush.ellipse((left, top, right, bottom), fill=self.subject)
        self._thing_brush.ellipse((left, top, right, bottom), fill=self._thing)

    def surface(self, corners: Sequence[tuple[float, float, float]], color: np.ndarray) -> None:
        """Fills a flat surface of the world; the farther away its first corner, the more it fades into the haze."""
        self.polygon([self.project(*corner) for corner in corners], self._fade(color, corners[0][2]))

    def panel(self, x: Span, y: Span, z: float, color: np.ndarray) -> None:
        """A rectangle that faces the camera."""
        self.surface([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], color)

    def wall(self, x: float, y: Span, z: Span, color: np.ndarray) -> None:
        """An upright rectangle along the road."""
        self.surface([(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])], color)

    def slab(self, x: Span, y: float, z: Span, color: np.ndarray) -> None:
        """A level rectangle."""
        self.surface([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], color)

    def box(self, x: Span, y: Span, z: Span, color: np.ndarray) -> None:
        """The faces of a box that the camera sees: at most one side, the top and the front."""
        if x[0] > self.camera_x:
            self.wall(x[0], y, z, color * self.side_light(-1))
        elif x[1] < self.camera_x:
            self.wall(x[1], y, z, color * self.side_light(1))
        if y[1] < self.camera_y:
            self.slab(x, y[1], z, color * 1.12)
        self.panel(x, y, z[0], color)

    def ball(self, x: float, y: float, z: float, radius: float, color: np.ndarray) -> None:
        left, top = self.project(x - radius, y + radius, z)
        right, bottom = self.project(x + radius, y - radius, z)
        self.ellipse(left, top, right, bottom, self._fade(color, z))

    def shadow(self, x: float, z: float, radius: float) -> None:
        """Darkens the ground under a thing; the ground keeps its label."""
        center_x, center_y = self.project(x, 0, z)
        width = int(radius * self.pixels_per_metre(z))
        bounds = (center_x - width, center_y - width // 4, center_x + width, center_y + width // 4)
        self._image_brush.ellipse(bounds, fill=(20, 24, 40, 90))

    def side_light(self, facing: int) -> float:
        """Brightness of a wall that faces left (-1) or right (1)."""
        return 0.95 if facing == self.sun_side else 0.74

    def _fade(self, color: np.ndarray, z: float) -> np.ndarray:
        return color + (self.haze - color) * (z / (z + 70.0))

    def develop(self) -> tuple[Image.Image, Image.Image]:
        """The finished picture and label map, at their final size."""
        label = np.asarray(self.label)[::SUPERSAMPLING, ::SUPERSAMPLING]
        image = np.asarray(self.image.reduce(SUPERSAMPLING), np.float32)
        image = self._add_ground_haze(image, label) + self._texture(label)[..., None]
        contrast, brightness = self.rng.uniform(0.95, 1.15), self.rng.uniform(-6, 10)
        image = (image * self.tint - 128) * contrast + 128 + brightness
        blurred = to_image(image).filter(ImageFilter.GaussianBlur(self.rng.uniform(0.1, 0.5)))
        sensor_noise = self.rng.randint(-4, 5, label.shape)[..., None]
        return to_image(np.asarray(blurred) + sensor_noise), Image.fromarray(_ignore_outlines(label))

    def objects(self) -> tuple[SceneObject, ...]:
        """The things of which enough is visible."""
        things = np.asarray(self.things)[::SUPERSAMPLING, ::SUPERSAMPLING]
        objects = []
        for number, label in enumerate(self.thing_labels, start=1):
            rows, columns = np.nonzero(things == number)
            if len(rows) == 0:
                continue
            x, y = int(columns.min()), int(rows.min())
            width, height = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
            if min(width, height) >= _SMALLEST_THING:
                objects.append(SceneObject(THINGS.index(label), (x, y, width, height), len(rows)))
        return tuple(objects)

    def _add_ground_haze(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Fades the ground towards the horizon, row by row: unlike other surfaces it spans all depths."""
        rows = np.arange(len(image), dtype=np.float32) * SUPERSAMPLING - self.horizon
        weight = 0.7 / (1 + np.maximum(rows, 0) / (0.06 * self.height))
        return image + (self.haze - image) * (weight[:, None] * _IS_GROUND[label])[..., None]

    def _texture(self, label: np.ndarray) -> np.ndarray:
        """Grey-level texture of the surfaces, as strong as each class has it."""
        grain, blotches, ripples = (self._noise(label.shape, cell) for cell in ((1, 1), (6, 6), (2, 16)))
        strength = _SURFACES[label]
        return strength[..., 0] * grain + strength[..., 1] * blotches + strength[..., 2] * ripples

    def _noise(self, shape: tuple[int, ...], cell: tuple[int, int]) -> np.ndarray:
        """Smooth noise between -1 and 1 whose cells have the given height and width in pixels."""
        height, width = shape
        cells = self.rng.rand(height // cell[0] + 1, width // cell[1] + 1).astype(np.float32) * 2 - 1
        return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR))


def to_rgb(color: np.ndarray) -> tuple[int, ...]:
    return tuple(np.clip(color, 0, 255).astype(int).tolist())


def to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _ignore_outlines(label: np.ndarray) -> np.ndarray:
    """Ignores the pixels where a vehicle or a person meets something else, as hand-labelled data sets do."""
    label, outlined = label.copy(), np.isin(label, (Label.VEHICLE, Label.PERSON))
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        label[here][outlined[here] != outlined[there]] = IGNORE_INDEX
    return label
