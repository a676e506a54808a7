# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segment images and videos. For image.jpg the output folder gets

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

Images are read ahead of the model, and results written behind it. Several processes, on one machine or on several,
share the images: `accelerate launch -m vitseg segment ...`. A run that was stopped goes on when it is started again:
results of the same model, options and file (its path, size and time of modification) are kept. --manifest DIR writes
a data set of Parquet files with a row for each image.

The model sees images at the size that it was tested with, or, with --scale or --gsd, at a resolution of your choice.
Then they may be larger than the memory; the overlay of a large one is an overview; a run that was stopped goes on in
the middle of an image; and a TIFF file gets image_ids.tif, which lies where the image lies on Earth, in place of the
two label maps.

A video, or a camera (--camera 0), gets one of these, and clip_frames.json on when its frames are shown:

  clip_overlay.mp4   the video under the colours of its classes, with a legend and its sound
  clip_labels.mov    with --video labels: the label maps, lossless, with a palette
  clip_frames/       with --video frames: the label map of each frame, a PNG with a palette
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import add_computing_options, positive_int
from ..bands import describe_shown
from ..extras import MissingExtraError
from ..image_files import is_video_name
from ..overlapping import overlapping
from ..processor import choose_computing
from ..replacing import standing
from ..stamps import identity, model_stamp
from ..workers import default_workers
from . import confidence, large, video
from .ledger import Ledger, add_ledger_options, open_ledger
from .loading import (
    MOST_CLASSES_OF_PICTURES,
    bands_of_model,
    class_names,
    is_model_name,
    load_model,
    palette_for,
)
from .names import result_names
from .outcomes import Outcome, why_failed
from .pictures import find_images, wanted_by
from .processes import join_processes
from .reading import Picture, Reader, batches
from .results import AREAS, CONFIDENCE, picture_results, remove_results
from .saving import Answer, Writer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image or video file, or folder of them")
    parser.add_argument(
        "--model", required=True, type=standing, metavar="DIR_OR_ID", help="model folder, or name on the Hub"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--batch-size", type=positive_int, default=1, metavar="N", help="images of one size at a time (1)"
    )
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    add_computing_options(parser)
    add_ledger_options(parser)
    confidence.add_arguments(parser)
    large.add_arguments(parser)
    video.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.output.exists() and not args.output.is_dir():
        args.usage_error(f"--output {args.output} is a file; give a folder")
    if not is_model_name(args.model):
        args.usage_error(f"there is no model folder {args.model}")
    num_bands = bands_of_model(args.model)
    resolution = large.resolution_of(args, num_bands)
    confidence_options = confidence.options_of(args)
    if not args.images and args.camera is None:
        args.usage_error("give an image or a video, a folder of them, or --camera")
    paths: list[str] = []
    note = None
    if args.images:
        is_wanted = wanted_by(num_bands)
        try:
            paths, note = find_images(args.images, lambda name: is_wanted(name) or is_video_name(name))
        except ValueError as error:
            args.usage_error(str(error))
    process = join_processes(args.device)
    dtype, choice = choose_computing(args.dtype, args.threads, process.device)
    if process.is_main:
        for line in filter(None, (note, choice, num_bands and describe_shown(num_bands))):
            print(f"note: {line}", file=sys.stderr)
    clips = list(filter(is_video_name, paths))
    if num_bands is not None and (clips or args.camera is not None):
        args.usage_error(f"{args.model} takes images of {num_bands} bands, and no videos")
    model, image_processor = load_model(args.model, process.device, dtype, MOST_CLASSES_OF_PICTURES)
    with open_ledger(args, paths, process, "skipped {image}: {reason}") as ledger:
        paths = list(itertools.filterfalse(is_video_name, paths))
        names = result_names(paths)
        if resolution is None:
            segment_files(args, paths, names, model, image_processor, confidence_options, ledger)
        else:
            segment_large_files(args, paths, names, model, image_processor, resolution, confidence_options, ledger)
        video.segment_files(args, clips, result_names(clips), model, image_processor, confidence_options, ledger)
    if args.camera is not None and process.is_main:
        video.segment_camera(args, model, image_processor, confidence_options)
    return 1 if ledger.sum_up() else 0


def segment_files(
    args: argparse.Namespace,
    paths: Sequence[str],
    names: Sequence[str],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: confidence.ConfidenceOptions | None,
    ledger: Ledger,
) -> None:
    """
    Write the results of this process's share of image files, reading ahead of the model and writing behind it.

    Args:
        args: `model`, `output` and `batch_size`.
        paths: the files, each once.
        names: what their results are called.
        model: a segmentation model in evaluation mode, with 65535 classes at most.
        image_processor: the model's.
        options: what is wanted of the model's confidence, if anything.
        ledger: where to take down what becomes of the images.

    Raises:
        OSError: if nothing can be written, such as on a full disk.
    """
    endings = picture_results(model.config.num_labels)
    if options and options.file_format:
        endings += (CONFIDENCE[options.file_format],)
    work = identity(
        model=model_stamp(args.model),
        image_processor=image_processor.to_dict(),
        dtype=str(model.dtype),
        confidence=options and asdict(options),
    )
    args.output.mkdir(parents=True, exist_ok=True)
    reader = Reader(paths, names, args.output, endings, work, image_processor)
    classes = class_names(model)
    writer = Writer(classes, palette_for(classes, model.config), args.output)
    threads = default_workers()
    waiting = max(threads, args.batch_size)

    def pictures() -> Iterator[Picture]:
        for read in overlapping(reader.read, ledger.process.share(len(paths)), threads, waiting):
            if isinstance(read, Picture):
                yield read
            else:
                ledger.add(read)

    answered = answers(batches(pictures(), args.batch_size), model, image_processor, options)
    for outcome in overlapping(writer.write, answered, threads, waiting):
        ledger.add(outcome)


def segment_large_files(
    args: argparse.Namespace,
    paths: Sequence[str],
    names: Sequence[str],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    resolution: large.Resolution,
    options: confidence.ConfidenceOptions | None,
    ledger: Ledger,
) -> None:
    """As `segment_files`, one image after the other at a resolution that was asked for."""
    classes = class_names(model)
    palette, stamp = palette_for(classes, model.config), model_stamp(args.model)
    images = large.LargeImages(model, image_processor, classes, palette, resolution, stamp, args.polygons, options)
    for index in ledger.process.share(len(paths)):
        path, target = Path(paths[index]), args.output / names[index]
        try:
            seconds = images.segment(path, target)
        except (MissingExtraError, OSError, ValueError) as error:
            reason = why_failed(error, path)
            remove_results(target)
            ledger.add(Outcome(paths[index], "failed", names[index], reason))
        else:
            report = json.loads(Path(f"{target}{AREAS}").read_text(encoding="utf-8"))
            status: Literal["done", "kept"] = "kept" if seconds is None else "done"
            ledger.add(Outcome(paths[index], status, names[index], report=report, seconds=seconds))


def answers(
    pictures: Iterable[Sequence[Picture]],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: confidence.ConfidenceOptions | None = None,
) -> Iterator[Answer]:
    """The answer for each picture of each batch."""
    for batch in pictures:
        started = time.monotonic()
        labelled = segment(batch, model, image_processor, options)
        seconds = (time.monotonic() - started) / len(batch)
        for picture, (label_map, confidence_map) in zip(batch, labelled, strict=True):
            yield Answer(picture, label_map, confidence_map, seconds)


@torch.inference_mode()
def segment(
    pictures: Sequence[Picture],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: confidence.ConfidenceOptions | None = None,
) -> list[tuple[np.ndarray, confidence.ConfidenceMap | None]]:
    """The label map of each picture, and how sure the model is of it, if that is wanted."""
    pixel_values = torch.cat([picture.pixel_values for picture in pictures])
    outputs = model(pixel_values.to(model.device, model.dtype))
    return [
        confidence.label_picture(logits, (picture.image.height, picture.image.width), image_processor, options)
        for logits, picture in zip(outputs.logits, pictures, strict=True)
    ]
