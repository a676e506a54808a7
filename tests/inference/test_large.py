# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg segment --scale` and `--gsd`: the model's own answer for the whole image, without holding its scores."""

import errno
import gc
import json
import math
import os
import re
import resource
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from street_classes import NAMES
from tiny_sctnet import small_model as small_sctnet
from tiny_setr import save_tiny_setr
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg import SctNetImageProcessor
from vitseg.cli import main
from vitseg.inference import large, sources, windows
from vitseg.inference.map_files import save_png
from vitseg.inference.rasters import Raster
from vitseg.inference.sources import open_source
from vitseg.inference.windows import Axis, Windows, answer_bands
from vitseg.models.sliding_window import slide_inference


SIZE = (131, 173)  # height and width
IGNORED = 255


def photo() -> Image.Image:
    rng = np.random.default_rng(1)
    blobs = Image.fromarray(rng.integers(0, 256, (11, 13, 3), dtype=np.uint8)).resize(SIZE[::-1])
    noise = rng.integers(-20, 20, (*SIZE, 3))
    return Image.fromarray((np.asarray(blobs) + noise).clip(0, 255).astype(np.uint8))


def run(*arguments: object) -> int:
    return main(["segment", *map(str, arguments)])


def whole_scores(model: Path, scale: float) -> torch.Tensor:
    """What the model says of the photo in one call, at the photo's own size."""
    image_processor = AutoImageProcessor.from_pretrained(model)
    size = [math.floor(side * scale + 0.5) for side in SIZE]
    pixel_values = image_processor(photo(), size={"height": size[0], "width": size[1]}, return_tensors="pt")[
        "pixel_values"
    ]
    with torch.inference_mode():
        logits = AutoModelForSemanticSegmentation.from_pretrained(model).eval()(pixel_values).logits
    return nn.functional.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)[0]


def assert_best(label_map: np.ndarray, scores: torch.Tensor) -> None:
    """Each pixel has the class of the highest score, of those that differ by more than rounding."""
    chosen = scores.gather(0, torch.from_numpy(label_map).long()[None])
    assert len(np.unique(label_map)) >= 2, "the model is too dull for this test"
    assert (scores.max(dim=0).values - chosen).max() <= 1e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), NAMES)


@pytest.fixture
def png(tmp_path) -> Path:
    photo().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def narrow_strips(monkeypatch) -> None:
    """The image is taken in several strips."""
    monkeypatch.setattr(windows, "SUMS_BYTES", 17_000)


def ids_of(output: Path) -> np.ndarray:
    return np.array(Image.open(output / "photo_ids.png"))


class TestTheAnswer:
    @pytest.mark.parametrize("scale", ["native", "0.6", "1.7"])
    def test_is_that_of_the_model_for_the_whole_image(self, scale, model, png, narrow_strips):
        assert run("--model", model, png, "--scale", scale, "--output", png.parent) == 0
        assert_best(ids_of(png.parent), whole_scores(model, 1.0 if scale == "native" else float(scale)))
        assert not [path.name for path in png.parent.iterdir() if path.name.startswith(".")]

    def test_of_smooth_windows_is_their_weighted_mean(self, model, png):
        assert run("--model", model, png, "--scale", "native", "--blend", "smooth", "--output", png.parent) == 0
        pixel_values = AutoImageProcessor.from_pretrained(model)(photo(), do_resize=False, return_tensors="pt")
        network = AutoModelForSemanticSegmentation.from_pretrained(model).eval()
        side = np.sin(np.pi * (np.arange(32) + 0.5) / 32) ** 2
        weights = torch.from_numpy(np.outer(side, side)).float()

        def weighted(shown: torch.Tensor) -> torch.Tensor:
            logits = network(shown).logits
            return torch.cat([logits * weights, weights.expand(len(logits), 1, -1, -1)], dim=1)

        with torch.inference_mode():
            sums = slide_inference(weighted, pixel_values["pixel_values"], (32, 32), (21, 21), 8)[0]
        assert_best(ids_of(png.parent), sums[:-1] / sums[-1])

    def test_of_a_model_without_windows_needs_their_size(self, png, tmp_path, capsys):
        small_sctnet().save_pretrained(tmp_path / "whole")
        SctNetImageProcessor().save_pretrained(tmp_path / "whole")
        arguments = ["--model", tmp_path / "whole", png, "--scale", "native", "--output", tmp_path]
        assert run(*arguments) == 1
        assert "as in --window 64" in capsys.readouterr().err
        assert run(*arguments, "--window", 64) == 0


class TestConfidence:
    """That of the whole image in one call, window by window."""

    def test_is_the_softmax_of_the_blended_scores(self, model, png, narrow_strips):
        (model / "calibration.json").write_text('{"temperature": 2.5}')
        odds = torch.softmax(whole_scores(model, 0.6).double() / 2.5, dim=0)
        expected = odds.max(dim=0).values.numpy()
        least = float(np.median(expected))
        arguments = ["--model", model, png, "--scale", "0.6", "--output", png.parent, "--confidence", "png"]
        try:
            assert run(*arguments) == 0
            whole = ids_of(png.parent)
            assert run(*arguments, "--abstain", least) == 0
        finally:
            (model / "calibration.json").unlink()
        values = np.asarray(Image.open(png.parent / "photo_confidence.png"))
        np.testing.assert_allclose(values, expected * 255, atol=0.51)
        ids = ids_of(png.parent)
        is_clear = np.abs(expected - least) > 1e-5
        assert (ids[is_clear] == np.where(expected < least, IGNORED, whole)[is_clear]).all()
        report = json.loads((png.parent / "photo.json").read_text())
        assert report["temperature"] == 2.5
        for entry in report["classes"]:
            assert entry["pixels"] == np.count_nonzero(ids == entry["id"])
            assert entry["confidence"] == pytest.approx(expected[ids == entry["id"]].mean(), abs=1e-5)

        # A later run that does not ask takes it away.
        assert run("--model", model, png, "--scale", "0.6", "--output", png.parent) == 0
        assert not (png.parent / "photo_confidence.png").exists()

    def test_of_a_picture_without_a_place_on_earth_is_no_reason_to_warn(self, model, png, recwarn):
        arguments = ["--model", model, png, "--scale", "0.3", "--output", png.parent, "--confidence", "tiff"]
        assert run(*arguments) == 0
        assert not [warning for warning in recwarn if "georeferenc" in str(warning.category).lower()]

    def test_goes_on_where_a_run_was_killed(self, model, png, monkeypatch):
        arguments = ["--model", model, png, "--scale", "native", "--confidence", "png", "--output"]
        assert run(*arguments, png.parent / "whole") == 0
        predict = large.LargeImages._predict
        shown: list[int] = []

        def killed(self, pixels):
            shown.append(len(pixels))
            if sum(shown) > 20:
                raise KeyboardInterrupt
            return predict(self, pixels)

        with monkeypatch.context() as patched:
            patched.setattr(large.LargeImages, "_predict", killed)
            assert run(*arguments, png.parent / "broken") == 130
        assert run(*arguments, png.parent / "broken") == 0
        for name in ("photo_confidence.png", "photo_ids.png", "photo.json"):
            assert (png.parent / "broken" / name).read_bytes() == (png.parent / "whole" / name).read_bytes()


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory) -> Path:
    """Of 300 classes, the last of which are likely."""
    names = [f"class {index}" for index in range(300)]
    folder = save_tiny_setr(tmp_path_factory.mktemp("wide"), names, semantic_loss_ignore_index=-100)
    network = AutoModelForSemanticSegmentation.from_pretrained(folder)
    for name, parameter in network.named_parameters():
        if name.endswith("bias") and parameter.shape == (300,):
            parameter.data[240:] += 1
    network.save_pretrained(folder)
    return folder


class TestMoreClassesThanBytesHold:
    def test_have_label_maps_of_16_bits(self, wide_model, png):
        scores = whole_scores(wide_model, 1.0)
        certain = torch.softmax(scores, dim=0).max(dim=0).values.numpy()
        least = float(np.median(certain))
        for output, options in (("shown", []), ("native", ["--scale", "native"])):
            options = [*options, "--abstain", least, "--output", png.parent / output]
            assert run("--model", wide_model, png, *options) == 0
            ids = ids_of(png.parent / output)
            assert ids.dtype == np.uint16
            assert ((ids > 254) & (ids < 300)).any()
            classes = json.loads((png.parent / output / "photo.json").read_text())["classes"]
            pixels = {index: np.count_nonzero(ids == index) for index in np.unique(ids) if index != 65535}
            assert {entry["id"]: entry["pixels"] for entry in classes} == pixels
            names = {"photo_ids.png", "photo_overlay.jpg", "photo.json"}
            assert {path.name for path in (png.parent / output).iterdir()} == names
        expected = np.where(certain < least, 65535, scores.argmax(dim=0))
        assert (ids == expected)[np.abs(certain - least) > 1e-5].mean() > 0.999

    def test_are_refused_by_what_writes_bytes(self, wide_model, png, capsys):
        arguments = ["--model", wide_model, "--images", png.parent, "--output", png.parent / "out"]
        assert main(["predict", *map(str, arguments)]) > 0
        assert "has 300 classes; what is written here holds 255" in capsys.readouterr().err


class TestARunThatWasKilled:
    def test_goes_on_where_it_was(self, model, png, narrow_strips, monkeypatch):
        whole, broken = png.parent / "whole", png.parent / "broken"
        arguments = ["--model", model, png, "--scale", "native", "--output"]
        predict = large.LargeImages._predict
        shown: list[int] = []

        def killed(self, pixels):
            if sum(shown) > 40:
                raise KeyboardInterrupt
            return counted(self, pixels)

        def counted(self, pixels):
            shown.append(len(pixels))
            return predict(self, pixels)

        monkeypatch.setattr(large.LargeImages, "_predict", counted)
        assert run(*arguments, whole) == 0
        total = sum(shown)
        shown.clear()
        monkeypatch.setattr(large.LargeImages, "_predict", killed)
        assert run(*arguments, broken) == 130
        assert [path.name for path in broken.iterdir()] == [".photo_ids.png.unfinished"]
        monkeypatch.setattr(large.LargeImages, "_predict", counted)
        assert run(*arguments, broken) == 0
        assert sum(shown) < total + 10, "what was done has been done again"
        assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}
        assert (ids_of(broken) == ids_of(whole)).all()

    def test_on_a_full_disk_says_so_and_goes_on_when_there_is_room(self, model, png, capsys):
        output = png.parent / "results"
        arguments = ["--model", model, png, "--scale", "native", "--output", output]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
        try:
            assert run(*arguments) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "error: " in capsys.readouterr().err
        assert [path.name for path in output.iterdir()] == [".photo_ids.png.unfinished"]
        assert run(*arguments) == 0
        assert_best(ids_of(output), whole_scores(model, 1.0))

    def test_has_only_its_results_to_write_when_the_disk_was_full_by_then(self, model, png, monkeypatch, capsys):
        def full(*arguments, **keywords):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        arguments = ["--model", model, png, "--scale", "native", "--output", png.parent / "results"]
        with monkeypatch.context() as disk:
            disk.setattr(large, "save_png", full)
            assert run(*arguments) == 1
        assert re.search("error: .*No space left on device: .*photo", capsys.readouterr().err)
        assert [path.name for path in (png.parent / "results").iterdir()] == [".photo_ids.png.unfinished"]
        monkeypatch.delattr(large.LargeImages, "_predict")
        assert run(*arguments) == 0
        assert_best(ids_of(png.parent / "results"), whole_scores(model, 1.0))

    def test_is_not_disturbed_by_another_that_runs_at_the_same_time(self, model, png, monkeypatch, capsys):
        arguments = ["--model", model, png, "--scale", "native", "--output", png.parent / "results"]
        predict = large.LargeImages._predict

        def meanwhile(self, pixels):
            monkeypatch.setattr(large.LargeImages, "_predict", predict)
            assert run(*arguments) == 0
            return predict(self, pixels)

        monkeypatch.setattr(large.LargeImages, "_predict", meanwhile)
        assert run(*arguments) == 1
        assert "another run is at work on this image" in capsys.readouterr().err
        assert_best(ids_of(png.parent / "results"), whole_scores(model, 1.0))

    def test_of_another_folder_is_not_taken_for_this(self, model, tmp_path):
        for name, color in (("first", "red"), ("second", "blue")):
            (tmp_path / name).mkdir()
            Image.new("RGB", (40, 40), color).save(tmp_path / name / "photo.bmp")
            os.utime(tmp_path / name / "photo.bmp", (0, 0))
            output = tmp_path / "results"
            assert run("--model", model, tmp_path / name, "--scale", "native", "--output", output) == 0
            assert json.loads((output / "photo.json").read_text())["image"] == str(tmp_path / name / "photo.bmp")

    def test_is_not_repeated_when_it_is_complete(self, model, png, monkeypatch):
        arguments = ["--model", model, png, "--scale", "native", "--output", png.parent]
        assert run(*arguments) == 0
        monkeypatch.delattr(large.LargeImages, "_predict")
        assert run(*arguments) == 0


def test_scores_are_held_of_a_part_alone(monkeypatch):
    """Those of the whole image would take 180 MB, and its labels as they are yielded 9 MB."""
    monkeypatch.setattr(windows, "SUMS_BYTES", 4_000_000)
    classes, side = 20, 1500
    plan = Windows(Axis(side, side, 128, 85), Axis(side, side, 128, 85), classes)
    held = []

    def predict(shown):
        if len(held) % 200 == 0:
            tensors = [item for item in gc.get_objects() if type(item) is torch.Tensor]
            storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
            held.append(sum(storages.values()))
        else:
            held.append(0)
        return torch.zeros(len(shown), classes, 128, 128)

    gc.collect()
    before = sum(item.untyped_storage().nbytes() for item in gc.get_objects() if type(item) is torch.Tensor)
    done = 0
    for strip in plan.strips:
        record = np.dtype([("label", "u1")])
        for band in answer_bands(plan, strip, 0, predict, lambda rows, columns: torch.zeros(3, 128, 128), 1, record):
            done += band.size
    assert done == side * side
    assert max(held) - before < 4_000_000 + 4 * (4 * classes * 128 * 128)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--scale", "0"], "0 is not positive"),
            (["--gsd", "x"], "x is not positive"),
            (["--blend", "smooth"], "--blend needs --scale or --gsd"),
            (["--window", "64"], "--window needs --scale or --gsd"),
            (["--scale", "native", "--value-range", "9", "3"], "a larger one that is white"),
            (["--scale", "native", "--value-range", "0", "inf"], "--value-range 0 inf: give the number"),
            (["--scale", "native", "--bands", "1", "2"], "--bands names 2 bands"),
        ],
    )
    def test_of_the_command(self, options, message, model, png, capsys):
        with pytest.raises(SystemExit) as stopped:
            run("--model", model, png, "--output", png.parent, *options)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    def test_of_pictures(self, model, tmp_path, capsys):
        photo().save(tmp_path / "photo.png")
        encoded = (tmp_path / "photo.png").read_bytes()
        (tmp_path / "cut.png").write_bytes(encoded[: len(encoded) // 2])
        header = b"IHDR" + struct.pack(">II", 10**6, 10**6) + encoded[24:29]
        claim = header + struct.pack(">I", zlib.crc32(header))
        (tmp_path / "vast.png").write_bytes(encoded[:12] + claim + encoded[33:])
        output = tmp_path / "results"
        arguments = ["--model", model, tmp_path, "--output", output]
        assert run(*arguments, "--gsd", "0.5") == 1
        said = capsys.readouterr().err
        assert "give --scale instead of --gsd" in said
        assert run(*arguments, "--scale", "1e12") == 1
        assert "with --scale 1e+12 its sides would be 1e+12 times as long" in capsys.readouterr().err
        assert "cut.png: Cannot decode the image: " in said
        assert "vast.png: its 1000000 x 1000000 pixels" in said
        assert not list(output.rglob("*"))


class TestPicturesThatAreUnpacked:
    """Large PNG and JPEG files, which rasterio reads row by row."""

    @pytest.fixture(autouse=True)
    def all_are_large(self, monkeypatch):
        monkeypatch.setattr(sources, "LARGEST_DECODED", 1000)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_stand_upright(self, orientation, tmp_path):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        photo().save(tmp_path / "photo.png", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.png")))
        with open_source(tmp_path / "photo.png", tmp_path) as source:
            assert isinstance(source, sources.UnpackedPicture)
            assert (source.height, source.width) == expected.shape[:2]
            part = source.read(slice(7, 90), slice(30, 110)).permute(1, 2, 0).numpy()
            small = np.asarray(source.overview(source.width // 2, source.height // 2), np.float32)
        assert (part == expected[7:90, 30:110]).all()
        half = np.asarray(Image.fromarray(expected).resize(small.shape[1::-1], Image.Resampling.BOX), np.float32)
        assert np.abs(small - half).mean() < 8

    def test_have_the_answer_of_the_model(self, model, png, narrow_strips):
        assert run("--model", model, png, "--scale", "0.6", "--output", png.parent) == 0
        assert_best(ids_of(png.parent), whole_scores(model, 0.6))
        names = {"photo.png", *(f"photo{ending}" for ending in ("_ids.png", "_palette.png", "_overlay.jpg", ".json"))}
        assert {path.name for path in png.parent.iterdir()} == names
        assert (np.asarray(Image.open(png.parent / "photo_palette.png")) == ids_of(png.parent)).all()

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="nothing tells how much memory was used")
    def test_take_no_memory(self, tmp_path, monkeypatch):
        """Decoded, this one would take 269 MB."""
        monkeypatch.undo()
        side, rng = 8200, np.random.default_rng(0)

        def bands() -> Iterator[np.ndarray]:
            for _ in range(side // 41):
                yield np.concatenate([rng.integers(0, 256, (1, side), np.uint8), np.full((40, side), 99, np.uint8)])

        def megabytes(what: str) -> float:
            (kilobytes,) = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
            return int(kilobytes) / 1000

        save_png(tmp_path / "large.png", (side, side), bands)
        with open_source(tmp_path / "large.png", tmp_path) as source:
            Path("/proc/self/clear_refs").write_text("5")  # The highest is that of now.
            before = megabytes("VmRSS")
            part = source.read(slice(side - 500, side), slice(side - 500, side))
            assert megabytes("VmHWM") - before < 80
        assert (part[:, -1] == 99).all()

    def test_are_named_when_they_are_damaged(self, model, png, tmp_path, monkeypatch, capsys):
        photo().save(tmp_path / "photo.jpg", subsampling=0, quality=95)
        for name in ("photo.png", "photo.jpg"):
            encoded = (tmp_path / name).read_bytes()
            (tmp_path / f"cut_{name}").write_bytes(encoded[: len(encoded) * 2 // 3])
        output = tmp_path / "out"
        assert run("--model", model, *tmp_path.glob("cut_*"), "--scale", "native", "--output", output) == 1
        said = capsys.readouterr().err
        assert "cut_photo.png: Cannot decode the image: " in said
        assert "cut_photo.jpg: Cannot decode the image: " in said
        monkeypatch.setattr(sources.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 0, 60_000))
        assert run("--model", model, tmp_path / "photo.jpg", "--scale", "native", "--output", output) == 1
        assert "its 173 x 131 pixels take 0.068 MB on the disk" in capsys.readouterr().err
        assert not list(output.rglob("*"))


class TestTiff:
    """By way of rasterio."""

    @pytest.fixture
    def write(self, tmp_path):
        import rasterio

        def write(name: str, bands: np.ndarray, **profile) -> Path:
            place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5800000)}
            count, height, width = bands.shape
            size = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
            with rasterio.open(tmp_path / name, "w", driver="GTiff", **{**size, **place, **profile}) as file:
                file.write(bands, window=((0, height), (0, width)))
            return tmp_path / name

        return write

    @pytest.fixture
    def pixels(self) -> np.ndarray:
        return np.moveaxis(np.array(photo()), -1, 0)

    def test_stays_where_it_is_on_earth(self, write, pixels, model, narrow_strips):
        import rasterio

        pixels[:, :, :60] = 0
        path = write("photo.tif", pixels, nodata=0, tiled=True, blockxsize=64, blockysize=64, compress="lzw")
        assert run("--model", model, path, "--gsd", "0.5", "--polygons", "--output", path.parent / "out") == 0
        with rasterio.open(path.parent / "out/photo_ids.tif") as labels, rasterio.open(path) as image:
            assert (labels.crs, labels.transform, labels.shape) == (image.crs, image.transform, image.shape)
            assert labels.nodata == IGNORED
            assert labels.is_tiled
            assert labels.compression.name == "deflate"
            assert labels.colormap(1)[1] == (6, 230, 230, 255)  # ADE20K's sky
            ids = labels.read(1)
        assert (ids[:, :60] == IGNORED).all()
        areas = json.loads((path.parent / "out/photo.json").read_text())["classes"]
        assert {area["id"]: area["pixels"] for area in areas} == {
            index: np.count_nonzero(ids == index) for index in np.unique(ids[:, 60:])
        }
        polygons = json.loads((path.parent / "out/photo_polygons.geojson").read_text())["features"]
        assert {polygon["properties"]["name"] for polygon in polygons} == {area["name"] for area in areas}
        longitude, latitude = polygons[0]["geometry"]["coordinates"][0][0]
        assert longitude == pytest.approx(15.0, abs=0.01)
        assert latitude == pytest.approx(52.35, abs=0.01)

    def test_stands_as_its_tag_says(self, tmp_path):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        photo().save(tmp_path / "photo.tif", exif=exif)
        with open_source(tmp_path / "photo.tif", tmp_path) as source:
            read = source.read(slice(0, source.height), slice(0, source.width)).permute(1, 2, 0).numpy()
        assert (read == np.rot90(np.asarray(photo()), -1)).all()

    def test_has_a_map_of_confidence_that_lies_there_too(self, write, pixels, model):
        import rasterio

        pixels[:, :, :60] = 0
        path = write("photo.tif", pixels, nodata=0)
        assert run("--model", model, path, "--scale", "native", "--confidence", "tiff", "--output", path.parent) == 0
        # The left border of the picture is no part of any window that the model sees pixels right of 100 in.
        expected = torch.softmax(whole_scores(model, 1.0), dim=0).max(dim=0).values.numpy()
        with rasterio.open(path.parent / "photo_confidence.tif") as values, rasterio.open(path) as image:
            assert (values.crs, values.transform, values.dtypes) == (image.crs, image.transform, ("float32",))
            found = values.read(1)
        assert np.isnan(found[:, :60]).all()
        np.testing.assert_allclose(found[:, 100:], expected[:, 100:], atol=1e-5)
        classes = json.loads((path.parent / "photo.json").read_text())["classes"]
        assert all(0.2 < entry["confidence"] < 1 for entry in classes)

    def test_has_polygons_by_the_rules_of_geojson(self, write, pixels, tmp_path):
        """Over the 180th meridian, where each is cut in two; outer rings run counter-clockwise, those of holes not."""
        import rasterio

        place = {"crs": "EPSG:32601", "transform": rasterio.Affine(2000, 0, 190000, 0, -2000, 7000000)}
        ids = np.zeros((1, 60, 80), np.uint8)
        ids[:, 20:40, 20:60] = 1
        labels, image = write("labels.tif", ids, **place), write("image.tif", pixels[:, :60, :80], **place)
        with rasterio.open(image) as dataset:
            Raster(dataset).save_polygons(str(labels), NAMES, str(tmp_path / "polygons.geojson"))
        features = json.loads((tmp_path / "polygons.geojson").read_text())["features"]
        whole = next(feature["geometry"] for feature in features if feature["properties"]["id"] == 0)
        assert whole["type"] == "MultiPolygon"
        for polygon in whole["coordinates"]:
            for index, ring in enumerate(np.array(ring) for ring in polygon):
                x, y = ring.T
                assert (np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) > 0) == (index == 0)
                assert np.ptp(x) < 10, "it goes around the Earth"

    def test_has_the_answer_of_the_model(self, write, pixels, model):
        import rasterio

        path = write("photo.tif", pixels)
        wide = write("wide.tif", pixels[::-1].astype(np.uint16) * 10 + 500)
        options = ["--scale", "0.6", "--output", path.parent / "out"]
        assert run("--model", model, path, *options) == 0
        assert run("--model", model, wide, *options, "--bands", 3, 2, 1, "--value-range", 500, 3050) == 0
        for name in ("photo_ids.tif", "wide_ids.tif"):
            with rasterio.open(path.parent / "out" / name) as labels:
                assert_best(labels.read(1), whole_scores(model, 0.6))

    def test_is_no_image_of_a_later_run(self, write, pixels, model, capsys):
        path = write("photo.tif", pixels)
        for _ in range(2):
            assert run("--model", model, path.parent, "--scale", "0.3", "--polygons", "--output", path.parent) == 0
        names = {"photo.tif", "photo_ids.tif", "photo_overlay.jpg", "photo_polygons.geojson", "photo.json"}
        assert {file.name for file in path.parent.iterdir()} == names

    def test_has_results_of_one_run_alone(self, write, pixels, model):
        path = write("photo.tif", pixels)
        output = path.parent / "out"
        arguments = ["--model", model, path, "--output", output]
        native = [*arguments, "--scale", "native", "--abstain", "1"]  # of no pixel, so that areas tell
        expected = {"photo_ids.tif", "photo_overlay.jpg", "photo.json"}
        assert run(*native, "--polygons") == 0
        assert {file.name for file in output.iterdir()} == {*expected, "photo_polygons.geojson"}
        assert run(*arguments) == 0
        assert {file.name for file in output.iterdir()} == {
            "photo_ids.png",
            "photo_palette.png",
            "photo_overlay.jpg",
            "photo.json",
        }
        assert json.loads((output / "photo.json").read_text())["classes"]
        assert run(*native) == 0
        assert {file.name for file in output.iterdir()} == expected
        assert not json.loads((output / "photo.json").read_text())["classes"]

    def test_that_cannot_be_used_is_named(self, write, pixels, model, capsys):
        import rasterio

        folder = write("nowhere.tif", pixels, crs=None, transform=None).parent
        write("degrees.tif", pixels, crs="EPSG:4326", transform=rasterio.Affine(1e-5, 0, 15, 0, -1e-5, 52))
        write("mercator.tif", pixels, crs="EPSG:3857")
        write("bits16.tif", pixels.astype(np.uint16), photometric="rgb")
        write("bands5.tif", np.concatenate([pixels, pixels[:2]]), photometric="minisblack")
        encoded = write("cut.tif", pixels).read_bytes()
        (folder / "cut.tif").write_bytes(encoded[: len(encoded) * 2 // 3])
        claim = {"height": 10**6, "width": 10**6, "tiled": True, "blockxsize": 4096, "blockysize": 4096}
        write("sparse.tif", pixels[:, :16, :16], **claim, compress="deflate", sparse_ok=True)
        (folder / os.fsdecode(b"caf\xe9.tif")).write_bytes(encoded)
        assert run("--model", model, folder, "--gsd", "1", "--output", folder / "out") == 1
        said = capsys.readouterr().err
        for name, reason in {
            "nowhere": "does not say where on Earth it is: give --scale",
            "degrees": "rio warp IN.tif OUT.tif --dst-crs EPSG:32633`",
            "mercator": "not in metres on the ground (EPSG:3857)",
            "bits16": "numbers of type uint16, which do not say what is black and what is white",
            "bands5": "say which are red, green and blue, as in --bands 3 2 1",
            "cut": "Cannot decode the image: ",
            "sparse": "its 1000000 x 1000000 pixels",
            "caf\\xe9": "is not UTF-8, as those are that GDAL reads: rename it",
        }.items():
            line = next(line for line in said.splitlines() if f"/{name}.tif: " in line)
            assert reason in line
        assert not list((folder / "out").rglob("*"))
