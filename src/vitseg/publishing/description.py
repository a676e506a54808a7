# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Tell all about a published result or a model: figures, weights and licence, test protocol, labels, configuration."""

import argparse
import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoImageProcessor, PreTrainedConfig

from ..conversion.fingerprint import read_fingerprint
from ..conversion.provenance import read_conversion
from ..recipes import LABEL_SETS, RECIPES, LabelSet, PublishedRecipe, load_label_set
from ..recipes.cards import model_card
from ..recipes.protocol import Protocol, holds_protocol
from ..replacing import standing


# Of a configuration, what is said elsewhere or to transformers alone.
HOUSEKEEPING = {"id2label", "label2id", "auto_map", "transformers_version", "stage_names", "out_features", "dtype"}

Facts = dict[str, str | list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", type=standing, metavar="RECIPE_OR_DIR_OR_ID", help="recipe, model folder, or name on the Hub"
    )


def run(args: argparse.Namespace) -> int:
    if args.subject in RECIPES:
        print(describe_recipe(RECIPES[args.subject]))
    elif Path(args.subject).is_dir() or args.subject.count("/") == 1:
        print(describe_model(args.subject))
    else:
        closest = difflib.get_close_matches(args.subject, RECIPES, n=3)
        args.usage_error(
            f"there is no recipe and no folder {args.subject}. "
            + (f"Did you mean {' or '.join(closest)}?" if closest else "`vitseg list` lists the recipes.")
        )
    return 0


def describe_recipe(recipe: PublishedRecipe) -> str:
    """A published result: figures, weights, how it is tested, and what the values in its label maps mean."""
    config = recipe.build_config()
    facts: Facts = {
        "published": [f"{published_figures(recipe)} (not measured here)", f"by {recipe.published.source}"],
        "weights": recipe.weights.describe(),
        "licence": recipe.weights.licence,
    }
    if recipe.evaluation:
        facts["protocol"] = Protocol.of_recipe(recipe).describe()
        facts["multi-scale"] = Protocol.of_recipe(recipe, multi_scale=True, flip=True).describe()
    if recipe.label_set in LABEL_SETS:
        facts |= _label_mapping(load_label_set(recipe.label_set))
    else:
        facts["classes"] = _numbered(config.id2label)
    return _text(f"{recipe.name}: a published {type(config).model_type}", facts, config)


def published_figures(recipe: PublishedRecipe) -> str:
    """What a recipe's source publishes, in percent, on a line."""
    single_scale, multi_scale = recipe.published.figures
    unit = " mIoU" if recipe.evaluation else ""
    return f"{single_scale}{unit}" + (f", {multi_scale} with multi-scale and flip" if multi_scale else "")


def describe_model(name: str) -> str:
    """
    A model folder, or a model on the Hub, of which only the small files are fetched.

    Raises:
        OSError, ValueError: if there is no such model.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.py", "README.md"]))
    config = AutoConfig.from_pretrained(folder)
    image_processor = AutoImageProcessor.from_pretrained(folder)
    facts: Facts = {**_provenance(folder)}
    if holds_protocol(config):
        facts["protocol"] = Protocol.of_model(config, image_processor).describe()
    if getattr(image_processor, "do_reduce_labels", False):
        facts["labels"] = "label maps hold 0 for pixels to ignore and class id + 1 (do_reduce_labels)"
    else:
        facts["labels"] = "label maps hold class ids, and 255 for pixels to ignore"
    facts["classes"] = _numbered(config.id2label)
    architecture = ", ".join(config.architectures or [config.model_type])
    return _text(f"{name}: {architecture}", facts, config)


def _provenance(folder: Path) -> Facts:
    conversion, card = read_conversion(folder), folder / "README.md"
    facts: Facts = {"weights": "no conversion.json: not converted from an original file, but trained, for example"}
    if conversion:
        file = conversion["file"]
        facts["weights"] = [
            f"converted from {file['name']} ({file['bytes']} bytes), as {conversion['dtype']}",
            f"sha256 {file['sha256']}",
        ]
        if recipe := RECIPES.get(conversion["recipe"]):
            facts |= {"recipe": recipe.name, "licence": recipe.weights.licence}
    if "licence" not in facts:
        licence = model_card(card.read_text(encoding="utf-8"), card).data.get("license") if card.exists() else None
        facts["licence"] = licence or "not known: the folder has no model card that says it"
    facts["fingerprint"] = "kept, see fingerprint.json" if read_fingerprint(folder) else "none"
    return facts


def _label_mapping(label_set: LabelSet) -> Facts:
    return {
        "data set": label_set.dataset,
        "labels": [
            label_set.rule,
            *(
                f"{value:3} -> "
                + ("ignored" if train_id == label_set.ignore_index else f"{train_id:3} {label_set.names[train_id]}")
                for value, train_id in sorted(label_set.raw_to_train.items())
            ),
        ],
    }


def _numbered(id2label: Mapping[int, str]) -> list[str]:
    return [f"{index:3} {name}" for index, name in sorted(id2label.items())]


def _text(title: str, facts: Facts, config: PreTrainedConfig) -> str:
    lines = [title, ""]
    for name, fact in {**facts, "config": _settings(config)}.items():
        for index, line in enumerate([fact] if isinstance(fact, str) else fact):
            lines.append(f"{name if index == 0 else '':12} {line}")
    return "\n".join(lines)


def _settings(config: PreTrainedConfig) -> list[str]:
    """What a configuration sets, and indented what the configurations in it set."""
    lines = []
    for name, value in config.to_diff_dict().items():
        nested = getattr(config, name, None)
        if isinstance(nested, PreTrainedConfig):
            lines += [f"{name}:", *(f"  {line}" for line in _settings(nested))]
        elif name not in HOUSEKEEPING:
            lines.append(f"{name}: {json.dumps(value)}")
    return lines
