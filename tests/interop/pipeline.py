# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Pipeline: label maps as they are read, and the images and label maps that training pipelines make of them.

The pipelines are those of shipped configurations, with their data_preprocessor; ours are the stream and the transform
of the recipes. Both take the same photograph and label map, and the same random decisions.
"""

import functools
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.registry import MODELS
from PIL import Image

from vitseg.data.augmentation import TrainingTransform
from vitseg.data.streaming import SegmentationStream
from vitseg.recipes import TrainingRecipe, get_recipe
from vitseg.recipes.labels import load_label_set

from .cases import Case, difference
from .draws import Draws
from .originals import CONFIGURATIONS
from .photographs import photograph_with_labels


COLUMNS = ("pixels", "labels")
SAMPLES = 40
TRAININGS = {
    "setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512": "setr-mmseg-pup-vit-l-ade20k-512-160k",
    "segmenter/segmenter_vit-l_mask_8xb1-160k_ade20k-512x512": "segmenter-mmseg-mask-vit-l-ade20k-640-160k",
    "setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768": "setr-mmseg-pup-vit-l-cityscapes-768-80k",
}


def cases() -> Iterator[Case]:
    for mode in ("L", "P"):
        for is_reduced in (False, True):
            name = f"LoadAnnotations, {'grey' if mode == 'L' else 'palette'}, reduce_zero_label={is_reduced}"
            yield Case(name, functools.partial(compare_label_maps, mode, is_reduced))
    for file, recipe in TRAININGS.items():
        name = f"{SAMPLES} samples of {Path(file).name}"
        yield Case(name, functools.partial(compare_training, CONFIGURATIONS / f"{file}.py", recipe))


class Stream(SegmentationStream):
    """The stream of a data set with the photograph and its label map alone."""

    def __init__(self, folder: Path, image: bytes, label: bytes, **settings: Any) -> None:
        self.row = {"image": {"bytes": image, "path": None}, "label": {"bytes": label, "path": None}, "file_name": ""}
        pq.write_table(pa.Table.from_pylist([self.row]), folder / "train-00000-of-00001.parquet")
        super().__init__(folder, **settings)

    def example(self, draws: Any) -> dict[str, torch.Tensor]:
        return self.make_example(self.row, draws)


def compare_label_maps(mode: str, is_reduced: bool) -> dict[str, float]:
    """Values of label maps in PNG files, all of which there are."""
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    label_map = Image.fromarray(values)
    if mode == "P":
        label_map.putpalette([channel for value in range(256) for channel in (value, 255 - value, 0)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        label_map.save(folder / "label.png")
        loader = Compose([{"type": "LoadAnnotations", "reduce_zero_label": is_reduced}])
        stored = {"seg_map_path": str(folder / "label.png"), "reduce_zero_label": is_reduced, "seg_fields": []}
        theirs = torch.from_numpy(loader(stored)["gt_seg_map"]).long()
        stream = Stream(
            folder,
            _encoded(label_map.convert("RGB")),
            (folder / "label.png").read_bytes(),
            num_labels=255 - is_reduced,
            do_reduce_labels=is_reduced,
        )
        return {"labels": difference(stream.example(None)["labels"], theirs)}


def compare_training(file: Path, name: str) -> dict[str, float]:
    """Samples as a model gets them in training."""
    config, recipe = Config.fromfile(file), get_recipe(name)
    assert isinstance(recipe.training, TrainingRecipe)
    pipeline, preprocessor = Compose(config.train_pipeline), MODELS.build(config.model.data_preprocessor)
    is_reduced = any(step.get("reduce_zero_label", False) for step in config.train_pipeline)
    worst = {"pixels": 0.0, "labels": 0.0}
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        for part, image in zip(("image", "label"), photograph_with_labels(), strict=True):
            image.save(folder / f"{part}.png")
        stream = Stream(
            folder,
            *((folder / f"{part}.png").read_bytes() for part in ("image", "label")),
            transform=TrainingTransform.from_recipe(recipe.training, recipe.build_image_processor()),
            num_labels=load_label_set(recipe.label_set).num_labels,
            do_reduce_labels=is_reduced,
        )
        for seed in range(SAMPLES):
            draws = Draws(seed)
            stored = {"img_path": str(folder / "image.png"), "seg_map_path": str(folder / "label.png")}
            with draws.recorded():
                packed = pipeline({**stored, "reduce_zero_label": is_reduced, "seg_fields": []})
            data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
            theirs = preprocessor(data, training=True)
            ours = stream.example(draws)
            if not draws.are_used_up:
                raise ValueError("mmsegmentation draws more than ours.")
            worst["pixels"] = max(worst["pixels"], difference(ours["pixel_values"], theirs["inputs"][0]))
            their_labels = theirs["data_samples"][0].gt_sem_seg.data[0].long()
            worst["labels"] = max(worst["labels"], difference(ours["labels"], their_labels))
    return worst


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
