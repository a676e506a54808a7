# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg validate` on drawn scenes, with a tiny random model."""

import csv
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from tiny_setr import save_tiny_setr, tiny_image_processor, tiny_setr
from torch.nn import functional as F

from vitseg.cli import main
from vitseg.data.streaming import load_examples
from vitseg.evaluation.image_counts import ImageCounts
from vitseg.inference.confidence import read_temperature
from vitseg.scenes import SCENE_CLASSES, write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, num_train=4, num_validation=5)
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    return save_tiny_setr(tmp_path / "model", SCENE_CLASSES)


def run(*arguments: str | Path) -> int:
    return main(["validate", *map(str, arguments), "--workers", "0"])


def expected_mean_iou(scenes: Path, count: int) -> float:
    """By the definition, with one pass over each image after the other."""
    model, image_processor = tiny_setr(SCENE_CLASSES), tiny_image_processor()
    confusion = np.zeros((12, 12))
    for index, example in enumerate(load_examples(scenes, "validation")):
        if index == count:
            break
        logits = model(**image_processor(example["image"], return_tensors="pt")).logits.detach()
        truth = example["label_map"]
        prediction = F.interpolate(logits, size=truth.shape, mode="bilinear", align_corners=False)[0].argmax(dim=0)
        np.add.at(confusion, (truth[truth != 255], prediction.numpy()[truth != 255]), 1)
    right, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return float((right[union > 0] / union[union > 0]).mean())


def test_results(model, scenes, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ("--model", model, "--dataset", scenes, "--output", output, "--save-images", 2, "--update-model-card")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "Protocol: short side 32 (long side at most 64); windows of 32 x 32 at a stride of 21 x 21" in printed
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    tables = {"results.json", "results.md", "images.csv", "confusion.csv", "iou.png", "confusion.png"}
    tables.add("image_counts.npz")
    assert tables <= files
    assert sorted(name[7:-4].rpartition("_validation")[0] for name in files - tables) == [
        "best_1",
        "best_2",
        "worst_1",
        "worst_2",
    ]

    record = json.loads((output / "results.json").read_text())
    assert record["scores"]["mean_iou"] == pytest.approx(expected_mean_iou(scenes, 5), abs=1e-4)
    assert f"mean IoU{100 * record['scores']['mean_iou']:>24.2f}" in printed
    assert record["images"] == 5
    rows = list(csv.DictReader((output / "images.csv").open()))
    assert len({row["file_name"] for row in rows}) == 5
    assert [float(row["mean_iou"]) for row in rows] == sorted(float(row["mean_iou"]) for row in rows)
    assert (output / "images" / f"worst_1_{rows[0]['file_name']}.png").exists()
    for name in files:
        if name.endswith(".png"):
            assert np.asarray(Image.open(output / name).convert("L")).std() > 5
    assert ModelCard.load(model / "README.md").data.eval_results[0].metric_value == pytest.approx(
        100 * record["scores"]["mean_iou"], abs=0.01
    )

    # The model card has changed, the model has not.
    assert run(*arguments) == 0
    assert "holds this result already" in capsys.readouterr().out


def test_boundaries_are_measured_when_asked_for(model, scenes, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ("--model", model, "--dataset", scenes, "--output", output)
    assert run(*arguments) == 0
    before = json.loads((output / "results.json").read_text())
    capsys.readouterr()
    assert run(*arguments, "--boundary") == 0
    printed = capsys.readouterr().out
    assert "holds this result without boundary: it is measured again" in printed
    record = json.loads((output / "results.json").read_text())
    assert before["scores"].items() <= record["scores"].items()
    counts = ImageCounts.load(output / "image_counts.npz").counts
    intersect, pred, label = counts["boundary"].sum(axis=0)
    union = pred + label - intersect
    expected = (intersect[union > 0] / union[union > 0]).mean()
    assert record["scores"]["boundary_iou"] == pytest.approx(expected)
    low, high = record["intervals"]["boundary_iou"]
    assert low <= expected <= high
    assert f"boundary IoU{100 * expected:>20.2f}  {100 * low:.2f} to {100 * high:.2f}" in printed
    assert f"| boundary IoU           | {100 * expected:.2f}" in (output / "results.md").read_text()


def test_multi_scale_and_flip(model, scenes, tmp_path, capsys):
    common = ("--model", model, "--dataset", scenes, "--limit", 2)
    assert run(*common, "--output", tmp_path / "many", "--multi-scale", "--flip") == 0
    assert "times 0.5, 0.75, 1, 1.25, 1.5, 1.75; windows of 32 x 32" in capsys.readouterr().out
    assert run(*common, "--output", tmp_path / "one") == 0
    assert run(*common, "--output", tmp_path / "half", "--multi-scale", "1.0", "1.5", "--scores-dtype", "float16") == 0
    records = {name: json.loads((tmp_path / name / "results.json").read_text()) for name in ("many", "one", "half")}
    assert records["many"]["protocol"]["flip"]
    assert records["half"]["protocol"]["ratios"] == [1.0, 1.5]
    assert len({record["scores"]["overall_accuracy"] for record in records.values()}) == 3
    assert records["one"]["scores"]["mean_iou"] == pytest.approx(expected_mean_iou(scenes, 2), abs=1e-4)


def test_protocol_of_a_recipe(model, scenes, capsys):
    common = ("--model", model, "--dataset", scenes, "--limit", 1)
    assert run(*common, "--recipe", "setr-pup-vit-l-ade20k-512-16k") == 2
    assert "Did you mean 'setr-pup-vit-l-ade20k-512-160k'" in capsys.readouterr().err
    assert run(*common, "--recipe", "setr-pup-vit-l-ade20k-512-160k") == 0
    assert "short side 512 (long side at most 2048); windows of 512 x 512 at a stride of 341 x 341" in (
        capsys.readouterr().out
    )


def test_other_windows(model, scenes, capsys):
    common = ("--model", model, "--dataset", scenes, "--limit", 1)
    assert run(*common, "--window", 24, "--stride", 16, 8) == 0
    assert "windows of 24 x 24 at a stride of 16 x 8" in capsys.readouterr().out
    assert run(*common, "--window", 24) == 2
    assert "--window is [24] and --stride None; expected both" in capsys.readouterr().err


def break_image(folder: Path, index: int) -> None:
    """Cuts the file of an image of the validation split off."""
    (file,) = (folder / "data").glob("validation-*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[index]["image"]["bytes"] = rows[index]["image"]["bytes"][:100]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def test_broken_images_and_going_on(model, tmp_path, capsys):
    scenes, output = tmp_path / "scenes", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=3, num_shards=1)
    break_image(scenes, 1)
    arguments = ("--model", model, "--dataset", scenes, "--output", output)
    assert run(*arguments) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("error: Cannot decode the image of validation_000001")
    assert {path.name for path in output.iterdir()} == {"progress-0-of-1.safetensors"}

    assert run(*arguments, "--skip-broken") == 0
    assert "left out: Cannot decode the image of validation_000001" in capsys.readouterr().out
    record = json.loads((output / "results.json").read_text())
    assert (record["images"], len(record["broken"])) == (2, 1)
    assert not list(output.glob("progress-*"))


@pytest.mark.parametrize("place", ["model", "scenes"])
def test_a_result_is_known_by_model_and_data_and_by_nothing_else(place, tmp_path, capsys):
    folder, scenes = save_tiny_setr(tmp_path / "model", SCENE_CLASSES), tmp_path / "scenes"
    write_scenes(scenes, num_train=1, num_validation=1, num_shards=1)
    arguments = ("--model", folder, "--dataset", scenes, "--output", tmp_path / place / "out")
    assert run(*arguments) == 0
    for other in (folder, scenes):
        (other / ".DS_Store").write_bytes(b"")
        (other / "README.md").write_text("a card")
    capsys.readouterr()
    assert run(*arguments) == 0
    assert "holds this result already" in capsys.readouterr().out
    changed = folder / "model.safetensors" if place == "model" else next((scenes / "data").glob("validation-*"))
    os.utime(changed, ns=(0, 0))
    assert run(*arguments) == 2
    assert "holds the result of another model, data set or protocol" in capsys.readouterr().err


def test_refusals(model, scenes, tmp_path, capsys):
    output = tmp_path / "out"
    common = ("--dataset", scenes, "--output", output, "--limit", 1)
    other = save_tiny_setr(tmp_path / "other", ["a", "b"])
    assert run("--model", other, *common) == 2
    assert "has 12 classes, but the model has 2" in capsys.readouterr().err
    assert not output.exists()
    assert run("--model", model, *common) == 0
    capsys.readouterr()
    assert run("--model", model, *common, "--flip") == 2
    assert "holds the result of another model, data set or protocol" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--model", model, "--dataset", scenes, "--save-images", 1)
    assert "--save-images needs --output" in capsys.readouterr().err
    for option, value in (("--save-images", "-1"), ("--workers", "-2")):
        with pytest.raises(SystemExit):
            main(["validate", "--model", str(model), "--dataset", str(scenes), "--output", str(output), option, value])
        assert f"{option}: {value} is no number of things" in capsys.readouterr().err
    for ratio in ("nan", "inf"):
        assert run("--model", model, "--dataset", scenes, "--multi-scale", ratio) == 2
        assert f"ratios are ({ratio},); expected one positive factor or more" in capsys.readouterr().err
    assert run("--model", model, "--dataset", scenes, "--flip", "--scores-device", "gpu") == 2
    assert "error: --scores-device gpu cannot be used; try cpu." in capsys.readouterr().err


def change_rows(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes all rows of the validation split."""
    (file,) = (folder / "data").glob("validation-*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def test_what_a_finished_evaluation_did_not_do_is_done_when_asked_for(model, tmp_path, capsys):
    scenes, output = tmp_path / "scenes", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=2, num_shards=1)
    change_rows(scenes, lambda row: row.update(file_name="é" * 125))
    arguments = ("--model", model, "--dataset", scenes, "--output", output)
    assert run(*arguments) == 0
    expected = json.loads((output / "results.json").read_text())["scores"]

    assert run(*arguments, "--update-model-card") == 0
    assert "holds this result already" in capsys.readouterr().out
    value = ModelCard.load(model / "README.md").data.eval_results[0].metric_value
    assert value == pytest.approx(100 * expected["mean_iou"], abs=0.01)

    assert run(*arguments, "--save-images", 5) == 0
    assert "without the images: it is measured again" in capsys.readouterr().out
    drawn = sorted(path.name for path in (output / "images").iterdir())
    assert [name[:8] for name in drawn] == ["worst_1_", "worst_2_"]
    assert json.loads((output / "results.json").read_text())["scores"] == expected


def test_nothing_that_can_be_measured(model, tmp_path, capsys):
    scenes, output = tmp_path / "scenes", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=2, num_shards=1)

    def ignore(row: dict) -> None:
        size = Image.open(BytesIO(row["label"]["bytes"])).size
        Image.new("L", size, 255).save(file := BytesIO(), format="PNG")
        row["label"]["bytes"] = file.getvalue()

    change_rows(scenes, ignore)
    arguments = ("--model", model, "--dataset", scenes, "--output", output)
    assert run(*arguments) == 2
    assert f"In the split 'validation' of {scenes} all pixels of the 2 label maps are ignored" in (
        capsys.readouterr().err
    )
    assert not (output / "results.json").exists()

    change_rows(scenes, lambda row: row["image"].update(bytes=b"junk"))
    assert run(*arguments, "--skip-broken", "--output", tmp_path / "other") == 2
    message = "error: None of the 2 images can be measured. Cannot decode the image of validation_000000"
    assert message in capsys.readouterr().err


def test_damaged_and_foreign_notes_are_named(model, scenes, tmp_path, capsys):
    arguments = ("--model", model, "--dataset", scenes, "--output", tmp_path, "--limit", 1)
    for name, content, message in (
        ("progress-0-of-1.safetensors", "{", "is damaged: "),
        ("results.json", "{", "is damaged: "),
        ("results.json", "[]", "was not written by vitseg"),
        ("results.json", "{}", "of another model"),
    ):
        (tmp_path / name).write_text(content)
        assert run(*arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert str(tmp_path) in err
        assert (tmp_path / name).read_text() == content


def test_a_card_that_cannot_be_read_is_refused_before_the_work(model, scenes, capsys):
    card = "---\nlicense: [mit\n---\n# Mine\n"
    (model / "README.md").write_text(card)
    for command in (["validate", "--dataset", str(scenes), "--update-model-card", "--model"], ["describe"]):
        assert main([*command, str(model)]) in (1, 2)
        captured = capsys.readouterr()
        assert f"The metadata of {model / 'README.md'}, between its lines of ---, cannot be read" in captured.err
        assert "mean IoU" not in captured.out
    assert (model / "README.md").read_text() == card


def test_a_temperature_is_fitted_and_counts(model, scenes, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ("--model", model, "--dataset", scenes, "--output", output, "--calibration")
    assert run(*arguments, "--calibrate") == 0
    fitted = json.loads((model / "calibration.json").read_text())
    assert f"temperature {fitted['temperature']:.3f}, in {model / 'calibration.json'}" in capsys.readouterr().out
    assert (fitted["split"], fitted["images"], fitted["dataset"]) == ("validation", 5, str(scenes))
    assert fitted["nll"]["after"] < fitted["nll"]["before"]
    assert read_temperature(str(model)) == fitted["temperature"]
    before = json.loads((output / "results.json").read_text())["calibration"]
    assert before["temperature"] == 1

    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "holds this result without calibration: it is measured again" in printed
    assert f"note: the temperature in {model / 'calibration.json'} was fitted to this split" in printed
    after = json.loads((output / "results.json").read_text())["calibration"]
    assert after["temperature"] == fitted["temperature"]
    # They are of other pixels than those that it was fitted to.
    assert after["nll"] == pytest.approx(fitted["nll"]["after"], rel=0.03)
    assert after["nll"] < before["nll"]
    assert "negative log-likelihood" in (output / "results.md").read_text()
    assert (output / "calibration.png").exists()
    assert run(*arguments, "--calibrate") == 0
    assert "without calibrate: it is measured again" in capsys.readouterr().out
    assert run(*arguments, "--calibrate") == 0
    assert "holds this result already" in capsys.readouterr().out


def test_figures_stand_where_no_temperature_fits(model, scenes, tmp_path, monkeypatch, capsys):
    def fail(counts):
        raise ValueError("No temperature fits")

    monkeypatch.setattr("vitseg.inference.calibrate.fit_temperature", fail)
    assert run("--model", model, "--dataset", scenes, "--limit", 1, "--calibrate", "--output", tmp_path / "out") == 2
    assert "error: No temperature fits" in capsys.readouterr().err
    assert (tmp_path / "out/results.json").exists()
    assert not (model / "calibration.json").exists()


def test_what_cannot_be_calibrated_is_refused_before_the_work(model, scenes, monkeypatch, capsys):
    common = ("--dataset", scenes, "--calibrate", "--model")
    assert run(*common, model, "--flip") == 2
    assert "A temperature divides logits, which these scores are not: leave out --multi-scale" in (
        capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        run(*common, "someone/model")
    assert "--calibrate needs --output for someone/model" in capsys.readouterr().err
    monkeypatch.setattr("os.access", lambda *_: False)  # the superuser may write anywhere
    assert run(*common, model) == 2
    assert f"{model} cannot be written to, where calibration.json belongs" in capsys.readouterr().err
    assert not (model / "calibration.json").exists()


def test_a_page_shows_where_the_model_fails(model, scenes, tmp_path):
    arguments = ("--model", model, "--dataset", scenes, "--output", tmp_path / "out", "--report")
    assert run(*arguments) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') >= 5
    assert "http" not in page
    rows = list(csv.DictReader((tmp_path / "out/images.csv").open()))
    assert f"mean IoU {100 * float(rows[0]['mean_iou']):.1f}" in page
    confusion = np.array([row[1:] for row in csv.reader((tmp_path / "out/confusion.csv").open())][1:], int)
    np.fill_diagonal(confusion, 0)
    true, taken = np.unravel_index(confusion.argmax(), confusion.shape)
    assert f"{SCENE_CLASSES[true]} taken for {SCENE_CLASSES[taken]}: " in page
