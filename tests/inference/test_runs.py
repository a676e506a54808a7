# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs over many files: stopped and started again, taken down in a manifest, on the processor as asked."""

import json
import os
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny_setr import save_tiny_setr

from vitseg.cli import main
from vitseg.inference import manifest, reading, saving
from vitseg.stamps import file_stamp


NAMES = ["wall", "sky", "tree", "road", "car"]
RESULTS = ("_overlay.jpg", "_palette.png", "_ids.png", ".json")


def save_photo(path: Path, seed: int) -> None:
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(blobs).resize((60 + seed, 40)).save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), NAMES)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Six photographs."""
    (tmp_path / "photos").mkdir()
    for seed in range(6):
        save_photo(tmp_path / "photos" / f"{seed}.png", seed)
    return tmp_path / "photos"


def segment(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def rows_of(folder: Path) -> dict[str, dict]:
    """The rows of a manifest by the names of the images, each of which comes once."""
    rows = datasets.load_dataset("parquet", data_files=f"{folder}/*.parquet", split="train").to_list()
    assert rows == pq.read_table(folder).to_pylist()
    assert len({row["image"] for row in rows}) == len(rows)
    return {Path(row["image"]).name: row for row in rows}


def segment_until_killed(count: int, arguments: list[str]) -> None:
    """Ends this process, without a chance to tidy up, in the middle of the results of the `count`-th picture."""
    save, written = saving.save_palette_png, []

    def killed(*arguments):
        written.append(arguments)
        if len(written) == count:
            os._exit(9)
        save(*arguments)

    saving.save_palette_png = killed
    main(["segment", *arguments])


class TestStopped:
    @pytest.fixture
    def read(self, photos, monkeypatch) -> list[str]:
        """The photos that are decoded."""
        files, read_model_image = [], reading.read_model_image

        def recorded(content, num_bands):
            files.extend(photo.name for photo in photos.iterdir() if photo.read_bytes() == content)
            return read_model_image(content, num_bands)

        monkeypatch.setattr(reading, "read_model_image", recorded)
        return files

    @pytest.mark.slow
    def test_does_what_is_missing_and_nothing_else(self, model, photos, tmp_path, read, processes):
        arguments = ("--model", model, photos, "--output")
        assert segment(*arguments, tmp_path / "undisturbed") == 0
        options = [*map(str, arguments), str(tmp_path / "out")]
        killed = processes.Process(target=segment_until_killed, args=(6, options))
        killed.start()
        killed.join()
        assert killed.exitcode == 9
        finished = {name.removesuffix("_ids.png") for name in contents(tmp_path / "out") if name.endswith("_ids.png")}
        assert 2 <= len(finished) <= 5  # Others were being written.
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9]*")}
        read.clear()
        assert segment(*arguments, tmp_path / "out") == 0
        assert Counter(read) == Counter(f"{seed}.png" for seed in range(6) if str(seed) not in finished)
        assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
        assert all(path.stat().st_mtime_ns == time for path, time in times.items())

    @pytest.mark.parametrize("options", [[], ["--scale", "native"]], ids=["model's size", "native"])
    def test_between_two_files_of_a_picture(self, options, model, photos, tmp_path, monkeypatch):
        """The old overlay does not pass for the new one."""
        photo, output = photos / "0.png", tmp_path / "out"
        arguments = ("--model", model, photo, *options, "--output")
        assert segment(*arguments, output) == 0
        save_photo(photo, 9)
        replace, moved = Path.replace, []

        def stopped(self, target):
            if Path(target).parent == output:
                moved.append(target)
                if len(moved) == 2:
                    raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stopped)
            assert segment(*arguments, output) == 130
        assert segment(*arguments, output) == 0
        assert segment(*arguments, tmp_path / "undisturbed") == 0
        assert contents(output) == contents(tmp_path / "undisturbed")

    def test_pipes_are_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ValueError, match="it is no file"):
            file_stamp(tmp_path / "pipe.png")

    def test_what_has_changed_is_done_anew(self, model, photos, tmp_path, read):
        output = tmp_path / "out"
        arguments = ("--model", model, photos, "--output", output)
        assert segment(*arguments) == 0
        os.utime(photos / "1.png", ns=(0, 0))
        (output / "2_overlay.jpg").unlink()
        read.clear()
        assert segment(*arguments) == 0
        assert sorted(read) == ["1.png", "2.png"]
        read.clear()
        assert segment(*arguments, "--abstain", "0.5") == 0
        assert len(read) == 6


class TestManifest:
    def test_says_what_is_on_disk(self, model, photos, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(manifest, "ROWS", 3)
        (photos / "4.png").write_bytes(b"junk")
        output, table = tmp_path / "out", tmp_path / "manifest"
        arguments = ("--model", model, photos, "--output", output, "--manifest", table)
        assert segment(*arguments) == 1
        assert len(list(table.iterdir())) == 2
        rows = rows_of(table)
        assert {name: row["status"] for name, row in rows.items()} == {
            f"{seed}.png": "failed" if seed == 4 else "done" for seed in range(6)
        }
        assert rows["4.png"]["reason"].endswith("not an image of a known format")
        for name, row in rows.items():
            assert row["image"] == str(photos / name)
            if row["status"] == "failed":
                continue
            report = json.loads((output / f"{row['result']}.json").read_text())
            assert (row["width"], row["height"]) == (report["width"], report["height"])
            classes = [{key: entry[key] for key in ("id", "name", "share")} for entry in report["classes"]]
            assert row["classes"] == classes
            assert row["seconds"] > 0
        assert len({row["model"] for row in rows.values()}) == 1
        said = capsys.readouterr().err
        assert f"skipped {photos / '4.png'}: " in said
        assert "5 images in " in said

        save_photo(photos / "4.png", 4)
        assert segment(*arguments) == 0
        again = rows_of(table)
        assert {name: row["status"] for name, row in again.items()} == {
            f"{seed}.png": "done" if seed == 4 else "kept" for seed in range(6)
        }
        assert all(again[name]["classes"] == rows[name]["classes"] for name in rows if name != "4.png")
        assert "1 images in " in capsys.readouterr().err

    def test_of_a_run_that_fails_has_what_was_done(self, model, photos, tmp_path, monkeypatch):
        arguments = ("--model", model, photos, "--output", tmp_path / "out", "--manifest", tmp_path / "manifest")
        save, written = saving.save_palette_png, []

        def fill_the_disk(*arguments):
            written.append(arguments)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
            save(*arguments)

        monkeypatch.setattr(saving, "save_palette_png", fill_the_disk)
        assert segment(*arguments) == 1
        rows = rows_of(tmp_path / "manifest")
        assert {row["status"] for row in rows.values()} == {"done"}
        assert all((tmp_path / "out" / f"{row['result']}_ids.png").exists() for row in rows.values())

    def test_replaces_nothing_of_others(self, model, photos, tmp_path, capsys):
        table = tmp_path / "mine"
        table.mkdir()
        pq.write_table(pa.table({"a": [1]}), table / "part-0.parquet")
        arguments = ("--model", model, photos, "--output", tmp_path / "out", "--manifest", table)
        for _ in range(2):
            assert segment(*arguments) == 1
            assert "part-0.parquet, which is no manifest: give another folder" in capsys.readouterr().err
            assert [path.name for path in table.iterdir()] == ["part-0.parquet"]
            (table / "part-0.parquet").write_bytes(b"")
        assert segment(*arguments[:-1], table / "part-0.parquet") == 1
        assert "part-0.parquet is a file: give a folder" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_knows_what_was_kept_at_a_resolution_too(self, model, photos, tmp_path, capsys):
        arguments = ("--model", model, photos, "--scale", "native", "--output", tmp_path / "out")
        rows = []
        for _ in range(2):
            assert segment(*arguments, "--manifest", tmp_path / "manifest") == 0
            rows.append(rows_of(tmp_path / "manifest").values())
        assert all(row["status"] == "done" and row["seconds"] > 0 for row in rows[0])
        assert all(row["status"] == "kept" and row["seconds"] is None for row in rows[1])
        said = capsys.readouterr().err
        assert "0 images to do, 6 were there" in said
        assert " 0% of the time in the model" not in said

    def test_of_predictions(self, model, photos, tmp_path):
        (photos / "1.png").write_bytes(b"junk")
        table, output = tmp_path / "manifest", tmp_path / "out"
        arguments = ["predict", "--model", model, "--images", photos, "--output", output, "--manifest", table]
        statuses = []
        for _ in range(2):
            assert main([*map(str, arguments), "--skip-broken", "--limit", "3"]) == 1
            rows = rows_of(table)
            statuses.append([rows[name]["status"] for name in "012"])
            for name in "02":
                with Image.open(output / rows[name]["result"]) as prediction:
                    assert prediction.size == (rows[name]["width"], rows[name]["height"])
            assert "1.png: Cannot decode the image" in rows["1"]["reason"]
        assert statuses == [["done", "failed", "done"], ["kept", "failed", "kept"]]


class TestComputing:
    @pytest.mark.parametrize("capabilities", [{"amx_bf16": True}, {"avx512_bf16": True}, {}], ids=str)
    def test_auto_says_what_it_took(self, capabilities, model, photos, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        dtype, reason = ("bfloat16", "has") if capabilities else ("float32", "has no")
        arguments = ("--model", model, photos / "0.png", "--output")
        assert segment(*arguments, tmp_path / "auto", "--dtype", "auto") == 0
        line = next(line for line in capsys.readouterr().err.splitlines() if "--dtype" in line)
        assert line.startswith(f"note: --dtype auto is {dtype}: this processor {reason} instructions")
        assert segment(*arguments, tmp_path / "named", "--dtype", dtype) == 0
        assert "--dtype" not in capsys.readouterr().err
        assert contents(tmp_path / "auto") == contents(tmp_path / "named")

    def test_predictions_know_what_auto_took(self, model, photos, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
        arguments = ["predict", "--model", model, "--images", photos, "--output", tmp_path, "--limit", 1]
        assert main([*map(str, arguments), "--dtype", "auto"]) == 0
        assert "--dtype auto is float32" in capsys.readouterr().out
        assert main([*map(str, arguments), "--dtype", "float32"]) == 0
        assert main([*map(str, arguments), "--dtype", "bfloat16"]) == 2

    def test_more_threads_than_any_computer_has_use_for(self, model, photos, tmp_path, capsys):
        with pytest.raises(SystemExit):
            segment("--model", model, photos, "--output", tmp_path / "out", "--threads", "5000000000")
        assert "5000000000 are more than 1024: give as many as there are processors" in capsys.readouterr().err

    def test_threads(self, model, photos, tmp_path):
        before = torch.get_num_threads()
        try:
            assert segment("--model", model, photos / "0.png", "--output", tmp_path / "out", "--threads", "3") == 0
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(before)
