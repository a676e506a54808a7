# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the recipes' image processors make of images: the sizes that the originals test at."""

import numpy as np
import pytest

import vitseg
from vitseg.methods import METHODS
from vitseg.recipes import RECIPES, get_recipe
from vitseg.recipes.protocol import Protocol


# Height and width of an image, as loaded and as it is fed in at a single scale.
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("setr-pup-vit-l-ade20k-512-160k", (300, 400), (512, 683)),
        ("setr-pup-vit-l-ade20k-512-160k", (100, 500), (410, 2048)),
        ("setr-pup-vit-l-cityscapes-768-80k", (512, 1024), (1025, 2049)),
        ("setr-pup-vit-l-pascal-context-480-80k", (375, 500), (520, 693)),
        ("setr-mmseg-pup-vit-l-ade20k-512-160k", (400, 300), (683, 512)),
        ("segvit-atm-vit-l-ade20k-640-160k", (512, 683), (640, 854)),
        ("segvit-shrunk-vit-l-ade20k-640-160k", (375, 500), (640, 853)),
        ("segvit-atm-vit-l-coco-stuff-10k-512-80k", (427, 640), (512, 767)),
        ("segvit-atm-vit-l-pascal-context-59-480-80k", (375, 500), (520, 693)),
        ("structtoken-cse-vit-t-ade20k-512-160k", (375, 500), (512, 683)),
        ("structtoken-cse-vit-t-ade20k-512-160k", (300, 2000), (307, 2048)),
        ("sctnet-b-coco-stuff-10k-640-160k", (480, 640), (640, 853)),
        ("sctnet-s-seg50-cityscapes-512x1024-160k", (1024, 2048), (512, 1024)),
        ("sctnet-b-seg75-cityscapes-512x1024-160k", (1024, 2048), (768, 1536)),
        ("sctnet-b-seg100-cityscapes-1024-160k", (1024, 2048), (1024, 2048)),
        ("segmenter-mask-vit-l-pascal-context-480", (375, 500), (520, 693)),
        ("hlg-tiny-imagenet1k-224-300e", (300, 400), (224, 224)),
        ("hlg-setr-small-cityscapes-768-40k", (1024, 2048), (1025, 2049)),
        ("hlg-retinanet-small-coco-800-12e", (480, 640), (800, 1088)),
        ("hlg-retinanet-small-coco-800-12e", (300, 1000), (416, 1344)),
    ],
)
def test_sizes(name, size, expected):
    recipe = get_recipe(name)
    processor = recipe.build_image_processor()
    inputs = processor(np.zeros((*size, 3), dtype=np.uint8), return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *expected)
    assert ("pixel_mask" in inputs) == (recipe.task == "detection")
    if recipe.task == "segmentation":
        protocol = Protocol.of_recipe(recipe)
        assert protocol == Protocol.of_model(recipe.build_config(), processor)
        assert [(view.height, view.width, view.flip) for view in protocol.views(*size)] == [(*expected, False)]


@pytest.mark.parametrize("method", dict.fromkeys(recipe.method for recipe in RECIPES.values()))
def test_pixels_and_labels(method):
    recipe = next(
        recipe for recipe in RECIPES.values() if recipe.method == method and recipe.label_set.endswith("ade20k")
    )
    processor = recipe.build_image_processor()
    assert type(processor) is getattr(vitseg, str(METHODS[method].processor_class))
    image, label_map = np.full((32, 40, 3), 255, dtype=np.uint8), np.zeros((32, 40), dtype=np.uint8)
    label_map[0] = 7
    inputs = processor(image, label_map, do_resize=False, return_tensors="pt")
    white = [(1 - mean) / std for mean, std in zip(processor.image_mean, processor.image_std, strict=True)]
    assert inputs["pixel_values"][0, :, 0, 0].tolist() == pytest.approx(white, rel=1e-5)
    assert inputs["labels"].unique().tolist() == [6, 255]
