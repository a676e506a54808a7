# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of any number of bands, from files of NumPy and TIFF to a prepared data set and a training example."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vitseg.bands import read_band_image, read_bands
from vitseg.cli import main
from vitseg.data.augmentation import TrainingTransform
from vitseg.data.bands import load_bands
from vitseg.data.streaming import SegmentationStream, load_examples


MASK = np.zeros((6, 8), np.uint8)
MASK[2:4, 3:6] = 1


def npy(array, **options):
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def tiff(array, **options):
    """`(bands, height, width)` as a GeoTIFF that rasterio writes."""
    import rasterio

    bands, height, width = array.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": array.dtype, **options}
    with rasterio.MemoryFile() as memory:
        place = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
        with memory.open(**profile, crs="EPSG:32633", transform=place) as dataset:
            dataset.write(array)
        return memory.read()


def folder_of(path, images):
    """Images by file name, each with a mask, of which the last validates."""
    for split, names in (("train", list(images)[:-1]), ("val", list(images)[-1:])):
        for name in names:
            for kind in ("images", "masks"):
                (path / split / kind).mkdir(parents=True, exist_ok=True)
            (path / split / "images" / name).write_bytes(images[name])
            Image.fromarray(MASK).save(path / split / "masks" / f"{name.rpartition('.')[0]}.png")
    labels = path.parent / "labels.json"
    labels.write_text('["ground", "object"]')
    return ["prepare", "folder", "--source", str(path), "--labels", str(labels), "--workers", "0", "--output"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_tiff_and_numpy_give_the_same_bands(dtype):
    bands = np.arange(5 * 6 * 8).reshape(5, 6, 8).astype(dtype) * 2
    archive = io.BytesIO()
    np.savez_compressed(archive, bands)
    files = [tiff(bands), npy(bands), npy(np.moveaxis(bands, 0, -1)), archive.getvalue(), npy(bands.astype(">f8"))]
    for content in files:
        image = read_band_image(content, 5, "x")
        np.testing.assert_array_equal(image, bands)
        assert image.dtype in (np.uint8, np.float32)


def test_pixels_without_data_are_zero():
    bands = np.full((4, 6, 8), 9, np.float32)
    bands[:, 1, 1] = np.nan
    image = read_band_image(tiff(bands, nodata=np.nan), 4, "x")
    assert image[:, 1, 1].tolist() == [0] * 4
    assert image.sum() == 9 * 4 * 47


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([object()]), allow_pickle=True), "Python objects"),
        (npy(np.zeros((4, 5, 3), complex)), "complex128"),
        (npy(np.zeros((2, 2, 4, 5))), r"shape \(2, 2, 4, 5\)"),
        (npy(np.full((4, 5, 3), np.nan)), "NaN"),
        (npy(np.full((4, 5, 3), 1e300)), "infinite"),
        (npy(np.zeros((64, 64, 3)))[:-9], "expected 98304 bytes got 98295"),
        (npy(np.zeros((0, 5, 3))), r"shape \(0, 5, 3\)"),
        (b"GIF89a", "neither a TIFF file nor one of NumPy"),
        (b"II*\0 nothing", "Cannot read the bands of scene.x"),
    ],
)
def test_what_is_no_image_of_bands_is_named(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_bands(content, "scene.x")
    assert "scene.x" in str(caught.value)


def test_archives_of_several_arrays_or_of_nothing_are_refused():
    archive = io.BytesIO()
    np.savez(archive, red=np.zeros((4, 5)), green=np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"2 arrays \(red, green\)"):
        read_bands(archive.getvalue(), "x")
    damaged = io.BytesIO()
    np.savez_compressed(damaged, np.random.default_rng(0).integers(0, 9, (40, 50, 3)))
    content = bytearray(damaged.getvalue())
    content[200:260] = bytes(60)
    with pytest.raises(ValueError, match="Cannot read the bands of x"):
        read_bands(bytes(content), "x")
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", npy(np.zeros((1, 6, 6))).replace(b"(1, 6, 6), }  ", b"(9,6000,9999)}"))
    with pytest.raises(ValueError, match="cut off"):
        read_bands(huge.getvalue(), "x")


def test_a_folder_of_bands_becomes_a_data_set_with_their_statistics(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = [rng.normal([100, 2000, 30, 4, 5], [1, 50, 3, 4, 5], (6, 8, 5)).astype(np.int16) for _ in range(4)]
    files = {f"{name}.npy": npy(array) for name, array in zip("abc", arrays, strict=False)}
    files["d.tif"] = tiff(np.moveaxis(arrays[3], -1, 0))
    command = folder_of(tmp_path / "mine", files)
    assert main([*command, str(tmp_path / "data"), "--bands", "all"]) == 0
    bands = load_bands(tmp_path / "data")
    np.testing.assert_allclose(bands.image_mean, np.stack(arrays[:3]).mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(bands.image_std, np.stack(arrays[:3]).std(axis=(0, 1, 2)), rtol=1e-6)
    examples = load_examples(tmp_path / "data", "validation")
    np.testing.assert_array_equal(examples[0]["image"], np.moveaxis(arrays[3], -1, 0))
    np.testing.assert_array_equal(examples[0]["label_map"], MASK)
    assert main([*command, str(tmp_path / "data"), "--bands", "all"]) == 0
    assert "already complete" in capsys.readouterr().out
    # Other bands of the same files are another data set.
    assert main([*command, str(tmp_path / "data"), "--bands", "4", "2"]) == 0
    np.testing.assert_allclose(load_bands(tmp_path / "data").image_mean, np.array(bands.image_mean)[[3, 1]])
    assert next(iter(SegmentationStream(tmp_path / "data", num_labels=2)))["pixel_values"].shape == (2, 6, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say --bands all"),
        (["--bands", "5"], "--bands names 5, but the images have 4 bands"),
        (["--bands", "1", "red"], "expected all, or numbers"),
        (["--bands", "all"], "b.npy has the shape"),
    ],
)
def test_bands_that_are_not_there_are_refused_by_name(tmp_path, capsys, options, message):
    files = {"a.npy": npy(np.ones((6, 8, 4))), "b.npy": npy(np.ones((6, 8, 3))), "c.npy": npy(np.ones((6, 8, 4)))}
    assert main([*folder_of(tmp_path / "mine", files), str(tmp_path / "data"), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("num_bands", [1, 5, 200])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_augmentation_moves_all_bands_and_recolours_none(num_bands, dtype):
    label_map = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (40, 50)))
    image = (label_map * torch.arange(1, num_bands + 1)[:, None, None]).to(dtype)
    mean, std = [0.0] * num_bands, [1.0] * num_bands
    transform = TrainingTransform(
        crop_size=(32, 32), scale=(40, 50), ratio_range=(1, 1), image_mean=mean, image_std=std, num_bands=num_bands
    )
    for seed in range(8):
        example = transform(image, label_map, np.random.default_rng(seed))
        expected = example["labels"] * torch.arange(1, num_bands + 1)[:, None, None]
        torch.testing.assert_close(example["pixel_values"], expected.float())
    with pytest.raises(ValueError, match=rf"\({num_bands}, height, width\)"):
        transform(torch.zeros(num_bands + 1, 40, 50), label_map, np.random.default_rng(0))


def test_masks_may_be_arrays_too_but_images_no_pictures(tmp_path, capsys):
    command = folder_of(tmp_path / "mine", {f"{name}.npy": npy(np.ones((6, 8, 4))) for name in "ab"})
    for mask in (tmp_path / "mine").glob("*/masks/*.png"):
        np.save(mask.with_suffix(".npy"), MASK)
        mask.unlink()
    assert main([*command, str(tmp_path / "data"), "--bands", "all"]) == 0
    np.testing.assert_array_equal(load_examples(tmp_path / "data", "validation")[0]["label_map"], MASK)
    np.save(tmp_path / "mine/train/masks/a.npy", MASK / 2)
    assert main([*command, str(tmp_path / "halves"), "--bands", "all"]) == 1
    assert "a.npy has the shape (6, 8) and type float64; expected an integer per pixel" in capsys.readouterr().err
    photo = io.BytesIO()
    Image.new("RGB", (8, 6)).save(photo, "PNG")
    command = folder_of(tmp_path / "photos", {f"{name}.png": photo.getvalue() for name in "ab"})
    assert main([*command, str(tmp_path / "photos-data"), "--bands", "all"]) == 1
    assert "With --bands, images are TIFF files or NumPy's" in capsys.readouterr().err


def test_statistics_that_are_none_are_refused(tmp_path):
    assert load_bands(tmp_path) is None
    for content in (
        "{}",
        json.dumps({"image_mean": [1, 2], "image_std": [1]}),
        json.dumps({"image_mean": [1], "image_std": [0]}),
    ):
        (tmp_path / "bands.json").write_text(content)
        with pytest.raises(ValueError, match=r"bands.json does not hold"):
            load_bands(tmp_path)


def test_inspection_shows_three_bands(tmp_path):
    files = {f"{name}.npy": npy(np.random.default_rng(0).normal(9, 3, (6, 8, 4))) for name in "ab"}
    command = [*folder_of(tmp_path / "mine", files), str(tmp_path / "data"), "--bands", "all"]
    assert main(command) == 0
    assert main(["inspect", str(tmp_path / "data"), "--output", str(tmp_path / "page")]) == 0
    assert list((tmp_path / "page").rglob("*.jpg"))
