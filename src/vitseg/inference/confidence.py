# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How sure a model is of what it says: the options, its temperature, and maps of confidence."""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION, SOFTWARE
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import cached_file

from ..label_maps import ORIGIN, ignored_id, label_type, save_png
from ..models.labels import IGNORE_INDEX
from ..models.score_maps import mean_confidence, resized_argmax, resized_confidence
from .results import CONFIDENCE


CALIBRATION_FILE = "calibration.json"
# Beyond, whatever the scores, every pixel is certain, or all classes are alike.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.001, 1000


@dataclass(frozen=True)
class ConfidenceOptions:
    """
    What is wanted of the confidence of a model.

    Args:
        file_format: "png" or "tiff" for maps of confidence, `None` for none.
        abstain: pixels of which the model is less sure are ignored.
        temperature: what its logits are divided by.
    """

    file_format: str | None = None
    abstain: float = 0.0
    temperature: float = 1.0


@dataclass(frozen=True)
class ConfidenceMap:
    """
    How sure a model is.

    Args:
        values: of the class at each pixel, float32 `(height, width)` from 0 to 1; also where it abstained.
        by_class: the mean of each class, by its id, where the label map has it.
        options: what was wanted.
    """

    values: np.ndarray
    by_class: dict[int, float]
    options: ConfidenceOptions

    @property
    def endings(self) -> tuple[str, ...]:
        """How the name of its file ends, if one is wanted."""
        return (CONFIDENCE[self.options.file_format],) if self.options.file_format else ()

    def save(self, target: Path) -> None:
        """Write its file, if one is wanted, whose name begins like `target`: a PNG, whose 255 is 1, or floats."""
        for ending in self.endings:
            if self.options.file_format == "png":
                values = (self.values * 255).round().astype(np.uint8)
                save_png(Image.fromarray(values), f"{target}{ending}")
            else:
                note = {SOFTWARE: ORIGIN, IMAGEDESCRIPTION: "confidence"}
                image = Image.fromarray(self.values)
                image.save(f"{target}{ending}", compression="tiff_adobe_deflate", tiffinfo=note)


def add_confidence(report: dict[str, Any], by_class: Mapping[int, float], options: ConfidenceOptions) -> None:
    """Write the mean confidence in each class, by its id, and the temperature to an `area_report`."""
    report["temperature"] = options.temperature
    for entry in report["classes"]:
        entry["confidence"] = by_class[entry["id"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how sure the model is")
    group.add_argument("--confidence", choices=tuple(CONFIDENCE), help="write maps of confidence")
    group.add_argument(
        "--abstain", type=share, metavar="LEAST", help=f"ignore pixels ({IGNORE_INDEX}) with less confidence, 0 to 1"
    )


def options_of(args: argparse.Namespace) -> ConfidenceOptions | None:
    """
    What the command line asks for; `None` if that is nothing.

    Raises:
        ValueError: if the calibration of the model is damaged.
    """
    if args.confidence is None and args.abstain is None:
        return None
    return ConfidenceOptions(args.confidence, args.abstain or 0.0, read_temperature(args.model))


def share(text: str) -> float:
    """
    A number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: for any other.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no confidence: give a number from 0 to 1")
    return number


def read_temperature(model: str) -> float:
    """
    The `temperature` in `calibration.json` of a model folder, or a model on the Hub; 1 if there is no such file.

    Raises:
        ValueError: if it holds no such number, or one that leaves every class certain or all alike.
    """
    try:
        file = Path(str(cached_file(model, CALIBRATION_FILE)))
    except OSError:
        return 1.0
    try:
        calibration = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}. Calibrate anew, or delete it.") from error
    temperature = calibration.get("temperature") if isinstance(calibration, dict) else None
    if (
        isinstance(temperature, bool)
        or not isinstance(temperature, int | float)
        or not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE
    ):
        raise ValueError(
            f'{file} holds {str(calibration)[:80]}; expected {{"temperature": T}}, T being a number from '
            f"{LOWEST_TEMPERATURE} to {HIGHEST_TEMPERATURE}."
        )
    return float(temperature)


def label_picture(
    logits: torch.Tensor,
    size: tuple[int, int],
    image_processor: BaseImageProcessor,
    options: ConfidenceOptions | None = None,
) -> tuple[np.ndarray, ConfidenceMap | None]:
    """
    The label map of a picture, or of a frame, and how sure of it the model is, if that is wanted.

    Args:
        logits: scores `(num_labels, h, w)`.
        size: height and width of the picture.
        image_processor: the model's, which may say that scores are no logits.
        options: what is wanted of the confidence, if anything.

    Returns:
        Class ids, and 255 where the model abstains, uint8 `(height, width)`, or 65535 and uint16 where 255 may be a
        class; and the confidence.
    """
    dtype, logits = label_type(len(logits)), logits.float()
    if options is None:
        return resized_argmax(logits, size).cpu().numpy().astype(dtype), None
    are_logits = getattr(image_processor, "scores_are_logits", True)
    label_map, confidence = resized_confidence(logits, size, options.temperature, are_logits)
    ignored = ignored_id(len(logits))
    label_map[confidence < options.abstain] = ignored
    by_class = mean_confidence(label_map, confidence)
    by_class.pop(ignored, None)
    confidence_map = ConfidenceMap(confidence.cpu().numpy(), by_class, options)
    return label_map.cpu().numpy().astype(dtype), confidence_map
