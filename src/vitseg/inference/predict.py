# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Predict label maps of images without labels, by the whole test protocol, in the form that a test server wants.

    accelerate launch -m vitseg predict --model DIR_OR_ID --images leftImg8bit/test --format cityscapes --output DIR
    accelerate launch -m vitseg predict --model DIR_OR_ID --dataset DIR_OR_ID --split test --format ids --output DIR

It writes one PNG for each image, of its size and named after it, to DIR/predictions, and all of them to
DIR/submission.zip. Hidden files, and those of other formats, are no images. The values are

    cityscapes   label ids          ade20k    class id + 1
    ids          class ids          palette   class ids, in a PNG with the colours of the classes

A run that was stopped continues where it was when it is started again; images that have changed since are predicted
anew. For pictures to look at, and for photos of any kind, there is `vitseg segment`. The exit status is 0 if all went
well, 1 if images were left out, and 2 if the work failed.
"""

import argparse
import functools
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..data.sources import DataSource, add_source_options, source_of
from ..data.streaming import COLUMNS, load_orientation, load_undecoded
from ..evaluation.inference import predict_images
from ..evaluation.options import add_test_options, choose_protocol, run_options, run_work
from ..evaluation.submission import FORMATS, check_classes, save_label_map, write_zip
from ..image_files import printable, without_image_suffix
from ..images import read_picture, stored_size
from ..label_maps import origin_of
from ..replacing import read_record, write_json
from ..stamps import identity, model_stamp
from .loading import class_names, load_model, palette_for
from .pictures import find_images, read_image
from .results import PREDICTIONS


LONGEST_NAME = 255  # bytes, on most file systems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_test_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--dataset", metavar="DIR_OR_ID", help="data set folder, or name on the Hub")
    parser.add_argument("--split", default="test", metavar="NAME", help="split of the data set (test)")
    add_source_options(parser)
    parser.add_argument("--format", choices=FORMATS, default="ids", help="what the files hold (ids)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")


def run(args: argparse.Namespace) -> int:
    if args.dataset:
        args.dataset = source_of(args)
    return run_work(functools.partial(predict, args))


class ImageFiles:
    """The images of a folder and the folders in it."""

    def __init__(self, folder: Path, output: Path):
        self.paths, self.note = find_images([folder])
        self.names = [without_image_suffix(path.name) for path in self.paths]
        predictions = os.path.realpath(output / PREDICTIONS)
        if any(str(path.parent) == predictions for path in self.paths):
            raise ValueError(
                f"images are in {predictions}, where predictions would replace them: give another --output."
            )

    def encoded(self, index: int) -> bytes:
        """The content of a file."""
        return self.paths[index].read_bytes()

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        try:
            check_name(self.names[index])
            image = read_image(path)
        except ValueError as error:
            raise ValueError(f"{printable(path)}: {error}") from error
        return {"image": image, "file_name": path.name}


class DatasetImages:
    """
    The images of a split, by the names in its column `file_name`, or by number if there is none. With an EXIF
    orientation they stand as the data set says, or as the label map does that may be beside them.
    """

    note = None

    def __init__(self, source: str | DataSource, split: str):
        self.rows = load_undecoded(source, split, COLUMNS, optional=("label", "file_name"))
        names = (name or str(index) for index, name in enumerate(self.rows["file_name"]))
        self.names = [PurePosixPath(without_image_suffix(name)).name for name in names]
        self.orientation = load_orientation(source, split)

    def encoded(self, index: int) -> bytes:
        """Which way an image stands, and the content of its file; empty if it is missing."""
        image = self.rows[index]["image"] or {}
        return (self.orientation or "").encode() + (image.get("bytes") or b"")

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, row = self.names[index], self.rows[index]
        check_name(name)
        label_size = stored_size(row.get("label"))
        image = read_picture(row["image"], f"the image of {name}", self.orientation, label_size)
        return {"image": image, "file_name": name}


def predict(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """
    Make the predictions that are still missing, and the zip file; returns 1 if images had to be left out, else 0.

    Raises:
        OSError, ValueError: saying why there are no predictions, or not all.
    """
    model, image_processor = load_model(args.model, accelerator.device, getattr(torch, args.dtype))
    check_classes(args.format, model.config.num_labels)
    protocol, image_processor = choose_protocol(args, model.config, image_processor)
    palette = palette_for(class_names(model), model.config)
    images = ImageFiles(args.images, args.output) if args.images else DatasetImages(args.dataset, args.split)
    if images.note:
        accelerator.print(f"note: {images.note}")
    files = output_files(images.names[: args.limit], args.output / PREDICTIONS)
    source = str(args.images or args.dataset)
    accelerator.print(f"Protocol: {protocol.describe()}; {args.dtype}")

    work = identity(
        model=model_stamp(args.model),
        source=[os.path.realpath(source) if Path(source).exists() else source, args.split],
        protocol=protocol.to_dict(),
        image_processor=image_processor.to_dict(),
        precision=[args.dtype, args.scores_dtype, accelerator.mixed_precision],
        format=args.format,
    )
    claim(args.output, work, accelerator)
    share = range(accelerator.process_index, len(files), accelerator.num_processes)
    origins = outdated(images, files, share, work)
    submission = args.output / "submission.zip"
    if any(gather_object([bool(origins)])) and accelerator.is_main_process:
        submission.unlink(missing_ok=True)  # There is none of outdated predictions, should the run be stopped.
    predictions = predict_images(
        model, image_processor, images, list(origins), accelerator, protocol, **run_options(args)
    )
    broken = []
    for prediction in tqdm(predictions, unit="image", total=len(origins), disable=not accelerator.is_main_process):
        if prediction.label_map is not None:
            label_map, index = prediction.label_map.cpu().numpy(), prediction.index
            save_label_map(label_map, args.format, palette, files[index], origins[index])
        elif args.skip_broken:
            broken.append(prediction.error)
        else:
            raise ValueError(f"{prediction.error} (Such images can be left out, with --skip-broken.)")
    broken = gather_object(broken)
    if accelerator.is_main_process:
        complete = [file for file in files if origin_of(file) is not None]
        write_zip(complete, submission)
        print(f"{len(complete)} label maps in {submission}")
        for reason in broken:
            print(f"left out: {reason}", file=sys.stderr)
    return 1 if broken else 0


def check_name(name: str) -> None:
    """
    Raises:
        ValueError: if an image of this name can have no prediction that is named after it.
    """
    try:
        length = len(f"{name}.png".encode())
    except UnicodeEncodeError:
        raise ValueError("its name is not UTF-8, as those of files in a zip file are: rename it") from None
    if "\0" in name:
        raise ValueError(f"its name {name!r} holds the character 0, which no file's can: rename it")
    if length > LONGEST_NAME:
        raise ValueError(f"the name of its prediction would have {length} bytes, more than {LONGEST_NAME}: rename it")


def outdated(
    images: ImageFiles | DatasetImages, files: Sequence[Path], share: Sequence[int], work: str
) -> dict[int, str]:
    """
    Those of the images that have no prediction which this work made of their content as it is now. One that is of
    another content is deleted.

    Returns:
        Which of the images -> what their predictions are made of.
    """
    origins = {}
    for index in share:
        try:
            origin = f"{work}-{hashlib.sha256(images.encoded(index)).hexdigest()}"
        except OSError:
            origin = work  # of nothing: it cannot be read
        found = origin_of(files[index])
        if found != origin:
            origins[index] = origin
            if found is not None:
                files[index].unlink()
    return origins


def output_files(names: Sequence[str], folder: Path) -> list[Path]:
    """
    The file of each image.

    Raises:
        ValueError: if two images would have the same.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} names stand for several images, such as {repeated[0]}: servers want all files in one "
            "folder. Predict them in several runs."
        )
    return [folder / f"{name}.png" for name in names]


def claim(output: Path, work: str, accelerator: Accelerator) -> None:
    """
    Note in the output folder what its predictions are made with.

    Raises:
        ValueError: if it holds those of something else.
    """
    note = output / "predictions.json"
    if note.exists() and read_record(note).get("fingerprint") != work:
        raise ValueError(
            f"{output} holds predictions of another model, protocol or format, or of another folder of images: give "
            "another folder."
        )
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(note, {"fingerprint": work})
