# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A model of four bands on files and data sets, and what is refused by name."""

import numpy as np
import pytest
import torch
from data.test_bands import folder_of, npy, tiff
from every_model import build
from PIL import Image

from vitseg import SetrImageProcessor, cli
from vitseg.publishing.card import write_model_card
from vitseg.training.bands import processor_of_bands, with_bands


MEAN, STD = [100.0, 2000.0, 30.0, 4.0], [10.0, 500.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a model of four bands, which answers with several classes, and of one for pictures."""
    folder = tmp_path_factory.mktemp("models")
    pictures = build("setr-pup")
    pictures.config.id2label = {0: "ground", 1: "object"}
    pictures.train()
    for _ in range(20):
        pictures(torch.randn(1, 3, 128, 128).cumsum(-1).cumsum(-2) / 20)
    processor = SetrImageProcessor(size={"shortest_edge": 128, "longest_edge": 512})
    for name, model, its_processor in (
        ("bands", with_bands(pictures, 4).eval(), processor_of_bands(processor, MEAN, STD)),
        ("pictures", pictures, processor),
    ):
        model.save_pretrained(folder / name)
        its_processor.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def array():
    rows, columns = np.mgrid[:140, :200]
    wave = np.sin(rows / 20)[..., None] + np.cos(columns / 30)[..., None]
    return (np.array(MEAN) + np.array(STD) * wave).clip(0).astype(np.uint16)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def ids(path):
    return np.asarray(Image.open(path))


def test_segment_and_predict_take_tiff_and_numpy(tmp_path, models, array, capsys):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.npy").write_bytes(npy(array))
    (images / "b.tif").write_bytes(tiff(np.moveaxis(array, -1, 0)))
    (images / "readme.txt").write_text("no image")
    assert run("segment", "--model", models / "bands", images, "--output", tmp_path / "out", "--device", "cpu") == 0
    assert "show the bands 1, 2 and 3 as red, green and blue" in capsys.readouterr().err
    np.testing.assert_array_equal(ids(tmp_path / "out/a_ids.png"), ids(tmp_path / "out/b_ids.png"))
    assert Image.open(tmp_path / "out/a_overlay.jpg").height >= 140
    assert run("predict", "--model", models / "bands", "--images", images, "--output", tmp_path / "predicted") == 0
    np.testing.assert_array_equal(ids(tmp_path / "predicted/predictions/a.png"), ids(tmp_path / "out/a_ids.png"))


def test_a_geotiff_at_its_own_resolution_lies_where_it_lay(tmp_path, models, array):
    import rasterio

    (tmp_path / "scene.tif").write_bytes(tiff(np.moveaxis(array, -1, 0)))
    # Five bands, in another order, with a border without data.
    shuffled = np.moveaxis(array, -1, 0)[[3, 0, 0, 2, 1]].copy()
    shuffled[:, :, :9] = 65535
    (tmp_path / "shuffled.tif").write_bytes(tiff(shuffled, nodata=65535))
    (tmp_path / "array.npy").write_bytes(npy(array))
    segment = ["segment", "--model", models / "bands", "--output", tmp_path / "out", "--device", "cpu"]
    assert run(*segment, tmp_path / "scene.tif", tmp_path / "array.npy", "--scale", "native") == 0
    assert run(*segment, tmp_path / "shuffled.tif", "--scale", "native", "--bands", 2, 5, 4, 1) == 0
    with rasterio.open(tmp_path / "out/scene_ids.tif") as found, rasterio.open(tmp_path / "scene.tif") as given:
        assert (found.crs, found.transform) == (given.crs, given.transform)
        label_map = found.read(1)
    assert len(np.unique(label_map)) == 2
    np.testing.assert_array_equal(label_map, ids(tmp_path / "out/array_ids.png"))
    with rasterio.open(tmp_path / "out/shuffled_ids.tif") as found:
        assert (found.read(1)[:, :9] == 255).all()
    # Resized, the answer is nearly that of the image processor's resizing.
    assert run(*segment, tmp_path / "scene.tif", "--scale", 128 / 140, "--output", tmp_path / "scaled") == 0
    assert run(*segment, tmp_path / "array.npy", "--output", tmp_path / "whole") == 0
    with rasterio.open(tmp_path / "scaled/scene_ids.tif") as found:
        assert (found.read(1) == ids(tmp_path / "whole/array_ids.png")).mean() > 0.98


def test_validate_draws_three_bands(tmp_path, models, capsys):
    rng = np.random.default_rng(0)
    files = {f"{name}.npy": npy(rng.normal(MEAN, STD, (6, 8, 4)).astype(np.float32)) for name in "ab"}
    assert run(*folder_of(tmp_path / "mine", files), tmp_path / "data", "--bands", "all") == 0
    validate = ["validate", "--model", models / "bands", "--dataset", tmp_path / "data", "--workers", 0]
    assert run(*validate, "--output", tmp_path / "out", "--save-images", 1) == 0
    assert "show the bands 1, 2 and 3" in capsys.readouterr().out
    assert len(list((tmp_path / "out/images").glob("*.png"))) == 1
    validate[2] = models / "pictures"
    assert run(*validate) != 0
    assert "b is an image of 4 bands, but the model takes images in RGB" in capsys.readouterr().err


def test_other_bands_are_refused_by_name(tmp_path, models, array, capsys):
    for name, content in (
        ("three.npy", npy(array[..., :3])),
        ("four.npy", npy(array)),
        ("four.tif", tiff(np.moveaxis(array, -1, 0))),
        ("two.tif", tiff(np.moveaxis(array[..., :2], -1, 0))),
    ):
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (200, 140)).save(tmp_path / "photo.png")
    out = ["--output", tmp_path / "out", "--device", "cpu"]

    def refusal(model, name, *options):
        assert run("segment", "--model", models / model, tmp_path / name, *out, *options) == 1
        return capsys.readouterr().err

    assert "the image has the shape (140, 200, 3), but 4 bands are expected" in refusal("bands", "three.npy")
    assert "neither a TIFF file nor one of NumPy" in refusal("bands", "photo.png")
    assert "are read by models that were trained on them" in refusal("pictures", "four.npy")
    assert "are read by models that were trained on them" in refusal("pictures", "four.tif")
    assert "it has 2 bands, but the model takes 4" in refusal("bands", "two.tif", "--scale", "native")
    (tmp_path / "clip.mp4").touch()
    for name, *options, message in (
        ("four.tif", "--scale", "native", "--bands", 1, 2, 3, "--bands names 3 bands, but the model takes 4"),
        ("four.tif", "--scale", "native", "--value-range", 0, 9, "--value-range is for models of pictures"),
        ("clip.mp4", "takes images of 4 bands, and no videos"),
    ):
        with pytest.raises(SystemExit):
            run("segment", "--model", models / "bands", tmp_path / name, *out, *options)
        assert message in capsys.readouterr().err


def test_its_card_says_how_bands_are_given(tmp_path, models):
    texts = {}
    for name in ("bands", "pictures"):
        write_model_card(tmp_path / "README.md", models / name, "me/model", [], "mit")
        texts[name] = (tmp_path / "README.md").read_text()
    assert "It takes images of 4 bands" in texts["bands"]
    assert "photo.jpg" not in texts["bands"]
    assert "photo.jpg" in texts["pictures"]
