# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of HLG: classifiers on ImageNet-1K, segmentation on Cityscapes and ADE20K, detection on COCO.

Sources: the README and configurations of https://github.com/fudan-zvg/SETR at commit 1361561. Weights are linked for
the classifiers alone. Where the configurations contradict each other or the published sizes, a note says so.
"""

from dataclasses import dataclass
from typing import Any

from .datasets import ADE20K, CITYSCAPES, Benchmark
from .schema import (
    ClassificationTraining,
    DetectionTraining,
    PretrainedWeights,
    PublishedRecipe,
    PublishedResult,
    PublishedScore,
    Weights,
)


REPOSITORY = "https://github.com/fudan-zvg/SETR"
DRIVE = "https://drive.google.com/file/d/{}/view"
NO_WEIGHTS = Weights(status="none", host="the README links no weights for this row", url=None, licence="MIT")

# Images of ImageNet-1K, and of COCO with an object of its 80 classes, filled up to batches of 16 of one orientation.
IMAGENET_IMAGES = 1_281_167
COCO_STEPS_PER_EPOCH = 7330


@dataclass(frozen=True)
class Encoder:
    """An encoder of HLG; `deep` are its blocks in the third stage, `drive_id` the link of its classifier's weights."""

    name: str
    width: int
    deep: int
    drive_id: str
    top1: float

    def config(self, deep: int | None = None, drop_path_rate: float = 0.1) -> dict[str, Any]:
        widths = [self.width * 2**stage for stage in range(4)]
        return {
            "hidden_sizes": widths,
            "depths": [2, 2, deep or self.deep, 2],
            "num_attention_heads": [width // 32 for width in widths],
            "drop_path_rate": drop_path_rate,
        }

    @property
    def classifier(self) -> str:
        return f"hlg-{self.name}-imagenet1k-224-300e"


ENCODERS = {
    "tiny": Encoder("tiny", 64, 6, "1eViEOBV7-y1Uoft7DNa_rtCZcF0W_g7S", 81.1),
    "small": Encoder("small", 96, 6, "1B4qLFBHLozTG96ULWZuTJz5q3bsz8vNr", 82.3),
    "medium": Encoder("medium", 96, 14, "1nax3Ez3s_MPEVp-ZHmtqPClmARsluOoS", 83.6),
    # The classifier's configuration says 14, with which the model would have 70 million parameters instead of 84.
    "large": Encoder("large", 128, 18, "1IDN-oNEL58w702E_LntvUetChNSDSerH", 84.1),
}
CLASSIFIER_NOTES = {
    "tiny": "",
    "small": "",
    "medium": "published as 43 million parameters, which no reading of the configuration gives; the converter counts "
    "the blocks in the file",
    "large": "its configuration has 14 blocks in the third stage, its published size is that of 18; the converter "
    "counts the blocks in the file",
}


def _classifier(name: str) -> PublishedRecipe:
    encoder, batch_size = ENCODERS[name], 1024
    steps_per_epoch = IMAGENET_IMAGES // batch_size
    return PublishedRecipe(
        name=encoder.classifier,
        method="hlg",
        task="classification",
        model={
            **encoder.config(drop_path_rate=0.2),
            "global_bias": "prefix",
            "use_stage_norm": False,
            "layer_norm_eps": 1e-5,
        },
        image_processor={
            "size": {"shortest_edge": 256},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": 224, "width": 224},
        },
        label_set="imagenet1k",
        training=ClassificationTraining(
            optimizer="adamw",
            # The rate is 5e-4 for 512 images; that there were 8 GPUs of 128 images is an assumption.
            learning_rate=1e-3,
            weight_decay=0.05,
            min_learning_rate=1e-5,
            warmup_iterations=20 * steps_per_epoch,
            warmup_ratio=1e-3,
            iterations=300 * steps_per_epoch,
            batch_size=batch_size,
            crop_size=(224, 224),
            auto_augment="rand-m9-mstd0.5-inc1",
            random_erasing=0.25,
            mixup=0.8,
            cutmix=1.0,
            label_smoothing=0.1,
            ema_decay=0.99996,
            max_gradient_norm=5.0,
        ),
        published=PublishedScore(
            metric="top-1",
            value=encoder.top1,
            source=f"README of {REPOSITORY}, hlg-classification/configs/hlg/hlg_{name}_224.yaml",
        ),
        weights=Weights(
            status="published",
            host="Google Drive, by the authors' README",
            url=DRIVE.format(encoder.drive_id),
            licence="MIT",
            note=CLASSIFIER_NOTES[name],
        ),
    )


def _pretrained(name: str) -> PretrainedWeights:
    encoder = ENCODERS[name]
    return PretrainedWeights(recipe=encoder.classifier, url=DRIVE.format(encoder.drive_id))


def _segmenter(name: str, data: Benchmark, thousands: int, miou: float, drop_path_rate: float) -> PublishedRecipe:
    """A row of the README; `thousands` counts iterations."""
    original = f"setr_pup_hlg_{name}_{data.crop}x{data.crop}_{thousands}k_{data.label_set}_bs_16.py"
    return PublishedRecipe(
        name=f"hlg-setr-{name}-{data.label_set}-{data.crop}-{thousands}k",
        method="hlg",
        model=ENCODERS[name].config(drop_path_rate=drop_path_rate),
        image_processor=data.image_processor,
        label_set=data.label_set,
        training=data.adamw_training(
            learning_rate=6e-5,
            weight_decay=0.0,
            parameter_rules={"head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}},
            iterations=1000 * thousands,
            pretrained=_pretrained(name),
        ),
        evaluation=data.sliding_test(ratios=(1.0,), flip=False),
        published=PublishedResult(
            miou=miou, miou_multi_scale=None, source=f"README of {REPOSITORY}, configs/setr_hlg/{original}"
        ),
        weights=NO_WEIGHTS,
    )


def _detector(name: str, box_ap: float, deep: int, drop_path_rate: float) -> PublishedRecipe:
    original = f"hlg-detection/configs/retinanet_hlg/retinanet_hlg_{name}_fpn_mstrain_1x_coco.py"
    return PublishedRecipe(
        name=f"hlg-retinanet-{name}-coco-800-12e",
        method="hlg",
        task="detection",
        model=ENCODERS[name].config(deep, drop_path_rate),
        image_processor={
            "size": {"shortest_edge": 800, "longest_edge": 1333},
            "do_pad": True,
            "size_divisor": 32,
            "return_pixel_mask": True,
        },
        label_set="coco",
        training=DetectionTraining(
            optimizer="adamw",
            learning_rate=1e-4,
            weight_decay=1e-4,
            # The original spares what has "norm" in its name there, which other batch norms and those of the position
            # biases have not.
            parameter_rules={"layernorm": {"decay_mult": 0.0}, "mlp.batch_norm": {"decay_mult": 0.0}},
            warmup_iterations=500,
            warmup_ratio=1e-3,
            iterations=12 * COCO_STEPS_PER_EPOCH,
            decay_iterations=(8 * COCO_STEPS_PER_EPOCH, 11 * COCO_STEPS_PER_EPOCH),
            batch_size=16,
            short_sides=(640, 672, 704, 736, 768, 800),
            longest_side=1333,
            pretrained=_pretrained(name),
        ),
        published=PublishedScore(metric="box AP", value=box_ap, source=f"README of {REPOSITORY}, {original}"),
        weights=NO_WEIGHTS,
    )


RECIPES = (
    *map(_classifier, ENCODERS),
    # Encoder, data, iterations / 1000, mIoU, drop path.
    _segmenter("small", CITYSCAPES, 40, 81.8, 0.1),
    _segmenter("medium", CITYSCAPES, 40, 82.5, 0.3),
    _segmenter("large", CITYSCAPES, 40, 82.9, 0.3),
    _segmenter("small", ADE20K, 160, 47.3, 0.1),
    _segmenter("medium", ADE20K, 160, 49.3, 0.1),
    _segmenter("large", ADE20K, 160, 49.8, 0.1),
    # Encoder, box AP, blocks in the third stage, drop path.
    _detector("small", 44.4, 6, 0.1),
    _detector("medium", 46.6, 14, 0.3),
    _detector("large", 47.7, 14, 0.3),
)
