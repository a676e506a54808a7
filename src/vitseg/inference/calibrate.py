# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg validate --calibration` and `--calibrate`: what is counted, and the temperature that is written."""

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.image_processing_utils import BaseImageProcessor

from .. import __version__
from ..evaluation.calibration import (
    ClassIds,
    calibration_figures,
    count_calibration,
    count_temperatures,
    fit_temperature,
)
from ..evaluation.inference import Band, Summarize
from ..recipes.protocol import Protocol
from ..replacing import read_record, write_json
from .confidence import CALIBRATION_FILE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration", action="store_true", help="measure, too, whether the model is as sure as it is right"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help=f"fit a temperature, and write it to {CALIBRATION_FILE} in the model folder (of a model on the Hub, in "
        "--output)",
    )


def calibration_file(args: argparse.Namespace) -> Path | None:
    """Where the temperature is to be written, if one is to be fitted."""
    if not args.calibrate:
        return None
    if not Path(args.model).is_dir() and args.output is None:
        args.usage_error(f"--calibrate needs --output for {args.model}, which is no folder to write to")
    return (Path(args.model) if Path(args.model).is_dir() else args.output) / CALIBRATION_FILE


def check_calibrates(file: Path, protocol: Protocol, image_processor: BaseImageProcessor) -> None:
    """
    Check that a temperature can be fitted, and written.

    Raises:
        ValueError: if scores are no logits, or the folder cannot be written to.
    """
    if not are_logits(protocol, image_processor):
        raise ValueError(
            "A temperature divides logits, which these scores are not: leave out --multi-scale and --flip, whose "
            "scores are probabilities. Those of SegViT are sums of probabilities, too; it cannot be calibrated."
        )
    if file.parent.exists() and not os.access(file.parent, os.W_OK):
        raise ValueError(f"{file.parent} cannot be written to, where {file.name} belongs: calibrate a copy of it.")


def are_logits(protocol: Protocol, image_processor: BaseImageProcessor) -> bool:
    """Whether the scores that a protocol gives are logits, and not probabilities or their sums."""
    return protocol.ratios == (1.0,) and not protocol.flip and getattr(image_processor, "scores_are_logits", True)


def summarizer(
    measures: set[str],
    class_ids: ClassIds,
    protocol: Protocol,
    image_processor: BaseImageProcessor,
    temperature: float,
) -> Summarize | None:
    """What is to be counted of the scores of each image for `--calibration`, `--calibrate` or both."""
    functions: list[Summarize] = []
    if "calibration" in measures:
        logits = are_logits(protocol, image_processor)
        functions.append(partial(count_calibration, class_ids=class_ids, are_logits=logits, temperature=temperature))
    if "calibrate" in measures:
        functions.append(partial(count_temperatures, class_ids=class_ids))

    def summarize(band: Band) -> dict[str, torch.Tensor]:
        return {name: value for function in functions for name, value in function(band).items()}

    return summarize if functions else None


def calibration_of(sums: Mapping[str, torch.Tensor], temperature: float) -> dict[str, Any]:
    """The entry `calibration` of a record, or none if it was not measured."""
    return {"calibration": {"temperature": temperature, **calibration_figures(sums)}} if "top" in sums else {}


def write_calibration(file: Path, sums: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """
    Fit a temperature, say so, and write it, with what it was fitted to.

    Raises:
        ValueError: if there is no best one.
    """
    fitted = fit_temperature(sums)
    circumstances = {name: record[name] for name in ("dataset", "split", "images", "limit", "dtype", "weights")}
    write_json(
        file, {**fitted, **circumstances, "protocol": record["protocol_in_words"], "versions": {"vitseg": __version__}}
    )
    nll, ece = fitted["nll"], fitted["ece"]
    print(
        f"\ntemperature {fitted['temperature']:.3f}, in {file}: negative log-likelihood {nll['before']:.4f} before "
        f"and {nll['after']:.4f} after, calibration error {100 * ece['before']:.2f} and {100 * ece['after']:.2f}, on "
        f"the {fitted['pixels']} pixels that it was fitted to (measure others with --calibration)"
    )


def note_same_split(args: argparse.Namespace, temperature: float) -> str:
    """What is to be said of a calibration that is measured on the images that the temperature was fitted to."""
    file = Path(args.model) / CALIBRATION_FILE
    if temperature == 1 or not file.exists():
        return ""
    fitted = read_record(file)
    if (fitted.get("dataset"), fitted.get("split")) != (str(args.dataset), args.split):
        return ""
    return f"note: the temperature in {file} was fitted to this split, and looks better here than on other images."
