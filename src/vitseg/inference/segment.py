# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segment images. For image.jpg the output folder gets

  image_overlay.jpg   the image under the colours of its classes, with a legend
  image_palette.png   the label map in these colours: a PNG with a palette, whose pixel values are class ids
  image_ids.png       the same label map as plain bytes, one class id per pixel
  image.json          the area of each class that is present, largest first

and, if you ask how sure the model is,

  image_confidence.png, .tif   with --confidence: how sure it is of the class at each pixel, 255 or 1.0 being certain

--abstain LEAST ignores pixels of which it is less sure, and with either option image.json has the mean of each class.

Images of the same name keep as many of their folders as tell them apart, and those that differ in their suffix alone
keep it. In a folder, hidden files, files of other formats and the results of earlier runs are no images, so that the
output may be the images' own folder. A file that cannot be read, or whose results cannot be written because of its
name, is named and skipped, and the exit status is 1.

The model sees images at the size that it was tested with, or, with --scale or --gsd, at a resolution of your choice.
Then they may be larger than the memory; the overlay of a large one is an overview; a run that was stopped goes on; and
a TIFF file gets image_ids.tif, which lies where the image lies on Earth, in place of the two label maps.
"""

import argparse
import errno
import json
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..image_files import printable, without_image_suffix
from ..label_maps import Palette, overlay, save_palette_png, save_png, with_legend
from ..models.labels import IGNORE_INDEX
from ..replacing import standing
from ..stamps import model_stamp
from . import confidence, large
from .loading import choose_device, class_names, is_model_name, load_model, palette_for
from .pictures import find_images, read_image
from .results import (
    AREAS,
    IDS,
    OVERLAY,
    PALETTE,
    RESULTS,
    area_report,
    check_replaceable,
    remove_confidence,
    remove_results,
)


# How many batches of images may wait for others of their size.
WAITING_BATCHES = 8
# What a file system says of a name that it cannot store.
NAME_ERRORS = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
LONGEST_JPEG_SIDE = 65500  # pixels, as libjpeg has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, or folder of images")
    parser.add_argument(
        "--model", required=True, type=standing, metavar="DIR_OR_ID", help="model folder, or name on the Hub"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one size at a time (1)")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    confidence.add_arguments(parser)
    large.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.batch_size < 1:
        args.usage_error(f"--batch-size is {args.batch_size}; expected at least 1")
    if args.output.exists() and not args.output.is_dir():
        args.usage_error(f"--output {args.output} is a file; give a folder")
    if not is_model_name(args.model):
        args.usage_error(f"there is no model folder {args.model}")
    resolution = large.resolution_of(args)
    confidence_options = confidence.options_of(args)
    try:
        paths, note = find_images(args.images)
    except ValueError as error:
        args.usage_error(str(error))
    if note:
        print(f"note: {note}", file=sys.stderr)
    model, image_processor = load_model(args.model, choose_device(args.device), getattr(torch, args.dtype))
    if resolution is None:
        failures = segment_files(paths, args.output, model, image_processor, args.batch_size, confidence_options)
    else:
        names = class_names(model)
        palette = palette_for(names, model.config)
        images = large.LargeImages(
            model,
            image_processor,
            names,
            palette,
            resolution,
            model_stamp(args.model),
            args.polygons,
            confidence_options,
        )
        failures = segment_large_files(paths, args.output, images)
    for path, reason in failures.items():
        print(f"skipped {printable(path)}: {reason}", file=sys.stderr)
    return 1 if failures else 0


@dataclass(frozen=True)
class Picture:
    """An image file, its pixels as people see them (RGB), and the model's input (1, channels, height, width)."""

    path: Path
    image: Image.Image
    pixel_values: torch.Tensor


class Answer(NamedTuple):
    """
    What a model says of a picture.

    Args:
        label_map: class ids, uint8 (height, width) of the picture; 255 where the model abstains.
        confidence_map: how sure it is, if that was asked.
    """

    label_map: np.ndarray
    confidence_map: confidence.ConfidenceMap | None = None


def segment_files(
    paths: Sequence[Path],
    output: Path,
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    batch_size: int = 1,
    confidence_options: confidence.ConfidenceOptions | None = None,
) -> dict[Path, str]:
    """
    Write the results of image files to the folder `output`.

    Args:
        paths: the files, each once.
        output: the folder; it is made if it does not exist.
        model: a segmentation model in evaluation mode, with 255 classes at most.
        image_processor: the model's.
        batch_size: how many images of one size go through the model at a time.
        confidence_options: what is wanted of the model's confidence, if anything.

    Returns:
        The files that could not be read, or whose results could not be written because of their names, with the
        reason.

    Raises:
        OSError: if nothing can be written, such as on a full disk.
    """
    targets = output_names(paths)
    output.mkdir(parents=True, exist_ok=True)
    names = class_names(model)
    palette = palette_for(names, model.config)
    failures: dict[Path, str] = {}
    pictures = read_pictures(tqdm(targets, unit="image"), image_processor, failures)
    for batch in batches(pictures, batch_size):
        answers = segment(batch, model, image_processor, confidence_options)
        for picture, answer in zip(batch, answers, strict=True):
            try:
                save_results(picture, answer, names, palette, output / targets[picture.path])
            except ValueError as error:
                failures[picture.path] = str(error)
            except OSError as error:
                if error.errno not in NAME_ERRORS:
                    raise
                failures[picture.path] = f"its results cannot be named after it: {error.strerror}"
    for path in failures:
        remove_results(output / targets[path])
    return failures


def segment_large_files(paths: Sequence[Path], output: Path, images: large.LargeImages) -> dict[Path, str]:
    """As `segment_files`, one image after the other at a resolution that was asked for."""
    targets = output_names(paths)
    failures: dict[Path, str] = {}
    for path in tqdm(targets, unit="image", disable=len(targets) == 1):
        try:
            images.segment(path, output / targets[path])
        except OSError as error:
            if str(error.filename) != str(path) and error.errno not in NAME_ERRORS:
                raise
            failures[path] = error.strerror or str(error)
        except ValueError as error:
            failures[path] = str(error)
        if path in failures:
            remove_results(output / targets[path])
    return failures


def output_names(paths: Sequence[Path]) -> dict[Path, Path]:
    """
    What the results of each image are called: its own name, behind as many of its folders as it takes to be unique.

    The suffix only stays where images of one folder differ in nothing else.
    """
    whole = {path: path.absolute() for path in paths}
    names = {path: full.with_name(without_image_suffix(full.name)) for path, full in whole.items()}

    def with_suffix_where_repeated() -> dict[Path, Path]:
        counts = Counter(names.values())
        return {path: whole[path] if counts[name] > 1 else name for path, name in names.items()}

    # Again, because a name that has kept its suffix may be another's without: of a.jpg, a.png and a.jpg.gif.
    while (longer := with_suffix_where_repeated()) != names:
        names = longer
    tails = {
        path: [Path(*name.parts[-length:]) for length in range(1, len(name.parts))] for path, name in names.items()
    }
    counts = Counter(tail for own in tails.values() for tail in own)
    # As file systems see them that take A for a. Images of one folder that differ in nothing else come from others.
    folded = Counter(fold(tail) for own in tails.values() for tail in own)

    def shortest(own: Sequence[Path]) -> Path:
        for tail in own:
            if folded[fold(tail)] == 1:
                return tail
        # A path that ends another path is itself all that tells it apart.
        return next((tail for tail in own if counts[tail] == 1), own[-1])

    return {path: shortest(own) for path, own in tails.items()}


def fold(path: Path) -> str:
    """A path as file systems compare it that know neither case nor composition of letters."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def read_pictures(
    paths: Iterable[Path], image_processor: BaseImageProcessor, failures: dict[Path, str]
) -> Iterator[Picture]:
    """The pictures one by one; files that cannot be read go to `failures` with the reason."""
    for path in paths:
        try:
            image = read_image(path)
            pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
        except Exception as error:  # also of an image that is too large for the memory
            failures[path] = getattr(error, "strerror", None) or str(error)
        else:
            yield Picture(path, image, pixel_values)


def batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures whose input has the same size: padding others to one size would change what the model answers."""
    waiting: dict[torch.Size, list[Picture]] = {}
    for picture in pictures:
        group = waiting.setdefault(picture.pixel_values.shape, [])
        group.append(picture)
        if len(group) == batch_size:
            yield waiting.pop(picture.pixel_values.shape)
        elif sum(map(len, waiting.values())) == WAITING_BATCHES * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


@torch.inference_mode()
def segment(
    pictures: Sequence[Picture],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    confidence_options: confidence.ConfidenceOptions | None = None,
) -> list[Answer]:
    """The answer for each picture, with the confidence that is wanted."""
    pixel_values = torch.cat([picture.pixel_values for picture in pictures])
    outputs = model(pixel_values.to(model.device, model.dtype))
    outputs.logits = outputs.logits.float()
    sizes = [(picture.image.height, picture.image.width) for picture in pictures]
    if confidence_options is not None:
        return [
            Answer(*confidence.label_with_confidence(logits, size, image_processor, confidence_options))
            for logits, size in zip(outputs.logits, sizes, strict=True)
        ]
    label_maps = image_processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
    return [Answer(label_map.cpu().numpy().astype(np.uint8)) for label_map in label_maps]


def save_results(picture: Picture, answer: Answer, names: Sequence[str], palette: Palette, target: Path) -> None:
    """
    Write the files of a picture to a temporary folder, and move them to `target` when they are complete.

    Raises:
        OSError: if they cannot be written.
        ValueError: if a file of that name, beside the picture, is no result, or the picture is too large for one.
    """
    label_map, confidence_map = answer
    pixels = np.bincount(label_map.ravel(), minlength=IGNORE_INDEX)[:IGNORE_INDEX]
    report = area_report(picture.path, picture.image.size, pixels, names)
    endings: tuple[str, ...] = RESULTS
    if confidence_map is not None:
        confidence.add_confidence(report, confidence_map.by_class, confidence_map.options)
        endings += confidence_map.endings
    shares = {entry["id"]: entry["share"] for entry in report["classes"]}
    drawing = with_legend(overlay(picture.image, label_map, palette), names, palette, shares)
    if max(drawing.size) > LONGEST_JPEG_SIDE:
        raise ValueError(
            f"its overlay would have {drawing.width} x {drawing.height} pixels, and a JPEG file has "
            f"{LONGEST_JPEG_SIDE} in a direction at most: cut it into several"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent.resolve() == picture.path.parent:
        check_replaceable(target, endings)
    with tempfile.TemporaryDirectory(prefix=".segment-", dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        drawing.save(f"{unfinished}{OVERLAY}", quality=90, subsampling=0)
        save_palette_png(label_map, palette, f"{unfinished}{PALETTE}")
        save_png(Image.fromarray(label_map), f"{unfinished}{IDS}")
        with Path(f"{unfinished}{AREAS}").open("w", encoding="utf-8") as report_file:
            json.dump(report, report_file, indent=2, ensure_ascii=False)
        if confidence_map is not None:
            confidence_map.save(unfinished)
        for ending in endings:
            Path(f"{unfinished}{ending}").replace(f"{target}{ending}")
    remove_confidence(target, kept=endings)
