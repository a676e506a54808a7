# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves in its output folder: the record, tables, plots and pictures."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..replacing import read_record, replacing, write_json
from .image_counts import ImageCounts
from .plots import plot_class_bars, plot_confusion_matrix, plot_reliability
from .results import Record, markdown_report


COUNTS_FILE = "image_counts.npz"
# Number, name and mean IoU of an image.
ImageScore = tuple[int, str, float]


def finished_record(output: Path, identity: str) -> Record | None:
    """
    The result in an output folder, if there is one.

    Args:
        output: the folder, which need not exist.
        identity: of the evaluation that is asked for.

    Raises:
        ValueError: if it is the result of another evaluation.
    """
    file = output / "results.json"
    if not file.exists():
        return None
    record = read_record(file)
    if record.get("fingerprint") != identity:
        raise ValueError(
            f"{output} holds the result of another model, data set or protocol "
            f"({record.get('protocol_in_words', 'unknown')}): give another folder."
        )
    return record


def worst_first(image_scores: Iterable[ImageScore]) -> list[ImageScore]:
    """Sorted by mean IoU; images in which nothing is labelled come last."""
    return sorted(image_scores, key=lambda scored: (math.isnan(scored[2]), scored[2], scored[0]))


def write_results(
    output: Path,
    record: Record,
    scores: dict[str, Any],
    image_scores: Sequence[ImageScore],
    image_counts: ImageCounts,
) -> None:
    """
    Write tables and plots, and last the record, which says that the evaluation is done.

    Args:
        output: the folder.
        record: what `result_record` made of the scores.
        scores: what `evaluate_model` returned.
        image_scores: the images, in the order of the table.
        image_counts: the pixels of each.
    """
    names = [row["name"] for row in record["classes"]]
    matrix, ious = scores["confusion_matrix"], scores["per_category_iou"]
    mean = f"mean IoU {100 * scores['mean_iou']:.2f} on {record['images']} images"
    plot_class_bars(names, ious, output / "iou.png", f"IoU of each class; {mean}")
    plot_confusion_matrix(names, matrix, output / "confusion.png", "What the pixels of each class are taken for (%)")
    if "calibration" in record:
        title = f"How often it is right, by how sure it is; calibration error {100 * record['calibration']['ece']:.2f}"
        plot_reliability(record["calibration"]["bins"], output / "calibration.png", title)
    _write_table(
        output / "confusion.csv",
        ["true", *names],
        ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)),
    )
    _write_table(output / "images.csv", ["file_name", "mean_iou"], (row[1:] for row in image_scores))
    image_counts.save(output / COUNTS_FILE)
    with replacing(output / "results.md") as unfinished:
        unfinished.write_text(markdown_report(record), encoding="utf-8")
    write_json(output / "results.json", record)
    for file in output.glob("progress-*-of-*"):
        file.unlink()


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((header, *rows))
