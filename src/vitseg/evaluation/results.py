# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The result of an evaluation as a record that says how it was measured, and that record as text, Markdown and an entry
of a model card.
"""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, cast

from huggingface_hub import EvalResult, ModelCardData

from .. import __version__
from ..recipes.cards import markdown_table, model_card
from ..recipes.protocol import Protocol
from ..replacing import replacing


MEANS = {
    "mean_iou": "mean IoU",
    "mean_accuracy": "mean accuracy",
    "mean_dice": "mean Dice",
    "mean_fscore": "mean F-score",
    "overall_accuracy": "pixel accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "image_mean_iou": "mean IoU of an image",
    "boundary_iou": "boundary IoU",
    "trimap_iou": "trimap IoU",
    "trimap_accuracy": "trimap accuracy",
}
COLUMNS = {
    "iou": "IoU",
    "accuracy": "accuracy",
    "precision": "precision",
    "dice": "Dice",
    "fscore": "F-score",
    "boundary_iou": "boundary",
}
LIBRARIES = ("torch", "transformers", "accelerate", "numpy")
GREEN, YELLOW, RED, PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[0m"
_NAMED = ("model", "dataset")

Record = dict[str, Any]


def result_record(scores: Mapping[str, Any], names: Sequence[str], protocol: Protocol, **circumstances: Any) -> Record:
    """
    A result as plain data for a JSON file: nan becomes `None`.

    Args:
        scores: what `evaluate_model` returned, and perhaps more of `MEANS`.
        names: class names.
        protocol: the test protocol.
        circumstances: whatever else is to be kept, as plain data: model, data set, device, images per second, ...
    """
    return {
        **circumstances,
        "protocol": protocol.to_dict(),
        "protocol_in_words": protocol.describe(),
        "scores": {key: _number(scores[key]) for key in MEANS if key in scores},
        "classes": [
            {"name": name}
            | {
                key: _number(scores[f"per_category_{key}"][index])
                for key in COLUMNS
                if f"per_category_{key}" in scores
            }
            | {"pixels": int(scores["area_label"][index])}
            for index, name in enumerate(names)
        ],
        "versions": {
            "vitseg": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
    }


def console_table(record: Record, colored: bool) -> str:
    """The classes, best first, and the means, in percent."""
    columns = _columns(record)
    width = max(*(len(MEANS[key]) for key in record["scores"]), *(len(row["name"]) for row in record["classes"]))
    lines = [" ".join([f"{'class':{width}}", *(f"{COLUMNS[key]:>9}" for key in columns)])]
    for row in _sorted_classes(record):
        cells = " ".join(f"{percent(row[key]):>9}" for key in columns)
        lines.append(_colored(f"{row['name']:{width}} {cells}", row["iou"], colored))
    lines.append("")
    for key, value in record["scores"].items():
        lines.append(f"{MEANS[key]:{width}} {percent(value):>9}  {_interval(record, key)}".rstrip())
    if "image_percentiles" in record:
        lines += ["", f"mean IoU of an image: {_percentiles(record)}"]
    if "calibration" in record:
        lines.append(f"calibration: {calibration_in_words(record)}")
    return "\n".join(lines)


def has_colors(stream: TextIO) -> bool:
    """Whether a stream is a terminal that wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def markdown_report(record: Record) -> str:
    """The result with its circumstances as a Markdown page."""
    facts = {
        "model": record["model"],
        "data set": f"{record['dataset']}, {record['split']}, {record['images']} images",
        "protocol": record["protocol_in_words"],
        "run": f"{record['dtype']} on {record['processes']} x {record['device']}, "
        f"{record['images_per_second']:.2f} images/s",
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }
    if record["broken"]:
        facts["left out"] = f"{len(record['broken'])} images: {' '.join(record['broken'])}"
    for key, names in record.get("unmatched_classes", {}).items():
        facts[f"classes of the {key} alone"] = ", ".join(names) or "none"
    if "image_percentiles" in record:
        facts["mean IoU of an image"] = _percentiles(record)
    if "calibration" in record:
        facts["calibration"] = calibration_in_words(record)
    means = markdown_table(
        ("score", "%", "95% interval"),
        [(MEANS[key], percent(value), _interval(record, key)) for key, value in record["scores"].items()],
    )
    columns = _columns(record)
    classes = markdown_table(
        ("class", *(COLUMNS[key] for key in columns), "pixels"),
        [
            (row["name"], *(percent(row[key]) for key in columns), str(row["pixels"]))
            for row in _sorted_classes(record)
        ],
    )
    listed = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"# {percent(record['scores']['mean_iou'])} mean IoU\n\n{listed}\n\n{means}\n\n{classes}\n"


def add_to_model_card(card_file: Path, record: Record) -> None:
    """
    Add a result to the `model-index` of a model card, in place of an earlier one of the same data and protocol.

    The text of the card stays as it is; a card that does not exist is made.

    Raises:
        ValueError: if its metadata cannot be read.
    """
    model, dataset = (Path(record[key]).name if Path(record[key]).is_dir() else record[key] for key in _NAMED)
    text = card_file.read_text(encoding="utf-8") if card_file.exists() else f"# {model}\n"
    card = model_card(text, card_file)
    entries = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=record["split"],
            dataset_revision=record.get("dataset_revision"),
            metric_type=key,
            metric_name=f"{MEANS[key]} ({record['protocol_in_words']})",
            metric_value=round(100 * record["scores"][key], 2),
        )
        for key in ("mean_iou", "mean_accuracy", "overall_accuracy")
        if record["scores"][key] is not None
    ]
    data = cast(ModelCardData, card.data)
    earlier = data.eval_results or []
    data.eval_results = [
        old for old in earlier if not any(old.is_equal_except_value(new) for new in entries)
    ] + entries
    data.model_name = data.model_name or model
    with replacing(card_file) as unfinished:
        card.save(unfinished)


def _sorted_classes(record: Record) -> list[Record]:
    """Best IoU first, classes without one last."""
    return sorted(record["classes"], key=lambda row: -1.0 if row["iou"] is None else row["iou"], reverse=True)


def calibration_in_words(record: Record) -> str:
    """The figures of calibration, at the temperature that they are of."""
    figures = record["calibration"]
    return (
        f"error {percent(figures['ece'])}, class-wise {percent(figures['classwise_ece'])}, negative log-likelihood "
        f"{figures['nll']:.4f}, Brier score {figures['brier']:.4f}, at temperature {figures['temperature']:.4g}"
    )


def _columns(record: Record) -> list[str]:
    """The scores of classes that were measured."""
    return [key for key in COLUMNS if key in record["classes"][0]]


def _interval(record: Record, key: str) -> str:
    low, high = record.get("intervals", {}).get(key, (None, None))
    return "" if low is None else f"{percent(low)} to {percent(high)}"


def _percentiles(record: Record) -> str:
    percentiles = record["image_percentiles"]
    return f"{', '.join(map(percent, percentiles.values()))} (percentiles {', '.join(percentiles)})"


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def percent(share: float | None) -> str:
    """A share, such as an IoU, in percent."""
    return "-" if share is None else f"{100 * share:.2f}"


def _colored(text: str, share: float | None, colored: bool) -> str:
    if not colored or share is None:
        return text
    return f"{GREEN if share >= 0.7 else YELLOW if share >= 0.4 else RED}{text}{PLAIN}"
