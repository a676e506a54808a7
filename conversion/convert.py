# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Turn an original checkpoint into a model folder that `from_pretrained` loads, with or without vitseg installed.

    python conversion/convert.py --list [--method setr]
    python conversion/convert.py --recipe setr-pup-vit-l-ade20k-512-160k --checkpoint FILE.pth --output DIR --verify
    python conversion/convert.py --method setr --original-config CONFIG.json --checkpoint FILE.pth --output DIR

A recipe stands for a published result. Any other variant of a method converts with the original's own configuration,
as a JSON file that holds its model dictionary (`backbone`, `decode_head`, `auxiliary_head`, `test_cfg`, ...), or the
variant.yml of Segmenter. HLG has classifiers and detectors too: the configuration, or `--task`, says which. A
classifier's file makes a segmenter or a detector with its encoder and new heads, to start training from. A recipe
without a file says where its file is published.

Besides the model, the folder gets conversion.json, which says what it was made of, and with --verify fingerprint.json,
which tells whether a later load answers as this one does (`python -m vitseg.publishing.fingerprint DIR`).
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cts_segmenter
import hlg
import sctnet
import sctnet_teacher
import segvit
import setr
import structtoken
import torch
import yaml
from checkpoints import Checkpoint, load_checkpoint
from huggingface_hub.errors import StrictDataclassError
from rules import Renamed, Rule, StateDictMismatch, rename
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor

import vitseg
from vitseg.methods import METHODS as TABLE
from vitseg.models.configuration_plain_vit import as_pair
from vitseg.publishing import fingerprint, provenance
from vitseg.publishing.fingerprint import check_fingerprint, largest_difference, load_folder, take_fingerprint
from vitseg.recipes import RECIPES, PublishedRecipe, get_recipe
from vitseg.recipes.labels import load_label_set
from vitseg.replacing import replacing, write_json


# Each module reads the original configurations of a method and knows its names.
METHODS: dict[str, ModuleType] = {
    "cts_segmenter": cts_segmenter,
    "hlg": hlg,
    "sctnet": sctnet,
    "sctnet_teacher": sctnet_teacher,
    "segvit": segvit,
    "setr": setr,
    "structtoken": structtoken,
}
# Task -> what builds its models, and what the original's configuration of it holds.
TASKS: dict[str, tuple[Any, str]] = {
    "segmentation": (AutoModelForSemanticSegmentation, "decode_head"),
    "classification": (AutoModelForImageClassification, "embed_dims"),
    "detection": (AutoModelForObjectDetection, "bbox_head"),
}


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    if args.list:
        print_recipes(recipe for recipe in RECIPES.values() if args.method in (None, recipe.method))
        return 0
    try:
        if args.recipe and not args.checkpoint:
            print(describe_source(get_recipe(args.recipe)))
            return 1
        convert(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the recipes and where their weights are")
    parser.add_argument("--recipe", metavar="NAME", help="the published result that the checkpoint belongs to")
    parser.add_argument(
        "--method", choices=sorted(METHODS), help="the method, for a checkpoint of no recipe; or of the list"
    )
    parser.add_argument(
        "--original-config", type=Path, metavar="FILE", help="with --method: the original's model, as JSON or YAML"
    )
    parser.add_argument(
        "--task", choices=sorted(TASKS), help="what the model does (default: as its configuration says)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the original file")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the model folder to write")
    parser.add_argument(
        "--verify", action="store_true", help="load the folder again, compare, and leave a fingerprint in it"
    )
    parser.add_argument("--half", action="store_true", help="save the weights in float16: half the size")
    args = parser.parse_args(arguments)
    if args.list:
        if args.recipe or args.checkpoint:
            parser.error("--list goes with --method alone")
        return args
    if bool(args.recipe) == bool(args.method):
        parser.error("give one of --list, --recipe and --method")
    if args.method and needs_original_config(METHODS[args.method]) and not args.original_config:
        parser.error("--method needs --original-config")
    if args.original_config and not args.method:
        parser.error("--original-config goes with --method")
    if args.method and not args.checkpoint:
        parser.error("--method needs --checkpoint")
    if args.checkpoint and not args.output:
        parser.error("--checkpoint needs --output")
    return args


def convert(args: argparse.Namespace) -> None:
    """Convert `args.checkpoint`; raises an error that says what is wrong and leaves nothing half-written."""
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise ValueError(f"{args.output} already exists. Give a new folder, or delete it first.")
    recipe = get_recipe(args.recipe) if args.recipe else None
    method = METHODS[recipe.method if recipe else args.method]
    original = load_original_config(args.original_config, method) if args.original_config else {}
    task = choose_task(method, args.task, recipe, original)

    checkpoint = load_checkpoint(args.checkpoint)
    file = {
        "name": checkpoint.path.name,
        "bytes": checkpoint.path.stat().st_size,
        "sha256": provenance.sha256(checkpoint.path),
    }
    meta = short_entries(checkpoint.meta)
    where = f" under {checkpoint.entry!r}" if checkpoint.entry else ""
    print(
        f"Read {file['name']} ({file['bytes'] / 1e6:.1f} MB, sha256 {file['sha256']}), "
        f"{len(checkpoint.state_dict)} tensors{where}."
    )
    if meta:
        print("Its record: " + ", ".join(f"{name} {value}" for name, value in meta.items()))
    if recipe:
        config, image_processor = recipe.build_config(), recipe.build_image_processor()
    else:
        config = read_config(method, original, checkpoint)
        set_label_names(config, checkpoint.meta.get("CLASSES"))
        image_processor = default_image_processor(config, method, original, checkpoint)
    config = method.adapt_config(config, checkpoint.state_dict)

    model, renamed = load_model(method, config, checkpoint, task)
    mapped = Counter(name.partition(".")[0] for name in renamed.state_dict)
    print(
        f"Converted {len(checkpoint.state_dict) - sum(map(len, renamed.dropped.values()))} of them, to "
        + ", ".join(f"{count} in {module}" for module, count in mapped.items())
    )
    for reason, names in renamed.dropped.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        print(f"Dropped {len(names)} ({reason}): {shown}")
    record = {
        "recipe": args.recipe,
        "method": method.__name__,
        "file": file,
        "meta": meta,
        "dropped": {reason: len(names) for reason, names in renamed.dropped.items()},
        "dtype": "float16" if args.half else "float32",
        "vitseg": vitseg.__version__,
    }
    write_folder(model, image_processor, args.output, record, verify=args.verify)
    print(f"Wrote {args.output}: {model.num_parameters() / 1e6:.1f} M parameters, {model.config.num_labels} classes.")


def short_entries(meta: Mapping[str, Any]) -> dict[str, str | int]:
    """Of a checkpoint's record, what fits on a line; of lists, such as the class names, their length."""
    entries: dict[str, str | int] = {}
    for name, value in meta.items():
        if isinstance(value, list | tuple):
            entries[str(name)] = f"({len(value)} entries)"
        elif isinstance(value, float):
            entries[str(name)] = f"{value:g}"
        elif isinstance(value, str | int) and len(str(value)) <= 40:
            entries[str(name)] = value
    return entries


def needs_original_config(method: ModuleType) -> bool:
    """Whether no checkpoint of a method tells its configuration by itself."""
    return getattr(method, "NEEDS_ORIGINAL_CONFIG", True)


class TupleLoader(yaml.SafeLoader):
    """Reads YAML with Python's tuples, and nothing else that is not plain."""


TupleLoader.add_constructor("tag:yaml.org,2002:python/tuple", TupleLoader.construct_sequence)


def load_original_config(path: Path, method: ModuleType) -> dict[str, Any]:
    """The original's model dictionary from a JSON or YAML file, on its own or under the key `model`."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, TupleLoader) if path.suffix in (".yml", ".yaml") else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        kind = "YAML" if path.suffix in (".yml", ".yaml") else "JSON"
        raise ValueError(f"{path} is not a readable {kind} file: {error}") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    is_model = isinstance(content, dict) and {"backbone", "embed_dims"} & content.keys()
    if not isinstance(content, dict) or (needs_original_config(method) and not is_model):
        raise ValueError(f"{path} holds no model configuration: expected a dictionary with a 'backbone'.")
    return content


def choose_task(
    method: ModuleType, stated: str | None, recipe: PublishedRecipe | None, original: dict[str, Any]
) -> str:
    """
    What the model does: the recipe or the original's configuration says it, and the command may say it again.

    Raises:
        ValueError: if they differ, or the method has no models for it.
    """
    if recipe:
        task = recipe.task
    else:
        task = next((name for name, (_, key) in TASKS.items() if key in original), stated or "segmentation")
    if stated not in (None, task):
        raise ValueError(f"--task is {stated}, but the {'recipe' if recipe else 'configuration'} is for {task}.")
    if task not in getattr(method, "TASKS", ("segmentation",)):
        raise ValueError(f"{method.__name__} has no models for {task}.")
    return task


def read_config(method: ModuleType, original: dict[str, Any], checkpoint: Checkpoint) -> PreTrainedConfig:
    """The method's configuration for the original's; raises a ValueError where that is not one of the method."""
    try:
        return method.read_config(original, checkpoint.state_dict)
    except KeyError as error:
        raise ValueError(f"The original configuration lacks the key {error}.") from error
    except (AttributeError, TypeError, StrictDataclassError) as error:
        raise ValueError(f"The original configuration holds a value of the wrong kind: {error}") from error


def load_model(
    method: ModuleType, config: PreTrainedConfig, checkpoint: Checkpoint, task: str = "segmentation"
) -> tuple[PreTrainedModel, Renamed]:
    """
    The model with the checkpoint's weights. Auxiliary heads that do not fit are left out: only training needs them,
    and the files of one result differ in them by when they were trained.
    """
    model_class, _ = TASKS[task]
    table = method.rules(config, checkpoint.state_dict)
    if hasattr(method, "new_parameters") and (pattern := method.new_parameters(task, checkpoint.state_dict)):
        return _extend_model(model_class, config, checkpoint, table, pattern)
    try:
        return _load_model(model_class, config, checkpoint, table)
    except StateDictMismatch as mismatch:
        is_auxiliary = all(name.startswith("auxiliary_head.") for name in mismatch.names)
        if not is_auxiliary or not hasattr(config, "auxiliary_heads"):
            raise
    config.auxiliary_heads = []
    dropped = Rule(r"auxiliary_head\..*", reason="of another form than the recipe's; only training needs them")
    return _load_model(model_class, config, checkpoint, [dropped, *method.rules(config, checkpoint.state_dict)])


def _load_model(
    model_class: Any, config: PreTrainedConfig, checkpoint: Checkpoint, rules: list[Rule]
) -> tuple[PreTrainedModel, Renamed]:
    if type(config) not in model_class._model_mapping:
        model_class = AutoModel  # a policy network
    with torch.device("meta"):
        model = model_class.from_config(config)
    renamed = rename(checkpoint.state_dict, rules, expected=model.state_dict())
    model.load_state_dict(renamed.state_dict, assign=True)
    return model.eval(), renamed


def _extend_model(
    model_class: Any, config: PreTrainedConfig, checkpoint: Checkpoint, rules: list[Rule], new: str
) -> tuple[PreTrainedModel, Renamed]:
    """The model with the checkpoint's weights but for the parameters of the pattern `new`, which are random."""
    torch.manual_seed(0)
    model = model_class.from_config(config)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not re.fullmatch(new, name)}
    renamed = rename(checkpoint.state_dict, rules, expected)
    model.load_state_dict(renamed.state_dict, strict=False)
    modules = sorted({name.split(".")[0] for name in model.state_dict().keys() - expected.keys()})
    print(f"Not in the checkpoint, and therefore as before any training: parameters of {', '.join(modules)}.")
    return model.eval(), renamed


def set_label_names(config: PreTrainedConfig, names: Sequence[str] | None) -> None:
    """Name the classes as the checkpoint's record does, which is known to be wrong for Pascal Context."""
    if names is None or len(names) != config.num_labels or not all(isinstance(name, str) for name in names):
        return
    names = tuple(name.strip() for name in names)
    pascal_context = load_label_set("pascal_context60")
    for first in (0, 1):
        # Originals list these classes, with or without the background, in an order that is not that of the ids.
        if names == pascal_context.names_in_older_mmseg[first:]:
            names = pascal_context.names[first:]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}


def default_image_processor(
    config: PreTrainedConfig, method: ModuleType, original: dict[str, Any], checkpoint: Checkpoint
) -> BaseImageProcessor:
    """The method's image processor, which resizes the short side to the model's window unless the original's
    configuration tells more."""
    read = getattr(method, "read_image_processor", None)
    settings = read(original, checkpoint.state_dict) if read else {}
    if "size" not in settings:
        settings["size"] = {"shortest_edge": min(as_pair(config.window_size))}
    return getattr(vitseg, str(TABLE[method.__name__].processor_class))(**settings)


def write_folder(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    output: Path,
    record: dict[str, Any],
    *,
    verify: bool,
) -> None:
    """
    Save model, image processor and the record of the conversion to a temporary folder beside `output`, and rename it
    when it is complete, and with `verify` loaded again and compared.

    Raises:
        ValueError: if the loaded model answers otherwise, or weights are too large for half precision.
    """
    expected = take_fingerprint(model, image_processor) if verify else None
    if record["dtype"] == "float16":
        model.half()
        if lost := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
            raise ValueError(f"Too large for half precision: {', '.join(lost[:5])}. Convert without --half.")
    with replacing(output) as unfinished:
        model.save_pretrained(unfinished)
        image_processor.save_pretrained(unfinished)
        write_json(unfinished / provenance.FILE, record)
        if expected is not None:
            taken = take_fingerprint(*load_folder(unfinished))
            write_json(unfinished / fingerprint.FILE, taken)
            if record["dtype"] == "float32":
                print(f"Verified: loaded again, it differs by {check_fingerprint(taken, expected):.1e}.")
            else:
                print(f"Verified: half precision changes its answer by {largest_difference(taken, expected):.1e}.")


def describe_source(recipe: PublishedRecipe) -> str:
    """Where the weights of a recipe were published, under which name and licence, and how to go on."""
    weights = recipe.weights
    lines = [recipe.name, f"  weights  {weights.status}, {weights.host}"]
    if weights.url:
        lines += [f"  link     {weights.url}"]
    if weights.file_name:
        lines += [f"  file     {weights.file_name}"]
    lines += [f"  licence  {weights.licence}"]
    if weights.note:
        lines += [f"  note     {weights.note}"]
    lines.append(
        f"Give the downloaded file:  --recipe {recipe.name} --checkpoint FILE --output DIR --verify"
        if weights.url
        else f"There is no file to convert. Train it:  examples/train.py --recipe {recipe.name}"
    )
    return "\n".join(lines)


def print_recipes(recipes: Iterable[PublishedRecipe]) -> None:
    for recipe in recipes:
        print(f"{recipe.name:48} {recipe.weights.describe()}")


if __name__ == "__main__":
    sys.exit(main())
