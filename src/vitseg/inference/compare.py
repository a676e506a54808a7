# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Compare models on the same images, with intervals of their differences.

    vitseg compare runs/first runs/second --output DIR
    accelerate launch -m vitseg compare FIRST SECOND --dataset DIR_OR_ID --output DIR --window 512 --stride 341

Each of those that are compared is an output folder of `vitseg validate`, or a model, which is then measured by these
options into a folder of DIR. Differences are to the first. It writes

    comparison.html            models and classes side by side, and the images on which the models differ most
    comparison.md, .json       the same without pictures, and the scores of all images

The intervals of differences are those of a paired bootstrap over images: both models on the same draws.
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..arguments import whole_number
from ..bands import picture_of
from ..data.sources import DataSource, source_of
from ..evaluation.comparison import (
    classes_table,
    compare_results,
    distinct_names,
    markdown_comparison,
    models_table,
    read_result,
)
from ..evaluation.image_counts import ImageCounts
from ..evaluation.inference import predict_images
from ..evaluation.options import add_protocol_options, run_work
from ..evaluation.results import Record, percent
from ..evaluation.results_folder import COUNTS_FILE
from ..label_maps import Palette, overlay
from ..models.images import to_rgb
from ..pages import data_address, render
from ..recipes.cards import markdown_table
from ..replacing import replacing, standing, write_json
from .validate import add_images_options, drawn_ids, load_subject, validate


WIDEST = 480  # pixels of a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "compared", nargs="+", type=standing, metavar="RESULTS_OR_MODEL", help="output of validate, or a model"
    )
    parser.add_argument("--dataset", metavar="DIR_OR_ID", help="data set to measure models on")
    add_images_options(parser)
    add_protocol_options(parser)
    parser.add_argument(
        "--images", type=whole_number, default=8, metavar="N", help="draw the N that differ most (%(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")


def run(args: argparse.Namespace) -> int:
    models = [str(each) for each in args.compared if not is_result(each)]
    if models and args.dataset is None:
        args.usage_error(f"{models[0]} holds no results.json: give --dataset to measure it as a model")
    if len(args.compared) < 2:
        args.usage_error("give two to compare, or more")
    return run_work(functools.partial(compare, args))


def is_result(path: str | Path) -> bool:
    """Whether this is a folder that `vitseg validate` wrote to."""
    return (Path(path) / "results.json").is_file()


def compare(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """
    Measure what is not measured, and write the comparison, which the first process alone does.

    Raises:
        OSError, ValueError: if something cannot be measured, or not be compared.
    """
    names = distinct_names([str(each) for each in args.compared])
    folders = []
    for each, name in zip(args.compared, names, strict=True):
        if is_result(each):
            folders.append(Path(each))
            continue
        folders.append(args.output / name.replace("/", "--"))
        accelerator.print(f"\n{name}")
        validate(measuring(args, str(each), folders[-1]), accelerator)
    if not accelerator.is_main_process:
        return 0
    records = [read_result(folder) for folder in folders]
    comparison = compare_results(names, records, [ImageCounts.load(folder / COUNTS_FILE) for folder in folders])
    print(f"\n{markdown_table(*models_table(comparison))}")
    for line in comparison["warnings"]:
        print(f"warning: {line}")
    pictures, colors = differing_pictures(comparison["images"][: args.images], names, records, accelerator)
    write_comparison(args.output, comparison, pictures, colors)
    print(f"\n{args.output / 'comparison.html'}")
    return 0


def measuring(args: argparse.Namespace, model: str, output: Path) -> argparse.Namespace:
    """The command line of `vitseg validate` that measures a model."""
    switches = dict.fromkeys(("calibration", "calibrate", "report", "update_model_card"), False)
    values = vars(args) | switches | {"model": model, "output": output, "save_images": 0, "calibration_file": None}
    return argparse.Namespace(**values | {"dataset": source_of(args)})


def differing_pictures(
    images: Sequence[Record], names: Sequence[str], records: Sequence[Record], accelerator: Accelerator
) -> tuple[list[Record], Palette]:
    """
    Pictures, what is true there, and what each model says once more.

    Args:
        images: of a comparison.
        names: of the models, in the order of the records.
        records: of the evaluations.
        accelerator: where the models run.

    Returns:
        For the template `name`, and `panels` of `source` and `caption`, none where the evaluations do not say how to
        repeat them, or left out images, so that those have other numbers; and the colours of the classes.
    """
    if not images or any("arguments" not in record or record["broken"] for record in records):
        return [], []
    palette: Palette = []
    pictures: list[Record] = [{"name": image["file_name"], "panels": []} for image in images]
    for name, record in zip(names, records, strict=True):
        arguments = argparse.Namespace(**record["arguments"])
        arguments.dataset = DataSource(**arguments.dataset)
        subject = load_subject(arguments, accelerator)
        palette = palette or subject.palette
        predictions = predict_images(
            subject.model,
            subject.image_processor,
            subject.examples,
            [image["position"] for image in images],
            accelerator,
            **subject.options,
        )
        for picture, image, prediction in zip(pictures, images, predictions, strict=True):
            if prediction.label_map is None or prediction.reference is None:
                raise ValueError(f"{prediction.file_name} cannot be read any more: {prediction.error}")
            shown = to_rgb(picture_of(subject.examples[prediction.index]["image"], subject.image_processor))
            if not picture["panels"]:
                truth = overlay(shown, prediction.reference.numpy().astype(np.uint8), palette)
                picture["panels"] += [panel(shown, "image"), panel(truth, "truth")]
            label_map = drawn_ids(prediction.label_map, subject).astype(np.uint8)
            caption = f"{name}: mean IoU {percent(image['mean_iou'][name])}"
            picture["panels"].append(panel(overlay(shown, label_map, palette), caption))
    return pictures, palette


def panel(picture: Image.Image, caption: str) -> Record:
    """A picture in a page."""
    picture = picture.copy()
    picture.thumbnail((WIDEST, WIDEST))
    return {"source": data_address(picture), "caption": caption}


def write_comparison(output: Path, comparison: Record, pictures: Sequence[Record], colors: Palette) -> None:
    """Write the page, the tables, and last the record."""
    names = [row["name"] for row in comparison["classes"]]
    page = render(
        "comparison.html",
        title=f"{len(comparison['models'])} models compared",
        summary=f"{comparison['dataset']}, {comparison['split']}, {len(comparison['images'])} images",
        warnings=comparison["warnings"],
        tables=[
            (
                "Models",
                f"Differences are to {comparison['baseline']}, in points, with the 95% interval of a paired bootstrap "
                "over images: one that holds 0 may be chance.",
                *models_table(comparison),
            ),
            ("IoU of each class", "Where the models differ most first.", *classes_table(comparison)),
        ],
        pictures=pictures,
        colors=[(name, "rgb({}, {}, {})".format(*color)) for name, color in zip(names, colors, strict=False)],
    )
    for name, text in (("comparison.html", page), ("comparison.md", markdown_comparison(comparison))):
        with replacing(output / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    write_json(output / "comparison.json", comparison)
