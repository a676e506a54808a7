# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The five benchmarks' original downloads in miniature: real folders, names and file formats, packed or unpacked.

What a prepared data set must hold is worked out here from the published tables, without the code under test.
"""

import json
import shutil
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat


SIZE = (24, 36)

# Cityscapes' 19 label ids in the order of their train ids.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# Of COCO-Stuff's ids 1 to 182, those that never occur.
COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
# PASCAL Context's 59 of 459 categories, which are in alphabetical order.
PASCAL_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159),
    *(162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368),
    *(397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)

Labels = dict[str, dict[str, np.ndarray]]


@dataclass
class Miniature:
    """A download: where it is, and what each image's file holds and its label map must be, by split and name."""

    source: Path
    images: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    label_maps: Labels = field(default_factory=lambda: defaultdict(dict))


def draw(values: Sequence[int], seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles of some values, and a noisy picture of them: uint16 (height, width), uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    # No two have the same size, and half stand upright.
    height, width = (size[0], size[1] + seed % 5)[:: 1 if seed % 2 else -1]
    raw = np.full((height, width), rng.choice(values), np.uint16)
    for _ in range(5):
        top, left = rng.integers(height), rng.integers(width)
        raw[top : top + height // 2, left : left + width // 2] = rng.choice(values)
    colors = np.random.default_rng(0).integers(30, 226, (460, 3))
    return raw, (colors[raw] + rng.integers(-20, 21, (height, width, 3))).astype(np.uint8)


def encode(pixels: np.ndarray, file_format: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, file_format)
    return stream.getvalue()


def write(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def pack(archive: Path, folder: Path, *members: str) -> None:
    """Pack files and folders below a folder into a zip or a tar file, and delete them."""
    files = sorted(file for member in members for file in (folder / member, *(folder / member).rglob("*")))
    if archive.suffix == ".tar":
        with tarfile.open(archive, "w") as tar:
            for file in files:
                tar.add(file, file.relative_to(folder), recursive=False)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in files:
                packed.write(file, file.relative_to(folder))
    for member in members:
        shutil.rmtree(folder / member) if (folder / member).is_dir() else (folder / member).unlink()


def by_table(raw: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Train ids by a table of single values; what is not in it is 255."""
    train_ids = np.full(raw.shape, 255, np.uint8)
    for value, train_id in table.items():
        train_ids[raw == value] = train_id
    return train_ids


def make_ade20k(
    folder: Path, zipped: bool = False, num_train: int = 6, num_val: int = 3, size: tuple[int, int] = SIZE
) -> Miniature:
    made = Miniature(folder)
    root = folder / "ADEChallengeData2016"
    for split, name, part, count in (
        ("train", "training", "train", num_train),
        ("validation", "validation", "val", num_val),
    ):
        for index in range(1, count + 1):
            # Raw 0 is "other", and 1 to 150 are the classes.
            raw, pixels = draw((0, 1, 2, 5, 13, 150), index + (split == "train") * 100, size)
            stem = f"ADE_{part}_{index:08d}"
            made.images[split][stem] = encode(pixels, "JPEG")
            made.label_maps[split][stem] = (raw.astype(np.uint8) - np.uint8(1)).astype(np.uint8)
            write(root / f"images/{name}/{stem}.jpg", made.images[split][stem])
            write(root / f"annotations/{name}/{stem}.png", encode(raw.astype(np.uint8), "PNG"))
    write(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    write(root / "sceneCategories.txt", "ADE_train_00000001 airport_terminal\n")
    if zipped:
        pack(folder / "ADEChallengeData2016.zip", folder, root.name)
        made.source = folder / "ADEChallengeData2016.zip"
    return made


def make_cityscapes(
    folder: Path,
    zipped: bool = False,
    num_train: int = 6,
    num_val: int = 3,
    size: tuple[int, int] = SIZE,
    train_ids_only: bool = False,
) -> Miniature:
    made = Miniature(folder)
    table = {raw: train for train, raw in enumerate(CITYSCAPES_IDS)}
    for split, name, cities, count in (
        ("train", "train", ("aachen", "bochum"), num_train),
        ("validation", "val", ("frankfurt", "munster"), num_val),
        ("test", "test", ("berlin",), 1),
    ):
        for index in range(count):
            raw, pixels = draw((0, 3, 4, 7, 11, 23, 26, 29, 33), index + len(name) * 100, size)
            city = cities[index % len(cities)]
            stem = f"{city}_{index:06d}_000019"
            image, label_map = encode(pixels, "PNG"), by_table(raw, table)
            if split == "test":
                raw = np.full_like(raw, 3)
            else:
                made.images[split][f"{stem}_leftImg8bit"] = image
                made.label_maps[split][f"{stem}_leftImg8bit"] = label_map
            write(folder / f"leftImg8bit/{name}/{city}/{stem}_leftImg8bit.png", image)
            truth = folder / f"gtFine/{name}/{city}/{stem}_gtFine"
            if not train_ids_only:
                write(Path(f"{truth}_labelIds.png"), encode(raw.astype(np.uint8), "PNG"))
            if train_ids_only:
                write(Path(f"{truth}_labelTrainIds.png"), encode(label_map, "PNG"))
            write(Path(f"{truth}_color.png"), encode(pixels, "PNG"))
            write(Path(f"{truth}_instanceIds.png"), encode(raw * 1000, "PNG"))
            write(Path(f"{truth}_polygons.json"), '{"imgHeight": 1024, "imgWidth": 2048, "objects": []}')
    if zipped:
        for name in ("leftImg8bit", "gtFine"):
            for note in ("README", "license.txt"):
                write(folder / note, "The Cityscapes Dataset\n")
            pack(folder / f"{name}_trainvaltest.zip", folder, name, "README", "license.txt")
    return made


def make_coco_stuff_10k(
    folder: Path, zipped: bool = False, num_train: int = 6, num_val: int = 3, size: tuple[int, int] = SIZE
) -> Miniature:
    made = Miniature(folder)
    used = [value for value in range(1, 183) if value not in COCO_UNUSED]
    table = {raw: train for train, raw in enumerate(used)}
    names: dict[str, list[str]] = {"train": [], "validation": []}
    for index in range(num_train + num_val):
        split = "train" if index % 3 != 1 and len(names["train"]) < num_train else "validation"
        split = "train" if len(names["validation"]) == num_val else split
        stem = f"COCO_train2014_{77 + 1234 * index:012d}"
        names[split].append(stem)
        raw, pixels = draw((0, 1, 11, 13, 92, 182), index, size)
        made.images[split][stem] = encode(pixels, "JPEG")
        made.label_maps[split][stem] = by_table(raw, table)
        write(folder / f"images/{stem}.jpg", made.images[split][stem])
        matrix = BytesIO()
        captions = np.array(["A street.", "Some cars."], dtype=object)
        savemat(matrix, {"S": raw, "captions": captions}, do_compression=index % 2 == 0)
        write(folder / f"annotations/{stem}.mat", matrix.getvalue())
    # The real lists are not in alphabetical order.
    for file, listed in (
        ("train", names["train"][::-1]),
        ("test", names["validation"]),
        ("all", names["train"] + names["validation"]),
    ):
        write(folder / f"imageLists/{file}.txt", "\n".join(listed) + "\n")
    if zipped:
        pack(folder / "cocostuff-10k-v1.1.zip", folder, "images", "annotations", "imageLists")
        made.source = folder / "cocostuff-10k-v1.1.zip"
    return made


def make_coco_stuff_164k(
    folder: Path, zipped: bool = False, num_train: int = 6, num_val: int = 3, size: tuple[int, int] = SIZE
) -> Miniature:
    made = Miniature(folder)
    used = [value - 1 for value in range(1, 183) if value not in COCO_UNUSED]
    table = {raw: train for train, raw in enumerate(used)}
    for split, name, count in (("train", "train2017", num_train), ("validation", "val2017", num_val)):
        for index in range(count):
            stem = f"{9 + 57 * index:012d}"
            raw, pixels = draw((0, 10, 12, 91, 181, 255), index + len(name) * 100, size)
            # A few of COCO's images are grey.
            made.images[split][stem] = encode(pixels if index else pixels[..., 0], "JPEG")
            made.label_maps[split][stem] = by_table(raw, table)
            write(folder / f"images/{name}/{stem}.jpg", made.images[split][stem])
            write(folder / f"annotations/{name}/{stem}.png", encode(raw.astype(np.uint8), "PNG"))
    if zipped:
        for name in ("train2017", "val2017"):
            pack(folder / f"{name}.zip", folder / "images", name)
        pack(folder / "stuffthingmaps_trainval2017.zip", folder / "annotations", "train2017", "val2017")
    return made


def make_pascal_context(
    folder: Path,
    zipped: bool = False,
    num_train: int = 6,
    num_val: int = 3,
    size: tuple[int, int] = SIZE,
    form: str = "json",
    classes: int = 60,
) -> Miniature:
    """With `form="json"` the annotations are `trainval_merged.json`, with "mat" the 459-class .mat files."""
    made = Miniature(folder)
    root = folder / "VOCdevkit" / "VOC2010"
    detail: dict[str, list] = {"images": [], "annos_segmentation": []}
    for index in range(num_train + num_val):
        split = "validation" if index % 3 == 1 and len(made.images["validation"]) < num_val else "train"
        split = "validation" if len(made.images["train"]) == num_train else split
        # 1, 300 and 459 are none of the 59.
        raw, pixels = draw((0, 1, 2, 9, 207, 300, 458, 459), index, size)
        raw = np.where(np.isin(raw, (0, *PASCAL_IDS)), raw, 0) if form == "json" else raw
        stem = f"2008_{2 + 7 * index:06d}"
        made.images[split][stem] = encode(pixels, "JPEG")
        background = np.where(np.isin(raw, PASCAL_IDS), 255, 0).astype(np.uint8)
        ranks = by_table(raw, {value: rank for rank, value in enumerate(PASCAL_IDS, start=1)})
        sixty = np.where(background, ranks, 0).astype(np.uint8)
        made.label_maps[split][stem] = sixty if classes == 60 else (sixty - np.uint8(1)).astype(np.uint8)
        write(root / f"JPEGImages/{stem}.jpg", made.images[split][stem])
        if form == "mat":
            matrix = BytesIO()
            savemat(matrix, {"LabelMap": raw}, do_compression=True)
            write(folder / f"trainval/{stem}.mat", matrix.getvalue())
        else:
            image_id = int(stem.replace("_", ""))
            detail["images"].append(
                {
                    "image_id": image_id,
                    "file_name": f"{stem}.jpg",
                    "phase": "train" if split == "train" else "val",
                    "height": raw.shape[0],
                    "width": raw.shape[1],
                }
            )
            # A wide first segment, which the others then cover.
            present = np.unique(raw[raw > 0]).tolist()
            masks = [(value, raw == value) for value in present]
            masks = [(present[0], raw > 0), *masks] if present else masks
            for value, mask in masks:
                detail["annos_segmentation"].append(
                    {
                        "id": len(detail["annos_segmentation"]),
                        "image_id": image_id,
                        "category_id": value,
                        "iscrowd": 0,
                        "area": int(mask.sum()),
                        "parts": [],
                        "segmentation": {"size": list(mask.shape), "counts": encode_run_lengths(mask)},
                    }
                )
    # An image of VOC that PASCAL Context does not use.
    write(root / "JPEGImages/2007_000001.jpg", encode(pixels, "JPEG"))
    if form == "mat":
        write(root / "ImageSets/Main/train.txt", "\n".join(made.images["train"]) + "\n")
        write(root / "ImageSets/Main/val.txt", "\n".join(made.images["validation"]) + "\n")
    else:
        others: dict[str, Any] = {"info": {}, "categories": [], "parts": [], "annos_joints": [], "annos_boundary": []}
        write(root / "trainval_merged.json", json.dumps(others | detail))
    if zipped:
        pack(folder / "VOCtrainval_03-May-2010.tar", folder, "VOCdevkit/VOC2010/JPEGImages")
    return made


def encode_run_lengths(mask: np.ndarray) -> str:
    """COCO's compressed run lengths, pixel by pixel and bit by bit."""
    runs, inside = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != inside:
            runs.append(0)
            inside = pixel
        runs[-1] += 1
    text = ""
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text
