# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation, prediction, segmentation and the image processor see the same pixels of a picture."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny_setr import tiny_setr
from transformers import pipeline

from vitseg import SetrImageProcessor
from vitseg.data.image_labels import load_labelled_images
from vitseg.data.objects import load_images_with_objects
from vitseg.data.streaming import SegmentationStream, load_examples
from vitseg.images import read_picture
from vitseg.inference.pictures import read_image
from vitseg.inference.predict import DatasetImages, ImageFiles
from vitseg.models.images import to_rgb


HEIGHT, WIDTH = 6, 9
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
GREY = COLOURS[..., 0]
PALETTE = RANDOM.integers(0, 256, (256, 3), dtype=np.uint8)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.floor(colours * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def in_grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def encoded(image: Image.Image, **options) -> bytes:
    file = BytesIO()
    image.save(file, **{"format": "PNG"} | options)
    return file.getvalue()


def with_palette() -> Image.Image:
    image = Image.fromarray(GREY)
    image.putpalette(PALETTE.tobytes())
    return image


def rgba() -> Image.Image:
    return Image.fromarray(np.dstack([COLOURS, ALPHA]))


# The file, and the pixels that everyone should see.
PICTURES: dict[str, tuple[bytes, np.ndarray]] = {
    "RGB": (encoded(Image.fromarray(COLOURS)), COLOURS),
    "RGBA": (encoded(rgba()), on_white(COLOURS, ALPHA)),
    "LA": (
        encoded(Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))),
        on_white(in_grey(GREY), ALPHA),
    ),
    "P": (encoded(with_palette()), PALETTE[GREY]),
    "P, shares of transparency": (
        encoded(with_palette(), transparency=bytes(range(256))),
        on_white(PALETTE[GREY], GREY),
    ),
    "P, a transparent colour": (
        encoded(with_palette(), transparency=int(GREY[0, 0])),
        on_white(PALETTE[GREY], np.where(np.equal(GREY, GREY[0, 0]), 0, 255)),
    ),
    "RGB, a transparent colour": (
        encoded(Image.fromarray(COLOURS), transparency=tuple(COLOURS[0, 0].tolist())),
        on_white(COLOURS, np.where(np.equal(COLOURS, COLOURS[0, 0]).all(axis=-1), 0, 255)),
    ),
    "1": (encoded(Image.fromarray(GREY > 99)), in_grey(np.where(GREY > 99, 255, 0))),
    "L": (encoded(Image.fromarray(GREY)), in_grey(GREY)),
    "I;16": (encoded(Image.fromarray(GREY * np.uint16(256) + np.uint16(99))), in_grey(GREY)),
    "I;16, a transparent value": (
        encoded(Image.fromarray(GREY * np.uint16(257)), transparency=int(GREY[0, 0]) * 257),
        in_grey(np.where(np.equal(GREY, GREY[0, 0]), 255, GREY)),
    ),
    "CMYK": (
        encoded(Image.fromarray(np.dstack([COLOURS, np.zeros_like(GREY)]), mode="CMYK"), format="TIFF"),
        255 - COLOURS,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set of each picture, with the columns of every task."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (file, _) in enumerate(PICTURES.values()):
        write_data(folder / str(number), file)
    return folder


def write_data(folder: Path, file: bytes) -> None:
    row = {
        "image": {"bytes": file},
        "label": {"bytes": encoded(Image.new("L", (WIDTH, HEIGHT)))},
        "file_name": "picture.png",
        "image_id": 0,
        "objects": {"bbox": [[0.0, 0.0, 3.0, 3.0]], "category": [0]},
    }
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures/picture.png").write_bytes(file)
    for name, table_row in {"maps": row, "classes": row | {"label": 0}}.items():
        (folder / name).mkdir()
        pq.write_table(pa.Table.from_pylist([table_row]), folder / name / "test-0.parquet")


def processed(image) -> np.ndarray:
    """What the image processor makes of an image before it resizes and normalises."""
    processor = SetrImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    return processor(image, return_tensors="pt")["pixel_values"][0].permute(1, 2, 0).byte().numpy()


def trained_on(folder: Path) -> np.ndarray:
    stream = SegmentationStream(folder / "maps", "test", num_labels=1, batch_size=1, seed=0)
    return next(iter(stream))["pixel_values"].permute(1, 2, 0).numpy()


def seen_by_the_pipeline(image: Image.Image) -> np.ndarray:
    processor = SetrImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    segment = pipeline("image-segmentation", model=tiny_setr(["sky", "road"]), image_processor=processor)
    return segment.preprocess(image)["pixel_values"][0].permute(1, 2, 0).byte().numpy()


PATHS: dict[str, Callable[[Path], np.ndarray]] = {
    "image processor": lambda folder: processed(Image.open(folder / "pictures/picture.png")),
    "image processor, by name": lambda folder: processed(str(folder / "pictures/picture.png")),
    "pipeline, with what is read": lambda folder: seen_by_the_pipeline(read_image(folder / "pictures/picture.png")),
    "training": trained_on,
    "evaluation": lambda folder: np.asarray(load_examples(folder / "maps", "test")[0]["image"]),
    "classifier": lambda folder: np.asarray(load_labelled_images(folder / "classes", "test")[0]["image"]),
    "detector": lambda folder: np.asarray(load_images_with_objects(folder / "maps", "test")[0]["image"]),
    "segment": lambda folder: np.asarray(read_image(folder / "pictures/picture.png")),
    "predict, a folder": lambda folder: np.asarray(ImageFiles(folder / "pictures", folder / "out", None)[0]["image"]),
    "predict, a data set": lambda folder: np.asarray(DatasetImages(str(folder / "maps"), "test")[0]["image"]),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", PICTURES)
def test_everyone_sees_the_same_pixels(kind, path, folder):
    pixels = PATHS[path](folder / str(list(PICTURES).index(kind)))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PICTURES[kind][1])


def float_tiff() -> bytes:
    return encoded(Image.fromarray(GREY / np.float32(255)), format="TIFF")


def wide_png(image_format: str) -> bytes:
    """Colours of 12 bits in 16, as OpenCV writes them."""
    return cv2.imencode(image_format, COLOURS.astype(np.uint16) << 4)[1].tobytes()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (float_tiff(), "floating-point numbers from 0"),
        (encoded(Image.fromarray(GREY.astype(np.int32) * 400), format="TIFF"), r"integers from \d+ to \d{5,}, "),
        (encoded(Image.fromarray(GREY.astype(np.int32) - 9), format="TIFF"), "integers from -"),
        (encoded(Image.fromarray(GREY.astype(np.uint16) << 4)), "12 bits or less"),
        (wide_png(".png"), "12 bits or less"),
        (wide_png(".tiff"), "12 bits or less"),
    ],
    ids=["float", "int32", "negative", "12 bits", "12 bits, RGB", "12 bits, RGB, TIFF"],
)
@pytest.mark.parametrize("path", PATHS)
def test_nobody_guesses_what_is_black_and_what_is_white(file, message, path, tmp_path):
    write_data(tmp_path, file)
    with pytest.raises(ValueError, match=message):
        PATHS[path](tmp_path)


@pytest.mark.parametrize("path", ["training", "evaluation", "segment", "predict, a folder", "image processor"])
def test_a_black_picture_of_16_bits_is_black(path, tmp_path):
    write_data(tmp_path, encoded(Image.new("I;16", (WIDTH, HEIGHT))))
    assert not PATHS[path](tmp_path).any()


def test_pictures_given_by_name_are_turned_as_segment_turns_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(processed(str(tmp_path / "photo.png")), np.rot90(COLOURS, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), np.rot90(COLOURS, -1))
    # Of an opened picture, others may hold the size, or a label map.
    np.testing.assert_array_equal(processed(Image.open(tmp_path / "photo.png")), COLOURS)


def test_classifiers_and_detectors_see_photos_upright_as_the_pipelines_do(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_data(tmp_path, encoded(Image.fromarray(COLOURS), exif=exif))
    for path in ("classifier", "detector"):
        np.testing.assert_array_equal(PATHS[path](tmp_path), np.rot90(COLOURS, -1))


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L"])
def test_arrays_and_tensors_look_like_pictures(kind):
    array = np.array(Image.open(BytesIO(PICTURES[kind][0]))).reshape(HEIGHT, WIDTH, -1)
    for image in (array, torch.tensor(array)):
        np.testing.assert_array_equal(processed(image), PICTURES[kind][1])
    wide = array.astype(np.uint16) * 256 + 7
    np.testing.assert_array_equal(processed(wide), PICTURES[kind][1])


def test_every_share_of_transparency_is_rounded_alike():
    """Pillow computes in integers, tensors in floating point."""
    colour, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    array = np.dstack([colour, colour, colour, alpha])
    picture = np.asarray(to_rgb(Image.fromarray(array)))
    tensor = to_rgb(torch.from_numpy(array).permute(2, 0, 1)).permute(1, 2, 0)
    np.testing.assert_array_equal(picture, tensor.numpy())
    np.testing.assert_array_equal(picture, on_white(array[..., :3], alpha))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_damaged_files_are_refused_with_a_reason(image_format):
    """Pillow's decoders raise whatever a damaged file leads them to."""
    rng, exif = np.random.default_rng(1), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    whole = encoded(Image.fromarray(COLOURS), format=image_format, exif=exif)
    reasons = []
    for trial in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 1 + trial % 4):
            damaged[place] = rng.integers(256)
        try:
            image = read_picture(bytes(damaged[: len(whole) - trial % 3 * 20]), "it")
        except ValueError as error:
            reasons.append(str(error))
        else:
            assert image.mode == "RGB"
    assert reasons
    assert all(reasons)


@pytest.mark.parametrize(
    ("entry", "damage", "size"),
    [
        # The resolution becomes a text where a fraction is expected; the orientation can still be read.
        (b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02", (HEIGHT, WIDTH)),
        # There is no orientation 255.
        (b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\xff", (WIDTH, HEIGHT)),
        (b"Exif\x00\x00MM", b"Exif\x00\x00??", (WIDTH, HEIGHT)),
    ],
)
def test_a_picture_is_turned_if_its_exif_data_can_be_read_that_far(entry, damage, size):
    exif = Image.Exif()
    exif[0x0112] = exif[0x011A] = 6
    whole = encoded(Image.fromarray(COLOURS), format="JPEG", exif=exif)
    assert entry in whole
    assert read_picture(whole.replace(entry, damage)).size == size


class TestVeryLargePictures:
    """Pillow warns above its limit, here of 100 pixels, and refuses above twice that."""

    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        monkeypatch.delenv("VITSEG_MAX_IMAGE_PIXELS", raising=False)

    @pytest.mark.filterwarnings("error")
    def test_below_the_limit_there_is_no_warning(self):
        assert read_picture(encoded(Image.new("L", (15, 10)))).size == (15, 10)

    def test_above_it_the_way_out_is_named(self):
        with pytest.raises(ValueError, match=r"30 x 10 pixels are more than 200.*VITSEG_MAX_IMAGE_PIXELS=300"):
            read_picture(encoded(Image.new("L", (30, 10))))

    @pytest.mark.filterwarnings("error")
    def test_which_leaves_pillow_as_it_was(self, monkeypatch):
        monkeypatch.setenv("VITSEG_MAX_IMAGE_PIXELS", "300")
        assert read_picture(encoded(Image.new("L", (30, 10)))).size == (30, 10)
        assert Image.MAX_IMAGE_PIXELS == 100
        with pytest.raises(ValueError, match="31 x 10 pixels are more than 300"):
            read_picture(encoded(Image.new("L", (31, 10))))
        with pytest.raises(Image.DecompressionBombError):
            Image.open(BytesIO(encoded(Image.new("L", (30, 10)))))

    def test_a_limit_is_a_number(self, monkeypatch):
        monkeypatch.setenv("VITSEG_MAX_IMAGE_PIXELS", "1e9")
        with pytest.raises(ValueError, match="VITSEG_MAX_IMAGE_PIXELS is '1e9'"):
            read_picture(encoded(Image.new("L", (3, 1))))
