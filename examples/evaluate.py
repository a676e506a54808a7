# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure a model on a labelled data set, by the protocol of its folder or of a recipe.

    accelerate launch examples/evaluate.py --model DIR_OR_ID --dataset DIR_OR_ID --output DIR
    accelerate launch examples/evaluate.py --model DIR_OR_ID --dataset DIR_OR_ID --recipe NAME --multi-scale --flip

The data set holds images and label maps of train ids, as examples/prepare_data.py writes them. With --output DIR it
writes

    results.json, results.md   the figures and what they were measured with
    images.csv                 mean IoU of each image, worst first
    iou.png                    IoU of each class
    confusion.csv, .png        what the pixels of each class are taken for
    images/                    with --save-images N: the N worst and the N best images

and a run that was stopped continues where it was when it is started again.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from vitseg.data.dataset_labels import load_labels
from vitseg.data.streaming import load_examples
from vitseg.evaluation.drawing import Palette, comparison, plot_class_bars, plot_confusion_matrix
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.evaluation.fingerprint import fingerprint, folder_stamp
from vitseg.evaluation.inference import predict_images
from vitseg.evaluation.options import add_test_options, choose_protocol, run_options
from vitseg.evaluation.progress import EvaluationProgress
from vitseg.evaluation.protocol import Protocol
from vitseg.evaluation.results import (
    Record,
    add_to_model_card,
    console_table,
    device_name,
    has_colors,
    markdown_report,
    result_record,
)
from vitseg.publishing.provenance import weights_digest
from vitseg.replacing import replacing, write_json
from vitseg.segmentation import load_model, palette_for


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    accelerator = Accelerator()
    try:
        evaluate(args, accelerator)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        accelerator.end_training()
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_test_options(parser)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_ID", help="data set folder, or name on the Hub")
    parser.add_argument("--split", default="validation", metavar="NAME", help="split to measure on (validation)")
    parser.add_argument("--reduce-labels", action="store_true", help='label maps hold 0 for "no class", train id + 1')
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to, and to continue from")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")
    parser.add_argument("--save-images", type=int, default=0, metavar="N", help="draw the N worst and best images")
    parser.add_argument("--update-model-card", action="store_true", help="add the result to the model folder's card")
    args = parser.parse_args(arguments)
    if args.save_images and args.output is None:
        parser.error("--save-images needs --output")
    if args.update_model_card and not Path(args.model).is_dir():
        parser.error(f"--update-model-card needs a model folder, which {args.model} is not")
    return args


@dataclass(frozen=True)
class Subject:
    """What is measured, on what, and how."""

    model: PreTrainedModel
    image_processor: BaseImageProcessor
    examples: datasets.Dataset
    names: list[str]
    palette: Palette
    protocol: Protocol
    options: dict[str, Any]


def evaluate(args: argparse.Namespace, accelerator: Accelerator) -> None:
    subject = load_subject(args, accelerator)
    accelerator.print(f"Protocol: {subject.protocol.describe()}; {args.dtype}")
    identity = identify(args, subject, accelerator)
    if record := finished_record(args.output, identity):
        accelerator.print(f"{args.output} holds this result already.\n")
        accelerator.print(console_table(record, has_colors(sys.stdout)))
        return

    progress = EvaluationProgress()
    if args.output is not None:
        process = accelerator.process_index, accelerator.num_processes
        progress = EvaluationProgress.open(args.output, identity, *process)
    scores = evaluate_model(
        subject.model,
        subject.image_processor,
        subject.examples,
        accelerator,
        limit=args.limit,
        skip_broken=args.skip_broken,
        progress=progress,
        **subject.options,
    )
    image_scores = sorted(gather_object(progress.image_scores), key=worst_first)
    broken = gather_object(progress.broken)
    seconds = max(gather_object([progress.seconds]))
    if not accelerator.is_main_process:
        return
    record = result_record(
        scores,
        subject.names,
        subject.protocol,
        fingerprint=identity,
        model=args.model,
        weights=weights_digest(args.model),
        dataset=args.dataset,
        split=args.split,
        limit=args.limit,
        images=len(image_scores),
        broken=broken,
        dtype=args.dtype if accelerator.mixed_precision == "no" else accelerator.mixed_precision,
        device=device_name(accelerator.device),
        processes=accelerator.num_processes,
        images_per_second=len(image_scores) / seconds,
    )
    print_result(record)
    if args.output is not None:
        draw_images(subject, image_scores, args.save_images, args.output / "images", accelerator)
        write_results(args.output, record, scores, image_scores)
    if args.update_model_card:
        add_to_model_card(Path(args.model) / "README.md", record)


def load_subject(args: argparse.Namespace, accelerator: Accelerator) -> Subject:
    model, image_processor = load_model(args.model, accelerator.device, getattr(torch, args.dtype))
    protocol, image_processor = choose_protocol(args, model, image_processor)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    return Subject(
        model=model,
        image_processor=image_processor,
        examples=load_examples(args.dataset, args.split, do_reduce_labels=args.reduce_labels),
        names=names,
        palette=check_labels(args.dataset, names, accelerator),
        protocol=protocol,
        options={"protocol": protocol, **run_options(args)},
    )


def identify(args: argparse.Namespace, subject: Subject, accelerator: Accelerator) -> str:
    """What tells this evaluation from others in its output folder."""
    return fingerprint(
        model=folder_stamp(args.model),
        dataset=folder_stamp(args.dataset),
        protocol=subject.protocol.to_dict(),
        image_processor=subject.image_processor.to_dict(),
        precision=[args.dtype, args.scores_dtype, accelerator.mixed_precision],
        images=[args.split, args.limit, args.reduce_labels],
    )


def print_result(record: Record) -> None:
    print(console_table(record, has_colors(sys.stdout)))
    print(f"\n{record['images']} images, {record['images_per_second']:.2f} images/s")
    for reason in record["broken"]:
        print(f"left out: {reason}")


def check_labels(dataset: str, names: Sequence[str], accelerator: Accelerator) -> Palette:
    """
    The colours of a data set's classes.

    Raises:
        ValueError: if the data set has another number of classes than the model.
    """
    try:
        labels = load_labels(dataset)
    except ValueError as error:
        accelerator.print(f"note: {error} Its label maps are taken to hold the model's class ids.")
        return palette_for(names)
    if len(labels.names) != len(names):
        raise ValueError(f"{dataset} has {len(labels.names)} classes, but the model has {len(names)}.")
    different = [index for index, name in enumerate(names) if name != labels.names[index]]
    if different:
        first = different[0]
        accelerator.print(
            f"note: {len(different)} of {len(names)} class names are others in the data set: class {first} is "
            f"{names[first]!r} in the model and {labels.names[first]!r} in the data set"
        )
    return labels.palette or palette_for(names)


def finished_record(output: Path | None, identity: str) -> Record | None:
    """
    The result in the output folder, if there is one.

    Raises:
        ValueError: if it is the result of something else.
    """
    if output is None or not (output / "results.json").exists():
        return None
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    if record["fingerprint"] != identity:
        raise ValueError(
            f"{output} holds the result of another model, data set or protocol ({record['protocol_in_words']}): give "
            "another folder."
        )
    return record


def worst_first(image_score: tuple[int, str, float]) -> tuple[bool, float, int]:
    """Sorts by mean IoU; images in which nothing is labelled come last."""
    index, _, score = image_score
    return math.isnan(score), score, index


def draw_images(
    subject: Subject,
    image_scores: Sequence[tuple[int, str, float]],
    count: int,
    folder: Path,
    accelerator: Accelerator,
) -> None:
    """Segment the `count` worst and best images once more, and draw them beside the truth."""
    ordered = [index for index, _, _ in image_scores]
    titles = {index: f"best_{rank}" for rank, index in enumerate(ordered[::-1][:count], start=1)}
    titles |= {index: f"worst_{rank}" for rank, index in enumerate(ordered[:count], start=1)}
    for prediction in predict_images(
        subject.model, subject.image_processor, subject.examples, list(titles), accelerator, **subject.options
    ):
        image = subject.examples[prediction.index]["image"]
        label_maps = prediction.label_map.cpu().numpy(), prediction.reference.numpy()
        picture = comparison(image, *label_maps, subject.names, subject.palette)
        with replacing(folder / f"{titles[prediction.index]}_{Path(prediction.file_name).stem}.png") as unfinished:
            picture.save(unfinished, format="PNG")


def write_results(
    output: Path, record: Record, scores: dict[str, Any], image_scores: Sequence[tuple[int, str, float]]
) -> None:
    """Write tables and plots, and last the record, which says that the evaluation is done."""
    names = [row["name"] for row in record["classes"]]
    matrix, ious = scores["confusion_matrix"], scores["per_category_iou"]
    mean = f"mean IoU {100 * scores['mean_iou']:.2f} on {record['images']} images"
    plot_class_bars(names, ious, output / "iou.png", f"IoU of each class; {mean}")
    plot_confusion_matrix(names, matrix, output / "confusion.png", "What the pixels of each class are taken for (%)")
    write_table(
        output / "confusion.csv",
        ["true", *names],
        ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)),
    )
    write_table(output / "images.csv", ["file_name", "mean_iou"], (row[1:] for row in image_scores))
    with replacing(output / "results.md") as unfinished:
        unfinished.write_text(markdown_report(record), encoding="utf-8")
    write_json(output / "results.json", record)
    for file in output.glob("progress-*.json"):
        file.unlink()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((header, *rows))


if __name__ == "__main__":
    sys.exit(main())
