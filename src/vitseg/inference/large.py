# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Segmenting images at their own resolution, or at one that is asked for, however large they are."""

import argparse
import functools
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import positive_int
from ..bands import bands_of
from ..image_files import printable
from ..label_maps import Palette, ignored_id, label_type, overlay, with_legend
from ..models.configuration_semantic import InferenceProtocol
from ..models.image_processing_semantic import WEIGHT_BITS, bilinear_taps, blend_bytes
from ..models.score_maps import confident_argmax
from ..progress import progress_bar
from ..replacing import beside
from ..stamps import file_stamp, identity
from .band_sources import open_band_source
from .confidence import ConfidenceOptions, add_confidence
from .map_files import save_png, save_tiff
from .rasters import Raster
from .results import (
    AREAS,
    CONFIDENCE,
    IDS,
    IDS_TIFF,
    OVERLAY,
    PALETTE,
    POLYGONS,
    TIFF_RESULTS,
    area_report,
    check_replaceable,
    is_complete,
    move_results,
    picture_results,
    remove_results,
)
from .sources import ImageSource, open_source
from .stopwatch import Stopwatch
from .unfinished import UnfinishedAnswer
from .windows import Axis, Decide, Windows, answer_bands, highest


# Logits of windows that go through the network together take at most so many bytes of the computer's memory.
LOGITS_BYTES = 2**28
# Nothing is seen better that is enlarged more; the windows alone would fill the memory.
HIGHEST_SCALE = 100
# The overlay of a larger image is an overview.
OVERVIEW_SIDE = 2048  # pixels


@dataclass(frozen=True)
class Resolution:
    """
    At which resolution, and in which windows, an image is segmented.

    Args:
        scale: by what the sides of the image are multiplied; or
        gsd: metres on the ground of a pixel that the model sees.
        window: side of the windows, by default the model's.
        blend: "mean" of the scores of windows, or "smooth": less of them towards the borders of windows.
        bands, value_range: see `Raster`.
    """

    scale: float | None = None
    gsd: float | None = None
    window: int | None = None
    blend: str = "mean"
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None

    def seen_size(self, source: ImageSource) -> tuple[int, int]:
        """
        Height and width of an image as it is shown to the model.

        Raises:
            ValueError: if the image does not have this resolution, or would be enlarged beyond all measure.
        """
        factors = (self.scale, self.scale) if self.scale else source.ground_resolution()
        if self.gsd:
            factors = factors[0] / self.gsd, factors[1] / self.gsd
        if max(factors) > HIGHEST_SCALE:
            asked, hint = (f"--gsd {self.gsd:g}", "a larger") if self.gsd else (f"--scale {self.scale:g}", "a smaller")
            raise ValueError(
                f"with {asked} its sides would be {max(factors):.3g} times as long, more than {HIGHEST_SCALE} times: "
                f"give {hint} number"
            )
        sides = zip((source.height, source.width), factors, strict=True)
        height, width = (max(int(side * factor + 0.5), 1) for side, factor in sides)
        return height, width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("at a resolution of your choice, for images of any size")
    resolution = group.add_mutually_exclusive_group()
    resolution.add_argument(
        "--scale", type=scale, metavar="native|FACTOR", help="at the image's own resolution, or so many times that"
    )
    resolution.add_argument(
        "--gsd", type=positive_number, metavar="METRES", help="with pixels of this size on the ground"
    )
    group.add_argument("--window", type=positive_int, metavar="N", help="side of the windows (the model's)")
    group.add_argument("--blend", choices=("mean", "smooth"), default="mean", help="how windows are joined (mean)")
    group.add_argument(
        "--bands",
        type=positive_int,
        nargs="+",
        metavar="N",
        help="red, green and blue band of a TIFF file (it says), or those that a model of bands takes (all)",
    )
    group.add_argument("--polygons", action="store_true", help="write the areas in TIFF files as GeoJSON, too")
    group.add_argument(
        "--value-range", type=float, nargs=2, metavar=("BLACK", "WHITE"), help="numbers in a TIFF file (0 255)"
    )


def resolution_of(args: argparse.Namespace, num_bands: int | None) -> Resolution | None:
    """What the command line asks for of a model of so many bands; `None` if that is the model's own resolution."""
    if args.scale is None and args.gsd is None:
        for option in ("window", "bands", "value_range"):
            if getattr(args, option) is not None:
                args.usage_error(f"--{option.replace('_', '-')} needs --scale or --gsd")
        if args.blend != "mean" or args.polygons:
            args.usage_error(f"--{'polygons' if args.polygons else 'blend'} needs --scale or --gsd")
        return None
    if num_bands is not None and args.value_range:
        args.usage_error("--value-range is for models of pictures: this one takes the numbers of bands as they are")
    if num_bands is not None and args.bands and len(args.bands) != num_bands:
        args.usage_error(f"--bands names {len(args.bands)} bands, but the model takes {num_bands}")
    if num_bands is None and args.bands and len(args.bands) not in (1, 3):
        args.usage_error(f"--bands names {len(args.bands)} bands; expected red, green and blue, or a grey one")
    if args.value_range and not -math.inf < args.value_range[0] < args.value_range[1] < math.inf:
        black, white = args.value_range
        args.usage_error(
            f"--value-range {black:g} {white:g}: give the number that is black, and a larger one that is white"
        )
    bands, value_range = (values and tuple(values) for values in (args.bands, args.value_range))
    return Resolution(args.scale, args.gsd, args.window, args.blend, bands, value_range)


def scale(text: str) -> float:
    """
    A factor, or 1 for "native".

    Raises:
        argparse.ArgumentTypeError: for any other.
    """
    return 1.0 if text == "native" else positive_number(text)


def positive_number(text: str) -> float:
    """
    A number above 0.

    Raises:
        argparse.ArgumentTypeError: for any other.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not positive: give a number above 0")
    return number


def window_protocol(config: Any, window: int | None) -> InferenceProtocol:
    """
    The windows of a model.

    Raises:
        ValueError: if it has none.
    """
    if not hasattr(config, "protocol"):
        raise ValueError(
            f"a {config.model_type} takes images whole: --scale and --gsd are for the models of vitseg, which take "
            "them in windows"
        )
    if window is None and config.protocol().mode == "whole":
        size = " x ".join(map(str, config.protocol().window_size))
        raise ValueError(
            f"by its protocol this model takes images whole: say how large windows shall be, as in --window "
            f"{min(config.protocol().window_size)} (it was trained on {size} pixels)"
        )
    return config.protocol(inference_mode="slide", window_size=window)


class LargeImages:
    """
    Segments images one by one at a resolution, and writes their results.

    Args:
        model: one that takes images in windows, in evaluation mode, with 65535 classes at most.
        image_processor: the model's.
        names, palette: names and colours of the classes.
        resolution: at which.
        stamp: what tells the model from others, see `model_stamp`.
        has_polygons: whether the areas of TIFF files are written as polygons, too.
        confidence: what is wanted of the model's confidence, if anything.

    Raises:
        ValueError: if the model has no windows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        names: Sequence[str],
        palette: Palette,
        resolution: Resolution,
        stamp: Sequence[Any],
        has_polygons: bool = False,
        confidence: ConfidenceOptions | None = None,
    ):
        self.model = model
        self.image_processor = image_processor
        self.names = names
        self.palette = palette
        self.resolution = resolution
        self.stamp = stamp
        self.has_polygons = has_polygons
        self.confidence = confidence
        self.ignored = ignored_id(len(names))
        fields: list[Any] = [("label", label_type(len(names)))]
        fields += [("confidence", np.dtype("<f4"))] if confidence else []
        self.record = np.dtype(fields)
        self.protocol = window_protocol(model.config, resolution.window)

    def segment(self, path: Path, target: Path) -> float | None:
        """
        Write the results of an image file to files whose names begin like `target`. A run that was stopped goes on.

        Returns:
            The seconds that the model took, windows being blended; `None` if the results were there.

        Raises:
            OSError: if they cannot be written.
            ValueError: if the file is no image, or damaged, or has no such resolution; if a file that would be
                replaced is no result.
        """
        origin = identity(
            model=self.stamp,
            image=[printable(path), *file_stamp(path)],
            resolution=asdict(self.resolution),
            image_processor=self.image_processor.to_dict(),
            dtype=str(self.model.dtype),
            confidence=self.confidence and asdict(self.confidence),
        )
        with self._open(path, target.parent) as source:
            endings = self._endings(source)
            if is_complete(target, endings, origin):
                return None
            target.parent.mkdir(parents=True, exist_ok=True)
            check_replaceable(target, endings)
            with tempfile.TemporaryDirectory(prefix=".segment-", dir=target.parent) as folder:
                (Path(folder) / f"{target.name}{max(endings, key=len)}").touch()  # while it has cost nothing
            windows = self._windows(source)
            unfinished = beside(Path(f"{target}{endings[0]}"), "unfinished")
            size = source.height, source.width
            answer = UnfinishedAnswer(unfinished, origin, size, windows.strips, self.record)
            try:
                seconds = self._answer(source, windows, answer, path.name)
                self._save(path, source, answer, target, origin)
            except ValueError:  # It would be so again.
                unfinished.unlink()
                raise
            except OSError as error:  # Pillow does not say of what.
                raise OSError(error.errno, error.strerror, error.filename or str(target)) from error
            unfinished.unlink()
            return seconds

    def _open(self, path: Path, folder: Path) -> AbstractContextManager[ImageSource]:
        bands, value_range = self.resolution.bands, self.resolution.value_range
        if bands_of(self.image_processor) is None:
            return open_source(path, folder, bands, value_range)
        return open_band_source(path, bands, self.image_processor)

    def _windows(self, source: ImageSource) -> Windows:
        # Some methods enlarge small images.
        seen = torch.empty(1, 3, *self.resolution.seen_size(source), device="meta")
        height, width = self.model.enlarge(seen, self.protocol).shape[-2:]
        (window_height, window_width), stride = self.protocol.window_size, self.protocol.window_stride
        return Windows(
            Axis(source.height, height, min(window_height, height), stride[0]),
            Axis(source.width, width, min(window_width, width), stride[1]),
            num_labels=len(self.names),
            is_smooth=self.resolution.blend == "smooth",
        )

    @torch.inference_mode()
    def _answer(self, source: ImageSource, windows: Windows, answer: UnfinishedAnswer, name: str) -> float:
        """Append what is missing of the answer; returns the seconds that making it took, without reading."""
        first_strip, row = answer.position
        missing = [(strip, 0) for strip in windows.strips[first_strip:]]
        if missing:
            missing[0] = missing[0][0], row
        total = sum(windows.count(*part) for part in missing)
        watch = Stopwatch()
        with progress_bar(total=total, unit="window", desc=name, leave=False) as progress:

            def read(rows: slice, columns: slice) -> torch.Tensor | None:
                progress.update()
                with watch.during("reading"):
                    return read_pixels(source, windows, self.image_processor, rows, columns)

            for strip, first in missing:
                batch_size, device = self._batch_size(windows), self.model.device
                bands = answer_bands(
                    windows, strip, first, self._predict, read, batch_size, self.record, self._decide(), device
                )
                for band in watch.each("bands", bands):
                    if self.confidence:
                        band["label"][band["confidence"] < self.confidence.abstain] = self.ignored
                    valid = source.valid(slice(first, first + len(band)), slice(strip.start, strip.stop))
                    if valid is not None:
                        band["label"][~valid] = self.ignored
                        if self.confidence:
                            band["confidence"][~valid] = np.nan
                    answer.append(band)
                    first += len(band)
        return watch.busy["bands"] - watch.busy["reading"]

    def _decide(self) -> Decide:
        if self.confidence is None:
            return highest
        are_logits = getattr(self.image_processor, "scores_are_logits", True)
        return functools.partial(confident_argmax, temperature=self.confidence.temperature, are_logits=are_logits)

    def _predict(self, windows: Sequence[torch.Tensor]) -> torch.Tensor:
        pixel_values = torch.stack(list(windows)).to(self.model.device, self.model.dtype)
        return self.model(pixel_values, inference_mode="whole").logits

    def _batch_size(self, windows: Windows) -> int:
        if self.model.device.type != "cpu":
            return self.protocol.window_batch_size
        logits = 4 * windows.num_labels * windows.rows.window * windows.columns.window
        return min(self.protocol.window_batch_size, max(LOGITS_BYTES // logits, 1))

    def _endings(self, source: ImageSource) -> list[str]:
        """What the results of an image are called."""
        endings: Sequence[str] = picture_results(len(self.names))
        if isinstance(source, Raster):
            endings = [ending for ending in TIFF_RESULTS if ending != POLYGONS or self.has_polygons]
        file_format = self.confidence and self.confidence.file_format
        return [*endings, CONFIDENCE[file_format]] if file_format else [*endings]

    def _save(self, path: Path, source: ImageSource, answer: UnfinishedAnswer, target: Path, origin: str) -> None:
        """Write the files to a temporary folder, and move them to their names when they are complete."""
        report = self._report(path, answer)
        endings = self._endings(source)
        shares = {entry["id"]: entry["share"] for entry in report["classes"]}
        with tempfile.TemporaryDirectory(prefix=".segment-", dir=target.parent) as folder:
            unfinished = Path(folder) / target.name
            drawing = with_legend(overview(source, answer, self.palette), self.names, self.palette, shares)
            drawing.save(f"{unfinished}{OVERLAY}", quality=90, subsampling=0)
            self._save_maps(source, answer, unfinished, origin)
            if isinstance(source, Raster) and self.has_polygons:
                source.save_polygons(f"{unfinished}{IDS_TIFF}", self.names, f"{unfinished}{POLYGONS}")
            with Path(f"{unfinished}{AREAS}").open("w", encoding="utf-8") as report_file:
                json.dump(report, report_file, indent=2, ensure_ascii=False)
            remove_results(target, kept=endings)
            move_results(unfinished, target, endings)

    def _report(self, path: Path, answer: UnfinishedAnswer) -> dict[str, Any]:
        """The areas of the classes, with the mean confidence in each if that is wanted."""
        pixels, sums = np.zeros((2, self.ignored + 1))
        for band in answer.bands():
            labels = band["label"].ravel()
            pixels += np.bincount(labels, minlength=len(pixels))
            if self.confidence:
                sums += np.bincount(labels, band["confidence"].ravel(), minlength=len(sums))
        size = answer.width, answer.height
        report = area_report(path, size, pixels[: self.ignored].astype(np.int64), self.names)
        if self.confidence:
            means = (sums / np.maximum(pixels, 1)).tolist()
            add_confidence(report, dict(enumerate(means)), self.confidence)
        return report

    def _save_maps(self, source: ImageSource, answer: UnfinishedAnswer, target: Path, origin: str) -> None:
        """Write the label map, and the map of confidence if one is wanted."""
        size = answer.height, answer.width
        has_palette = PALETTE in picture_results(len(self.names))

        def labels() -> Iterator[np.ndarray]:
            return (band["label"] for band in answer.bands())

        def confidence() -> Iterator[np.ndarray]:
            return (band["confidence"] for band in answer.bands())

        def confidence_bytes() -> Iterator[np.ndarray]:
            return (np.nan_to_num(band * 255).round().astype(np.uint8) for band in confidence())

        if isinstance(source, Raster):
            dtype, palette = str(self.record["label"]), self.palette if has_palette else None
            save_tiff(f"{target}{IDS_TIFF}", size, labels, source.place, dtype, self.ignored, origin, palette)
        else:
            if has_palette:
                save_png(f"{target}{PALETTE}", size, labels, self.palette)
            save_png(f"{target}{IDS}", size, labels, note=origin)
        file_format = self.confidence and self.confidence.file_format
        if file_format == "png":
            save_png(f"{target}{CONFIDENCE[file_format]}", size, confidence_bytes)
        elif file_format == "tiff":
            file = f"{target}{CONFIDENCE[file_format]}"
            save_tiff(file, size, confidence, source.place, "float32", math.nan, "confidence")


def read_pixels(
    source: ImageSource, windows: Windows, image_processor: BaseImageProcessor, rows: slice, columns: slice
) -> torch.Tensor | None:
    """
    Some of the pixels that the model sees, resized as image processors do and normalised: float32
    `(channels, rows, columns)`; `None` if there is nothing in the file whose answer they are part of.
    """
    asked = windows.rows.asked(rows), windows.columns.asked(columns)
    if any(pixels.start == pixels.stop for pixels in asked):
        return None
    valid = source.valid(*asked)
    if valid is not None and not valid.any():
        return None
    if (windows.rows.length, windows.columns.length) == (windows.rows.scaled, windows.columns.scaled):
        part = source.read(rows, columns)
    else:
        lines = [taps[rows] for taps in bilinear_taps(windows.rows.length, windows.rows.scaled, clamp_weights=False)]
        places = [
            taps[columns] for taps in bilinear_taps(windows.columns.length, windows.columns.scaled, clamp_weights=True)
        ]
        needed = [slice(int(taps[0].min()), int(taps[1].max()) + 1) for taps in (lines, places)]
        for taps, span in zip((lines, places), needed, strict=True):
            taps[:2] = [index - span.start for index in taps[:2]]
        part = blend(source.read(*needed), lines, places)
    return image_processor(
        part, do_resize=False, do_pad=False, input_data_format="channels_first", return_tensors="pt"
    )["pixel_values"][0]


def blend(image: torch.Tensor, lines: Sequence[torch.Tensor], columns: Sequence[torch.Tensor]) -> torch.Tensor:
    """As `blend_bytes`, of floating-point numbers too, without its rounding."""
    if image.dtype == torch.uint8:
        return blend_bytes(image, lines, columns)
    for dim, (low, high, low_weight, high_weight) in ((-1, columns), (-2, lines)):
        weights = [weight[:, None] if dim == -2 else weight for weight in (low_weight, high_weight)]
        parts = zip((low, high), weights, strict=True)
        image = sum(image.index_select(dim, taps) * (weight / 2**WEIGHT_BITS) for taps, weight in parts)
    return image


def overview(source: ImageSource, answer: UnfinishedAnswer, palette: Palette) -> Image.Image:
    """The picture under the colours of its classes, made smaller if it is large."""
    factor = min(OVERVIEW_SIDE / max(source.height, source.width), 1.0)
    height, width = (max(int(side * factor + 0.5), 1) for side in (source.height, source.width))
    lines, places = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for old, new in ((source.height, height), (source.width, width))
    )
    label_map = np.stack([answer.rows(line, line + 1)["label"][0, places] for line in lines])
    return overlay(source.overview(width, height), label_map, palette)
