# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg inspect`: what it finds in data sets in which something is wrong, and what it leaves alone."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from vitseg.cli import main
from vitseg.data.mask_faults import mask_faults
from vitseg.data.near_duplicates import difference_hash, nearest_duplicates
from vitseg.data.shards import write_shard
from vitseg.scenes import SCENE_CLASSES, draw_scene


SCENES = [draw_scene(seed) for seed in range(40)]


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """What a JPEG leaves of it."""
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))


def label_map_of(label: Image.Image) -> np.ndarray:
    """Its ids, without a palette."""
    return np.array(label)


def row(name: str, image: Image.Image | bytes, label_map: np.ndarray | bytes) -> dict:
    image = image if isinstance(image, bytes) else encoded(image, "JPEG", quality=92)
    label = label_map if isinstance(label_map, bytes) else encoded(Image.fromarray(label_map))
    return {
        "image": {"bytes": image, "path": f"{name}.jpg"},
        "label": {"bytes": label, "path": f"{name}.png"},
        "file_name": name,
    }


def write(folder: Path, splits: dict[str, list[dict]], names: list[str]) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        write_shard(rows, folder / "data" / f"{split}-00000-of-00001.parquet", group_rows=5)
    (folder / "labels.json").write_text(json.dumps(names), encoding="utf-8")
    return folder


CHANGES = {
    "encoded anew": lambda image: compressed(image, 30),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "of other proportions": lambda image: image.resize((300, 200)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_near_duplicates_are_found_among_different_scenes(change):
    hashes = np.array([difference_hash(image) for image, _ in SCENES])
    changed = np.array([difference_hash(change(image)) for image, _ in SCENES])
    nearest, _ = nearest_duplicates(hashes, changed)
    assert nearest.tolist() == list(range(len(SCENES)))
    nearest, _ = nearest_duplicates(hashes[:20], changed[20:])
    assert (nearest == -1).all()


def test_whatever_seven_bits_differ_is_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**16, (3000, 8), dtype=np.uint16)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for changed in bits:
        changed[rng.choice(128, 7, replace=False)] ^= 1
    nearest, differences = nearest_duplicates(hashes, np.packbits(bits, axis=1).view(np.uint16))
    assert nearest.tolist() == list(range(3000))
    assert (differences == 7).all()


def test_an_even_image_has_no_hash():
    assert difference_hash(Image.new("RGB", (60, 40), (20, 20, 20))) is None


def faults_of(label_map: np.ndarray) -> set[str]:
    ids, counts = np.unique(label_map, return_counts=True)
    return set(mask_faults(label_map, dict(zip(ids.tolist(), counts.tolist(), strict=True)), len(SCENE_CLASSES)))


def test_masks_as_they_should_be_have_no_faults():
    for _, label in SCENES:
        assert not faults_of(label_map_of(label))
        smaller = label.resize((label.width * 2 // 3, label.height * 2 // 3), Image.Resampling.NEAREST)
        assert not faults_of(label_map_of(smaller))


def test_the_ignored_seam_of_voc_is_no_noise():
    label_map = np.zeros((60, 60), np.uint8)
    label_map[20:40, 20:40] = 255
    label_map[22:38, 22:38] = 5
    assert not faults_of(label_map)


@pytest.mark.parametrize("factor", [0.5, 1.5, 3])
@pytest.mark.parametrize("filter", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_interpolated_masks_are_noisy(factor, filter):
    for _, label in SCENES[:10]:
        plain = Image.fromarray(label_map_of(label))
        resized = plain.resize((int(plain.width * factor), int(plain.height * factor)), filter)
        assert "noise" in faults_of(np.array(resized))


def test_masks_that_a_jpeg_was_made_of_are_noisy():
    for _, label in SCENES[:10]:
        assert "noise" in faults_of(np.array(compressed(Image.fromarray(label_map_of(label)), 90)))


def test_what_is_wrong_is_named(tmp_path, capsys):
    pairs = [(image, label_map_of(label)) for image, label in SCENES]
    image, label_map = pairs[0]
    stray = label_map.copy()
    stray[:10, :10] = 77
    train = [
        *(row(f"train {index}", *pairs[index]) for index in range(10)),
        row("ignored", pairs[10][0], np.full_like(pairs[10][1], 255)),
        row("single", pairs[11][0], np.full_like(pairs[11][1], 3)),
        row("unknown <script>", image, stray),
        row("size", pairs[12][0], pairs[12][1][:-20]),
        row("truncated", encoded(pairs[13][0], "JPEG")[:2000], pairs[13][1]),
        row("lossy", pairs[14][0], encoded(Image.fromarray(pairs[14][1]), "JPEG")),
        row("noise", pairs[15][0], np.array(compressed(Image.fromarray(pairs[15][1]), 80)).clip(0, 11)),
    ]
    again = [row("again", encoded(pairs[3][0].resize((320, 220)), "JPEG", quality=40), np.zeros((220, 320), np.uint8))]
    validation = [row(f"new {index}", *pairs[index]) for index in range(20, 25)] + again
    names = ["<script>alert(1)</script>", *SCENE_CLASSES[1:], "nowhere"]
    data = write(tmp_path / "data", {"train": train, "validation": validation}, names)
    assert main(["inspect", str(data), "--output", str(tmp_path / "page")]) == 0
    record = json.loads((tmp_path / "page/inspect.json").read_text(encoding="utf-8"))
    named = {kind: {fault["file_name"] for fault in faults} for kind, faults in record["faults"].items()}
    assert named == {
        "ignored": {"ignored"},
        "single": {"single", "again"},
        "unknown": {"unknown <script>"},
        "size": {"size"},
        "unreadable": {"truncated", "lossy"},
        "noise": {"noise"},
    }
    duplicates = [(pair["file_name"], pair["of_file_name"]) for pair in record["near_duplicates"]]
    assert duplicates == [("again", "train 3")]
    page = (tmp_path / "page/index.html").read_text(encoding="utf-8")
    checked = Page(page)
    assert "script" not in checked.tags
    assert names[0] in checked.text
    assert "Not in train: nowhere" in checked.text
    for name in set.union(*named.values()) | {"again", "train 3"}:
        assert name in checked.text, name
    assert all("alt" in image for image in checked.images)
    sources = {image["src"] for image in checked.images}
    assert sources == {f"pictures/{path.name}" for path in (tmp_path / "page/pictures").iterdir()}
    assert "Near-duplicates between splits: 1" in capsys.readouterr().out


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


def small_rows(number: int) -> list[dict]:
    """Of two classes, the second in the last row alone; a quarter of each label map is ignored."""
    rng = np.random.default_rng(0)
    label_map = np.zeros((8, 8), np.uint8)
    label_map[:4, :4] = 255
    rows = []
    for index in range(number):
        if index == number - 1:
            label_map[4:, 4:] = 1
        rows.append(row(f"image {index}", Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)), label_map))
    return rows


def test_counts_and_what_is_shown(tmp_path):
    data = write(tmp_path / "data", {"train": small_rows(30)}, ["first", "second"])
    assert main(["inspect", str(data), "--output", str(tmp_path / "page"), "--images", "2"]) == 0
    record = json.loads((tmp_path / "page/inspect.json").read_text(encoding="utf-8"))
    assert record["splits"]["train"] == {
        "images": 30,
        "looked_at": 30,
        "values": [
            {"value": 0, "class": "first", "pixels": 30 * 48 - 16, "images": 30},
            {"value": 1, "class": "second", "pixels": 16, "images": 1},
            {"value": 255, "class": None, "pixels": 30 * 16, "images": 30},
        ],
        "pixels_of_further_values": 0,
        "sizes": [{"width": 8, "height": 8, "images": 30}],
    }
    # The only image with the second class shows both classes; another one is drawn.
    shown = {path.stem for path in (tmp_path / "page/pictures").glob("*.jpg")}
    assert "train-29" in shown


def test_a_limit_draws_whole_row_groups(tmp_path):
    data = write(tmp_path / "data", {"train": small_rows(30), "validation": small_rows(4)}, ["first", "second"])
    options = ["--limit", "7", "--output", str(tmp_path / "page")]
    looked_at = []
    for seed in "01":
        assert main(["inspect", str(data), "--seed", seed, *options]) == 0
        record = json.loads((tmp_path / "page/inspect.json").read_text(encoding="utf-8"))
        assert [split["looked_at"] for split in record["splits"].values()] == [7, 4]
        looked_at.append([fault["file_name"] for fault in record["faults"]["single"]])
    assert looked_at[0] != looked_at[1]
    assert "up to 7 images were looked at" in (tmp_path / "page/index.html").read_text(encoding="utf-8")


def test_maps_of_instances_that_someone_takes_for_classes(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    rows = [
        row(str(start), image, np.arange(start, start + 2400, dtype=np.uint16).reshape(40, 60)) for start in (0, 9000)
    ]
    data = write(tmp_path / "data", {"train": rows}, ["first", "second"])
    assert main(["inspect", str(data), "--output", str(tmp_path / "page")]) == 0
    train = json.loads((tmp_path / "page/inspect.json").read_text(encoding="utf-8"))["splits"]["train"]
    assert len(train["values"]) == 1000
    assert sum(value["pixels"] for value in train["values"]) + train["pixels_of_further_values"] == 2 * 2400
    assert "the 200 most frequent are shown" in (tmp_path / "page/index.html").read_text(encoding="utf-8")


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    data = write(tmp_path / "data", {"train": small_rows(3)}, ["first", "second"])
    (tmp_path / "page").mkdir()
    (tmp_path / "page/mine.txt").write_text("mine", encoding="utf-8")
    assert main(["inspect", str(data), "--output", str(tmp_path / "page")]) == 1
    assert "name a folder that does not exist yet" in capsys.readouterr().err
    assert (tmp_path / "page/mine.txt").exists()
