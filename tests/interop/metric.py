# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Metric: IoUMetric's scores, and the files that it and CityscapesMetric write for test servers.

Label maps are random, with ignored pixels and classes that occur nowhere, or in the predictions alone.
"""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import CityscapesMetric, IoUMetric
from mmseg.structures import SegDataSample
from PIL import Image

from vitseg.evaluation import MeanIoU
from vitseg.evaluation.submission import save_label_map

from .cases import Case, difference


COLUMNS = ("mIoU", "mAcc", "aAcc", "classes", "files")
SCORES = {"mIoU": ("IoU", "Acc"), "mDice": ("Dice", "Acc"), "mFscore": ("Fscore", "Precision", "Recall")}
OURS = {"IoU": "iou", "Acc": "accuracy", "Dice": "dice", "Fscore": "fscore"}
OURS |= {"Precision": "precision", "Recall": "recall"}
NUM_CLASSES = 19


def cases() -> Iterator[Case]:
    yield Case("IoUMetric, absent classes are nan", functools.partial(compare_scores, {}))
    yield Case("IoUMetric, nan_to_num=0", functools.partial(compare_scores, {"nan_to_num": 0}))
    yield Case("IoUMetric, nan_to_num=-1, beta=2", functools.partial(compare_scores, {"nan_to_num": -1, "beta": 2}))
    yield Case("IoUMetric, ignore_index=0", functools.partial(compare_scores, {"ignore_index": 0}))
    yield Case("IoUMetric, reduced labels", functools.partial(compare_scores, {}, is_reduced=True))
    yield Case("IoUMetric, format_only: ids", functools.partial(compare_files, "ids"))
    yield Case("IoUMetric, format_only, reduce_zero_label: ade20k", functools.partial(compare_files, "ade20k"))
    yield Case("CityscapesMetric, format_only: cityscapes", functools.partial(compare_files, "cityscapes"))


def label_map_pairs(ignore_index: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Predictions and references of four images; class 3 occurs nowhere, 5 is never true, 7 never predicted."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((40, 60), (33, 57), (64, 64), (2, 200)):
        reference = torch.randint(NUM_CLASSES, (height, width), generator=generator)
        guess = torch.randint(NUM_CLASSES, (height, width), generator=generator)
        is_right = torch.rand(height, width, generator=generator) < 0.6
        prediction = torch.where(is_right, reference, guess)
        reference[(reference == 3) | (reference == 5)] = 4
        prediction[(prediction == 3) | (prediction == 7)] = 4
        reference[torch.rand(height, width, generator=generator) < 0.1] = ignore_index
        yield prediction, reference


def compare_scores(settings: dict[str, Any], is_reduced: bool = False) -> dict[str, float]:
    """The scores of all images, as IoUMetric has them before it rounds them to hundredths of a percent, and then."""
    original = IoUMetric(iou_metrics=list(SCORES), **settings)
    original.dataset_meta = {"classes": [str(number) for number in range(NUM_CLASSES)]}
    metric = MeanIoU(num_labels=NUM_CLASSES, reduce_labels=is_reduced, **settings)
    for prediction, reference in label_map_pairs(original.ignore_index):
        sample = {"pred_sem_seg": {"data": prediction[None]}, "gt_sem_seg": {"data": reference[None]}}
        original.process({}, [sample])
        # As they are stored, where 0 is no class.
        stored = torch.where(reference == 255, 0, reference + 1) if is_reduced else reference
        metric.add(prediction=prediction, reference=stored)
    areas = [sum(part) for part in zip(*original.results, strict=True)]
    exact = original.total_area_to_metrics(*areas, list(SCORES), original.nan_to_num, original.beta)
    rounded, ours = original.compute_metrics(original.results), metric.compute()
    means = {"aAcc": ours["overall_accuracy"]} | {f"m{key}": ours[f"mean_{OURS[key]}"] for key in OURS}
    for name, score in means.items():
        if abs(100 * score - rounded[name]) > 0.00501:
            raise ValueError(f"{name} is {rounded[name]} there, and {100 * score} here.")
    per_class = [(torch.tensor(ours[f"per_category_{OURS[key]}"]), torch.tensor(exact[key])) for key in OURS]
    if any((a.isnan() != b.isnan()).any() for a, b in per_class):
        raise ValueError("Other classes have no score.")
    return {
        "mIoU": abs(ours["mean_iou"] - np.nanmean(exact["IoU"])),
        "mAcc": abs(ours["mean_accuracy"] - np.nanmean(exact["Acc"])),
        "aAcc": abs(ours["overall_accuracy"] - exact["aAcc"]),
        "classes": max(difference(a.nan_to_num(), b.nan_to_num()) for a, b in per_class),
    }


def compare_files(output_format: str) -> dict[str, float]:
    """The values of the files that are written for test servers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs, ours = folder / "theirs", folder / "ours"
        if output_format == "cityscapes":
            original = CityscapesMetric(output_dir=str(theirs), format_only=True, keep_results=True)
        else:
            original = IoUMetric(output_dir=str(theirs), format_only=True)
        original.dataset_meta = {"classes": [str(number) for number in range(NUM_CLASSES)]}
        worst = 0.0
        for number, (prediction, _) in enumerate(label_map_pairs(255)):
            sample = SegDataSample(pred_sem_seg=PixelData(data=prediction[None]))
            sample.set_metainfo({"img_path": f"{number}.jpg", "reduce_zero_label": output_format == "ade20k"})
            original.process({}, [sample.to_dict()])
            save_label_map(prediction.numpy(), output_format, [], ours / f"{number}.png")
            pair = [torch.from_numpy(np.array(Image.open(part / f"{number}.png"))) for part in (ours, theirs)]
            worst = max(worst, difference(pair[0].int(), pair[1].int()))
        return {"files": worst}
