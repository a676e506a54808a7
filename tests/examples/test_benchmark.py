# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Both sides of each comparison do the same work, and every command leaves its table and its rows."""

import csv
import itertools
import json
import sys
import warnings
from pathlib import Path

import benchmark
import cv2
import numpy as np
import pytest
import torch
from benchmarks import (
    comparison,
    encoder,
    label_maps,
    loading,
    metric,
    models,
    named_models,
    opencv_pipeline,
    precision,
    sctnet_speed,
    startup,
    token_sharing,
    training_data,
    training_step,
    windows,
)
from benchmarks.opencv_pipeline import OpenCvPipeline
from benchmarks.throughput import ModelSettings, count_multiply_adds
from PIL import Image

from vitseg import (
    PlainVitConfig,
    SctNetConfig,
    SctNetForSemanticSegmentation,
    SetrConfig,
    SetrForSemanticSegmentation,
    SetrImageProcessor,
)
from vitseg.data.augmentation import TrainingTransform, adjust_brightness, adjust_contrast
from vitseg.data.streaming import decode_example
from vitseg.evaluation.metric import MeanIoU
from vitseg.models.image_processing_semantic import reduce_labels, resized_argmax
from vitseg.recipes import RECIPES, load_recipe


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    return training_data.synthetic_pair(0)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    backbone_config = PlainVitConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
        out_indices=[1, 2],
    )
    config = SetrConfig(
        backbone_config=backbone_config,
        decoder_type="naive",
        decoder_hidden_size=8,
        num_labels=3,
        window_size=[32, 32],
        window_stride=[32, 32],
        inference_mode="slide",
    )
    folder = tmp_path_factory.mktemp("model")
    SetrForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def test_comparisons_use_one_core_and_leave_the_others_as_they_were():
    before, seen = torch.get_num_threads(), []

    def count_threads() -> None:
        seen.append((torch.get_num_threads(), cv2.getNumThreads()))

    comparison.compare("threads", {"one": count_threads, "other": count_threads}, images=1, repeats=2)
    assert set(seen) == {(1, 1)}
    assert torch.get_num_threads() == before


def test_synthetic_images_are_like_photographs(pair):
    example = decode_example({"image": pair[0], "label": pair[1], "file_name": "photo.jpg"})
    pixels = np.asarray(example["image"], dtype=np.float32)
    assert pixels.shape == (512, 683, 3)
    assert len(np.unique(example["label_map"])) == 10
    assert example["label_map"].min() == 0
    assert example["label_map"].max() <= 150
    # Neighbours are alike and the ends are not, unlike in white noise and in plain areas.
    assert 1 < np.abs(np.diff(pixels, axis=1)).mean() < 20
    assert pixels.std() > 30


@pytest.mark.parametrize(("crop_size", "ratio"), [((700, 1000), 1.3), ((600, 800), 0.7)])
def test_opencv_and_vitseg_make_the_same_example(pair, crop_size, ratio, monkeypatch):
    monkeypatch.setattr(opencv_pipeline, "distort_photometrically", lambda image, rng: image)
    settings = {"crop_size": crop_size, "ratio_range": (ratio, ratio), "flip_probability": 1}
    theirs = OpenCvPipeline(**settings)(*pair, np.random.default_rng(0))

    example = decode_example({"image": pair[0], "label": pair[1], "file_name": "photo.jpg"})
    image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
    label_map = reduce_labels(torch.from_numpy(example["label_map"]))
    transform = TrainingTransform(**settings, scale=(2048, 512), photometric_distortion=False)
    ours = transform(image, label_map, np.random.default_rng(1))

    assert ours["labels"].equal(theirs["labels"])
    # Two JPEG decoders may differ by a grey level or two in a few pixels, of some 60 to a standard deviation.
    difference = (ours["pixel_values"] - theirs["pixel_values"]).abs()
    assert difference.max() < 3 / 57
    assert difference.mean() < 1e-3


def test_opencv_and_vitseg_change_colours_alike():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for amount in (-31.9, -0.3, 0.0, 17.2):
        expected = opencv_pipeline.multiply_add(image, amount=amount)
        assert np.array_equal(adjust_brightness(image, amount), expected)
    for factor in (0.5, 0.97, 1.0, 1.499):
        expected = opencv_pipeline.multiply_add(image, factor=factor)
        assert np.array_equal(adjust_contrast(image, factor), expected)


def test_both_pipelines_yield_the_same_kind_of_tensors(pair, tmp_path):
    pairs = [pair, training_data.synthetic_pair(1)]
    for examples in (training_data.vitseg_examples(pairs, tmp_path), training_data.opencv_examples(pairs)):
        for example in itertools.islice(examples, 5):
            assert example["pixel_values"].shape == (3, 512, 512)
            assert example["pixel_values"].dtype == torch.float32
            assert example["labels"].shape == (512, 512)
            assert example["labels"].dtype == torch.int64
            assert set(example["labels"].unique().tolist()) <= {*range(150), 255}


def test_histograms_count_what_the_metric_counts():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 150, (40, 50), dtype=np.uint8)
    reference[:5] = 255
    prediction = np.where(rng.random(reference.shape) < 0.5, reference, rng.integers(0, 150, reference.shape))
    prediction[:5] = 7
    mean_iou = MeanIoU(num_labels=150)
    mean_iou.add(prediction=prediction, reference=reference)
    scores = mean_iou.compute()
    areas = metric.histogram_areas(prediction, reference)
    for name, area in zip(("intersect", "pred", "label"), areas, strict=True):
        assert scores[f"area_{name}"].tolist() == area.tolist()


@pytest.mark.parametrize("command", ["data", "metric"])
def test_comparisons_leave_a_table_and_a_row(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training_data, "NUM_EXAMPLES", 2)
    file = tmp_path / "figures.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert benchmark.main([command, "--repeats", "2", "--output", str(file)]) == 0
    output = capsys.readouterr().out
    assert "Inside the timing:" in output
    assert "times as fast" in output
    with file.open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["benchmark"] == command
    assert row["repeats"] == "2"
    assert float(row["ratio"]) > 0
    for key in ("images_per_second", "reference_images_per_second"):
        assert f"{float(row[key]):.1f}" in output


def test_models_leave_a_table_and_rows(model_folder, tmp_path, capsys):
    file = tmp_path / "figures.json"
    options = ["--batch-size", "2", "--repeats", "2", "--warmup", "1", "--device", "cpu", "--output", str(file)]
    assert benchmark.main(["models", str(model_folder), *options]) == 0
    output = capsys.readouterr().out
    assert str(model_folder) in output
    # The windows of the configuration.
    assert "2 x 3 x 32 x 32 float32 pixel values on cpu" in output
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["model"] == str(model_folder)
    assert (row["batch_size"], row["height"], row["width"], row["dtype"]) == (2, 32, 32, "float32")
    assert row["parameters"] == SetrForSemanticSegmentation.from_pretrained(model_folder).num_parameters()
    assert row["latency_ms"] > 0


def test_an_image_larger_than_the_window_goes_through_at_once(model_folder):
    model = named_models.build_model(str(model_folder), (64, 48)).eval()
    sizes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape)))
    model(torch.zeros(1, 3, 64, 48))
    assert sizes == [(1, 3, 64, 48)]


# 1e9 multiply-adds at the side of the training crop, as SegFormer's paper and mmsegmentation's model zoo publish them.
@pytest.mark.parametrize(
    ("name", "side", "gflops"),
    [
        ("segformer-b0", 512, 8.4),
        ("segformer-b1", 512, 15.9),
        ("segformer-b2", 512, 62.4),
        ("segformer-b3", 512, 79.0),
        ("segformer-b4", 512, 95.7),
        ("segformer-b5", 640, 183.3),
        ("upernet-swin-tiny", 512, 236),
    ],
)
def test_peers_have_the_published_cost(name, side, gflops):
    with torch.device("meta"):
        model = named_models.build_model(name, (side, side)).eval()
        counted = count_multiply_adds(model, torch.empty(1, 3, side, side))
    assert counted / 1e9 == pytest.approx(gflops, rel=0.01)


# Millions, of the checkpoints for ADE20K that the Hub has.
@pytest.mark.parametrize(("size", "parameters"), [("tiny", 47.4), ("small", 68.8), ("base", 106.9), ("large", 215.5)])
def test_mask2formers_have_the_published_size(size, parameters):
    with torch.device("meta"):
        model = named_models.build_model(f"mask2former-swin-{size}", (512, 512))
    assert model.num_parameters() / 1e6 == pytest.approx(parameters, abs=0.05)


def test_models_whose_course_depends_on_numbers_can_be_counted():
    model = named_models.build_model("mask2former-swin-tiny", (64, 64)).eval()
    small, large = (count_multiply_adds(model, torch.zeros(1, 3, side, side)) for side in (64, 128))
    # Four times the pixels; what the queries do among themselves stays as it is.
    assert 2 * small < large < 4 * small


def test_eomt_has_no_masks_in_its_attention():
    model = named_models.build_model("eomt-small", (64, 64)).eval()
    attention_masks = []
    model.layers[-1].register_forward_pre_hook(lambda module, arguments: attention_masks.append(arguments[1:]))
    with torch.no_grad():
        output = model(torch.zeros(1, 3, 64, 64))
    assert attention_masks == [(None,)]
    assert output.class_queries_logits.shape == (1, 100, 151)
    with pytest.raises(ValueError, match="EoMT takes square images; --input-size is 64 x 32"):
        named_models.build_model("eomt-small", (64, 32))


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_larger_peers_run(size):
    named_models.check_name(f"upernet-swin-{size}")
    with torch.device("meta"):
        model = named_models.build_model(f"upernet-swin-{size}", (64, 64)).eval()
        assert model(torch.empty(1, 3, 64, 64)).logits.shape == (1, 150, 64, 64)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:resnet18"])
def test_encoders_of_timm_take_the_input_size(name):
    named_models.check_name(name)
    with torch.device("meta"):
        features = named_models.build_model(name, (96, 64))(torch.empty(1, 3, 96, 64))
    assert features.ndim in (3, 4)


@pytest.mark.parametrize("size", encoder.SIZES)
def test_both_encoders_do_the_same_work(size):
    with torch.device("meta"):
        models = [build(size, 64).eval() for build in (encoder.build_ours, encoder.build_timms)]
        images = torch.empty(1, 3, 64, 64)
        assert models[0](images).feature_maps[0].shape == (1, encoder.SIZES[size][0], 4, 4)
        assert models[1](images).shape == (1, 17, encoder.SIZES[size][0])
        ours, timms = (count_multiply_adds(model, images) for model in models)
    assert ours == timms
    ours, timms = (sum(parameter.numel() for parameter in model.parameters()) for model in models)
    assert ours == timms


def test_encoders_leave_a_table_and_a_row(tmp_path, capsys, here_and_now):
    file = tmp_path / "figures.json"
    options = ["--side", "32", "--repeats", "2", "--device", "cpu", "--output", str(file)]
    assert benchmark.main(["encoder", "--sizes", "tiny", *options]) == 0
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["size"] == "tiny"
    assert min(row[f"milliseconds_{name}"] for name in ("vitseg", "timm")) > 0
    assert row["ratio"] > 0
    assert "timm's time / vitseg's" in capsys.readouterr().out


@pytest.fixture
def here_and_now(monkeypatch):
    """Functions run in this process."""
    for module in (
        encoder,
        label_maps,
        models,
        precision,
        sctnet_speed,
        startup,
        token_sharing,
        training_step,
        windows,
    ):
        monkeypatch.setattr(module, "in_own_process", lambda function, *arguments: function(*arguments))


class SmallMachine:
    """Measures models, with memory for `capacity` images."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.batch_sizes: list[int] = []

    def __call__(self, function, name, settings):
        self.batch_sizes.append(settings.batch_size)
        if settings.batch_size > self.capacity:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return {"batch_size": settings.batch_size}


def test_batches_are_halved_until_they_fit(monkeypatch, capsys):
    machine = SmallMachine(capacity=2)
    monkeypatch.setattr(models, "in_own_process", machine)
    row = models.measure_in_own_process("segformer-b0", ModelSettings(batch_size=9))
    assert row == {"batch_size": 2}
    assert machine.batch_sizes == [9, 4, 2]
    assert capsys.readouterr().err.splitlines() == [
        "segformer-b0: out of memory; trying again with a batch size of 4.",
        "segformer-b0: out of memory; trying again with a batch size of 2.",
    ]


def test_a_model_that_does_not_fit_at_all_is_named(monkeypatch):
    monkeypatch.setattr(models, "in_own_process", SmallMachine(capacity=0))
    with pytest.raises(ValueError, match="segformer-b0 does not fit into memory, even with one image at a time"):
        models.measure_in_own_process("segformer-b0", ModelSettings(batch_size=2))


def test_unknown_names_are_refused_before_anything_is_measured(model_folder, tmp_path, capsys):
    output = tmp_path / "figures.csv"
    assert benchmark.main(["models", str(model_folder), "--peer", "segformer-b9", "--output", str(output)]) == 2
    assert "'segformer-b9'. Did you mean 'segformer-b" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [["data", "--repeats", "0"], ["metric", "--output", "table.txt"], ["models"], ["models", "x", "--dtype", "int8"]],
    ids=" ".join,
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(arguments)
    assert stop.value.code == 2


def test_speed_of_an_sctnet_in_every_form(tmp_path, capsys, here_and_now):
    config = SctNetConfig(base_channels=8, context_channels=8, image_size=[64, 96], num_labels=3)
    SctNetForSemanticSegmentation(config).save_pretrained(tmp_path / "model")
    options = ["--device", "cpu", "--seconds", "0.05", "--variants", "unfused", "fused", "--peer", "segformer-b0"]
    file = tmp_path / "figures.json"
    assert benchmark.main(["speed", str(tmp_path / "model"), *options, "--output", str(file)]) == 0
    output = capsys.readouterr().out
    assert "64 x 96" in output
    assert "from 1 x 3 x height x width random pixel values on cpu to scores of the same height and width" in output
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert all(row[variant] > 0 for variant in ("unfused", "fused", "segformer-b0"))
    assert (row["height"], row["width"], row["published"]) == (64, 96, None)


@pytest.mark.parametrize("variant", ["unfused", "fused", "segformer-b0"])
def test_every_form_gives_scores_of_the_images_size(variant):
    config = SctNetConfig(base_channels=8, context_channels=8, num_labels=150)
    model = SctNetForSemanticSegmentation(config).eval()
    with torch.no_grad():
        logits = sctnet_speed.forward_pass(variant, model, torch.zeros(1, 3, 64, 96), torch.float32)()
    assert logits.shape == (1, 150, 64, 96)


def test_the_published_rows_are_measured_at_their_own_size(monkeypatch, capsys, here_and_now):
    measured = {}

    def measure(name, variants, device, dtype, seconds):
        config = named_models.load_config(name)
        measured[name] = config.image_size
        height, width = config.image_size
        published = RECIPES[name].published
        return {
            "model": name,
            "height": height,
            "width": width,
            **dict.fromkeys(variants, 1.0),
            "published": published.frames_per_second,
            "published_tensorrt": published.frames_per_second_tensorrt,
        }

    monkeypatch.setattr(sctnet_speed, "measure_speed", measure)
    assert benchmark.main(["speed", "--device", "cpu"]) == 0
    assert len(measured) == 8
    assert measured["sctnet-b-seg100-cityscapes-1024-160k"] == [1024, 2048]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| sctnet")]
    assert [cell.strip() for cell in lines[3].split("|")[-3:-1]] == ["160.3", "451.2"]


def test_only_sctnet_has_a_speed_protocol(capsys):
    assert benchmark.main(["speed", "setr-pup-vit-l-ade20k-512-160k", "--device", "cpu"]) == 2
    assert "is not an SCTNet" in capsys.readouterr().err


def test_a_recipe_with_token_sharing_is_measured_beside_the_one_without(tmp_path, capsys, here_and_now):
    file = tmp_path / "figures.json"
    options = ["--device", "cpu", "--batch-size", "1", "--repeats", "1", "--output", str(file)]
    assert benchmark.main(["sharing", "cts-segmenter-mask-30-vit-t-ade20k-512", *options]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| cts-segmenter"))
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["published_ratio"] == pytest.approx(1.08, abs=0.005)
    assert row["ratio"] == pytest.approx(row["images_per_second_with"] / row["images_per_second_without"])
    assert f"{row['ratio']:.2f}" in line
    assert 0 < row["overhead"] < 1


def test_the_published_pairs_of_token_sharing_are_known():
    pairs = token_sharing.recipe_pairs()
    assert len(pairs) == 6
    assert pairs["cts-segmenter-mask-44-vit-s-cityscapes-768"] == "cts-segmenter-mask-0-vit-s-cityscapes-768"
    assert all(name in RECIPES for name in pairs.values())


def test_only_recipes_with_token_sharing_have_a_ratio(capsys):
    assert benchmark.main(["sharing", "segmenter-mask-vit-b-ade20k-512", "--device", "cpu"]) == 2
    assert "is not a recipe with token sharing" in capsys.readouterr().err


def first_cells(output: str) -> list[str]:
    """Those of the table's lines."""
    return [line.split("|")[1].strip() for line in output.splitlines() if line.startswith("|")][2:]


def test_masks_of_both_kinds_are_the_same():
    logits = torch.randn(7, 30, 20, generator=torch.Generator().manual_seed(0))
    expected = label_maps.whole_argmax(logits, (64, 47))
    agreement = (resized_argmax(logits, (64, 47)) == expected).float().mean()
    assert agreement > 0.999


def test_masks_are_timed_in_both_kinds(monkeypatch, tmp_path, capsys, here_and_now):
    monkeypatch.setattr(label_maps, "CASES", {"small": (3, (8, 8), (16, 16))})
    file = tmp_path / "figures.json"
    assert benchmark.main(["masks", "--device", "cpu", "--repeats", "2", "--output", str(file)]) == 0
    assert first_cells(capsys.readouterr().out) == ["small"]
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["ratio"] == pytest.approx(row["seconds_whole"] / row["seconds_bands"])


def test_windows_together_and_one_by_one(model_folder, capsys, monkeypatch, here_and_now):
    sizes = []
    segment = SetrForSemanticSegmentation.segment

    def watched(self, pixel_values, *arguments, **keywords):
        sizes.append(len(pixel_values))
        return segment(self, pixel_values, *arguments, **keywords)

    monkeypatch.setattr(SetrForSemanticSegmentation, "segment", watched)
    SetrImageProcessor(do_resize=False).save_pretrained(model_folder)
    options = ["--image-size", "64", "96", "--together", "4", "--repeats", "1", "--device", "cpu"]
    assert benchmark.main(["windows", str(model_folder), *options]) == 0
    # Six windows: once for the memory, once to warm up, once for the time.
    assert sizes == [1] * 6 * 3 + [4, 2] * 3
    assert "one image of 64 x 96, from its pixels" in capsys.readouterr().out
    sizes.clear()
    assert benchmark.main(["windows", str(model_folder), *options, "--multi-scale", "0.5", "1", "--flip"]) == 0
    # Half the size has two windows; both sizes are shown twice.
    assert sizes == [1] * (2 + 2 + 6 + 6) * 3 + [2, 2, 4, 2, 4, 2] * 3
    assert (
        "original size times 0.5, 1; windows of 32 x 32 at a stride of 32 x 32; with flip" in capsys.readouterr().out
    )
    assert benchmark.main(["windows", "segformer-b0", *options]) == 2
    assert "is not tested in windows" in capsys.readouterr().err


def test_growth_is_measured_and_drawn(model_folder, tmp_path, capsys, here_and_now):
    sides, plot, file = ["--sides", "32", "64", "--side", "32"], tmp_path / "growth.png", tmp_path / "rows.json"
    options = ["--batch-sizes", "1", "2", "--repeats", "1", "--device", "cpu", "--plot", str(plot)]
    assert benchmark.main(["growth", str(model_folder), *sides, *options, "--output", str(file)]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["batch_size"], row["height"]) for row in rows] == [(1, 32), (1, 64), (2, 32)]
    with Image.open(plot) as picture:
        assert len(set(picture.convert("L").get_flattened_data())) > 10


def test_loading_says_how_long_steps_wait(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loading, "NUM_EXAMPLES", 2)
    file = tmp_path / "figures.json"
    options = ["--milliseconds", "1", "--batch-size", "2", "--workers", "1", "--repeats", "2", "--output", str(file)]
    assert benchmark.main(["loading", *options]) == 0
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["workers"] == 1
    assert 0 < row["share_waiting"] < 1
    assert f"{row['share_waiting']:.1%}" in capsys.readouterr().out


def test_startup_of_a_folder(model_folder, tmp_path, here_and_now, monkeypatch):
    monkeypatch.setattr(startup, "import_seconds", lambda statement: 1.0)
    file = tmp_path / "figures.json"
    assert benchmark.main(["startup", str(model_folder), "--output", str(file)]) == 0
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    parameters = SetrForSemanticSegmentation.from_pretrained(model_folder).num_parameters()
    assert row["weights_mb"] == pytest.approx(4 * parameters / 1e6)


def test_training_steps_of_a_recipe(monkeypatch, tmp_path, here_and_now):
    name = "sctnet-s-ade20k-512-160k"
    recipe = load_recipe(name, {"training.crop_size": [64, 64], "model.base_channels": 8})
    config = SctNetConfig(**recipe.model, num_labels=4)
    monkeypatch.setattr(training_step, "get_recipe", lambda name: recipe)
    monkeypatch.setattr(named_models, "load_config", lambda name: config)
    file = tmp_path / "figures.json"
    options = ["--repeats", "1", "--device", "cpu", "--output", str(file)]
    assert benchmark.main(["training", name, *options]) == 0
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert all(row[form] > 0 for form in ("float32", "bfloat16", "channels-last"))


def test_precisions_agree_on_a_photo(model_folder, tmp_path, capsys, here_and_now):
    SetrImageProcessor(size={"height": 32, "width": 48}).save_pretrained(model_folder)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    file = tmp_path / "figures.json"
    options = ["--device", "cpu", "--repeats", "1", "--forms", "bfloat16", "onnx", "--output", str(file)]
    arguments = ["precision", "--model", str(model_folder), "--images", str(tmp_path / "photo.png")]
    assert benchmark.main([*arguments, *options]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [row["form"] for row in rows] == ["bfloat16", "onnx"]
    assert all(row["agreement"] > 0.9 for row in rows)
    assert first_cells(capsys.readouterr().out) == ["bfloat16", "onnx"]


def test_what_int8_needs_is_said(model_folder, tmp_path, capsys, monkeypatch, here_and_now):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    SetrImageProcessor(size={"height": 32, "width": 48}).save_pretrained(model_folder)
    Image.new("RGB", (60, 40)).save(tmp_path / "photo.png")
    arguments = ["precision", "--model", str(model_folder), "--images", str(tmp_path / "photo.png"), "--forms", "int8"]
    assert benchmark.main([*arguments, "--device", "cpu"]) == 2
    assert "pip install torchao" in capsys.readouterr().err


def test_everything_is_one_command(monkeypatch, tmp_path, capsys):
    ran = []

    def run(arguments):
        ran.append(arguments)
        return [{"benchmark": "x"}]

    for module in benchmark.COMMANDS:
        monkeypatch.setattr(module, "run", run)
    file = tmp_path / "figures.json"
    assert benchmark.main(["all", "--device", "cpu", "--output", str(file)]) == 0
    assert len(ran) == len(benchmark.everything("cpu"))
    assert len(json.loads(file.read_text(encoding="utf-8"))) == len(ran)
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__.split('+')[0]}" in printed.splitlines()[0]
    assert printed.count("## ") == len(ran)
    for command in benchmark.everything("cuda"):
        run(benchmark.parse_arguments(command))
    for arguments in ran:
        for name in (*getattr(arguments, "models", []), *getattr(arguments, "recipes", [])):
            named_models.check_name(name)
