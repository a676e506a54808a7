# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Turn an original checkpoint into a model folder that `from_pretrained` loads, with or without vitseg installed.

    python conversion/convert.py --list
    python conversion/convert.py --recipe setr-pup-vit-l-ade20k-512-160k --checkpoint FILE.pth --output DIR
    python conversion/convert.py --method setr --original-config CONFIG.json --checkpoint FILE.pth --output DIR

A recipe stands for a published result. Any other variant of a method converts with the original's own configuration,
as a JSON file that holds its model dictionary (`backbone`, `decode_head`, `auxiliary_head`, `test_cfg`, ...), or the
variant.yml of Segmenter.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cts_segmenter
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
from transformers import AutoModel, AutoModelForSemanticSegmentation, PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

import vitseg
from vitseg.auto import SEGMENTATION_METHODS
from vitseg.models.configuration_plain_vit import as_pair
from vitseg.recipes import RECIPES, PublishedRecipe, get_recipe
from vitseg.recipes.labels import load_label_set
from vitseg.replacing import replacing


# Each module reads the original configurations of a method and knows its names.
METHODS: dict[str, ModuleType] = {
    "cts_segmenter": cts_segmenter,
    "sctnet": sctnet,
    "sctnet_teacher": sctnet_teacher,
    "segvit": segvit,
    "setr": setr,
    "structtoken": structtoken,
}


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    if args.list:
        print_recipes()
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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="list the recipes and where their weights are")
    what.add_argument("--recipe", metavar="NAME", help="the published result that the checkpoint belongs to")
    what.add_argument("--method", choices=sorted(METHODS), help="the method, for a checkpoint of no recipe")
    parser.add_argument(
        "--original-config", type=Path, metavar="FILE", help="with --method: the original's model, as JSON or YAML"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the original file")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the model folder to write")
    args = parser.parse_args(arguments)
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

    checkpoint = load_checkpoint(args.checkpoint)
    print(f"Read {describe_file(checkpoint.path)}, {len(checkpoint.state_dict)} tensors.")
    if recipe:
        config, image_processor = recipe.build_config(), recipe.build_image_processor()
    else:
        config = read_config(method, original, checkpoint)
        set_label_names(config, checkpoint.meta.get("CLASSES"))
        image_processor = default_image_processor(config, method, original, checkpoint)
    config = method.adapt_config(config, checkpoint.state_dict)

    model, renamed = load_model(method, config, checkpoint)
    print(f"Converted {len(checkpoint.state_dict) - sum(map(len, renamed.dropped.values()))} of them.")
    for reason, names in renamed.dropped.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        print(f"Dropped {len(names)} ({reason}): {shown}")
    write_folder(model, image_processor, args.output)
    print(f"Wrote {args.output}: {model.num_parameters() / 1e6:.1f} M parameters, {model.config.num_labels} classes.")


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
    if not isinstance(content, dict) or (needs_original_config(method) and "backbone" not in content):
        raise ValueError(f"{path} holds no model configuration: expected a dictionary with a 'backbone'.")
    return content


def read_config(method: ModuleType, original: dict[str, Any], checkpoint: Checkpoint) -> PreTrainedConfig:
    """The method's configuration for the original's; raises a ValueError where that is not one of the method."""
    try:
        return method.read_config(original, checkpoint.state_dict)
    except KeyError as error:
        raise ValueError(f"The original configuration lacks the key {error}.") from error
    except (AttributeError, TypeError, StrictDataclassError) as error:
        raise ValueError(f"The original configuration holds a value of the wrong kind: {error}") from error


def load_model(
    method: ModuleType, config: PreTrainedConfig, checkpoint: Checkpoint
) -> tuple[PreTrainedModel, Renamed]:
    """
    The model with the checkpoint's weights. Auxiliary heads that do not fit are left out: only training needs them,
    and the files of one result differ in them by when they were trained.
    """
    try:
        return _load_model(config, checkpoint, method.rules(config, checkpoint.state_dict))
    except StateDictMismatch as mismatch:
        is_auxiliary = all(name.startswith("auxiliary_head.") for name in mismatch.names)
        if not is_auxiliary or not hasattr(config, "auxiliary_heads"):
            raise
    config.auxiliary_heads = []
    dropped = Rule(r"auxiliary_head\..*", reason="of another form than the recipe's; only training needs them")
    return _load_model(config, checkpoint, [dropped, *method.rules(config, checkpoint.state_dict)])


def _load_model(
    config: PreTrainedConfig, checkpoint: Checkpoint, rules: list[Rule]
) -> tuple[PreTrainedModel, Renamed]:
    is_segmenter = type(config) in AutoModelForSemanticSegmentation._model_mapping
    with torch.device("meta"):
        model = (AutoModelForSemanticSegmentation if is_segmenter else AutoModel).from_config(config)
    renamed = rename(checkpoint.state_dict, rules, expected=model.state_dict())
    model.load_state_dict(renamed.state_dict, assign=True)
    return model.eval(), renamed


def set_label_names(config: PreTrainedConfig, names: Sequence[str] | None) -> None:
    """Name the classes as the checkpoint's record does, which is known to be wrong for Pascal Context."""
    if names is None or len(names) != config.num_labels:
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
    return getattr(vitseg, f"{SEGMENTATION_METHODS[method.__name__]}ImageProcessor")(**settings)


def write_folder(model: PreTrainedModel, image_processor: BaseImageProcessor, output: Path) -> None:
    """Save model and image processor to a temporary folder beside `output`, and rename it when it is complete."""
    with replacing(output) as unfinished:
        model.save_pretrained(unfinished)
        image_processor.save_pretrained(unfinished)


def describe_file(path: Path) -> str:
    """Name, size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return f"{path.name} ({path.stat().st_size / 1e6:.1f} MB, sha256 {digest.hexdigest()})"


def describe_source(recipe: PublishedRecipe) -> str:
    """Where the weights of a recipe were published, and how to go on."""
    return (
        f"{recipe.name}: {recipe.weights.describe()}\n"
        f"Give the downloaded file:  --recipe {recipe.name} --checkpoint FILE --output DIR"
    )


def print_recipes() -> None:
    for recipe in RECIPES.values():
        print(f"{recipe.name:48} {recipe.weights.describe()}")


if __name__ == "__main__":
    sys.exit(main())
