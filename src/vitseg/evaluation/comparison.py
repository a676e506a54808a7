# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Evaluations side by side: a paired bootstrap over the same images, and what keeps figures from being compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..recipes.cards import markdown_table
from ..replacing import read_record
from .bootstrap import bootstrap_means, interval
from .image_counts import ImageCounts
from .results import MEANS, Record, percent


CIRCUMSTANCES = {
    "dataset": "data sets",
    "split": "splits",
    "images": "numbers of images",
    "protocol_in_words": "protocols",
    "dtype": "precisions",
    "unmatched_classes": "classes without a counterpart",
}


def read_result(path: str | Path) -> Record:
    """
    The record of an evaluation.

    Args:
        path: the `results.json`, or the folder that it is in.

    Raises:
        OSError, ValueError: if it is none.
    """
    file = Path(path)
    if file.is_dir():
        file /= "results.json"
    record = read_record(file)
    if not {"model", "dataset", "scores", "classes", "protocol_in_words"} <= record.keys():
        raise ValueError(f"{file} is no result of vitseg validate.")
    return record


def distinct_names(paths: Sequence[str]) -> list[str]:
    """
    The ends of paths, as long as it takes to tell them apart.

    Raises:
        ValueError: if one stands there twice.
    """
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise ValueError(f"{twice[0]} is given twice.")
    parts = [Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names


def warnings(names: Sequence[str], records: Sequence[Record]) -> list[str]:
    """What differs between evaluations so that their figures cannot be compared without more ado, a line each."""
    lines = []
    for key, what in CIRCUMSTANCES.items():
        values = [record.get(key) for record in records]
        if any(value != values[0] for value in values):
            listed = "; ".join(f"{name}: {_in_words(value)}" for name, value in zip(names, values, strict=True))
            lines.append(f"the {what} differ: {listed}")
    return lines


def compare_results(names: Sequence[str], records: Sequence[Record], images: Sequence[ImageCounts]) -> Record:
    """
    Evaluations of the same images side by side.

    Args:
        names: what each is called. Differences are to the first.
        records: of each.
        images: the counts of each.

    Returns:
        Plain data: `warnings`; `models`, highest mean IoU first, each with `name`, `scores`, their `intervals`, and
        `differences` and `difference_intervals`, of the paired bootstrap; `classes` with the IoU of each model; and
        `images`, those on which the models differ most first, with their mean IoU of each.

    Raises:
        ValueError: if images, or what is true there, are not the same.
    """
    for name, other in zip(names[1:], images[1:], strict=True):
        _check_same(names[0], images[0], name, other)
    means = [key for key in MEANS if all(record["scores"].get(key) is not None for record in records)]
    draws = [bootstrap_means(each) for each in images]
    first = records[0]["scores"]
    models = [
        {
            "name": name,
            **{key: record.get(key) for key in ("model", "protocol_in_words", "dtype", "images_per_second")},
            "scores": {key: record["scores"][key] for key in means},
            "intervals": {key: interval(drawn[key]) for key in means},
            "differences": {key: record["scores"][key] - first[key] for key in means},
            "difference_intervals": {key: interval(drawn[key] - draws[0][key]) for key in means},
        }
        for name, record, drawn in zip(names, records, draws, strict=True)
    ]
    classes = [
        {"name": rows[0]["name"], "iou": {name: row["iou"] for name, row in zip(names, rows, strict=True)}}
        for rows in zip(*(record["classes"] for record in records), strict=True)
    ]
    return {
        "baseline": names[0],
        **{key: records[0][key] for key in ("dataset", "split")},
        "warnings": warnings(names, records),
        "models": sorted(models, key=lambda model: model["scores"]["mean_iou"], reverse=True),
        "classes": classes,
        "images": _most_different_first(names, images),
    }


def _check_same(first_name: str, first: ImageCounts, name: str, other: ImageCounts) -> None:
    pair = f"{first_name} and {name}"
    if first.file_names != other.file_names:
        missing = set(first.file_names) ^ set(other.file_names)
        example = f", such as {min(missing)}" if missing else ""
        raise ValueError(f"{pair} were measured on other images ({len(missing)} are in one alone{example}).")
    labels = [images.counts["pixels"][:, 2] for images in (first, other)]
    if labels[0].shape != labels[1].shape:
        raise ValueError(f"{pair} have {labels[0].shape[1]} and {labels[1].shape[1]} classes.")
    differing = (labels[0] != labels[1]).any(axis=1)
    if differing.any():
        image = first.file_names[int(differing.argmax())]
        raise ValueError(f"{pair} were measured with other label maps, of {image} and {differing.sum() - 1} more.")


def _most_different_first(names: Sequence[str], images: Sequence[ImageCounts]) -> list[Record]:
    scores = np.stack([each.image_scores for each in images])
    (scored,) = (~np.isnan(scores)).all(axis=0).nonzero()
    ranges = np.ptp(scores[:, scored], axis=0)
    return [
        {
            "position": int(position),
            "file_name": images[0].file_names[position],
            "mean_iou": dict(zip(names, scores[:, position].tolist(), strict=True)),
        }
        for position in scored[np.argsort(-ranges, kind="stable")]
    ]


def models_table(comparison: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of models."""
    means = [
        key
        for key in ("mean_accuracy", "overall_accuracy", "boundary_iou")
        if key in comparison["models"][0]["scores"]
    ]
    header = ["model", "mean IoU", "95% interval", f"against {comparison['baseline']}", "95% interval"]
    header += [*(MEANS[key] for key in means), "images/s", "protocol"]
    rows = []
    for model in comparison["models"]:
        low, high = model["intervals"]["mean_iou"]
        worse, better = model["difference_intervals"]["mean_iou"]
        is_first = model["name"] == comparison["baseline"]
        rows.append(
            [
                model["name"],
                percent(model["scores"]["mean_iou"]),
                f"{percent(low)} to {percent(high)}",
                "-" if is_first else f"{100 * model['differences']['mean_iou']:+.2f}",
                "-" if is_first else f"{100 * worse:+.2f} to {100 * better:+.2f}",
                *(percent(model["scores"][key]) for key in means),
                f"{model['images_per_second']:.2f}",
                f"{model['protocol_in_words']}; {model['dtype']}",
            ]
        )
    return header, rows


def classes_table(comparison: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of classes: IoU of each model, where models differ most first."""
    names = [model["name"] for model in comparison["models"]]

    def spread(row: Record) -> float:
        defined = [iou for iou in row["iou"].values() if iou is not None]
        return max(defined) - min(defined) if defined else -1.0

    ordered = sorted(comparison["classes"], key=spread, reverse=True)
    return ["class", *names], [[row["name"], *(percent(row["iou"][name]) for name in names)] for row in ordered]


def markdown_comparison(comparison: Record) -> str:
    """The comparison as a Markdown page."""
    parts = [
        f"# {len(comparison['models'])} models on {comparison['dataset']}, {comparison['split']}",
        "\n".join(f"- warning: {line}" for line in comparison["warnings"]),
        markdown_table(*models_table(comparison)),
        markdown_table(*classes_table(comparison)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def leaderboard_table(results: Sequence[tuple[str, Record]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of evaluations by their names, highest mean IoU first within a data set."""
    header = ["data set", "model", "mean IoU", "95% interval", "pixel accuracy", "images", "protocol", "result"]
    rows = []
    for name, record in sorted(
        results, key=lambda pair: (pair[1]["dataset"], pair[1]["split"], -(pair[1]["scores"]["mean_iou"] or 0))
    ):
        low, high = record.get("intervals", {}).get("mean_iou", (None, None))
        rows.append(
            [
                f"{record['dataset']}, {record['split']}",
                str(record["model"]),
                percent(record["scores"]["mean_iou"]),
                "-" if low is None else f"{percent(low)} to {percent(high)}",
                percent(record["scores"]["overall_accuracy"]),
                str(record["images"]),
                f"{record['protocol_in_words']}; {record['dtype']}",
                name,
            ]
        )
    return header, rows


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{len(names)} of the {side}" for side, names in value.items())
    return "none" if value is None else str(value)
