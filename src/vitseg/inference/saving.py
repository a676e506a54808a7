# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What `vitseg segment` writes for a picture: label maps, the overlay, areas, and how sure the model is."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..label_maps import Palette, overlay, save_palette_png, save_png, with_legend
from .confidence import ConfidenceMap, add_confidence
from .outcomes import Outcome, why_failed
from .reading import Picture
from .results import (
    AREAS,
    IDS,
    OVERLAY,
    PALETTE,
    area_report,
    check_replaceable,
    move_results,
    picture_results,
    remove_results,
)


LONGEST_JPEG_SIDE = 65500  # pixels, as libjpeg has it


class Answer(NamedTuple):
    """
    What a model says of a picture.

    Args:
        picture: which.
        label_map: class ids, `label_type` (height, width) of the picture; `ignored_id` where the model abstains.
        confidence_map: how sure it is, if that was asked.
        seconds: that the model took.
    """

    picture: Picture
    label_map: np.ndarray
    confidence_map: ConfidenceMap | None
    seconds: float


@dataclass(frozen=True)
class Writer:
    """
    Writes the results of pictures.

    Args:
        names, palette: names and colours of the classes.
        output: the folder.
    """

    names: Sequence[str]
    palette: Palette
    output: Path

    def write(self, answer: Answer) -> Outcome:
        """
        Write the results of a picture, or delete those of an earlier run if they cannot be named after it.

        Raises:
            OSError: if nothing can be written, such as on a full disk.
        """
        picture = answer.picture
        target = self.output / picture.name
        try:
            report = self._save(answer, target)
        except (OSError, ValueError) as error:
            reason = why_failed(error, picture.path)
        else:
            return Outcome(str(picture.path), "done", picture.name, report=report, seconds=answer.seconds)
        remove_results(target)
        return Outcome(str(picture.path), "failed", picture.name, reason, seconds=answer.seconds)

    def _save(self, answer: Answer, target: Path) -> dict[str, Any]:
        """Write the files to a temporary folder, and move them to `target` when they are complete."""
        picture, label_map, confidence_map, _ = answer
        pixels = np.bincount(label_map.ravel(), minlength=len(self.names))[: len(self.names)]
        report = area_report(picture.path, picture.image.size, pixels, self.names)
        endings = picture_results(len(self.names))
        if confidence_map is not None:
            add_confidence(report, confidence_map.by_class, confidence_map.options)
            endings += confidence_map.endings
        shares = {entry["id"]: entry["share"] for entry in report["classes"]}
        drawing = with_legend(overlay(picture.image, label_map, self.palette), self.names, self.palette, shares)
        if max(drawing.size) > LONGEST_JPEG_SIDE:
            raise ValueError(
                f"its overlay would have {drawing.width} x {drawing.height} pixels, and a JPEG file has "
                f"{LONGEST_JPEG_SIDE} in a direction at most: cut it into several"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(target, endings)
        with tempfile.TemporaryDirectory(prefix=".segment-", dir=target.parent) as folder:
            unfinished = Path(folder) / target.name
            drawing.save(f"{unfinished}{OVERLAY}", quality=90, subsampling=0)
            if PALETTE in endings:
                save_palette_png(label_map, self.palette, f"{unfinished}{PALETTE}")
            save_png(Image.fromarray(label_map), f"{unfinished}{IDS}", picture.origin)
            with Path(f"{unfinished}{AREAS}").open("w", encoding="utf-8") as report_file:
                json.dump(report, report_file, indent=2, ensure_ascii=False)
            if confidence_map is not None:
                confidence_map.save(unfinished)
            remove_results(target, kept=endings)
            move_results(unfinished, target, endings)
        return report
