# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A small data set of drawn street scenes, to train and test on without downloading anything.

A scene is a world in metres (x to the right, y up, z away from the viewer, the road along x = 0) seen by a pinhole
camera: a road between two different roadsides (town, park or shore) with buildings, trees, fences, signs, vehicles and
people, painted from far to near. The picture and its label map receive the same strokes on one grid of twice the final
size; then the picture is averaged and the label map is sampled, so the two stay aligned and ids never blend. Paints
are shared between classes, light and weather vary, and all of it is a function of the seed.
"""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from tqdm.auto import tqdm

from ..replacing import replacing
from .dataset_labels import LABELS_FILE, DatasetLabels
from .scene_canvas import SCENE_CLASSES, SCENE_KINDS, SCENE_PALETTE, SCENE_THINGS, SceneObject
from .scene_painting import paint_scene
from .shards import GROUP_ROWS, dataset_card, shard_name, write_shard


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


class AnnotatedScene(NamedTuple):
    """A picture, an index of `SCENE_KINDS`, and the things in it, the farthest first."""

    image: Image.Image
    kind: int
    objects: tuple[SceneObject, ...]


def draw_annotated_scene(seed: int) -> AnnotatedScene:
    """Draws the same picture as `draw_scene`, and says what it shows as a whole and which things there are."""
    scene, kind = paint_scene(seed)
    image, _ = scene.develop()
    return AnnotatedScene(image, kind, scene.objects())


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
