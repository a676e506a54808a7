# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure a model on a labelled data set, by the protocol of its folder or of a recipe.

    accelerate launch -m vitseg validate --model DIR_OR_ID --dataset DIR_OR_ID --output DIR
    accelerate launch -m vitseg validate --model DIR_OR_ID --dataset DIR_OR_ID --recipe NAME --multi-scale --flip

The model is any semantic or universal segmentation model of transformers. The data set holds images and label maps of
train ids, as `vitseg prepare` writes them. With --output DIR it writes

    results.json, results.md   the figures and what they were measured with
    images.csv                 mean IoU of each image, worst first
    image_counts.npz           pixels of each class in each image, for intervals and comparisons
    iou.png                    IoU of each class
    calibration.png            with --calibration: how often the model is right, by how sure it is
    report.html                with --report: where the model fails, with pictures
    confusion.csv, .png        what the pixels of each class are taken for
    images/                    with --save-images N: the N worst and the N best images

and a run that was stopped continues where it was when it is started again. The exit status is 0, or 2 if there is no
result.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import whole_number
from ..bands import bands_of, describe_shown, picture_of
from ..conversion.provenance import weights_digest
from ..data.dataset_labels import load_labels
from ..data.sources import DataSource, add_source_options, source_of
from ..data.streaming import load_examples
from ..devices import device_name
from ..evaluation.bootstrap import spread
from ..evaluation.class_matching import ClassMatch, match_classes
from ..evaluation.evaluator import evaluate_model, metric_of
from ..evaluation.image_counts import ImageCounts
from ..evaluation.inference import predict_images
from ..evaluation.metric import MeanIoU
from ..evaluation.options import add_test_options, choose_protocol, run_options, run_work, settle_dtype
from ..evaluation.progress import EvaluationProgress, dataset_revision, dataset_stamp, summed
from ..evaluation.results import (
    Record,
    add_to_model_card,
    console_table,
    has_colors,
    result_record,
)
from ..evaluation.results_folder import ImageScore, finished_record, worst_first, write_results
from ..image_files import without_image_suffix
from ..label_maps import Palette, comparison
from ..models.labels import IGNORE_INDEX
from ..recipes.cards import model_card
from ..recipes.protocol import Protocol
from ..replacing import replacing
from ..stamps import identity, model_stamp
from . import calibrate
from .confidence import read_temperature
from .loading import class_names, load_model, palette_for
from .report import Report


# What can be measured beside the mean IoU: each is an option.
MEASURES = ("boundary", "calibration", "calibrate", "report")

# What it takes to ask the model for the same predictions again.
ARGUMENTS = (
    *(
        "model",
        "recipe",
        "multi_scale",
        "flip",
        "window",
        "stride",
        "dtype",
        "threads",
        "window_batch_size",
        "workers",
    ),
    *("scores_dtype", "scores_device", "split", "reduce_labels", "match_classes"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_test_options(parser)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_ID", help="data set folder, or name on the Hub")
    add_images_options(parser)
    calibrate.add_arguments(parser)
    parser.add_argument("--report", action="store_true", help="write a page that shows where the model fails")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to, and to continue from")
    parser.add_argument(
        "--save-images", type=whole_number, default=0, metavar="N", help="draw the N worst and best images"
    )
    parser.add_argument("--update-model-card", action="store_true", help="add the result to the model folder's card")


def add_images_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say on which images of a data set a model is measured, and what of them counts."""
    add_source_options(parser)
    parser.add_argument("--split", default="validation", metavar="NAME", help="split to measure on (validation)")
    parser.add_argument("--reduce-labels", action="store_true", help='label maps hold 0 for "no class", train id + 1')
    parser.add_argument("--boundary", action="store_true", help="measure boundary IoU, and pixels around borders, too")
    parser.add_argument(
        "--match-classes",
        choices=("name", "id"),
        help="how the model's classes are found in the data set (by name where their order differs, else by id)",
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")


def run(args: argparse.Namespace) -> int:
    if (args.save_images or args.report) and args.output is None:
        args.usage_error(f"{'--report' if args.report else '--save-images'} needs --output")
    if args.update_model_card and not Path(args.model).is_dir():
        args.usage_error(f"--update-model-card needs a model folder, which {args.model} is not")
    args.dataset, args.calibration_file = source_of(args), calibrate.calibration_file(args)
    return run_work(functools.partial(validate, args))


@dataclass(frozen=True)
class Subject:
    """What is measured, on what, and how."""

    model: PreTrainedModel
    image_processor: BaseImageProcessor
    examples: datasets.Dataset
    classes: ClassMatch
    palette: Palette
    protocol: Protocol
    options: dict[str, Any]


def validate(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """
    Measure, print and write; the first process alone does the latter two.

    Raises:
        OSError, ValueError: saying why there is no result.
    """
    subject = load_subject(args, accelerator)
    accelerator.print(f"Protocol: {subject.protocol.describe()}; {args.dtype}")
    progress, work = EvaluationProgress(), identify(args, subject, accelerator)
    temperature = read_temperature(args.model) if args.calibration or args.calibrate else 1.0
    if args.calibration_file is not None:
        calibrate.check_calibrates(args.calibration_file, subject.protocol, subject.image_processor)
    measures = {name for name in MEASURES if getattr(args, name)}
    card = Path(args.model) / "README.md"
    if args.update_model_card and card.exists():
        model_card(card.read_text(encoding="utf-8"), card)  # which refuses it now, and not after the work
    if args.output is not None:
        record = finished_record(args.output, work)
        missing = missing_parts(record, args, measures, temperature) if record else []
        if record and not missing:
            accelerator.print(f"{args.output} holds this result already.\n")
            accelerator.print(console_table(record, has_colors(sys.stdout)))
            if args.update_model_card and accelerator.is_main_process:
                add_to_model_card(card, record)
            return 0
        if record:
            accelerator.print(f"{args.output} holds this result without {', '.join(missing)}: it is measured again.")
            measures.update(name for name in record.get("measures", ()) if name != "calibrate")
        process = accelerator.process_index, accelerator.num_processes
        of_work = identity(work=work, measures=sorted(measures), temperature=temperature)
        progress = EvaluationProgress.open(args.output, of_work, *process)
    names, classes = subject.classes.names, subject.classes
    metric = metric_of(subject.model.config) if classes.ids is None else MeanIoU(len(names))
    if classes.ids is not None and measures & {"calibration", "calibrate"}:
        raise ValueError("Calibration is of a model's own classes, in their order; those of the data set differ.")
    summarize = calibrate.summarizer(
        measures, metric.class_ids, subject.protocol, subject.image_processor, temperature
    )
    scores = evaluate_model(
        subject.model,
        subject.image_processor,
        subject.examples,
        accelerator,
        limit=args.limit,
        skip_broken=args.skip_broken,
        progress=progress,
        metric=metric,
        boundary="boundary" in measures,
        summarize=summarize,
        failures="report" in measures,
        **subject.options,
    )
    if not scores["area_label"].any():
        raise ValueError(
            f"In the split {args.split!r} of {args.dataset} all pixels of the {len(subject.examples)} label maps are "
            "ignored: nothing can be measured on it. Does --reduce-labels, or its lack, fit them?"
        )
    image_scores = worst_first(gather_object(progress.image_scores))
    broken = gather_object(progress.broken)
    seconds = max(gather_object([progress.seconds]))
    rows, sums = torch.cat(gather_object(progress.rows)), summed(gather_object([progress.sums]))
    if accelerator.is_main_process:
        images = ImageCounts.of_rows([scored[:2] for scored in image_scores], names, rows)
        scores = {**images.means(), **scores}
        record = result_record(
            scores,
            names,
            subject.protocol,
            fingerprint=work,
            measures=sorted(measures),
            model=args.model,
            weights=weights_digest(args.model),
            dataset=str(args.dataset),
            dataset_revision=dataset_revision(args.dataset, args.split),
            split=args.split,
            limit=args.limit,
            images=len(image_scores),
            broken=broken,
            dtype=args.dtype if accelerator.mixed_precision == "no" else accelerator.mixed_precision,
            device=device_name(accelerator.device),
            processes=accelerator.num_processes,
            images_per_second=len(image_scores) / seconds,
            arguments={name: getattr(args, name) for name in ARGUMENTS} | {"dataset": vars(args.dataset)},
            **classes.record(),
            **spread(images),
            **calibrate.calibration_of(sums, temperature),
        )
        print_result(record)
        if note := args.calibration and calibrate.note_same_split(args, temperature):
            print(note)
        if args.output is not None:
            if "report" in measures:
                report = Report(images, sorted(index for index, _, _ in image_scores), scores["confusion_matrix"])
                show_failures(subject, report, metric, accelerator)
                report.save(args.output / "report.html", record, sums)
            draw_images(subject, image_scores, args.save_images, args.output / "images", accelerator)
            write_results(args.output, record, scores, image_scores, images)
        if args.update_model_card:
            add_to_model_card(card, record)
        if args.calibration_file is not None:  # which may fail, where the figures stand
            calibrate.write_calibration(args.calibration_file, sums, record)
    return 0


def load_subject(args: argparse.Namespace, accelerator: Accelerator) -> Subject:
    model, image_processor = load_model(args.model, accelerator.device, settle_dtype(args, accelerator))
    protocol, image_processor = choose_protocol(args, model.config, image_processor)
    classes, palette = match_labels(args.dataset, class_names(model), args.match_classes, accelerator)
    return Subject(
        model=model,
        image_processor=image_processor,
        examples=load_examples(args.dataset, args.split, do_reduce_labels=args.reduce_labels),
        classes=classes,
        palette=palette,
        protocol=protocol,
        options={"protocol": protocol, "class_ids": classes.ids, **run_options(args)},
    )


def identify(args: argparse.Namespace, subject: Subject, accelerator: Accelerator) -> str:
    """What tells this evaluation from others in its output folder."""
    return identity(
        model=model_stamp(args.model),
        dataset=[args.dataset.image_column, args.dataset.label_column, *dataset_stamp(args.dataset, args.split)],
        protocol=subject.protocol.to_dict(),
        image_processor=subject.image_processor.to_dict(),
        precision=[args.dtype, args.scores_dtype, accelerator.mixed_precision],
        images=[args.split, args.limit, args.reduce_labels],
        **({} if subject.classes.ids is None else {"classes": subject.classes.ids.tolist()}),
    )


def missing_parts(record: Record, args: argparse.Namespace, measures: set[str], temperature: float) -> list[str]:
    """What is asked for that a finished evaluation did not do, in words."""
    missing = measures.difference(record.get("measures", ()))
    if "calibration" in measures and record.get("calibration", {}).get("temperature") != temperature:
        missing.add("calibration")
    if args.calibration_file is not None and not args.calibration_file.exists():
        missing.add("calibrate")
    if not is_drawn(args.output / "images", min(args.save_images, record["images"])):
        missing.add("the images")
    return sorted(missing)


def print_result(record: Record) -> None:
    print(console_table(record, has_colors(sys.stdout)))
    print(f"\n{record['images']} images, {record['images_per_second']:.2f} images/s")
    for reason in record["broken"]:
        print(f"left out: {reason}")


def match_labels(
    dataset: DataSource, names: Sequence[str], by: str | None, accelerator: Accelerator
) -> tuple[ClassMatch, Palette]:
    """
    How the classes of a model are found in a data set, and the colours of those that are measured.

    Raises:
        ValueError: if they cannot be found.
    """
    try:
        labels = load_labels(dataset)
    except ValueError as error:
        accelerator.print(f"note: {error} Its label maps are taken to hold the model's class ids.")
        return ClassMatch(list(names)), palette_for(names)
    try:
        classes = match_classes(names, labels.names, by)
    except ValueError as error:
        raise ValueError(f"{dataset} {error}") from error
    for note in classes.notes(names):
        accelerator.print(f"note: {note}")
    return classes, labels.palette or palette_for(classes.names)


def draw_images(
    subject: Subject,
    image_scores: Sequence[ImageScore],
    count: int,
    folder: Path,
    accelerator: Accelerator,
) -> None:
    """Segment the `count` worst and best images once more, and draw them beside the truth."""
    if count and (num_bands := bands_of(subject.image_processor)):
        print(f"note: {describe_shown(num_bands)}")
    ordered = [index for index, _, _ in image_scores]
    titles = {index: f"best_{rank}" for rank, index in enumerate(ordered[::-1][:count], start=1)}
    titles |= {index: f"worst_{rank}" for rank, index in enumerate(ordered[:count], start=1)}
    for prediction in predict_images(
        subject.model, subject.image_processor, subject.examples, list(titles), accelerator, **subject.options
    ):
        if prediction.label_map is None or prediction.reference is None:
            raise ValueError(f"{prediction.file_name} was measured, but cannot be read any more: {prediction.error}")
        image = picture_of(subject.examples[prediction.index]["image"], subject.image_processor)
        label_maps = drawn_ids(prediction.label_map, subject), prediction.reference.numpy()
        picture = comparison(image, *label_maps, subject.classes.names, subject.palette)
        name = Path(without_image_suffix(prediction.file_name)).name
        # A file system takes no more than 255 bytes.
        name = f"{titles[prediction.index]}_{name}".encode()[:250].decode(errors="ignore")
        with replacing(folder / f"{name}.png") as unfinished:
            picture.save(unfinished, format="PNG")


def show_failures(subject: Subject, report: Report, metric: MeanIoU, accelerator: Accelerator) -> None:
    """Segment the images once more that a report wants to show."""
    for prediction in predict_images(
        subject.model, subject.image_processor, subject.examples, report.indices, accelerator, **subject.options
    ):
        if prediction.label_map is None or prediction.reference is None:
            raise ValueError(f"{prediction.file_name} was measured, but cannot be read any more: {prediction.error}")
        truth = metric.class_ids(prediction.reference)
        truth[truth == metric.num_labels] = IGNORE_INDEX
        label_map = drawn_ids(prediction.label_map, subject).astype(np.uint8)
        image = picture_of(subject.examples[prediction.index]["image"], subject.image_processor)
        report.add(prediction.index, image, label_map, truth.numpy().astype(np.uint8), subject.palette)


def drawn_ids(label_map: torch.Tensor, subject: Subject) -> np.ndarray:
    """A prediction to draw: 255 where the model sees what the data set lacks."""
    return label_map.masked_fill(label_map == len(subject.classes.names), IGNORE_INDEX).cpu().numpy()


def is_drawn(folder: Path, count: int) -> bool:
    """Whether there are the `count` worst and best images."""
    ranks = range(1, count + 1)
    return all(any(folder.glob(f"{title}_{rank}_*.png")) for title in ("worst", "best") for rank in ranks)
