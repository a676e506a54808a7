# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg segment` on pictures of every kind, with a tiny random model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from street_classes import COLORS, NAMES, colors_and_lines
from tiny_setr import save_tiny_setr
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

from vitseg.cli import main
from vitseg.inference import saving, segment
from vitseg.inference.names import result_names
from vitseg.inference.reading import Picture, batches


ROTATED = {"rotated.jpg", "rotated_grey16.png"}
RESULTS = ("_overlay.jpg", "_palette.png", "_ids.png", ".json")


def photo(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    """Smooth blobs of colour with noise."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height))
    noise = rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.asarray(blobs) + noise).clip(0, 255).astype(np.uint8))


def save_photos_of_every_kind(folder: Path) -> None:
    folder.mkdir()
    picture = photo(1)
    alpha = Image.linear_gradient("L").resize(picture.size)
    grey16 = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 256 + 99)
    clockwise = Image.Exif()
    clockwise[0x0112] = 6

    picture.save(folder / "rgb.png")
    picture.save(folder / "rgb.jpg.bmp")
    picture.convert("L").save(folder / "grey.png")
    picture.convert("1").save(folder / "bilevel.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("P").save(folder / "transparent_colour.gif", transparency=3)
    picture.convert("P").save(folder / "transparent_palette.png", transparency=bytes(range(256)))
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("CMYK").save(folder / "cmyk_lossless.TIFF")
    grey16.save(folder / "grey16.png")
    grey16.save(folder / "rotated_grey16.png", exif=clockwise)
    picture.save(folder / "rotated.jpg", exif=clockwise)
    picture.putalpha(alpha)
    picture.save(folder / "rgba.webp", lossless=True)
    picture.convert("LA").save(folder / "grey_alpha.png")
    photo(2, 1, 1).save(folder / "pixel.png")
    photo(3, 200, 9).save(folder / "panorama.png")


def expected_label_map(model_folder: Path, path: Path) -> np.ndarray:
    model = AutoModelForSemanticSegmentation.from_pretrained(model_folder)
    image = ImageOps.exif_transpose(Image.open(path))
    pixel_values = AutoImageProcessor.from_pretrained(model_folder)(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values).logits
    logits = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
    return logits[0].argmax(dim=0).numpy()


def run(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), NAMES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("every_kind") / "photos"
    save_photos_of_every_kind(folder)
    return folder


@pytest.fixture(scope="module")
def output(model, photos) -> Path:
    """The results for photos of every kind, made once."""
    folder = photos.parent / "results"
    assert run("--model", model, photos, "--output", folder) == 0
    return folder


class TestResults:
    def test_each_photo_has_four_files(self, photos, output):
        stems = {path.with_suffix("").name for path in photos.iterdir()}
        assert len(stems) == 16
        assert set(contents(output)) == {f"{stem}{ending}" for stem in stems for ending in RESULTS}

    def test_ids(self, model, photos, output):
        num_classes = 0
        for path in photos.iterdir():
            expected = expected_label_map(model, path)
            ids = Image.open(output / f"{path.with_suffix('').name}_ids.png")
            assert ids.mode == "L"
            assert ids.size == ((40, 60) if path.name in ROTATED else Image.open(path).size)
            assert np.array_equal(np.asarray(ids), expected), path.name
            num_classes = max(num_classes, len(np.unique(expected)))
        assert num_classes >= 3, "the model is too dull for this test"

    def test_palette(self, photos, output):
        for path in photos.iterdir():
            stem = path.with_suffix("").name
            ids = np.asarray(Image.open(output / f"{stem}_ids.png"))
            image = Image.open(output / f"{stem}_palette.png")
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), ids)
            assert np.array_equal(np.asarray(image.convert("RGB")), COLORS[ids])

    def test_overlay(self, photos, output):
        for name in ("rgb.png", "rotated.jpg", "grey.png"):
            picture = ImageOps.exif_transpose(Image.open(photos / name)).convert("RGB")
            stem = name.partition(".")[0]
            ids = np.asarray(Image.open(output / f"{stem}_ids.png"))
            overlay = Image.open(output / f"{stem}_overlay.jpg")
            assert overlay.width > picture.width + 50, "no room for a legend"
            # The block of pixels that JPEG compresses together with the legend is left out.
            width, height = picture.width - 8, picture.height - 8
            actual = np.asarray(overlay).astype(float)[:height, :width]
            expected = (0.5 * np.asarray(picture) + 0.5 * colors_and_lines(ids))[:height, :width]
            assert np.abs(actual - expected).mean() < 8

    def test_areas(self, photos, output):
        for path in photos.iterdir():
            stem = path.with_suffix("").name
            ids = np.asarray(Image.open(output / f"{stem}_ids.png"))
            report = json.loads((output / f"{stem}.json").read_text(encoding="utf-8"))
            assert Path(report["image"]) == path
            assert (report["height"], report["width"]) == ids.shape
            rows = report["classes"]
            assert {row["id"]: row["pixels"] for row in rows} == {
                index: int((ids == index).sum()) for index in range(5) if (ids == index).any()
            }
            assert [row["name"] for row in rows] == [NAMES[row["id"]] for row in rows]
            assert sum(row["pixels"] for row in rows) == ids.size
            assert [row["share"] for row in rows] == pytest.approx([row["pixels"] / ids.size for row in rows])
            assert rows == sorted(rows, key=lambda row: -row["pixels"])

    @pytest.mark.slow
    def test_as_a_program(self, model, photos, output, tmp_path):
        command = [
            sys.executable,
            "-m",
            "vitseg",
            "segment",
            "--model",
            model,
            photos / "rgb.png",
            "--output",
            tmp_path,
        ]
        program = subprocess.run(command, capture_output=True, text=True)
        assert program.returncode == 0, program.stderr
        assert program.stdout == ""
        assert "warn" not in program.stderr.lower()
        expected = {
            name: content for name, content in contents(output).items() if name.startswith(("rgb_", "rgb.json"))
        }
        assert contents(tmp_path) == expected

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_lower_precision(self, dtype, model, photos, output, tmp_path):
        assert run("--model", model, photos / "rgb.png", "--output", tmp_path, "--dtype", dtype) == 0
        actual, expected = (np.asarray(Image.open(folder / "rgb_ids.png")) for folder in (tmp_path, output))
        assert (actual == expected).mean() > 0.9

    def test_colours_of_a_known_data_set(self, photos, tmp_path):
        names = (
            "road sidewalk building wall fence pole,traffic light,traffic sign,vegetation terrain sky person rider "
        )
        names += "car truck bus train motorcycle bicycle"
        names = [name for part in names.split(",") for name in ([part] if "traffic" in part else part.split())]
        folder = save_tiny_setr(tmp_path / "model", names)
        assert run("--model", folder, photos / "rgb.png", "--output", tmp_path / "out") == 0
        palette = Image.open(tmp_path / "out" / "rgb_palette.png").getpalette()
        assert palette[:3] == [128, 64, 128]
        assert palette[3 * 13 : 3 * 14] == [0, 0, 142]


class TestBatches:
    def test_change_nothing(self, model, tmp_path, monkeypatch):
        sizes = [(60, 40), (40, 60), (50, 50), (60, 40), (90, 60), (40, 60), (60, 40)]
        for index, (width, height) in enumerate(sizes):
            photo(index, width, height).save(tmp_path / f"{index}.png")
        batch_sizes, segment_batch = [], segment.segment

        def recorded(pictures, *arguments):
            batch_sizes.append(len(pictures))
            return segment_batch(pictures, *arguments)

        monkeypatch.setattr(segment, "segment", recorded)
        files = [tmp_path / f"{index}.png" for index in range(len(sizes))]
        assert run("--model", model, *files, "--output", tmp_path / "one") == 0
        assert batch_sizes == [1] * 7
        batch_sizes.clear()
        assert run("--model", model, *files, "--output", tmp_path / "four", "--batch-size", "4") == 0
        # 90 x 60 is resized to the size of 60 x 40.
        assert sorted(batch_sizes) == [1, 2, 4]
        assert contents(tmp_path / "one") == contents(tmp_path / "four")
        assert len(contents(tmp_path / "one")) == 4 * 7

    def test_of_a_pipeline_are_of_one_size(self, model):
        """As docs/getting-started.md says."""
        pictures = [photo(1, 60, 40), photo(2, 40, 60)]
        segmenter = pipeline("image-segmentation", model=str(model))
        assert [parts[0]["mask"].size for parts in segmenter(pictures)] == [(60, 40), (40, 60)]
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            segmenter(pictures, batch_size=2)
        image_processor = AutoImageProcessor.from_pretrained(model, size={"height": 32, "width": 32})
        segmenter = pipeline("image-segmentation", model=str(model), image_processor=image_processor)
        assert [parts[0]["mask"].size for parts in segmenter(pictures, batch_size=2)] == [(60, 40), (40, 60)]

    def test_do_not_keep_a_folder_of_sizes_in_memory(self):
        read = 0

        def pictures():
            nonlocal read
            for read in range(1, 101):
                yield Picture(Path(f"{read}.png"), "", "", photo(0, 1, 1), torch.zeros(1, 3, 1, read))

        done = 0
        for batch in batches(pictures(), batch_size=2):
            assert read - done <= 16
            done += len(batch)
        assert done == 100


class TestBadFiles:
    def test_are_named_and_skipped(self, model, photos, tmp_path, capsys):
        folder = tmp_path / "photos"
        folder.mkdir()
        photo(0).save(folder / "good.jpg")
        complete = (folder / "good.jpg").read_bytes()
        (folder / "truncated.jpg").write_bytes(complete[: len(complete) // 2])
        (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        (folder / "empty.png").write_bytes(b"")
        (folder / "page.jpg").write_text("<html></html>")
        (folder / "notes.txt").write_text("not looked at")
        status = run("--model", model, folder, tmp_path / "missing.png", "--output", tmp_path / "out")
        assert status == 1
        errors = {line.split(": ")[0]: line for line in capsys.readouterr().err.splitlines() if "skipped" in line}
        reasons = {
            folder / "truncated.jpg": "truncated",
            folder / "damaged.png": "not an image",
            folder / "empty.png": "empty",
            folder / "page.jpg": "not an image",
            tmp_path / "missing.png": "No such file",
        }
        assert set(errors) == {f"skipped {path}" for path in reasons}
        for path, reason in reasons.items():
            assert reason in errors[f"skipped {path}"]
        assert set(contents(tmp_path / "out")) == {f"good{ending}" for ending in RESULTS}


class TestNames:
    def results(self, model, output: Path, *images: Path) -> set[str]:
        assert run("--model", model, *images, "--output", output) == 0
        files = contents(output)
        assert len(files) % len(RESULTS) == 0
        return {name.removesuffix(".json") for name in files if name.endswith(".json")}

    def save(self, folder: Path, *names: str) -> None:
        for index, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            photo(index).save(folder / name)

    def test_keep_the_folders_that_tell_them_apart(self, model, tmp_path):
        self.save(tmp_path, "in/a/x.png", "in/b/x.png", "in/b/c/y.v2.png", "in/a/c/z.png", "in/b/c/z.png")
        names = self.results(model, tmp_path / "out", tmp_path / "in")
        assert names == {"a/x", "b/x", "y.v2", "a/c/z", "b/c/z"}
        report = json.loads((tmp_path / "out" / "b" / "x.json").read_text())
        assert report["image"] == str(tmp_path / "in" / "b" / "x.png")

    def test_of_one_clash_leave_the_others_as_they_are(self, model, tmp_path):
        self.save(tmp_path, "d/a.jpg", "d/a.png", "e/b.jpg", "e/site0.v1.jpg", "e/site0.v2.jpg")
        names = self.results(model, tmp_path / "out", tmp_path / "d", tmp_path / "e")
        assert names == {"a.jpg", "a.png", "b", "site0.v1", "site0.v2"}

    @pytest.mark.parametrize(
        ("paths", "names"),
        [
            (["photo.jpg"], ["photo"]),
            (["photo.jpg", "in/photo.jpg"], [f"{Path.cwd().name}/photo", "in/photo"]),
            (["/d/a.jpg", "/d/a.png", "/e/b.jpg"], ["a.jpg", "a.png", "b"]),
            (["/d/a.jpg", "/d/a.png", "/d/a.jpg.gif"], ["a.jpg", "a.png", "a.jpg.gif"]),
            (["/x.jpg", "/d/x.jpg"], ["x", "d/x"]),
            (["/d/frame.0001", "/d/frame.0002"], ["frame.0001", "frame.0002"]),
            # Names that are one to the file systems of other machines.
            (["/d/a.jpg", "/e/A.jpg"], ["d/a", "e/A"]),
            (["/d/caf\u00e9.jpg", "/e/cafe\u0301.jpg"], ["d/caf\u00e9", "e/cafe\u0301"]),
            (["/d/a.jpg", "/d/A.jpg"], ["a", "A"]),
        ],
        ids=" ".join,
    )
    def test_of_paths(self, paths, names):
        assert result_names([str(Path.cwd() / path) for path in paths]) == names

    def test_keep_the_suffix_where_nothing_else_differs(self, model, tmp_path):
        self.save(tmp_path, "in/x.png", "in/x.jpg")
        assert self.results(model, tmp_path / "out", tmp_path / "in") == {"x.png", "x.jpg"}

    def test_of_an_image_that_is_given_twice(self, model, tmp_path, monkeypatch):
        self.save(tmp_path, "in/x.png")
        monkeypatch.chdir(tmp_path)
        images = (Path("in"), Path("in/x.png"), tmp_path / "in" / ".." / "in" / "x.png")
        assert self.results(model, tmp_path / "out", *images) == {"x"}

    def test_stay_below_the_output_folder(self, model, tmp_path, monkeypatch):
        self.save(tmp_path, "a/x.png", "x.png", "here/deep/x.png")
        monkeypatch.chdir(tmp_path / "here" / "deep")
        images = (Path("../../a/x.png"), Path("../../x.png"), Path("x.png"))
        names = self.results(model, tmp_path / "out", *images)
        assert names == {"a/x", f"{tmp_path.name}/x", "deep/x"}

    def test_of_a_path_that_ends_another(self):
        assert result_names(["/data/x.png", "/home/data/x.png"]) == ["data/x", "home/data/x"]

    def test_results_of_an_earlier_run_are_no_images(self, model, tmp_path):
        self.save(tmp_path, "x.png")
        for _ in range(2):
            assert self.results(model, tmp_path / "out", tmp_path) == {"x"}


class TestFolders:
    """What is in a folder besides its images, and where results go."""

    def test_litter_is_no_image(self, model, tmp_path, capsys):
        folder = tmp_path / "in"
        (folder / ".ipynb_checkpoints").mkdir(parents=True)
        for name in ("x.jpg", "._x.png", ".ipynb_checkpoints/x-checkpoint.jpg"):
            photo(0).save(folder / name)
        (folder / "._y.jpg").write_bytes(b"\0\5\x16\7")
        (folder / "Thumbs.db").write_bytes(b"")
        assert run("--model", model, folder, "--output", tmp_path / "out") == 0
        assert set(contents(tmp_path / "out")) == {f"x{ending}" for ending in RESULTS}
        assert "left out" not in capsys.readouterr().err

    def test_files_of_other_formats_are_counted(self, model, tmp_path, capsys):
        folder = tmp_path / "in"
        folder.mkdir()
        for name in ("a.jfif", "b.avif", "c.ppm", "d.jp2"):
            photo(0).save(folder / name, format="JPEG" if name == "a.jfif" else None)
        for name in ("e.heic", "f.HEIC", "notes.txt"):
            (folder / name).write_bytes(b"")
        assert run("--model", model, folder, "--output", tmp_path / "out") == 0
        assert len(contents(tmp_path / "out")) == 4 * len(RESULTS)
        notes = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
        assert len(notes) == 1
        assert "3 files" in notes[0]
        assert "2 .heic, 1 .txt" in notes[0]

    def test_of_unread_formats_only(self, model, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "x.heic").write_bytes(b"")
        with pytest.raises(SystemExit):
            run("--model", model, tmp_path / "in", "--output", tmp_path / "out")
        assert "1 .heic" in capsys.readouterr().err

    @pytest.mark.parametrize("output", ["in", "in/out", "."])
    def test_results_of_earlier_runs_are_no_images(self, output, model, tmp_path):
        (tmp_path / "in").mkdir()
        photo(0).save(tmp_path / "in" / "x.jpg")
        assert run("--model", model, tmp_path / "in", "--output", tmp_path / output) == 0
        first = contents(tmp_path)
        assert len(first) == 5
        assert run("--model", model, tmp_path / "in", "--output", tmp_path / output) == 0
        assert contents(tmp_path) == first
        # Nor are those of a run with another output, or of the other command.
        arguments = ("--model", model, "--images", tmp_path / "in", "--output", tmp_path / "in" / "submission")
        assert main(["predict", *map(str, arguments), "--workers", "0"]) == 0
        assert run("--model", model, tmp_path / "in", "--output", tmp_path / "other") == 0
        assert set(contents(tmp_path / "other")) == {f"x{ending}" for ending in RESULTS}

    def test_images_in_the_output_folder_are_images(self, model, tmp_path):
        (tmp_path / "in/deep").mkdir(parents=True)
        photo(0).save(tmp_path / "in/x.jpg")
        photo(1).save(tmp_path / "in/deep/y.jpg")
        assert run("--model", model, tmp_path / "in", "--output", tmp_path / "in/deep") == 0
        expected = {"y.jpg", *(f"{name}{ending}" for name in "xy" for ending in RESULTS)}
        assert set(contents(tmp_path / "in/deep")) == expected

    @pytest.mark.parametrize("name", ["x.json", "x_ids.png", "x_overlay.jpg", "annotations/x.json"])
    def test_nothing_but_results_is_replaced(self, name, model, tmp_path, capsys):
        mine = tmp_path / name
        mine.parent.mkdir(exist_ok=True)
        photo(0).save(tmp_path / "x.jpg")
        photo(0).save(tmp_path / "y.jpg")
        mine.write_bytes(b"mine")
        assert run("--model", model, tmp_path, "--output", mine.parent) == 1
        assert mine.read_bytes() == b"mine"
        assert (mine.parent / "y_ids.png").exists()
        line = next(line for line in capsys.readouterr().err.splitlines() if str(tmp_path / "x.jpg") in line)
        assert mine.name in line
        assert "give another --output" in line

    def test_a_picture_that_cannot_be_read_keeps_no_results_of_another(self, model, tmp_path):
        for name in ("x", "y"):
            photo(0).save(tmp_path / f"{name}.jpg")
        arguments = ("--model", model, tmp_path / "x.jpg", tmp_path / "y.jpg", "--output", tmp_path / "out")
        assert run(*arguments) == 0
        (tmp_path / "x.jpg").write_bytes(b"")
        (tmp_path / "out" / "x_mine.txt").write_text("mine")
        assert run(*arguments) == 1
        assert set(contents(tmp_path / "out")) == {"x_mine.txt", *(f"y{ending}" for ending in RESULTS)}

    def test_a_name_costs_one_file_at_most(self, model, tmp_path, capsys):
        folder = tmp_path / "in"
        folder.mkdir()
        strange, long = os.fsdecode(b"caf\xe9.jpg"), "x" * 245 + ".jpg"
        for name in ("a.jpg", strange, long):
            photo(0).save(folder / name)
        too_long = tmp_path / ("y" * 300 + ".jpg")
        assert run("--model", model, folder, too_long, "--output", tmp_path / "out") == 1
        stems = ("a", os.fsdecode(b"caf\xe9"))
        assert set(contents(tmp_path / "out")) == {f"{stem}{ending}" for stem in stems for ending in RESULTS}
        report = json.loads((tmp_path / "out" / os.fsdecode(b"caf\xe9.json")).read_text(encoding="utf-8"))
        assert report["image"] == f"{folder}/caf\\xe9.jpg"
        skipped = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
        assert len(skipped) == 2
        assert all("name too long" in line for line in skipped)

    def test_a_picture_that_no_jpeg_holds_costs_itself_alone(self, model, tmp_path, capsys):
        folder = tmp_path / "in"
        folder.mkdir()
        photo(0).save(folder / "z.png")
        photo(0, 65490, 3).save(folder / "strip.png")
        assert run("--model", model, folder, "--output", tmp_path / "out") == 1
        assert set(contents(tmp_path / "out")) == {f"z{ending}" for ending in RESULTS}
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
        assert "strip.png: its overlay would have 65" in line
        assert "a JPEG file has 65500 in a direction at most: cut it into several" in line


class TestRefusals:
    def refuse(self, capsys, *arguments: str | Path) -> str:
        """What the command says of a wrong command line, before it looks at any picture."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith("usage: vitseg segment")
        return err

    def fail(self, capsys, *arguments: str | Path) -> str:
        """The one line that it says where it cannot begin."""
        capsys.readouterr()
        assert run(*arguments) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1
        return err

    def test_nothing_to_segment(self, model, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        arguments = (tmp_path / "empty", tmp_path / "missing.jpg")
        err = self.refuse(capsys, "--model", model, *arguments, "--output", tmp_path / "out")
        assert f"{tmp_path / 'empty'}, {tmp_path / 'missing.jpg'}" in err
        assert not (tmp_path / "out").exists()

    def test_no_model(self, photos, tmp_path, capsys):
        arguments = ("--model", tmp_path / "model", photos / "rgb.png", "--output", tmp_path / "out")
        assert f"there is no model folder {tmp_path / 'model'}" in self.refuse(capsys, *arguments)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({}, "model_type"),
            ({"config.json": "{"}, "not a valid JSON file"),
            ({"config.json": '{"model_type": "setr"}'}, "no file named model.safetensors"),
            ({"config.json": '{"model_type": "vit"}'}, "AutoModelForSemanticSegmentation"),
        ],
        ids=["empty", "damaged", "no_weights", "classifier"],
    )
    def test_folder_without_a_model(self, files, message, photos, tmp_path, capsys):
        folder = tmp_path / "a" / "model"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content)
        err = self.fail(capsys, "--model", folder, photos / "rgb.png", "--output", tmp_path / "out")
        assert message in err

    def test_classes_that_count_from_one(self, photos, tmp_path, capsys):
        folder = save_tiny_setr(tmp_path / "model", NAMES)
        config = json.loads((folder / "config.json").read_text())
        config["id2label"] = {str(index): name for index, name in enumerate(NAMES, start=1)}
        (folder / "config.json").write_text(json.dumps(config))
        err = self.fail(capsys, "--model", folder, photos / "rgb.png", "--output", tmp_path / "out")
        assert f"cannot load a model from {folder}: id2label has the ids [1, 2, 3, 4, 5]; expected 0 to 4" in err
        assert main(["export", "--model", str(folder), "--output", str(tmp_path / "exported")]) == 1
        assert "id2label has the ids [1, 2, 3, 4, 5]; expected 0 to 4" in capsys.readouterr().err

    def test_damaged_weights(self, model, photos, tmp_path, capsys):
        folder = save_tiny_setr(tmp_path / "model", NAMES)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        err = self.fail(capsys, "--model", folder, photos / "rgb.png", "--output", tmp_path / "out")
        assert f"cannot load a model from {folder}" in err

    def test_more_classes_than_a_byte_holds_of_videos(self, photos, tmp_path, capsys):
        folder = save_tiny_setr(tmp_path / "model", [*map(str, range(256))], semantic_loss_ignore_index=-100)
        (tmp_path / "clip.mp4").write_bytes(b"clip")
        capsys.readouterr()
        assert run("--model", folder, photos / "rgb.png", tmp_path / "clip.mp4", "--output", tmp_path / "out") == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
        assert "clip.mp4: the model has 256 classes, and the label maps of videos hold 255" in line
        assert (tmp_path / "out/rgb_ids.png").exists()

    def test_no_cuda_device(self, model, photos, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        arguments = ("--model", model, photos / "rgb.png", "--output", tmp_path / "out", "--device", "cuda")
        assert "use --device cpu" in self.fail(capsys, *arguments)

    @pytest.mark.parametrize("change", [["--batch-size", "0"], ["--dtype", "int8"], ["--device", "tpu"]], ids=" ".join)
    def test_values(self, change, model, photos, tmp_path, capsys):
        arguments = ("--model", model, photos / "rgb.png", "--output", tmp_path / "out", *change)
        assert change[0] in self.refuse(capsys, *arguments)

    def test_output_is_a_file(self, model, photos, tmp_path, capsys):
        file = tmp_path / "out"
        file.write_text("mine")
        arguments = ("--model", model, photos / "rgb.png", "--output", file)
        assert f"{file} is a file" in self.refuse(capsys, *arguments)
        assert file.read_text() == "mine"


def test_results_are_written_completely_or_not_at_all(model, photos, tmp_path, monkeypatch, capsys):
    def fill_the_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_palette_png", fill_the_disk)
    assert run("--model", model, photos / "rgb.png", "--output", tmp_path / "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert contents(tmp_path / "out") == {}
