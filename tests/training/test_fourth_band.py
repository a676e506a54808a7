# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes with a class that only a fourth band shows, from files to figures, as a person would go."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitseg import cli
from vitseg.scenes import SCENE_CLASSES, draw_scene


NUM_TRAIN, NUM_VALIDATION = 40, 8
NAMES = ["scene", "road", "fire"]
HEIGHT, WIDTH = 64, 96


def write_scenes(folder: Path) -> None:
    """
    Scenes as files of NumPy with a fourth band, 16-bit numbers of another scale than colours have. Discs are brighter
    there, and the colours show nothing of them.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(NUM_TRAIN + NUM_VALIDATION):
        picture, labels = draw_scene(number)
        colors = np.asarray(picture.resize((WIDTH, HEIGHT)), np.uint16)
        ids = np.asarray(labels.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)) == SCENE_CLASSES.index("road")
        discs = np.zeros((HEIGHT, WIDTH), bool)
        for _ in range(2):
            row, column, radius = rng.integers((12, 12, 10), (HEIGHT - 12, WIDTH - 12, 18))
            discs |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        heat = 3000 + 100 * rng.standard_normal((HEIGHT, WIDTH)) + 900 * discs
        split = "train" if number < NUM_TRAIN else "val"
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        np.save(folder / "images" / split / f"{number}.npy", np.dstack([colors, heat.astype(np.uint16)]))
        Image.fromarray(np.where(discs, 2, ids).astype(np.uint8)).save(folder / "masks" / split / f"{number}.png")


def run(*arguments: object) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("own_state")
def test_what_a_fourth_band_alone_shows_is_learned_with_it_and_not_without(tmp_path, tiny_recipe, capsys):
    write_scenes(tmp_path / "files")
    (tmp_path / "labels.json").write_text(json.dumps(NAMES))
    training = {"iterations": 140, "batch_size": 8, "learning_rate": 0.003, "crop_size": [64, 64], "scale": [96, 64]}
    encoder = {"hidden_size": 32, "num_hidden_layers": 3, "image_size": 64, "intermediate_size": 64}
    recipe = copy.deepcopy(tiny_recipe)
    recipe["training"] |= training
    recipe["model"]["backbone_config"] |= encoder | {"out_indices": [2, 3], "drop_path_rate": 0.0}
    recipe["image_processor"]["size"] = {"shortest_edge": 64, "longest_edge": 128}
    recipe["evaluation"] |= {"window_size": [64, 64], "window_stride": [48, 48], "scale": [128, 64]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    ious = {}
    for name, bands in (("with", ["all"]), ("without", [1, 2, 3])):
        data, model, measured = (tmp_path / f"{kind}-{name}" for kind in ("data", "run", "measured"))
        source = ["--source", tmp_path / "files", "--labels", tmp_path / "labels.json"]
        run("prepare", "folder", *source, "--bands", *bands, "--output", data, "--workers", 0)
        settings = ["--recipe", tmp_path / "recipe.json", "--init", "none", "--validation-split", "none"]
        run("train", *settings, "--dataset", data, "--output", model, "--workers", 0)
        run("validate", "--model", model / "model", "--dataset", data, "--output", measured)
        record = json.loads((measured / "results.json").read_text())
        ious[name] = {entry["name"]: entry["iou"] for entry in record["classes"]}
    assert ious["with"]["fire"] > 0.8
    assert ious["without"]["fire"] < 0.3
    assert min(ious["with"]["road"], ious["without"]["road"]) > 0.4
