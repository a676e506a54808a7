# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Predict label maps of images without labels, by the whole test protocol, in the form that a test server wants, or that
a labelling tool imports.

    accelerate launch -m vitseg predict --model DIR_OR_ID --images leftImg8bit/test --format cityscapes --output DIR
    accelerate launch -m vitseg predict --model DIR_OR_ID --dataset DIR_OR_ID --split test --format ids --output DIR
    accelerate launch -m vitseg predict --model DIR_OR_ID --images photos --format cvat --output DIR

It writes one PNG for each image, of its size and named after it, to DIR/predictions, and all of them to
DIR/submission.zip. Hidden files, and those of other formats, are no images. The values are

    cityscapes   label ids          ade20k    class id + 1
    ids          class ids          palette   class ids, in a PNG with the colours of the classes

For a labelling tool the PNGs hold class ids, and instead of the zip file there is

    coco         coco.json          cvat      cvat.xml, and cvat.json with the labels of the task
    labelme      labelme.zip        label-studio   label-studio.json, and label-studio.xml, the labelling interface

A run that was stopped continues where it was when it is started again; images that have changed since are predicted
anew. For pictures to look at, and for photos of any kind, there is `vitseg segment`. The exit status is 0 if all went
well, 1 if images were left out, and 2 if the work failed.
"""

import argparse
import functools
import hashlib
import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator

from ..arguments import positive_int
from ..bands import bands_of, read_image
from ..data.sources import DataSource, add_source_options, source_of
from ..data.streaming import COLUMNS, load_orientation, load_undecoded
from ..evaluation.inference import Prediction, predict_images
from ..evaluation.options import add_test_options, choose_protocol, run_options, run_work, settle_dtype
from ..evaluation.submission import FORMATS, check_classes, save_label_map, write_zip
from ..extras import require
from ..image_files import printable, without_image_suffix
from ..images import open_header, stored_size
from ..label_maps import Palette, origin_of
from ..overlapping import overlapping
from ..replacing import read_record, write_json
from ..stamps import identity, model_stamp
from .ledger import Ledger, add_ledger_options, open_ledger
from .loading import class_names, load_model, palette_for
from .outcomes import Outcome
from .pictures import find_images, read_model_image, wanted_by
from .processes import Process
from .results import PREDICTIONS, area_report


LONGEST_NAME = 255  # bytes, on most file systems
# Format -> what is made of all predictions: for labelling tools, or else for a test server.
TOOLS = {
    "coco": ("coco.json",),
    "cvat": ("cvat.xml", "cvat.json"),
    "label-studio": ("label-studio.json", "label-studio.xml"),
    "labelme": ("labelme.zip",),
}
TOOL_OPTIONS = ("shapes", "tolerance", "min_area")  # those of `RegionOptions`, which has the defaults
SUBMISSION = ("submission.zip",)
MADE_OF_ALL = (*SUBMISSION, *itertools.chain(*TOOLS.values()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_test_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--dataset", metavar="DIR_OR_ID", help="data set folder, or name on the Hub")
    parser.add_argument("--split", default="test", metavar="NAME", help="split of the data set (test)")
    add_source_options(parser)
    parser.add_argument("--format", choices=(*FORMATS, *TOOLS), default="ids", help="what the files hold (ids)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")
    add_ledger_options(parser)
    group = parser.add_argument_group(f"for labelling tools ({', '.join(TOOLS)})")
    group.add_argument(
        "--shapes",
        choices=("polygons", "masks"),
        help="a polygon for each connected part of a class, of those with holes a mask, or a mask for each class "
        "(polygons)",
    )
    group.add_argument(
        "--tolerance",
        type=pixels,
        metavar="PIXELS",
        help="by how much polygons may be off; 0 is exact (1)",
    )
    group.add_argument("--min-area", type=positive_int, metavar="PIXELS", help="leave out smaller parts and holes (1)")


def pixels(text: str) -> float:
    """
    A distance in pixels.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no distance in pixels: give a number from 0 on")
    return number


def run(args: argparse.Namespace) -> int:
    if args.format in TOOLS:
        require("labels")
        if args.dataset:
            args.usage_error(f"--format {args.format} is of image files, which the tool shows: give --images")
    elif given := [option for option in TOOL_OPTIONS if getattr(args, option) is not None]:
        args.usage_error(f"--{given[0].replace('_', '-')} is for labelling tools: --format {', '.join(TOOLS)}")
    if args.dataset:
        args.dataset = source_of(args)
    return run_work(functools.partial(predict, args))


class ImageFiles:
    """The images of a folder and the folders in it."""

    def __init__(self, folder: Path, output: Path, num_bands: int | None = None):
        self.folder = Path(os.path.realpath(folder if folder.is_dir() else folder.parent))
        self.paths, self.note = find_images([folder], wanted_by(num_bands))
        self.num_bands = num_bands
        self.names = [without_image_suffix(path.rpartition(os.sep)[2]) for path in self.paths]
        self.digests: dict[int, str] = {}  # of those that were read
        predictions = os.path.realpath(output / PREDICTIONS)
        if any(path.rpartition(os.sep)[0] == predictions for path in self.paths):
            raise ValueError(
                f"images are in {predictions}, where predictions would replace them: give another --output."
            )

    def encoded(self, index: int) -> bytes:
        """The content of a file."""
        return Path(self.paths[index]).read_bytes()

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        try:
            check_name(self.names[index])
            content = self.encoded(index)
            self.digests[index] = digest(content)
            image = read_model_image(content, self.num_bands)
        except ValueError as error:
            raise ValueError(f"{printable(path)}: {error}") from error
        return {"image": image, "file_name": Path(path).name}


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
        self.digests: dict[int, str] = {}  # of those that were read
        self.orientation = load_orientation(source, split)

    def encoded(self, index: int) -> bytes:
        """Which way an image stands, and the content of its file; empty if it is missing."""
        return self._encoded(self.rows[index])

    def _encoded(self, row: Mapping[str, Any]) -> bytes:
        return (self.orientation or "").encode() + ((row["image"] or {}).get("bytes") or b"")

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, row = self.names[index], self.rows[index]
        check_name(name)
        self.digests[index] = digest(self._encoded(row))
        label_size = stored_size(row.get("label"))
        image = read_image(row["image"], f"the image of {name}", self.orientation, label_size)
        return {"image": image, "file_name": name}


def predict(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """
    Make the predictions that are still missing, and what is made of all; returns 1 if images had to be left out.

    Raises:
        OSError, ValueError: saying why there are no predictions, or not all.
    """
    label_format = "ids" if args.format in TOOLS else args.format
    model, image_processor = load_model(args.model, accelerator.device, settle_dtype(args, accelerator))
    check_classes(label_format, model.config.num_labels)
    protocol, image_processor = choose_protocol(args, model.config, image_processor)
    images: ImageFiles | DatasetImages
    if args.images:
        images = ImageFiles(args.images, args.output, bands_of(image_processor))
    else:
        images = DatasetImages(args.dataset, args.split)
    if images.note:
        accelerator.print(f"note: {images.note}")
    names = images.names[: args.limit]
    require_unique(names)
    source = str(args.images or args.dataset)
    accelerator.print(f"Protocol: {protocol.describe()}; {args.dtype}")

    work = identity(
        model=model_stamp(args.model),
        source=[os.path.realpath(source) if Path(source).exists() else source, args.split],
        protocol=protocol.to_dict(),
        image_processor=image_processor.to_dict(),
        precision=[args.dtype, args.scores_dtype, accelerator.mixed_precision],
        format=label_format,
    )
    claim(args.output, work, accelerator)
    process = Process(accelerator.device, accelerator.process_index, accelerator.num_processes)
    classes = class_names(model)
    palette = palette_for(classes, model.config)
    predictions = Predictions(images, args.output / PREDICTIONS, label_format, classes, palette, work)
    with open_ledger(args, names, process, "left out: {reason}") as ledger:
        missing = find_missing(predictions, process.share(len(names)), args.workers, ledger)
        if any(process.gather(bool(missing))) and process.is_main:
            for name in MADE_OF_ALL:  # There is nothing of outdated predictions, should the run be stopped.
                (args.output / name).unlink(missing_ok=True)
        predicted = predict_images(model, image_processor, images, missing, accelerator, protocol, **run_options(args))
        answers = usable(predicted, args.skip_broken)
        for outcome in overlapping(predictions.save, answers, args.workers, waiting=args.workers):
            ledger.add(outcome)
    failed = ledger.sum_up()
    if process.is_main:
        complete = [index for index in range(len(names)) if origin_of(predictions.file(index)) is not None]
        result = args.output / TOOLS.get(args.format, SUBMISSION)[0]
        if isinstance(images, ImageFiles) and args.format in TOOLS:
            write_for_tool(args, predictions, images, complete, result)
        else:
            write_zip(map(predictions.file, complete), result)
        print(f"{len(complete)} label maps in {result}")
    return 1 if failed else 0


def write_for_tool(
    args: argparse.Namespace, predictions: "Predictions", images: ImageFiles, complete: Sequence[int], result: Path
) -> None:
    """
    Make of the predictions of these images what a labelling tool imports.

    Raises:
        ValueError: if a folder has a name that cannot be in there.
    """
    from ..data.labelling_tools import pre_annotations
    from ..data.regions import RegionOptions

    given = {option: value for option in TOOL_OPTIONS if (value := getattr(args, option)) is not None}
    paths = [images.paths[index] for index in complete]
    if (unsuitable := next((path for path in paths if printable(path) != path), None)) is not None:
        raise ValueError(f"{printable(unsuitable)} is not UTF-8, as names in {result.name} are: rename its folder.")
    drawn = pre_annotations.Predictions(
        images=[Path(path).relative_to(images.folder).as_posix() for path in paths],
        folder=images.folder.name,
        label_maps=predictions.folder,
        names=predictions.classes,
        palette=predictions.palette,
        options=RegionOptions(**given),
        threads=args.workers,
    )
    pre_annotations.WRITERS[args.format](drawn, result)


def find_missing(predictions: "Predictions", share: Sequence[int], threads: int, ledger: Ledger) -> list[int]:
    """Those of the images whose predictions are to be made; the others are taken down."""
    missing = []
    for found in overlapping(predictions.find, share, threads, waiting=threads):
        if isinstance(found, Outcome):
            ledger.add(found)
        else:
            missing.append(found)
    return missing


def usable(predictions: Iterable[Prediction], skip_broken: bool) -> Iterator[Prediction]:
    """
    Predictions with label maps of bytes, on the CPU.

    Raises:
        ValueError: if there is none of an image, unless such are left out.
    """
    for prediction in predictions:
        if prediction.label_map is not None:
            started = time.monotonic()
            label_map = prediction.label_map.to("cpu", torch.uint8)
            seconds = prediction.seconds + time.monotonic() - started  # On a GPU, here is where it is waited for.
            yield replace(prediction, label_map=label_map, seconds=seconds)
        elif skip_broken:
            yield prediction
        else:
            raise ValueError(f"{prediction.error} (Such images can be left out, with --skip-broken.)")


@dataclass(frozen=True)
class Predictions:
    """
    The files of predictions.

    Args:
        images: what they are of.
        folder: where they are.
        output_format: one of `FORMATS`.
        classes: the names of the classes.
        palette: their colours.
        work: what tells all that they are made with from others.
    """

    images: ImageFiles | DatasetImages
    folder: Path
    output_format: str
    classes: Sequence[str]
    palette: Palette
    work: str

    def file(self, index: int) -> Path:
        """That of an image."""
        return self.folder / f"{self.images.names[index]}.png"

    def find(self, index: int) -> Outcome | int:
        """
        What became of an image, if there is the prediction that this work made of its content as it is now; else the
        image. A prediction of another content is deleted.
        """
        file = self.file(index)
        found = origin_of(file)
        if found is None:
            return index
        try:
            is_current = found == self._origin(digest(self.images.encoded(index)))
        except OSError:  # It cannot be read any more.
            is_current = False
        if not is_current:
            file.unlink()
            return index
        with open_header(file) as image:
            width, height = image.size
        return self._outcome(index, "kept", report={"width": width, "height": height})

    def save(self, prediction: Prediction) -> Outcome:
        """Write a prediction, unless there is none."""
        index = prediction.index
        if prediction.label_map is None:
            return self._outcome(index, "failed", reason=prediction.error)
        label_map = prediction.label_map.numpy()
        origin = self._origin(self.images.digests.pop(index))
        save_label_map(label_map, self.output_format, self.palette, self.file(index), origin)
        pixels = np.bincount(label_map.ravel(), minlength=len(self.classes))
        height, width = label_map.shape
        report = area_report(Path(self.images.names[index]), (width, height), pixels, self.classes)
        return self._outcome(index, "done", report=report, seconds=prediction.seconds)

    def _origin(self, content: str) -> str:
        return f"{self.work}-{content}"

    def _outcome(self, index: int, status: Literal["done", "kept", "failed"], **known: Any) -> Outcome:
        name = self.images.names[index]
        return Outcome(name, status, f"{PREDICTIONS}/{name}.png", **known)


def digest(content: bytes) -> str:
    """What tells the content of a file from others."""
    return hashlib.sha256(content).hexdigest()


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


def require_unique(names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: if two images would have files of the same name.
    """
    counts = Counter(names)
    if len(counts) < len(names):
        repeated = [name for name, count in counts.items() if count > 1]
        raise ValueError(
            f"{len(repeated)} names stand for several images, such as {repeated[0]}: servers want all files in one "
            "folder. Predict them in several runs."
        )


def claim(output: Path, work: str, accelerator: Accelerator) -> None:
    """
    Note in the output folder what its predictions are made with.

    Raises:
        ValueError: if it holds those of something else, or a file of others that would be replaced.
    """
    note = output / "predictions.json"
    others = [name for name in MADE_OF_ALL if (output / name).exists()]
    if others and not note.exists():
        raise ValueError(f"{output / others[0]} would be replaced, and is no result: give another --output.")
    if note.exists() and read_record(note).get("fingerprint") != work:
        raise ValueError(
            f"{output} holds predictions of another model, protocol or format, in another --dtype, or of another "
            "folder of images: give another folder."
        )
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(note, {"fingerprint": work})
