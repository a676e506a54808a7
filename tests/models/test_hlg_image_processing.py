# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG's image processor: sizes, pixels and labels of its three tasks, and detections."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import AutoImageProcessor

from vitseg import HlgConfig, HlgImageProcessor
from vitseg.models.image_processing_hlg import read_objects, relative_boxes
from vitseg.models.modeling_hlg_detection import HlgObjectDetectionOutput
from vitseg.recipes import get_recipe


MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.RandomState(seed).randint(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))[:height, :width]


def kinds_of(image: np.ndarray) -> list:
    return [image, Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1)]


# The rule of torchvision's Resize: the long side is truncated.
@pytest.mark.parametrize("size", [(300, 400), (401, 300), (256, 256), (100, 333)])
@pytest.mark.parametrize("kind", range(3))
def test_classification_as_torchvision_does_it_to_pillow_images(size, kind):
    processor = get_recipe("hlg-small-imagenet1k-224-300e").build_image_processor()
    image = picture(*size)
    pixels = processor(kinds_of(image)[kind], return_tensors="pt")["pixel_values"][0] * STD + MEAN
    original = v2.Compose([v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    expected = torch.from_numpy(np.array(original(Image.fromarray(image)))).permute(2, 0, 1).float()
    assert pixels.shape == (3, 224, 224)
    # Pillow's arithmetic and torchvision's round differently.
    assert (pixels - expected).abs().max() < 2.5
    assert (pixels - expected).abs().mean() < 0.2


@pytest.mark.parametrize(
    ("size", "resized"), [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((200, 1000), (267, 1333))]
)
@pytest.mark.parametrize("kind", range(3))
def test_detection_sizes_masks_and_padding(size, resized, kind):
    processor = get_recipe("hlg-retinanet-small-coco-800-12e").build_image_processor()
    inputs = processor(kinds_of(picture(*size))[kind], return_tensors="pt")
    padded = [-(-side // 32) * 32 for side in resized]
    assert inputs["pixel_values"].shape == (1, 3, *padded)
    assert inputs["pixel_mask"].shape == (1, *padded)
    expected = torch.zeros(padded, dtype=torch.int64)
    expected[: resized[0], : resized[1]] = 1
    assert torch.equal(inputs["pixel_mask"][0], expected)
    # Padded with zeros, after normalising.
    assert not (inputs["pixel_values"][0] * (1 - expected)).any()


def test_images_of_different_sizes_make_a_batch():
    processor = HlgImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 128}, do_pad=True, size_divisor=32, return_pixel_mask=True
    )
    batch = [picture(60, 80), picture(90, 60)]
    inputs = processor(batch, return_tensors="pt")
    assert inputs["pixel_values"].shape == (2, 3, 96, 96)
    assert inputs["pixel_mask"].sum(dim=(1, 2)).tolist() == [64 * 85, 96 * 64]
    alone = processor(batch[0], return_tensors="pt", do_pad=False)
    assert "pixel_mask" not in alone
    assert torch.equal(inputs["pixel_values"][0, :, :64, :85], alone["pixel_values"][0])
    with pytest.raises(ValueError, match="different sizes"):
        processor(batch, return_tensors="pt", do_pad=False)


def test_label_maps_are_padded_and_cropped_too():
    processor = HlgImageProcessor(
        size={"height": 40, "width": 50}, do_pad=True, size_divisor=32, do_reduce_labels=True
    )
    label_map = np.arange(2000, dtype=np.uint8).reshape(40, 50) % 5
    inputs = processor(picture(40, 50), label_map, return_tensors="pt")
    assert inputs["labels"].shape == (1, 64, 64)
    assert torch.equal(
        inputs["labels"][0, :40, :50], torch.from_numpy(np.where(label_map == 0, 255, label_map - 1)).long()
    )
    assert (inputs["labels"][0, 40:] == 255).all()
    cropped = processor(
        picture(40, 50), label_map, return_tensors="pt", do_pad=False, do_center_crop=True,
        crop_size={"height": 20, "width": 30},
    )  # fmt: skip
    assert cropped["pixel_values"].shape == (1, 3, 20, 30)
    assert torch.equal(cropped["labels"][0], inputs["labels"][0, 10:30, 10:40])


def test_annotations_become_labels():
    processor = get_recipe("hlg-retinanet-small-coco-800-12e").build_image_processor()
    annotations = {
        "image_id": 17,
        "annotations": [
            {"bbox": [10, 20, 40, 20], "category_id": 3, "area": 800, "iscrowd": 0},
            {"bbox": [0, 0, 50, 50], "category_id": 1, "area": 2500, "iscrowd": 1},
        ],
    }
    (labels,) = processor(picture(100, 200), annotations=annotations, return_tensors="pt")["labels"]
    assert labels["class_labels"].tolist() == [3]
    torch.testing.assert_close(labels["boxes"], torch.tensor([[0.15, 0.3, 0.2, 0.2]]))
    assert (labels["orig_size"].tolist(), labels["image_id"].item()) == ([100, 200], 17)
    with pytest.raises(ValueError, match="annotations of 1 images for 2 images"):
        processor([picture(100, 200)] * 2, annotations=annotations, return_tensors="pt")


@pytest.mark.parametrize(
    ("annotation", "kept"),
    [
        ({"bbox": [10, 10, 5, 5]}, True),
        ({"bbox": [-3, -3, 5, 5]}, True),
        ({"bbox": [100, 10, 5, 5]}, False),
        ({"bbox": [10, -6, 5, 5]}, False),
        ({"bbox": [10, 10, 0.9, 5]}, False),
        ({"bbox": [10, 10, 5, 5], "area": 0}, False),
        ({"bbox": [10, 10, 5, 5], "iscrowd": 1}, False),
    ],
)
def test_which_objects_count(annotation, kept):
    boxes, classes = read_objects([{**annotation, "category_id": 2}], (50, 100))
    x, y, width, height = annotation["bbox"]
    assert boxes.tolist() == ([[x, y, x + width, y + height]] if kept else [])
    assert classes.tolist() == ([2] if kept else [])


def detector_outputs(boxes: list, scores: list, levels: list, size: tuple[int, int]) -> HlgObjectDetectionOutput:
    """One image; `scores` are of each class."""
    return HlgObjectDetectionOutput(
        logits=torch.tensor(scores)[None].logit(),
        pred_boxes=relative_boxes(torch.tensor(boxes), size)[None],
        levels=torch.tensor(levels, dtype=torch.uint8)[None],
    )


BOXES = [[0.0, 0, 40, 40], [0, 0, 40, 38], [50, 50, 90, 90], [2, 2, 40, 40], [0, 0, 10, 10]]
SCORES = [[0.9, 0.2], [0.8, 0.85], [0.04, 0.3], [0.7, 0.01], [0.05, 0.01]]


def found(processor: HlgImageProcessor, **kwargs) -> list[tuple[float, int]]:
    outputs = detector_outputs(BOXES, SCORES, [0, 0, 0, 1, 1], (100, 100))
    (detections,) = processor.post_process_object_detection(outputs, target_sizes=[(100, 100)], **kwargs)
    return [
        (round(score, 3), label)
        for score, label in zip(detections["scores"].tolist(), detections["labels"].tolist(), strict=True)
    ]


def test_detections():
    processor = HlgImageProcessor()
    # Of each class, those that overlap a better one by more than a half are left out; a score of 0.05 is not enough.
    assert found(processor) == [(0.9, 0), (0.85, 1), (0.3, 1)]
    assert found(processor, threshold=0.5) == [(0.9, 0), (0.85, 1)]
    processor.max_detections = 1
    assert found(processor) == [(0.9, 0)]
    processor.max_detections, processor.nms_threshold = 100, 1.0
    assert found(processor) == [(0.9, 0), (0.85, 1), (0.8, 0), (0.7, 0), (0.3, 1), (0.2, 1)]
    # The best two of each level.
    processor.num_candidates = 2
    assert found(processor) == [(0.9, 0), (0.85, 1), (0.7, 0)]


def test_boxes_in_pixels_and_in_shares():
    processor = HlgImageProcessor()
    outputs = detector_outputs(BOXES[2:3], [[0.9, 0.1]], [0], (100, 100))
    (in_pixels,) = processor.post_process_object_detection(outputs, 0.5, torch.tensor([[200, 400]]))
    torch.testing.assert_close(in_pixels["boxes"], torch.tensor([[200.0, 100, 360, 180]]))
    (in_shares,) = processor.post_process_object_detection(outputs, 0.5)
    torch.testing.assert_close(in_shares["boxes"], torch.tensor([[0.5, 0.5, 0.9, 0.9]]))
    with pytest.raises(ValueError, match="Got 2 target_sizes for 1 images"):
        processor.post_process_object_detection(outputs, target_sizes=[(1, 1), (1, 1)])
    (none,) = processor.post_process_object_detection(outputs, 0.95)
    assert none["boxes"].shape == (0, 4)


def test_is_found_by_the_model_and_keeps_its_settings(tmp_path):
    HlgConfig().save_pretrained(tmp_path)
    processor = HlgImageProcessor(
        size={"shortest_edge": 64}, resample=3, do_center_crop=True, crop_size={"height": 32, "width": 32},
        score_threshold=0.3, num_candidates=7,
    )  # fmt: skip
    processor.save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is HlgImageProcessor
    assert loaded.to_dict() == processor.to_dict()
    assert (loaded.score_threshold, loaded.num_candidates, loaded.resample) == (0.3, 7, 3)


def test_boxes_of_a_file_are_in_the_picture_as_it_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "photo.jpg", exif=exif)
    annotations = {"annotations": [{"bbox": [0, 0, 10, 20], "category_id": 1}]}
    processor = HlgImageProcessor(do_resize=False)
    inputs = processor(str(tmp_path / "photo.jpg"), annotations=annotations, return_tensors="pt")
    assert inputs["pixel_values"].shape[-2:] == (40, 20)
    assert inputs["labels"][0]["orig_size"].tolist() == [40, 20]
    torch.testing.assert_close(inputs["labels"][0]["boxes"], torch.tensor([[0.25, 0.25, 0.5, 0.5]]))


@pytest.mark.parametrize("side", [9, 12])
def test_what_a_crop_adds_to_a_label_map_is_ignored(side):
    processor = HlgImageProcessor(do_resize=False, do_center_crop=True, crop_size={"height": side, "width": side})
    image, label_map = np.zeros((8, 10, 3), np.uint8), np.full((8, 10), 3, np.uint8)
    inputs = processor(image, label_map, return_tensors="pt")
    assert inputs["labels"].shape == (1, side, side)
    assert inputs["labels"].unique().tolist() == [3, 255]
    assert (inputs["labels"] == 3).sum() == 8 * min(side, 10)
    # The image is padded where the label map is.
    padded = inputs["pixel_values"][0].abs().sum(dim=0) == 0
    assert torch.equal(padded, inputs["labels"][0] == 255)
