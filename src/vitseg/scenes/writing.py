# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets of drawn street scenes, for segmentation, and for classification and detection."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from ..data.dataset_labels import LABELS_FILE, DatasetLabels
from ..data.shards import GROUP_ROWS, class_counts, dataset_card, shard_name, write_shard
from ..progress import progress_bar
from ..replacing import replacing
from .canvas import SCENE_CLASSES, SCENE_KINDS, SCENE_PALETTE, SCENE_THINGS
from .painting import draw_annotated_scene, draw_scene


SPLITS = ("train", "validation")
DESCRIPTION = """\
Small procedural street scenes with exact label maps, drawn by `vitseg.scenes`. They are meant for demonstrations
and tests of semantic segmentation: a model of a few million parameters learns them within minutes."""
ANNOTATED_FEATURES = Features(
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

Row = dict[str, Any]


def write_scenes(folder: str | Path, num_train: int, num_validation: int, seed: int = 0, num_shards: int = 4) -> None:
    """Writes a data set of drawn scenes that `datasets.load_dataset(folder)` loads and decodes.

    The folder holds `data/train-*.parquet` and `data/validation-*.parquet` with the columns `image` (JPEG), `label`
    (PNG of train ids, 255 ignored), `file_name`, `class_ids` and `class_pixels`; `labels.json` with the keys `names`,
    `palette` and `ignore_index`; and a data set card. It appears under its name only when it is complete. No scene is
    ever in both splits, not even in those of two data sets with different seeds.

    Args:
        folder: where to write; must not exist yet.
        num_train: number of training scenes, at least 1.
        num_validation: number of validation scenes, at least 1.
        seed: chooses the scenes; not negative.
        num_shards: number of Parquet files of each split (fewer if a split has fewer scenes), at least 1.

    Raises:
        ValueError: if the folder exists or a number is out of range.
    """

    def write(rows: list[Row], file: Path) -> None:
        # One row group: the published figures of the demo were measured in the order that this gives.
        write_shard(rows, file, group_rows=len(rows))

    folder = Path(folder)
    _check_request(folder, num_train, num_validation, seed, num_shards)
    with replacing(folder) as unfinished:
        _write_splits(unfinished, (num_train, num_validation), seed, num_shards, _encode_scene, write)
        labels = DatasetLabels(names=SCENE_CLASSES, palette=SCENE_PALETTE)
        card = dataset_card("Drawn street scenes", DESCRIPTION, labels, SPLITS, license="apache-2.0")
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

    def write(rows: list[Row], file: Path) -> None:
        table = pa.Table.from_pylist(rows, schema=ANNOTATED_FEATURES.arrow_schema)
        pq.write_table(table, file, row_group_size=GROUP_ROWS)

    folder = Path(folder)
    _check_request(folder, num_train, num_validation, seed, num_shards)
    with replacing(folder) as unfinished:
        _write_splits(unfinished, (num_train, num_validation), seed, num_shards, _encode_annotated_scene, write)


def _check_request(folder: Path, num_train: int, num_validation: int, seed: int, num_shards: int) -> None:
    if folder.exists():
        raise ValueError(f"{folder} already exists: delete it, or name a folder that does not exist yet.")
    minimum = {"num_train": 1, "num_validation": 1, "seed": 0, "num_shards": 1}
    for name, value in zip(minimum, (num_train, num_validation, seed, num_shards), strict=True):
        if value < minimum[name]:
            raise ValueError(f"{name} is {value}, but must be {minimum[name]} or more.")


def _write_splits(
    folder: Path,
    numbers: tuple[int, int],
    seed: int,
    num_shards: int,
    encode: Callable[[str, int, int], Row],
    write: Callable[[list[Row], Path], None],
) -> None:
    """The shards of both splits, in `data/`: `encode(split, index, seed)` makes a row, `write(rows, file)` a shard."""
    (folder / "data").mkdir(parents=True)
    with progress_bar(total=sum(numbers), desc="Drawing scenes", unit="scene") as progress:
        for parity, (split, number) in enumerate(zip(SPLITS, numbers, strict=True)):
            shards = np.array_split(np.arange(number), min(num_shards, number))
            for shard, indices in enumerate(shards):
                rows = []
                for index in indices.tolist():
                    # Even seeds train and odd seeds validate, so that no two data sets share scenes across splits.
                    rows.append(encode(split, index, 2 * (seed * 1_000_000 + index) + parity))
                    progress.update()
                write(rows, folder / "data" / shard_name(split, shard, len(shards)))


def _encode_scene(split: str, index: int, seed: int) -> Row:
    """One row of the data set, as `datasets` stores it."""
    image, label = draw_scene(seed)
    png, name = BytesIO(), f"{split}_{index:06d}"
    label.save(png, format="PNG")
    return {
        "image": {"bytes": _jpeg(image), "path": f"{name}.jpg"},
        "label": {"bytes": png.getvalue(), "path": f"{name}.png"},
        "file_name": name,
        **class_counts(*np.unique(np.asarray(label), return_counts=True)),
    }


def _encode_annotated_scene(split: str, index: int, seed: int) -> Row:
    """One row of the data set, as `datasets` stores it."""
    scene = draw_annotated_scene(seed)
    return {
        "image": {"bytes": _jpeg(scene.image), "path": f"{index:06d}.jpg"},
        "label": scene.kind,
        "image_id": index,
        "objects": {
            "bbox": [list(thing.bbox) for thing in scene.objects],
            "category": [thing.category for thing in scene.objects],
            "area": [thing.area for thing in scene.objects],
            "iscrowd": [0] * len(scene.objects),
        },
    }


def _jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    # Full-resolution colour: subsampled colour would blur across class boundaries that the label map draws sharply.
    image.save(file, format="JPEG", quality=95, subsampling=0)
    return file.getvalue()
