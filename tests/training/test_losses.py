# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights of classes, smoothed labels, hard pixels alone and the Dice loss: their values, and runs with them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_sctnet
import torch
from citizenship import NUM_LABELS, images, label_maps
from PIL import Image
from tiny_setr import tiny_setr
from torch.nn import functional
from training_runs import assert_same_run, losses, options_of, rows, stop_after, train, weights
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg.data.class_counts import class_pixel_counts
from vitseg.data.dataset_labels import DatasetLabels
from vitseg.data.shards import write_shard
from vitseg.models.pixel_losses import pixel_cross_entropy
from vitseg.recipes import RECIPES, OhemRecipe
from vitseg.scenes import SCENE_CLASSES, write_scenes
from vitseg.training.distillation import Distillation
from vitseg.training.losses import PixelLoss, WithDiceLoss, balanced_class_weights, dice_losses, hard_pixels


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
WEIGHTS = (0.5, 2.0, 0.0, 1.0, 4.0)
AUXILIARY = [{"in_index": 0, "kernel_size": 1, "upsample_scales": [4]}]


def logits_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 5, 16, 12, generator=generator)
    labels = torch.randint(0, 5, (2, 16, 12), generator=generator)
    labels[0, :4] = 255
    return logits, labels


def of_probabilities(*of_first_class: float) -> torch.Tensor:
    """Logits of two classes and an image of one row."""
    first = torch.tensor(of_first_class, dtype=torch.float64)
    return torch.stack((first, 1 - first)).log()[None, :, None].float()


# Values.


def test_cross_entropy_is_pytorchs():
    logits, labels = logits_and_labels()
    expected = functional.cross_entropy(
        logits, labels, torch.tensor(WEIGHTS), ignore_index=255, reduction="sum", label_smoothing=0.1
    )
    loss = PixelLoss(class_weights=WEIGHTS, label_smoothing=0.1)
    # The divisor is the method's, here all pixels, and not the sum of the weights.
    torch.testing.assert_close(loss(logits, labels, 255), expected / labels.numel())
    torch.testing.assert_close(loss(logits, labels, 255, torch.tensor(1000)), expected / 1000)
    torch.testing.assert_close(PixelLoss()(logits, labels, 255), pixel_cross_entropy(logits, labels, 255))
    torch.testing.assert_close(
        PixelLoss(class_weights=[1.0] * 5)(logits, labels, 255), pixel_cross_entropy(logits, labels, 255)
    )


def test_weighted_loss_by_hand():
    # -(3 ln 0.5 + 0.5 ln 0.75) / 3, the third pixel being ignored.
    loss = PixelLoss(class_weights=[3.0, 0.5])(of_probabilities(0.5, 0.25, 0.9), torch.tensor([[[0, 1, 255]]]), 255)
    assert loss.item() == pytest.approx((3 * np.log(2) - 0.5 * np.log(0.75)) / 3)


def test_hard_pixels_are_those_below_the_threshold_and_a_few_of_each_image():
    logits = of_probabilities(0.1, 0.5, 0.65, 0.8, 0.9, 0.2)
    labels = torch.tensor([[[0, 0, 0, 0, 0, 255]]])

    def kept(threshold: float, min_kept: int = 0) -> list[int]:
        recipe = OhemRecipe(threshold=threshold, min_kept=min_kept)
        return hard_pixels(logits, labels, 255, recipe).flatten().nonzero().flatten().tolist()

    assert kept(0.7) == [0, 1, 2]
    assert kept(0.3) == [0]
    assert kept(0.3, min_kept=4) == [0, 1, 2, 3]
    assert kept(0.7, min_kept=2) == [0, 1, 2]
    assert kept(0.0) == []
    # All that have a label.
    assert kept(0.3, min_kept=5) == kept(0.3, min_kept=100) == [0, 1, 2, 3, 4]
    loss = PixelLoss(ohem=OhemRecipe(threshold=0.6))(logits, labels, 255)
    # As in mmsegmentation, the others count in the mean.
    assert loss.item() == pytest.approx(-(np.log(0.1) + np.log(0.5)) / 6, rel=1e-6)


def test_dice_by_hand():
    # Of three pixels with a label, one is of the second class; the third class is not there.
    logits = of_probabilities(0.8, 0.6, 0.3, 0.5)
    logits = torch.cat([logits, torch.full((1, 1, 1, 4), -torch.inf)], dim=1)
    labels = torch.tensor([[[0, 0, 1, 255]]])
    first = 1 - (2 * 1.4 + 1) / (1.7 + 2 + 1)
    second = 1 - (2 * 0.7 + 1) / (1.3 + 1 + 1)
    assert dice_losses(logits, labels, 255).tolist() == pytest.approx([(first + second) / 2])
    assert dice_losses(logits, torch.full_like(labels, 255), 255).tolist() == [0.0]
    # A right answer of which the model is sure costs nothing.
    sure = functional.one_hot(torch.tensor([[[0, 0, 1, 2]]]), 3).permute(0, 3, 1, 2) * 100.0
    assert dice_losses(sure, torch.tensor([[[0, 0, 1, 2]]]), 255).tolist() == [0.0]


def test_balanced_weights_by_hand():
    pixels = np.array([600, 300, 0, 100])
    assert balanced_class_weights(pixels) == pytest.approx([1000 / 1800, 1000 / 900, 1.0, 1000 / 300])
    # Each class weighs the same in all.
    assert balanced_class_weights(pixels)[0] * 600 == pytest.approx(balanced_class_weights(pixels)[3] * 100)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_are_those_of_full(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 400, 400, generator=generator).to(dtype)
    labels = torch.randint(0, 3, (1, 400, 400), generator=generator)
    loss = PixelLoss(class_weights=[1.0, 10.0, 100.0], label_smoothing=0.1, ohem=OhemRecipe(min_kept=1000))
    torch.testing.assert_close(loss(logits, labels, 255), loss(logits.float(), labels, 255))
    torch.testing.assert_close(dice_losses(logits, labels, 255), dice_losses(logits.float(), labels, 255))


# Models.


def test_a_model_whose_loss_is_another_is_saved_as_any_other(tmp_path):
    model = tiny_setr("abcde", auxiliary_heads=AUXILIARY).eval()
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    plain = model(pixel_values, labels=labels)
    model.loss_function = PixelLoss(class_weights=[2.0] * NUM_LABELS)
    doubled = model(pixel_values, labels=labels)
    assert doubled.loss_dict.keys() == plain.loss_dict.keys()
    # Auxiliary heads, too.
    for name, term in doubled.loss_dict.items():
        torch.testing.assert_close(term, 2 * plain.loss_dict[name])
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(pixel_values, labels=labels).loss, plain.loss)


def test_dice_is_a_term_beside_those_of_a_taught_sctnet():
    student = tiny_sctnet.small_model()
    student.loss_function = PixelLoss(class_weights=[3.0] * NUM_LABELS)
    trained = WithDiceLoss(Distillation(student), student, weight=0.5).train()
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    torch.manual_seed(0)
    outputs = trained(pixel_values, labels)
    logits = outputs.logits.detach()
    assert outputs.loss_dict.keys() == {"decode.loss_ce", "aux_0.loss_ce", "decode.loss_dice"}
    torch.testing.assert_close(outputs.loss_dict["decode.loss_dice"], 0.5 * dice_losses(logits, labels, 255).mean())
    torch.testing.assert_close(
        outputs.loss_dict["decode.loss_ce"].detach(), 3 * pixel_cross_entropy(logits, labels, 255)
    )
    torch.testing.assert_close(outputs.loss, sum(outputs.loss_dict.values()))


def test_a_step_reads_no_value_on_the_host():
    model = tiny_setr("abcde", auxiliary_heads=AUXILIARY).to("meta")
    model.loss_function = PixelLoss(class_weights=[1.0] * NUM_LABELS, ohem=OhemRecipe(min_kept=10))
    labels = torch.zeros(2, 64, 64, dtype=torch.int64, device="meta")
    trained = WithDiceLoss(model, model, weight=1.0)
    assert trained(torch.empty(2, 3, 64, 64, device="meta"), labels).loss.shape == ()


def test_a_compiled_step():
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    model = tiny_setr("abcde", auxiliary_heads=AUXILIARY).eval()
    model.config.inference_mode = "whole"
    model.loss_function = PixelLoss(
        class_weights=[1.0] * NUM_LABELS, label_smoothing=0.1, ohem=OhemRecipe(min_kept=10)
    )
    trained = WithDiceLoss(model, model, weight=1.0)
    expected = trained(pixel_values, labels)
    compiled = torch.compile(trained, fullgraph=True, backend="eager")(pixel_values, labels)
    assert compiled.loss_dict.keys() == expected.loss_dict.keys()
    torch.testing.assert_close(compiled.loss, expected.loss)


# Runs.


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set (`scenes`), and recipes (`plain.json` and `all.json`, which has all of the losses)."""
    folder = tmp_path_factory.mktemp("training")
    write_scenes(folder / "scenes", num_train=12, num_validation=1)
    training = {**tiny_recipe["training"], "iterations": 6}
    (folder / "plain.json").write_text(json.dumps({**tiny_recipe, "training": training}))
    training |= {"class_weights": "balanced", "label_smoothing": 0.1, "dice": 0.5}
    training |= {"ohem": {"threshold": 0.8, "min_kept": 50}}
    (folder / "all.json").write_text(json.dumps({**tiny_recipe, "training": training}))
    return folder


def run(folder: Path, recipe: str, output: Path, *options: str) -> int:
    return train(*options_of(folder, recipe, output), "--validate-every=6", *options)


def test_a_run_with_all_goes_on_exactly_and_leaves_an_ordinary_model(folder, tmp_path, monkeypatch, capsys):
    assert run(folder, "all", tmp_path / "uninterrupted") == 0
    pixels = class_pixel_counts(folder / "scenes", num_labels=len(SCENE_CLASSES)).sum(axis=0)
    road = SCENE_CLASSES.index("road")
    weight = pixels.sum() / ((pixels > 0).sum() * pixels[road])
    assert f" road {weight:.3g}" in capsys.readouterr().out.partition("Weights of classes: ")[2]
    terms = {"decode.loss_seg", "aux_0.loss_seg", "decode.loss_dice"}
    assert terms < rows(tmp_path / "uninterrupted")[1].keys()

    with monkeypatch.context() as patch:
        stop_after(3, patch)
        run(folder, "all", tmp_path / "stopped")
    assert len(losses(tmp_path / "stopped")) == 3
    assert run(folder, "all", tmp_path / "stopped", "--resume=latest") == 0
    assert_same_run(tmp_path / "stopped", tmp_path / "uninterrupted")

    assert run(folder, "plain", tmp_path / "plain") == 0
    assert weights(tmp_path / "plain").keys() == weights(tmp_path / "stopped").keys()
    configurations = [(tmp_path / name / "model" / "config.json").read_text() for name in ("plain", "stopped")]
    assert configurations[0] == configurations[1]


@pytest.fixture(scope="module")
def dots(tmp_path_factory, tiny_recipe) -> Path:
    """As `folder`, of noise: a twentieth of the pixels, any of them, are dots, and nothing tells which."""
    folder, rng = tmp_path_factory.mktemp("dots"), np.random.default_rng(0)
    (folder / "scenes" / "data").mkdir(parents=True)
    for split, count in (("train", 16), ("validation", 2)):
        examples = []
        for number in range(count):
            encoded = []
            for array in (rng.integers(0, 256, (32, 32, 3)), rng.random((32, 32)) < 0.05):
                file = io.BytesIO()
                Image.fromarray(array.astype(np.uint8)).save(file, "PNG")
                encoded.append({"bytes": file.getvalue(), "path": f"{number}.png"})
            examples.append({"image": encoded[0], "label": encoded[1], "file_name": f"{number}"})
        write_shard(examples, folder / "scenes" / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "scenes" / "labels.json").write_text(DatasetLabels(names=("ground", "dot")).to_json())
    training = {**tiny_recipe["training"], "iterations": 30, "learning_rate": 0.01, "warmup_iterations": 0}
    (folder / "dots.json").write_text(json.dumps({**tiny_recipe, "training": training}))
    return folder


@pytest.mark.parametrize(
    ("options", "least_share", "greatest_share"),
    [([], 0.0, 0.02), (["--set", "training.class_weights=[0.1, 10]"], 0.98, 1.0)],
    ids=["as they are", "weighted"],
)
def test_the_class_that_weighs_more_wins(dots, tmp_path, options, least_share, greatest_share):
    assert run(dots, "dots", tmp_path / "run", *options, "--validation-split=none") == 0
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run" / "model").eval()
    image_processor = AutoImageProcessor.from_pretrained(tmp_path / "run" / "model")
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    with torch.no_grad():
        logits = model(**image_processor(noise, return_tensors="pt")).logits
    assert least_share <= (logits.argmax(dim=1) == 1).float().mean() <= greatest_share


def test_balanced_weights_leave_the_classes_even(dots, tmp_path, capsys):
    """Where nothing tells the classes apart, each gets half of the probability, and not a twentieth."""
    options = ["--set", "training.class_weights=balanced", "--validation-split=none"]
    assert run(dots, "dots", tmp_path / "run", *options) == 0
    assert "Weights of classes: ground 0.526, dot 9" in capsys.readouterr().out
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run" / "model").eval()
    with torch.no_grad():
        probabilities = model(torch.zeros(1, 3, 32, 32)).logits.softmax(dim=1)
    assert probabilities[:, 1].mean().item() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("class_weights=[1, 2]", "training.class_weights has 2 numbers, but there are 12 classes: sky, mountain, "),
        ("class_weights=balancd", "class_weights is 'balancd'; expected a number for each class, or 'balanced'."),
        (
            "class_weights=[1, -2]",
            "class_weights is [1, -2]; expected positive numbers, or 0 for what",
        ),
        ("class_weights=[0, 0]", "class_weights is [0, 0]; expected positive numbers"),
        ("class_weights=2", "class_weights is 2; expected a list."),
        ("label_smoothing=1.5", "label_smoothing is 1.5; expected a share from 0 to 1."),
        ("dice=-1", "dice is -1; expected the weight of a loss, 0 or more."),
        ("ohem.threshold=7", "threshold is 7; expected a share from 0 to 1."),
        ("ohem.min_kept=-1", "min_kept is -1; expected a number of pixels, 0 or more."),
        ("ohem.kept=1", "There is no key of ohem 'kept'."),
    ],
)
def test_what_is_no_loss_is_refused(folder, tmp_path, capsys, setting, message):
    assert run(folder, "plain", tmp_path / "refused", "--set", f"training.{setting}") == 1
    assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


def test_no_published_recipe_has_them():
    trainings = [recipe.training for recipe in RECIPES.values() if recipe.task == "segmentation"]
    assert trainings
    assert not any(training.changed_losses for training in trainings)


def test_segvit_has_no_loss_of_pixels(folder, tiny_recipe, tmp_path, capsys):
    training = {**tiny_recipe["training"], "dice": 1.0, "label_smoothing": 0.1}
    backbone_config = tiny_recipe["model"]["backbone_config"]
    settings = {"decoder_hidden_size": 16, "decoder_num_layers": 1, "decoder_num_attention_heads": 2}
    recipe = {**tiny_recipe, "method": "segvit", "training": training}
    recipe["model"] = {**settings, "decoder_type": "single_atm", "backbone_config": backbone_config}
    (folder / "segvit.json").write_text(json.dumps(recipe))
    assert run(folder, "segvit", tmp_path / "refused") == 1
    error = capsys.readouterr().err
    assert "so training.label_smoothing, training.dice cannot be had. Weigh its own terms instead" in error
    assert not (tmp_path / "refused").exists()
