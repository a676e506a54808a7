# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Look at a data set before training: a page with pictures, OUTPUT/index.html, that opens in any browser.

    vitseg inspect data/mine --output inspected
    vitseg inspect ORG/NAME --labels labels.json --limit 2000 --output inspected

It shows images with their masks, such that each class is among them; classes by pixels and by images; the values in
the label maps; sizes; near-duplicates between splits; and masks that look wrong: not readable, of another size, with
values that are no class, all ignored, of one class alone, or with noise at borders, as interpolation and JPEG leave
it. OUTPUT/inspect.json has the same figures, and all file names.
"""

import argparse
from pathlib import Path

from ..arguments import positive_int, whole_number
from ..replacing import replacing, write_json
from .dataset_labels import load_labels, read_labels
from .inspection import FAULTS, Inspection, record_of
from .inspection_page import write_page
from .sources import add_source_options, source_of


RECORD_FILE = "inspect.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATA", help="prepared folder, or data set on the Hub")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    add_source_options(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names, where the data set has none")
    parser.add_argument("--reduce-labels", action="store_true", help='label maps hold 0 for "no class", train id + 1')
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="look at N images of each split, of row groups drawn at random"
    )
    parser.add_argument(
        "--images",
        type=positive_int,
        default=24,
        metavar="N",
        help="to show, or more to show each class (24)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of what is drawn at random (0)")


def run(args: argparse.Namespace) -> int:
    check_output(args.output)
    source = source_of(args)
    labels = read_labels(args.labels) if args.labels else load_labels(source)
    inspection = Inspection(source, labels, args.seed, args.limit, args.reduce_labels)
    inspection.look(args.images)
    with replacing(args.output) as unfinished:
        unfinished.mkdir()
        write_page(inspection, unfinished, args.images)
        write_json(unfinished / RECORD_FILE, record_of(inspection))
    for name, split in inspection.splits.items():
        print(f"{name}: {len(split):,} images")
    print(f"Near-duplicates between splits: {len(inspection.duplicates):,}")
    for kind in FAULTS:
        if places := inspection.places_of(kind):
            print(f"{FAULTS[kind]}: {len(places):,} images")
    print(f"Look at {args.output / 'index.html'}")
    return 0


def check_output(folder: Path) -> None:
    """
    Refuse a folder whose content would be lost.

    Raises:
        ValueError: if there is one that is not empty and was not written by this command.
    """
    if folder.exists() and not (folder / RECORD_FILE).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there, and no page of `vitseg inspect`: name a folder that does not exist yet.")
