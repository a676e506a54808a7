# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Prepare a data set for training and evaluation: from the original download, a folder of your own, or the export of a
labelling tool, to Parquet shards.

    vitseg prepare ade20k --source ADEChallengeData2016.zip --output data/ade20k
    vitseg prepare cityscapes --source FOLDER_WITH_BOTH_ZIPS --output data/cityscapes --workers 8
    vitseg prepare folder --source FOLDER --labels labels.json --output data/mine
    vitseg prepare coco --source EXPORT.zip --output data/mine
    vitseg prepare EXPORT.zip --output data/mine

The source is read as it was downloaded, packed or unpacked:

    ade20k           ADEChallengeData2016.zip
    cityscapes       leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip
    coco-stuff-10k   cocostuff-10k-v1.1.zip
    coco-stuff-164k  train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip
    pascal-context   VOCtrainval_03-May-2010.tar, and trainval_merged.json or the folder trainval of .mat files
    folder           images/ and masks/ with equal names, in folders train, val and test or not; --labels tells what
                     the masks' values mean, in a file such as ["sky", "road"], {"7": "road", "11": "building"},
                     {"#804080": "road"}, a name on each line, or CVAT's labelmap.txt. With --bands images are
                     GeoTIFF or NumPy's, of any number of bands
    coco             COCO's JSON with its images: polygons, run lengths and crowds
    cvat             CVAT for images 1.1 (XML), or segmentation masks with labelmap.txt
    hub              a data set of the Hugging Face Hub in Parquet files, with masks or with polygons in "objects"
    label-studio     Label Studio's JSON (not JSON-MIN) with its images
    labelme          LabelMe's JSON files with their images
    roboflow         Roboflow's exports as COCO, YOLO or semantic masks (_classes.csv)
    supervisely      a project: meta.json, and img and ann in the folder of each data set
    voc              JPEGImages and SegmentationClass, with VOC's own classes or class_names.txt
    yolo             YOLO segmentation: images, label files, data.yaml

Exports of labelling tools are recognized if no format is named. Their classes are in the tool's own order, after a
class for the pixels in no segment.

Every image is verified with its label map before it is written. The output folder appears when it is complete. The
same command continues an interrupted run, and brings a finished one up to date when files or the label table have
changed. `datasets.load_dataset(OUTPUT)` loads it.
"""

import argparse
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..workers import num_processors
from .augmentation import IGNORE_INDEX
from .downloads import DOWNLOADS, open_download
from .own_folder import open_folder
from .pairs import RawDataset
from .preparation import REPORT_FILE, SKIPPED_FILE, BadPairError, SplitReport, prepare


# What labelling tools export, as `vitseg.data.labelling_tools` reads it.
TOOLS = ("coco", "cvat", "hub", "label-studio", "labelme", "roboflow", "supervisely", "voc", "yolo")
_FORMATS = (*DOWNLOADS, "folder", *TOOLS)
# A smaller share of ignored pixels than this goes without saying.
UNNAMED_SHARE = 0.001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="FORMAT", help=f"{', '.join(_FORMATS)}; or an export, to be recognized")
    parser.add_argument("--source", type=Path, metavar="PATH", help="folder or archive; of hub also a name on the Hub")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--classes", type=int, choices=(59, 60), help="pascal-context: with background or not (60)")
    parser.add_argument("--workers", type=int, default=num_processors(), metavar="N", help="processes (%(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N images of each split")
    parser.add_argument("--on-error", choices=("stop", "skip"), default="stop", help="at a pair of no use (stop)")
    parser.add_argument(
        "--orientation",
        choices=("upright", "stored"),
        help="label maps were drawn on images turned as their EXIF orientation says, or as they are stored (what the "
        "sizes prove)",
    )
    parser.add_argument("--push-to-hub", metavar="NAME", help="publish as this data set of the Hub")
    parser.add_argument("--private", action="store_true", help="publish for yourself only")
    own = parser.add_argument_group("folder")
    own.add_argument(
        "--labels", type=Path, metavar="FILE", help="what the masks' values mean; of a tool's export, class names"
    )
    own.add_argument("--train-list", type=Path, metavar="FILE", help="images to train on, one on each line")
    own.add_argument("--val-list", type=Path, metavar="FILE", help="images to validate on, one on each line")
    own.add_argument("--test-list", type=Path, metavar="FILE", help="images of a test split, one on each line")
    own.add_argument(
        "--bands",
        nargs="+",
        metavar="N",
        help="images are TIFF (extra geo), .npy or .npz files; take these bands of theirs, from 1, or all",
    )
    own.add_argument(
        "--ignore", nargs="+", default=[], metavar="VALUE", help="values, colours or labels that are no class"
    )
    tools = parser.add_argument_group("exports of labelling tools")
    tools.add_argument("--background", metavar="NAME", help='class of pixels in no segment, or "ignore" (background)')
    tools.add_argument(
        "--overlaps",
        choices=("order", "area"),
        help="where segments overlap, the one drawn last counts, or the smaller one (as suits the tool)",
    )
    tools.add_argument(
        "--boxes",
        choices=("refuse", "skip", "fill"),
        help="objects that are boxes without outline (as suits the tool)",
    )


def run(args: argparse.Namespace) -> int:
    check_arguments(args)
    try:
        title = None
        if args.dataset == "hub" and not args.source.exists():
            title = args.source.as_posix()
            print(f"Downloading {title}", flush=True)
            args.source = labelling_tools().download(title)
        print(f"Looking through {args.source}", flush=True)
        if args.dataset is None:
            args.dataset, file = labelling_tools().recognize(args.source)
            print(f"Taken for {args.dataset}, by {file}", flush=True)
        dataset = open_dataset(args)
        if title is not None:
            dataset = replace(dataset, title=title)
        options = {"limit": args.limit, "on_error": args.on_error, "workers": args.workers}
        report = prepare(dataset, args.output, orientation=args.orientation, **options)
        print_report(dataset, report)
        print(f"{args.output} is complete.")
        if args.push_to_hub:
            print(f"Published as {push_to_hub(args.output, args.push_to_hub, args.private)}")
    except BadPairError as error:
        raise ValueError(f"{error}\nCorrect it and go on, or add --on-error skip to leave it out.") from error
    except BrokenProcessPool as error:
        raise ValueError("a worker was ended from outside, perhaps for memory: take fewer --workers.") from error
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    if args.dataset not in _FORMATS and args.source is None and Path(args.dataset).exists():
        args.dataset, args.source = None, Path(args.dataset)
    elif args.dataset not in _FORMATS:
        args.usage_error(f"{args.dataset} is neither a file or folder nor one of {', '.join(_FORMATS)}")
    if args.source is None:
        args.usage_error(f"{args.dataset} needs --source")
    if args.dataset == "hub" and not args.source.exists():
        try:
            validate_repo_id(args.source.as_posix())
        except HFValidationError:
            args.usage_error(f"--source {args.source} is neither a folder nor the name of a data set of the Hub")
    if args.dataset == "folder" and args.labels is None:
        args.usage_error("folder needs --labels")
    lists = args.train_list or args.val_list or args.test_list
    if args.dataset in DOWNLOADS and (args.labels or lists or args.ignore):
        args.usage_error(f"--labels, --ignore and the lists of splits are for folder; {args.dataset} has its own")
    if args.dataset != "folder" and lists:
        args.usage_error(f"the lists of splits are for folder; {args.dataset or 'an export'} has its own")
    if args.dataset != "folder" and args.bands:
        args.usage_error(f"--bands is for folder; {args.dataset or 'an export'} holds pictures")
    if args.dataset in (*DOWNLOADS, "folder") and (args.background or args.overlaps or args.boxes):
        args.usage_error(
            f"--background, --overlaps and --boxes are for exports of labelling tools, not {args.dataset}"
        )
    if args.dataset != "pascal-context" and args.classes:
        args.usage_error("--classes is for pascal-context")
    if args.workers < 0:
        args.usage_error(f"--workers is {args.workers}; expected at least 0")
    if args.limit is not None and args.limit < 1:
        args.usage_error(f"--limit is {args.limit}; expected at least 1")
    if args.push_to_hub:
        try:
            validate_repo_id(args.push_to_hub)
        except HFValidationError as error:
            args.usage_error(f"--push-to-hub: {error}")


def open_dataset(args: argparse.Namespace) -> RawDataset:
    if args.dataset == "folder":
        lists = args.train_list, args.val_list
        others = {"ignore": args.ignore, "test_list": args.test_list, "bands": args.bands}
        return open_folder(args.source, args.labels, *lists, **others)
    if args.dataset in DOWNLOADS:
        return open_download(args.dataset, args.source, args.classes or 60)
    tools = labelling_tools()
    chosen = {name: getattr(args, name) for name in ("background", "overlaps", "boxes", "ignore", "labels")}
    return tools.open_export(args.dataset, args.source, tools.Options(**chosen))


def labelling_tools() -> ModuleType:
    """The readers of exports, which need an extra."""
    return import_module(".labelling_tools", __package__)


def print_report(dataset: RawDataset, report: dict[str, SplitReport]) -> None:
    """What is in the data set: images, and how many of the pixels that count are of each class."""
    print(dataset.title)
    for note in dataset.notes:
        print(note)
    for split, entry in report.items():
        pixels = np.array(entry.pixels)
        ignored = f"{pixels[IGNORE_INDEX] / pixels.sum():.1%} of the pixels ignored"
        print(f"{split}: {entry.images} images, {ignored}")
    counts = {split: np.array(entry.pixels[: len(dataset.labels.names)]) for split, entry in report.items()}
    shares = {split: count / max(count.sum(), 1) for split, count in counts.items()}
    total = np.sum(list(counts.values()), axis=0)
    print(f"{'id':>4}  {'pixels':>14}  {'  '.join(f'{split:>10}' for split in report)}  class")
    for index in np.argsort(-total, kind="stable").tolist():
        if total[index]:
            columns = "  ".join(f"{shares[split][index]:>10.3%}" for split in report)
            print(f"{index:>4}  {total[index]:>14,}  {columns}  {dataset.labels.names[index]}")
    for split, count in counts.items():
        absent = [name for name, pixels in zip(dataset.labels.names, count, strict=True) if not pixels]
        if absent:
            print(f"Not in {split}: {', '.join(absent)}")
    warn_of_missing(dataset, np.sum([entry.pixels for entry in report.values()], axis=0))
    skipped = [f"{split}: {reason}" for split, entry in report.items() for reason in entry.skipped]
    if skipped:
        print(f"Skipped {len(skipped)} pairs (listed in {SKIPPED_FILE}):", *skipped, sep="\n  ")


def warn_of_missing(dataset: RawDataset, pixels: np.ndarray) -> None:
    """Say so if classes occur nowhere, and what is there instead suggests that the label table is another's."""
    names = dataset.labels.names
    missing = [name for name, count in zip(names, pixels, strict=False) if not count]
    share = pixels[IGNORE_INDEX] / pixels.sum()
    if missing and dataset.unnamed and share > UNNAMED_SHARE:
        raw_to_train = dataset.train_ids.raw_to_train.items()
        values = " or ".join(str(raw) for raw, train in raw_to_train if train == IGNORE_INDEX)
        print(
            f"warning: {', '.join(missing)}: in no mask, while {pixels[IGNORE_INDEX]:,} pixels ({share:.1%}) are "
            f"ignored, which hold {values}. The label table has no name for {dataset.unnamed[0]}: if it is a class, "
            f'name it there, as in {{"0": "background", "{dataset.unnamed[0]}": "object"}}; if not, say --ignore '
            f"{dataset.unnamed[0]}.",
            file=sys.stderr,
        )
    elif len(missing) == len(names) - 1:
        only = next(name for name in names if name not in missing)
        print(f"warning: all pixels that count are {only}: a model would learn to say just that.", file=sys.stderr)


def push_to_hub(folder: Path, name: str, private: bool) -> str:
    """Publish a complete data set; returns its address."""
    api = HfApi()
    address = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
    api.upload_folder(
        repo_id=name,
        repo_type="dataset",
        folder_path=folder,
        commit_message="Prepared with vitseg",
        # They tell of this machine's files.
        ignore_patterns=[REPORT_FILE, SKIPPED_FILE],
        # Shards of an earlier upload would be loaded too.
        delete_patterns="data/*.parquet",
    )
    return str(address)
