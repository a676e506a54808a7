# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segment images. For image.jpg the output folder gets

  image_overlay.jpg   the image under the colours of its classes, with a legend
  image_palette.png   the label map in these colours: a PNG with a palette, whose pixel values are class ids
  image_ids.png       the same label map as plain bytes, one class id per pixel
  image.json          the area of each class that is present, largest first

Images of the same name keep as many of their folders as tell them apart. A file that is not an image is named and
skipped, and the exit status is 1.
"""

import argparse
import sys
from pathlib import Path

import torch

from ..segmentation import choose_device, find_images, is_model_name, load_model, segment_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, or folder of images")
    parser.add_argument("--model", required=True, metavar="DIR_OR_ID", help="model folder, or name on the Hub")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one size at a time (1)")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def run(args: argparse.Namespace) -> int:
    if args.batch_size < 1:
        args.usage_error(f"--batch-size is {args.batch_size}; expected at least 1")
    if args.output.exists() and not args.output.is_dir():
        args.usage_error(f"--output {args.output} is a file; give a folder")
    if not is_model_name(args.model):
        args.usage_error(f"there is no model folder {args.model}")
    try:
        paths = find_images(args.images, args.output)
    except ValueError as error:
        args.usage_error(str(error))
    model, image_processor = load_model(args.model, choose_device(args.device), getattr(torch, args.dtype))
    failures = segment_files(paths, args.output, model, image_processor, args.batch_size)
    for path, reason in failures.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0
