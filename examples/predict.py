# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Predict label maps of images without labels, by the whole test protocol, in the form that a test server wants.

    accelerate launch examples/predict.py --model DIR_OR_ID --images leftImg8bit/test --format cityscapes --output DIR
    accelerate launch examples/predict.py --model DIR_OR_ID --dataset DIR_OR_ID --split test --format ids --output DIR

It writes one PNG for each image, of its size and named after it, to DIR/predictions, and all of them to
DIR/submission.zip. Their values are

    cityscapes   label ids          ade20k    class id + 1
    ids          class ids          palette   class ids, in a PNG with the colours of the classes

A run that was stopped continues where it was when it is started again. For pictures to look at, and for photos of any
kind, there is `vitseg segment`.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from vitseg.data.streaming import parquet_files
from vitseg.evaluation.fingerprint import fingerprint, folder_stamp
from vitseg.evaluation.inference import predict_images
from vitseg.evaluation.options import add_test_options, choose_protocol, run_options
from vitseg.evaluation.submission import FORMATS, check_classes, save_label_map, write_zip
from vitseg.replacing import write_json
from vitseg.segmentation import find_images, load_model, palette_for, read_image


class ImageFiles:
    """The images of a folder and the folders in it."""

    def __init__(self, folder: Path, output: Path):
        self.paths = find_images([folder], output)
        self.names = [path.stem for path in self.paths]

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        try:
            return {"image": read_image(path), "file_name": path.name}
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
            raise ValueError(f"{path}: {error}") from error


class DatasetImages:
    """The images of a split, by the names in its column `file_name`, or by number if there is none."""

    def __init__(self, name: str, split: str):
        # By its files: `datasets` caches a folder under its name, and would not notice that the files have changed.
        rows = datasets.load_dataset("parquet", data_files={split: parquet_files(name, split)}, split=split)
        has_names = "file_name" in rows.column_names
        self.names = [Path(name).stem for name in rows["file_name"]] if has_names else list(map(str, range(len(rows))))
        self.images = rows.select_columns(["image"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            return {"image": self.images[index]["image"], "file_name": self.names[index]}
        except Exception as error:
            raise ValueError(f"{self.names[index]}: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    accelerator = Accelerator()
    try:
        broken = predict(args, accelerator)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        accelerator.end_training()
    return 1 if broken else 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_test_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--dataset", metavar="DIR_OR_ID", help="data set folder, or name on the Hub")
    parser.add_argument("--split", default="test", metavar="NAME", help="split of the data set (test)")
    parser.add_argument("--format", choices=FORMATS, default="ids", help="what the files hold (ids)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")
    return parser.parse_args(arguments)


def predict(args: argparse.Namespace, accelerator: Accelerator) -> list[str]:
    """Make the predictions that are still missing, and the zip file; returns why images had to be left out."""
    model, image_processor = load_model(args.model, accelerator.device, getattr(torch, args.dtype))
    check_classes(args.format, model.config.num_labels)
    protocol, image_processor = choose_protocol(args, model, image_processor)
    palette = palette_for([model.config.id2label[index] for index in range(model.config.num_labels)])
    images = ImageFiles(args.images, args.output) if args.images else DatasetImages(args.dataset, args.split)
    files = output_files(images.names[: args.limit], args.output / "predictions")
    accelerator.print(f"Protocol: {protocol.describe()}; {args.dtype}")

    identity = fingerprint(
        model=folder_stamp(args.model),
        source=[str(args.images or args.dataset), args.split],
        protocol=protocol.to_dict(),
        image_processor=image_processor.to_dict(),
        precision=[args.dtype, args.scores_dtype, accelerator.mixed_precision],
        format=args.format,
    )
    claim(args.output, identity, accelerator)
    missing = [index for index, file in enumerate(files) if not file.exists()]
    # Only when all processes have looked may one of them write.
    accelerator.wait_for_everyone()
    share = missing[accelerator.process_index :: accelerator.num_processes]
    predictions = predict_images(model, image_processor, images, share, accelerator, protocol, **run_options(args))
    broken = []
    for prediction in tqdm(predictions, unit="image", total=len(share), disable=not accelerator.is_main_process):
        if prediction.label_map is not None:
            save_label_map(prediction.label_map.cpu().numpy(), args.format, palette, files[prediction.index])
        elif args.skip_broken:
            broken.append(prediction.error)
        else:
            raise ValueError(f"{prediction.error} (Such images can be left out, with --skip-broken.)")
    broken = gather_object(broken)
    if accelerator.is_main_process:
        complete = [file for file in files if file.exists()]
        write_zip(complete, args.output / "submission.zip")
        print(f"{len(complete)} label maps in {args.output / 'submission.zip'}")
        for reason in broken:
            print(f"left out: {reason}", file=sys.stderr)
    return broken


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


def claim(output: Path, identity: str, accelerator: Accelerator) -> None:
    """
    Note in the output folder what its predictions are made with.

    Raises:
        ValueError: if it holds those of something else.
    """
    note = output / "predictions.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8"))["fingerprint"] != identity:
        raise ValueError(f"{output} holds predictions of another model, protocol or format: give another folder.")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(note, {"fingerprint": identity})


if __name__ == "__main__":
    sys.exit(main())
