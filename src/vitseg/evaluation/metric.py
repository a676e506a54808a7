# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Mean IoU and its relatives, from one confusion matrix that is summed over all images before anything is divided.

A pixel whose reference is ignored is left out altogether, the prediction there included: nobody said what it shows, so
no answer is right or wrong. This is the protocol behind the published figures of ADE20K, Cityscapes, COCO-Stuff and
Pascal Context, as mmsegmentation counts it.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
import torch
import torch.distributed as dist
from PIL import Image

from ..models.labels import IGNORE_INDEX


SegmentationMap = torch.Tensor | np.ndarray | Image.Image | Sequence[Sequence[int]]


class MeanIoU(evaluate.Metric):
    """Mean IoU, Dice, F-score, precision, recall and accuracy of semantic segmentation.

    An [`evaluate.Metric`] that needs no network and writes no file. Each image is counted when it is added, on the
    device of its prediction, and only the counts are kept: (num_labels + 2) x (num_labels + 2) int64 numbers, whatever
    the number of images.

    If `torch.distributed` is initialised, every process adds its own share of the images, each image in one process
    only, and all call [`~MeanIoU.compute`]: the counts are summed over the processes once, and each gets the whole
    result.

    Args:
        num_labels (`int`):
            Number of classes. Predictions and (mapped, reduced) references number them 0..num_labels-1.
        ignore_index (`int`, *optional*, defaults to 255):
            Reference value of pixels that do not count. It has no default where 255 is a class.
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether references hold 0 for "no class" and 1..num_labels for the classes: 0 is then ignored, r becomes
            r - 1, and `ignore_index` stays. Predictions are never shifted.
        label_map (`dict[int, int]`, *optional*):
            Raw reference value -> new value, replaced simultaneously and before `reduce_labels`; values it does not
            name stay as they are. Map a class to `ignore_index` to leave it out.
        nan_to_num (`float`, *optional*):
            Replaces nan in every score, before the means are taken. By default an undefined score is nan and takes no
            part in a mean.
        beta (`float`, *optional*, defaults to 1.0):
            Weight of recall against precision in the F-score.

    Raises:
        `ValueError`: if `num_labels` is not positive, nothing is said on what to ignore though 255 is a class, or
            `label_map` leads to a value that is neither a class nor ignored.

    Example:

    ```py
    >>> metric = MeanIoU(num_labels=2)
    >>> metric.add_batch(predictions=[[[0, 1], [1, 1]]], references=[[[0, 0], [1, 255]]])
    >>> metric.compute()["mean_iou"]
    0.5

    ```
    """

    def __init__(
        self,
        num_labels: int,
        ignore_index: int | None = None,
        reduce_labels: bool = False,
        label_map: dict[int, int] | None = None,
        nan_to_num: float | None = None,
        beta: float = 1.0,
    ):
        if num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}")
        if ignore_index is None and num_labels + reduce_labels > IGNORE_INDEX:
            raise ValueError(
                f"of {num_labels} classes{', counted from 1,' if reduce_labels else ''} {IGNORE_INDEX} is one, and "
                "would be ignored by default: give ignore_index, -100 or any value that is no class"
            )
        self.num_labels = num_labels
        self.ignore_index = IGNORE_INDEX if ignore_index is None else ignore_index
        self.reduce_labels = reduce_labels
        self.label_map = label_map or {}
        self.nan_to_num = nan_to_num
        self.beta = beta
        self._first_value, self._row_of_value = self._rows_of_reference_values()
        self._counts = self._no_counts()
        super().__init__()

    def add(
        self,
        *,
        prediction: SegmentationMap | None = None,
        reference: SegmentationMap | None = None,
        predictions: SegmentationMap | None = None,
        references: SegmentationMap | None = None,
    ) -> None:
        """Count one image. The plural names, under which [`evaluate.combine`] passes one image, mean the same.

        Args:
            prediction (`torch.Tensor`, `np.ndarray`, `PIL.Image.Image` or nested lists):
                Class ids, integers of shape (height, width). An id outside 0..num_labels-1 is a wrong answer, counted
                for no class.
            reference (`torch.Tensor`, `np.ndarray`, `PIL.Image.Image` or nested lists):
                Annotation, integers of the same shape.

        Raises:
            `TypeError`: if a map does not hold integers.
            `ValueError`: if a map is not two-dimensional, the shapes differ, or the reference holds a value that is
                neither a class nor ignored. The counts are then as they were before.
        """
        prediction = predictions if prediction is None else prediction
        reference = references if reference is None else reference
        if prediction is None or reference is None:
            raise ValueError("give both a prediction and its reference")
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions: Sequence[SegmentationMap], references: Sequence[SegmentationMap]) -> None:
        """Count a batch of images.

        Args:
            predictions (sequence of maps, or one `torch.Tensor` or `np.ndarray`):
                N maps as [`~MeanIoU.add`] takes them, which may differ in size, or an array of shape
                (N, height, width).
            references (sequence of maps, or one `torch.Tensor` or `np.ndarray`):
                As many annotations.

        Raises:
            `TypeError`, `ValueError`: as [`~MeanIoU.add`], and if there are not as many references as predictions.
        """
        if len(predictions) != len(references):
            raise ValueError(f"got {len(predictions)} predictions but {len(references)} references: give one for each")
        total = self._counts
        for prediction, reference in zip(predictions, references, strict=True):
            counts = self._count(_as_tensor(prediction, "prediction"), _as_tensor(reference, "reference"))
            total = total.to(counts.device) + counts
        self._counts = total  # only now: an image that is refused leaves no half-counted batch

    @property
    def counts(self) -> torch.Tensor:
        """
        Pixels by reference and prediction that this process has counted since the last [`~MeanIoU.compute`] (int64,
        (num_labels + 2, num_labels + 2)). Setting it to such counts of an earlier run continues that run.
        """
        return self._counts

    @counts.setter
    def counts(self, counts: torch.Tensor) -> None:
        if counts.shape != self._counts.shape or counts.dtype != torch.int64:
            raise ValueError(
                f"counts are {counts.dtype} of shape {tuple(counts.shape)}, but those of {self.num_labels} classes "
                f"are int64 of shape {tuple(self._counts.shape)}"
            )
        self._counts = counts

    def compute(
        self,
        *,
        predictions: Sequence[SegmentationMap] | None = None,
        references: Sequence[SegmentationMap] | None = None,
    ) -> dict[str, float | np.ndarray]:
        """Score all images added since the last call, and forget them.

        Args:
            predictions (*optional*): A last batch to add before, as for [`~MeanIoU.add_batch`].
            references (*optional*): Its annotations.

        Returns:
            `dict`, with scores as fractions:

            - `mean_iou`, `mean_accuracy`, `mean_dice`, `mean_fscore`, `mean_precision`, `mean_recall` (`float`): means
              over the classes where the score is defined.
            - `overall_accuracy` (`float`): the share of all counted pixels that is right.
            - `frequency_weighted_iou` (`float`): mean IoU in which a class counts as its share of the true pixels.
            - `per_category_iou`, and so on for each mean (float64, (num_labels,)): nan where the score is 0/0. So a
              class that is predicted but nowhere true has IoU 0, and an undefined accuracy.
            - `area_intersect`, `area_union`, `area_pred`, `area_label` (int64, (num_labels,)): pixels per class.
            - `confusion_matrix` (int64, (num_labels, num_labels)): pixels by reference (row) and prediction (column).

        Raises:
            `ValueError`: if no pixel was added, by any process.
        """
        if predictions is not None and references is not None:
            self.add_batch(predictions=predictions, references=references)
        elif predictions is not None or references is not None:
            raise ValueError("give both predictions and references, or neither")
        counts = _sum_over_processes(self._counts).cpu()
        self._counts = self._no_counts()
        if not counts.any():
            raise ValueError("nothing was added since the last `compute`: call `add` or `add_batch` first")

        intersect, pred, label = areas(counts)
        scores = segmentation_scores(intersect, pred, label, self.beta, self.nan_to_num)
        return {
            **{name: score.numpy() if score.ndim else score.item() for name, score in scores.items()},
            "area_intersect": intersect.numpy(),
            "area_union": (pred + label - intersect).numpy(),
            "area_pred": pred.numpy(),
            "area_label": label.numpy(),
            "confusion_matrix": counts[: self.num_labels, 1:-1].numpy(),
        }

    def class_ids(self, reference: torch.Tensor) -> torch.Tensor:
        """What an annotation says, as [`~MeanIoU.add`] understands it (int64, (height, width)): classes, from 0 on,
        and `num_labels` where pixels are ignored. It must be one that can be added."""
        rows = self._row_of_value.to(reference.device)
        return rows[_clamp(reference, self._first_value, self._first_value + len(rows) - 1).long() - self._first_value]

    def _count(self, prediction: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """The pixels of one image by reference and prediction (int64, (num_labels + 2, num_labels + 2)).

        Rows are classes, then ignored, then unknown (always 0: refused); columns are too small, classes, too large.
        """
        if prediction.shape != reference.shape:
            raise ValueError(
                f"got a prediction of shape {tuple(prediction.shape)} for a reference of shape "
                f"{tuple(reference.shape)}: resize the logits to the size of the annotation before taking the argmax"
            )
        # One pass over the pixels counts the values as they come. What they mean is settled on the resulting table,
        # which is small.
        first, last, columns = self._first_value, self._first_value + len(self._row_of_value) - 1, self.num_labels + 2
        value = _clamp(reference.to(prediction.device), first, last)
        index = _clamp(prediction, -1, self.num_labels).add_(value, alpha=columns).add_(1 - first * columns)
        table = torch.bincount(index.flatten(), minlength=(last - first + 1) * columns).view(-1, columns)

        self._row_of_value = self._row_of_value.to(table.device)
        counts = table.new_zeros(self.num_labels + 2, columns).index_add_(0, self._row_of_value, table)
        if counts[-1].any():
            unknown = self._row_of_value[value.long() - first] == self.num_labels + 1
            raise self._unknown_values_error(reference.to(unknown.device)[unknown].unique().tolist())
        return counts

    def _unknown_values_error(self, values: list[int]) -> ValueError:
        classes = f"1..{self.num_labels} (and 0 for none)" if self.reduce_labels else f"0..{self.num_labels - 1}"
        return ValueError(
            f"a reference holds {', '.join(map(str, values[:10]))}{', ...' if len(values) > 10 else ''}, but the "
            f"{self.num_labels} classes are {classes} and ignore_index is {self.ignore_index}. reduce_labels="
            f"{self.reduce_labels} is right if 0 {'means no class' if self.reduce_labels else 'is a class'}; "
            "other ids can be renamed or ignored with a label_map"
        )

    def _rows_of_reference_values(self) -> tuple[int, torch.Tensor]:
        """The row of counts for each reference value from a first one on, and that first value.

        The first and the last entry stand for all values beyond them, which are unknown.
        """
        classes = range(self.num_labels + self.reduce_labels)
        new_value = {value: value for value in (*classes, self.ignore_index)} | self.label_map
        ignored, unknown = self.num_labels, self.num_labels + 1
        first, last = min(new_value) - 1, max(new_value) + 1
        rows = torch.full((last - first + 1,), unknown)
        for old, new in new_value.items():
            if new == self.ignore_index or (self.reduce_labels and new == 0):
                rows[old - first] = ignored
            elif new in classes:
                rows[old - first] = new - self.reduce_labels
            else:
                raise ValueError(
                    f"label_map turns {old} into {new}, which is neither in {classes[0]}..{classes[-1]} nor "
                    f"ignore_index={self.ignore_index}"
                )
        return first, rows

    def _no_counts(self) -> torch.Tensor:
        return torch.zeros(self.num_labels + 2, self.num_labels + 2, dtype=torch.int64)

    def _info(self) -> evaluate.MetricInfo:
        segmentation_map = datasets.List(datasets.List(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description="Mean intersection over union of semantic segmentation, and scores from the same counts.",
            citation="",
            features=datasets.Features({"predictions": segmentation_map, "references": segmentation_map}),
        )

    def _build_data_dir(self) -> str:
        # The base class would make a folder in the user's cache, for files that are never written here.
        return ""


def mean_iou(counts: torch.Tensor) -> torch.Tensor:
    """
    Mean IoU of [`MeanIoU.counts`], over the classes that occur in the reference or the prediction: a float32 scalar on
    the device of the counts, nan if there is no such class.
    """
    intersect, pred, label = areas(counts)
    return (intersect / (pred + label - intersect)).nanmean()


def areas(counts: torch.Tensor) -> torch.Tensor:
    """Pixels of each class that are right, predicted and true, of [`MeanIoU.counts`] (int64, (3, num_labels))."""
    of_classes = counts[:-2]
    confusion = of_classes[:, 1:-1]
    return torch.stack((confusion.diag(), confusion.sum(0), of_classes.sum(1)))


def segmentation_scores(
    intersect: torch.Tensor,
    pred: torch.Tensor,
    label: torch.Tensor,
    beta: float = 1.0,
    nan_to_num: float | None = None,
) -> dict[str, torch.Tensor]:
    """
    The scores of [`MeanIoU.compute`] from the pixels of each class that are right, predicted and true, integers or
    float64 `(..., num_labels)`: of one data set, or of many at once. They are float64, `(..., num_labels)` of classes
    and `(...)` of means.
    """
    intersect, pred, label = intersect.double(), pred.double(), label.double()
    precision, recall, weight = intersect / pred, intersect / label, beta**2
    per_category = {
        "iou": intersect / (pred + label - intersect),
        "accuracy": recall,
        "dice": 2 * intersect / (pred + label),
        "fscore": (1 + weight) * precision * recall / (weight * precision + recall),
        "precision": precision,
        "recall": recall,
    }
    weighted_iou = (label * per_category["iou"].nan_to_num()).sum(-1) / label.sum(-1)
    overall = {"overall_accuracy": intersect.sum(-1) / label.sum(-1), "frequency_weighted_iou": weighted_iou}
    if nan_to_num is not None:
        overall = {name: score.nan_to_num(nan_to_num) for name, score in overall.items()}
        per_category = {name: score.nan_to_num(nan_to_num) for name, score in per_category.items()}
    return {
        **overall,
        **{f"mean_{name}": score.nanmean(-1) for name, score in per_category.items()},
        **{f"per_category_{name}": score for name, score in per_category.items()},
    }


def _as_tensor(values: SegmentationMap, name: str) -> torch.Tensor:
    """An integer tensor of shape (height, width), or a refusal."""
    if isinstance(values, torch.Tensor):
        is_integer = not (values.is_floating_point() or values.is_complex())
    else:
        # Pillow images are read-only and flipped arrays run backwards: torch takes neither as it is.
        values = np.require(values, requirements=["C", "W"])
        is_integer = values.dtype.kind in "biu"
    if not is_integer:
        raise TypeError(
            f"a {name} must hold class ids, integers of shape (height, width), got {values.dtype} of shape "
            f"{tuple(values.shape)}: take the argmax of logits over the classes, or convert stored ids to integers"
        )
    if values.ndim != 2:
        raise ValueError(
            f"a {name} must have the shape (height, width), got {tuple(values.shape)}: "
            "`add` takes one map, `add_batch` a sequence of them or an array of shape (N, height, width)"
        )
    return torch.as_tensor(values)


def _clamp(values: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """A clamped copy in 32 bits, in which everything after is faster. Wide integers would wrap if narrowed first."""
    values = values.int() if values.dtype.itemsize < 4 else values.long()
    return values.clamp(low, high).int()


def _sum_over_processes(counts: torch.Tensor) -> torch.Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return counts
    # All processes must choose the same kind of device, also one that saw no image, so it follows from the backend.
    devices = [entry.split(":")[0] for entry in dist.get_backend_config().split(",")]
    total = counts.to("cpu" if "cpu" in devices else devices[0], copy=True)
    dist.all_reduce(total)
    return total
