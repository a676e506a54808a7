# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A small data set of drawn street scenes, to train and test on without downloading anything.

A scene is a world in metres (x to the right, y up, z away from the viewer, the road along x = 0) seen by a pinhole
camera: a road between two different roadsides (town, park or shore) with buildings, trees, fences, signs, vehicles and
people, painted from far to near. The picture and its label map receive the same strokes on one grid of twice the final
size; then the picture is averaged and the label map is sampled, so the two stay aligned and ids never blend. Paints
are shared between classes, light and weather vary, and all of it is a function of the seed.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image, ImageDraw, ImageFilter
from tqdm.auto import tqdm

from ..replacing import replacing
from .dataset_labels import LABELS_FILE, DatasetLabels
from .shards import GROUP_ROWS, dataset_card, shard_name, write_shard


class _Label(IntEnum):
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
_THINGS = (_Label.SIGN, _Label.VEHICLE, _Label.PERSON)

SCENE_CLASSES: tuple[str, ...] = tuple(label.name.lower() for label in _Label)
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
SCENE_THINGS: tuple[str, ...] = tuple(label.name.lower() for label in _THINGS)
_IGNORE_INDEX = 255

_Color = tuple[float, float, float]
_Point = tuple[int, int]
_Span = tuple[float, float]

_SUPERSAMPLING = 2
_SMALLEST_THING = 4  # pixels; what is narrower or lower is left out of the objects
_NEAREST = 1.0  # metres; what is nearer than this is always below the picture
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
_IS_GROUND = np.isin(np.arange(256), (_Label.GRASS, _Label.ROAD, _Label.SIDEWALK, _Label.WATER)).astype(np.float32)

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


class SceneObject(NamedTuple):
    """A thing in a scene: an index of `SCENE_THINGS`, and what is visible of it, in pixels."""

    category: int
    bbox: tuple[int, int, int, int]  # x, y, width, height
    area: int


class AnnotatedScene(NamedTuple):
    """A picture, an index of `SCENE_KINDS`, and the things in it, the farthest first."""

    image: Image.Image
    kind: int
    objects: tuple[SceneObject, ...]


def draw_annotated_scene(seed: int) -> AnnotatedScene:
    """Draws the same picture as `draw_scene`, and says what it shows as a whole and which things there are."""
    scene, kind = _paint_scene(seed)
    image, _ = scene.develop()
    return AnnotatedScene(image, kind, scene.objects())


def _paint_scene(seed: int) -> tuple["_Scene", int]:
    scene = _Scene(seed)
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


def write_scenes(folder: str | Path, num_train: int, num_validation: int, seed: int = 0, num_shards: int = 4) -> None:
    """Writes a data set of drawn scenes that `datasets.load_dataset(folder)` loads and decodes.

    The folder holds `data/train-*.parquet` and `data/validation-*.parquet` with the columns `image` (JPEG), `label`
    (PNG of train ids, 255 ignored) and `file_name`; `labels.json` with the keys `names`, `palette` and `ignore_index`;
    and a data set card. It appears under its name only when it is complete. No scene is ever in both splits, not even
    in those of two data sets with different seeds.

    Args:
        folder: where to write; must not exist yet.
        num_train: number of training scenes, at least 1.
        num_validation: number of validation scenes, at least 1.
        seed: chooses the scenes; not negative.
        num_shards: number of Parquet files of each split (fewer if a split has fewer scenes), at least 1.

    Raises:
        ValueError: if the folder exists or a number is out of range.
    """
    folder = Path(folder)
    _check_request(folder, num_train, num_validation, seed, num_shards)
    with (
        replacing(folder) as unfinished,
        tqdm(total=num_train + num_validation, desc="Drawing scenes", unit="scene") as progress,
    ):
        (unfinished / "data").mkdir(parents=True)
        for parity, (split, num_scenes) in enumerate((("train", num_train), ("validation", num_validation))):
            shards = np.array_split(np.arange(num_scenes), min(num_shards, num_scenes))
            for shard, indices in enumerate(shards):
                rows = []
                for index in indices.tolist():
                    # Even seeds train and odd seeds validate, so that no two data sets share scenes across splits.
                    rows.append(_encode_scene(f"{split}_{index:06d}", 2 * (seed * 1_000_000 + index) + parity))
                    progress.update()
                # One row group: the published figures of the demo were measured in the order that this gives.
                file = unfinished / "data" / shard_name(split, shard, len(shards))
                write_shard(rows, file, group_rows=len(rows))
        labels = DatasetLabels(names=SCENE_CLASSES, palette=SCENE_PALETTE)
        card = dataset_card("Drawn street scenes", _DESCRIPTION, labels, ("train", "validation"), "apache-2.0")
        (unfinished / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
        (unfinished / "README.md").write_text(card, encoding="utf-8")


def write_annotated_scenes(
    folder: str | Path, num_train: int, num_validation: int, seed: int = 0, num_shards: int = 4
) -> None:
    """Writes drawn scenes for classification and detection, the same as `write_scenes` writes for segmentation.

    The folder holds `data/train-*.parquet` and `data/validation-*.parquet` with the columns `image` (JPEG), `label`
    (an index of `SCENE_KINDS`), `image_id` and `objects`: for each thing `bbox` (x, y, width and height in pixels),
    `category` (an index of `SCENE_THINGS`), `area` and `iscrowd` (0).

    Args and errors: see `write_scenes`.
    """
    folder = Path(folder)
    _check_request(folder, num_train, num_validation, seed, num_shards)
    with (
        replacing(folder) as unfinished,
        tqdm(total=num_train + num_validation, desc="Drawing scenes", unit="scene") as progress,
    ):
        (unfinished / "data").mkdir(parents=True)
        for parity, (split, num_scenes) in enumerate((("train", num_train), ("validation", num_validation))):
            shards = np.array_split(np.arange(num_scenes), min(num_shards, num_scenes))
            for shard, indices in enumerate(shards):
                rows = []
                for index in indices.tolist():
                    rows.append(_encode_annotated_scene(index, 2 * (seed * 1_000_000 + index) + parity))
                    progress.update()
                file = unfinished / "data" / shard_name(split, shard, len(shards))
                table = pa.Table.from_pylist(rows, schema=_ANNOTATED_FEATURES.arrow_schema)
                pq.write_table(table, file, row_group_size=GROUP_ROWS)


_ANNOTATED_FEATURES = Features(
    {
        "image": ImageFeature(),
        "label": ClassLabel(names=list(SCENE_KINDS)),
        "image_id": Value("int64"),
        "objects": {
            "bbox": List(List(Value("float32"), length=4)),
            "category": List(ClassLabel(names=list(SCENE_THINGS))),
            "area": List(Value("float32")),
            "iscrowd": List(Value("int8")),
        },
    }
)


def _encode_annotated_scene(index: int, seed: int) -> dict[str, object]:
    """One row of the data set, as `datasets` stores it."""
    scene = draw_annotated_scene(seed)
    jpeg = BytesIO()
    scene.image.save(jpeg, format="JPEG", quality=95, subsampling=0)
    return {
        "image": {"bytes": jpeg.getvalue(), "path": f"{index:06d}.jpg"},
        "label": scene.kind,
        "image_id": index,
        "objects": {
            "bbox": [list(thing.bbox) for thing in scene.objects],
            "category": [thing.category for thing in scene.objects],
            "area": [thing.area for thing in scene.objects],
            "iscrowd": [0] * len(scene.objects),
        },
    }


def _check_request(folder: Path, num_train: int, num_validation: int, seed: int, num_shards: int) -> None:
    if folder.exists():
        raise ValueError(f"{folder} already exists: delete it, or name a folder that does not exist yet.")
    minimum = {"num_train": 1, "num_validation": 1, "seed": 0, "num_shards": 1}
    for name, value in zip(minimum, (num_train, num_validation, seed, num_shards), strict=True):
        if value < minimum[name]:
            raise ValueError(f"{name} is {value}, but must be {minimum[name]} or more.")


_DESCRIPTION = """\
Small procedural street scenes with exact label maps, drawn by `vitseg.data.scenes`. They are meant for demonstrations
and tests of semantic segmentation: a model of a few million parameters learns them within minutes."""


def _encode_scene(name: str, seed: int) -> dict[str, object]:
    """One row of the data set, as `datasets` stores it."""
    image, label = draw_scene(seed)
    jpeg, png = BytesIO(), BytesIO()
    # Full-resolution colour: subsampled colour would blur across class boundaries that the label map draws sharply.
    image.save(jpeg, format="JPEG", quality=95, subsampling=0)
    label.save(png, format="PNG")
    return {
        "image": {"bytes": jpeg.getvalue(), "path": f"{name}.jpg"},
        "label": {"bytes": png.getvalue(), "path": f"{name}.png"},
        "file_name": name,
    }


class _Scene:
    """A picture and its label map under one brush, the camera that looks at the world, and the light.

    `subject` is what the brush paints: the label of the strokes that follow. Places are in metres, colours 0 to 255.
    """

    def __init__(self, seed: int) -> None:
        # RandomState's numbers are frozen for all versions of numpy; those of a Generator are not.
        self.rng = rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
        height = rng.randint(128, 193)
        width = max(int(height * rng.uniform(1.2, 1.6)), 160)
        self.height, self.width = height * _SUPERSAMPLING, width * _SUPERSAMPLING
        self.thing_labels: list[_Label] = []
        self.image = Image.new("RGB", (self.width, self.height))
        self.label = Image.new("L", (self.width, self.height), _Label.SKY)
        # Number of the thing at each pixel, counted from 1; 0 where there is none.
        self.things = Image.new("L", (self.width, self.height))
        self.subject = _Label.SKY
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
    def subject(self) -> _Label:
        return self._subject

    @subject.setter
    def subject(self, label: _Label) -> None:
        """Each thing is a subject of its own; what is no thing covers those behind it."""
        self._subject, self._thing = label, 0
        if label in _THINGS:
            self.thing_labels.append(label)
            self._thing = len(self.thing_labels)

    def pick(self, colors: Sequence[_Color], variation: float = 14.0) -> np.ndarray:
        """One of the colours, varied a little."""
        return np.array(colors[self.rng.randint(len(colors))]) + self.rng.uniform(-variation, variation, 3)

    def pixels_per_metre(self, z: float) -> float:
        return self.focal_length / max(z, _NEAREST)

    def project(self, x: float, y: float, z: float) -> _Point:
        """The pixel where a point of the world is seen. Whole pixels hide the last bits of a float."""
        scale = self.pixels_per_metre(z)
        across, down = (x - self.camera_x) * scale, (self.camera_y - y) * scale
        return int(self.vanishing_x + across), int(self.horizon + down)

    def polygon(self, points: Sequence[_Point], color: np.ndarray) -> None:
        """Fills a polygon that is given in pixels."""
        self._image_brush.polygon(points, fill=_rgb(color))
        self._label_brush.polygon(points, fill=self.subject)
        self._thing_brush.polygon(points, fill=self._thing)

    def ellipse(self, left: int, top: int, right: int, bottom: int, color: np.ndarray, opacity: int = 255) -> None:
        """Fills an ellipse that is given in pixels."""
        self._image_brush.ellipse((left, top, right, bottom), fill=(*_rgb(color), opacity))
        self._label_brush.ellipse((left, top, right, bottom), fill=self.subject)
        self._thing_brush.ellipse((left, top, right, bottom), fill=self._thing)

    def surface(self, corners: Sequence[tuple[float, float, float]], color: np.ndarray) -> None:
        """Fills a flat surface of the world; the farther away its first corner, the more it fades into the haze."""
        self.polygon([self.project(*corner) for corner in corners], self._fade(color, corners[0][2]))

    def panel(self, x: _Span, y: _Span, z: float, color: np.ndarray) -> None:
        """A rectangle that faces the camera."""
        self.surface([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], color)

    def wall(self, x: float, y: _Span, z: _Span, color: np.ndarray) -> None:
        """An upright rectangle along the road."""
        self.surface([(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])], color)

    def slab(self, x: _Span, y: float, z: _Span, color: np.ndarray) -> None:
        """A level rectangle."""
        self.surface([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], color)

    def box(self, x: _Span, y: _Span, z: _Span, color: np.ndarray) -> None:
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
        label = np.asarray(self.label)[::_SUPERSAMPLING, ::_SUPERSAMPLING]
        image = np.asarray(self.image.reduce(_SUPERSAMPLING), np.float32)
        image = self._add_ground_haze(image, label) + self._texture(label)[..., None]
        contrast, brightness = self.rng.uniform(0.95, 1.15), self.rng.uniform(-6, 10)
        image = (image * self.tint - 128) * contrast + 128 + brightness
        blurred = _to_image(image).filter(ImageFilter.GaussianBlur(self.rng.uniform(0.1, 0.5)))
        sensor_noise = self.rng.randint(-4, 5, label.shape)[..., None]
        return _to_image(np.asarray(blurred) + sensor_noise), Image.fromarray(_ignore_outlines(label))

    def objects(self) -> tuple[SceneObject, ...]:
        """The things of which enough is visible."""
        things = np.asarray(self.things)[::_SUPERSAMPLING, ::_SUPERSAMPLING]
        objects = []
        for number, label in enumerate(self.thing_labels, start=1):
            rows, columns = np.nonzero(things == number)
            if len(rows) == 0:
                continue
            x, y = int(columns.min()), int(rows.min())
            width, height = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
            if min(width, height) >= _SMALLEST_THING:
                objects.append(SceneObject(_THINGS.index(label), (x, y, width, height), len(rows)))
        return tuple(objects)

    def _add_ground_haze(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Fades the ground towards the horizon, row by row: unlike other surfaces it spans all depths."""
        rows = np.arange(len(image), dtype=np.float32) * _SUPERSAMPLING - self.horizon
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


def _rgb(color: np.ndarray) -> tuple[int, ...]:
    return tuple(np.clip(color, 0, 255).astype(int).tolist())


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _ignore_outlines(label: np.ndarray) -> np.ndarray:
    """Ignores the pixels where a vehicle or a person meets something else, as hand-labelled data sets do."""
    label, outlined = label.copy(), np.isin(label, (_Label.VEHICLE, _Label.PERSON))
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        label[here][outlined[here] != outlined[there]] = _IGNORE_INDEX
    return label


def _paint_sky(scene: _Scene) -> None:
    rng, width, horizon = scene.rng, scene.width, scene.horizon
    scene.subject = _Label.SKY
    gradient = np.linspace(scene.zenith, scene.haze, horizon)[:, None]
    scene.image.paste(_to_image(gradient).resize((width, horizon)))
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


def _paint_mountains(scene: _Scene) -> None:
    """A range of mountains on the horizon, the highest and haziest first."""
    rng, horizon = scene.rng, scene.horizon
    scene.subject = _Label.MOUNTAIN
    rock, num_peaks, snow = scene.pick(_ROCKS), rng.randint(3, 6), rng.rand() < 0.8
    heights = sorted(rng.uniform(0.45, 0.85, num_peaks) * horizon, reverse=True)
    places = (rng.permutation(num_peaks) + rng.uniform(0.2, 0.8, num_peaks)) / num_peaks * scene.width
    for index, (height, x) in enumerate(zip(heights, places, strict=True)):
        color = rock + (scene.haze - rock) * (0.35 - 0.25 * index / num_peaks)
        _paint_mountain(scene, x, height, height * rng.uniform(1.0, 1.7), color, snow)


def _paint_mountain(scene: _Scene, x: float, height: float, spread: float, color: np.ndarray, snow: bool) -> None:
    """A peak `height` pixels above the horizon, with a sunny and a shady flank that meet in a ridge."""
    rng, foot = scene.rng, scene.horizon + 2

    def descent(direction: float, roughness: float) -> list[_Point]:
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


def _paint_road(scene: _Scene) -> None:
    """The land, and the road through it."""
    rng, everywhere = scene.rng, 4 * _FARTHEST
    scene.subject = _Label.GRASS
    scene.slab((-everywhere, everywhere), 0, (0, _FARTHEST), scene.pick(_GRASSES))
    scene.subject = _Label.ROAD
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


def _paint_town(scene: _Scene, side: int) -> None:
    """A sidewalk with a row of buildings, and perhaps trees."""
    rng = scene.rng
    scene.subject = _Label.SIDEWALK
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


def _paint_building(scene: _Scene, side: int, z: _Span) -> None:
    """A house along the sidewalk, low ones under a gable roof."""
    rng = scene.rng
    scene.subject = _Label.BUILDING
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


def _paint_park(scene: _Scene, side: int) -> None:
    """Trees, mostly behind a fence."""
    rng = scene.rng
    for z in np.arange(70, 40, -5.0):
        _paint_tree(scene, side * rng.uniform(8, 30), z, rng.uniform(8, 12))
    for z in sorted(rng.uniform(7, 34, rng.randint(3, 7)), reverse=True):
        _paint_tree(scene, side * (5.0 + rng.uniform(0.0, 0.45) * z), z, rng.uniform(4.5, 8.0))
    if rng.rand() < 0.8:
        z = (rng.uniform(2, 6), rng.uniform(12, 22))
        _paint_fence(scene, side, rng.uniform(3.3, 4.2), z, turns=rng.rand() < 0.5)


def _paint_shore(scene: _Scene, side: int) -> None:
    """A lake or the sea, which mirrors sky and mountains, and a fence or a tree on the bank."""
    rng, width, height, horizon = scene.rng, scene.width, scene.height, scene.horizon
    scene.subject = _Label.WATER
    bank = rng.uniform(3.8, 5.0)
    backdrop = scene.image.crop((0, 0, width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    deep = scene.zenith * 0.7 + rng.uniform(-10, 20, 3)
    scene.slab((side * bank, side * 4 * _FARTHEST), 0, (0, rng.choice((22.0, _FARTHEST))), deep)
    mirrored = Image.blend(
        backdrop.resize((width, height - horizon)),
        Image.new("RGB", (width, height - horizon), _rgb(deep)),
        rng.uniform(0.35, 0.6),
    )
    is_water = np.asarray(scene.label)[horizon:] == _Label.WATER
    scene.image.paste(mirrored, (0, horizon), Image.fromarray(is_water))
    if rng.rand() < 0.55:
        _paint_fence(scene, side, bank - 0.4, (rng.uniform(2, 6), rng.uniform(12, 22)), turns=False)
    elif rng.rand() < 0.6:
        _paint_tree(scene, side * (bank + 0.2), rng.uniform(7, 12), rng.uniform(4.5, 6.5))


def _paint_tree(scene: _Scene, x: float, z: float, height: float) -> None:
    scene.subject = _Label.TREE
    scene.shadow(x, z, 0.28 * height)
    trunk = 0.05 * height
    scene.panel((x - trunk, x + trunk), (0, 0.5 * height), z, scene.pick(_BARKS))
    paint_leaves = _paint_needles if scene.rng.rand() < 0.35 else _paint_crown
    paint_leaves(scene, x, z, height, scene.pick(_FOLIAGE))


def _paint_needles(scene: _Scene, x: float, z: float, height: float, color: np.ndarray) -> None:
    """Three tiers of a conifer, each with a sunny side."""
    for tier in range(3):
        low, high = (0.2 + 0.22 * tier) * height, (0.58 + 0.21 * tier) * height
        spread, shade = (0.3 - 0.07 * tier) * height, 0.8 + 0.1 * tier
        scene.surface([(x - spread, low, z), (x + spread, low, z), (x, high, z)], color * shade)
        sunny = scene.sun_side * spread
        scene.surface([(x + sunny, low, z), (x, high, z), (x + 0.25 * sunny, low, z)], color * (shade + 0.15))


def _paint_crown(scene: _Scene, x: float, z: float, height: float, color: np.ndarray) -> None:
    """Clumps of leaves, the sunny ones last."""
    rng = scene.rng
    for shade in (0.82, 1.0, 1.2):
        up = 0.3 * (shade - 1.0)
        for _ in range(4):
            across, above = rng.uniform(-0.2, 0.2) + scene.sun_side * up, 0.7 + rng.uniform(-0.16, 0.16) + up
            scene.ball(x + across * height, above * height, z, (0.36 - 0.14 * shade) * height, color * shade)


def _paint_fence(scene: _Scene, side: int, distance: float, z: _Span, turns: bool) -> None:
    """A fence along the road, of pickets or of planks, that may turn away from the road at its far end."""
    rng, x = scene.rng, side * distance
    scene.subject = _Label.FENCE
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


def _paint_street_life(scene: _Scene) -> None:
    """Vehicles, people and signs, the nearest last."""
    rng = scene.rng
    things: list[tuple[float, float, Callable[[_Scene, float, float], None]]] = []
    for lane in rng.permutation((-1, 1))[: rng.choice((0, 1, 1, 1, 2))]:
        things.append((rng.uniform(5, 9), lane * rng.uniform(1.3, 1.6), _paint_vehicle))
    for _ in range(rng.choice((0, 1, 2, 2, 3))):
        things.append((rng.uniform(3.4, 4.8), rng.uniform(-4.2, 4.2), _paint_person))
    for side in rng.permutation((-1, 1))[: rng.choice((0, 1, 1, 2))]:
        things.append((rng.uniform(4.2, 6.0), side * rng.uniform(3.0, 3.4), _paint_sign))
    for z, x, paint in sorted(things, key=lambda thing: -thing[0]):
        paint(scene, x, z)


def _paint_vehicle(scene: _Scene, x: float, z: float) -> None:
    """A car, a van or a bus, seen from behind on the right of the road and from the front on the left."""
    rng = scene.rng
    scene.subject = _Label.VEHICLE
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


def _paint_person(scene: _Scene, x: float, z: float) -> None:
    rng = scene.rng
    scene.subject = _Label.PERSON
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


def _paint_sign(scene: _Scene, x: float, z: float) -> None:
    """A traffic sign on its post."""
    rng = scene.rng
    scene.subject = _Label.SIGN
    radius, top = rng.uniform(0.7, 0.85), rng.uniform(2.3, 2.9)
    post = 4 * _SUPERSAMPLING / scene.pixels_per_metre(z)  # eight pixels wide at any distance, to be learnable
    scene.panel((x - post, x + post), (0, top), z, scene.pick(_POSTS))
    board, color = _BOARDS[rng.randint(len(_BOARDS))], scene.pick(_SIGNALS)
    for scale, fill in ((1.0, color), (0.72, _WHITE), (0.4, color * 0.6)):
        scene.surface([(x + dx * scale * radius, top + dy * scale * radius, z) for dx, dy in board], fill)
