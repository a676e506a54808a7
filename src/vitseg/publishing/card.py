# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The model card of one model folder: what it is, where its weights come from, and what was measured.

Figures in the metadata (`model-index`) are those of results.json files alone, which examples/validate.py writes.
Published figures are in the text, marked as such.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from transformers import AutoConfig, AutoImageProcessor, PreTrainedConfig

from ..bands import bands_of
from ..conversion.fingerprint import auto_class_of
from ..conversion.provenance import read_conversion, read_training, weights_digest
from ..evaluation.results import MEANS, Record, add_to_model_card
from ..recipes import RECIPES, PublishedRecipe
from ..recipes.cards import FamilyCard, family_card, markdown_table
from ..recipes.protocol import Protocol, holds_protocol
from .description import published_figures


PIPELINES = {
    "AutoModelForSemanticSegmentation": "image-segmentation",
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForObjectDetection": "object-detection",
}
# Licences of recipes -> the Hub's names of them.
HUB_LICENSES = {"MIT": "mit", "Apache-2.0": "apache-2.0"}
# How the Hub names of encoders begin -> the Hub's names of their licences.
APACHE = {"license": "apache-2.0"}
ENCODER_LICENSES: dict[str, dict[str, str]] = {
    # Models that are built on it are to be given under it, too.
    "facebook/dinov3": {
        "license": "other",
        "license_name": "dinov3-license",
        "license_link": "https://ai.meta.com/resources/models-and-libraries/dinov3-license",
    },
    **{f"facebook/{name}": APACHE for name in ("convnext-", "deit-", "dinov2-", "vit-mae", "vit-msn")},
    **{f"microsoft/{name}": APACHE for name in ("beit-", "swin-")},
    "google/vit-": APACHE,
}
# Label sets -> the Hub's names of the data sets.
HUB_DATASETS = {
    "ade20k": "scene_parse_150",
    "coco_stuff10k": "coco-stuff",
    "coco_stuff164k": "coco-stuff",
    "pascal_context59": "pascal-context",
    "pascal_context60": "pascal-context",
}


def read_results(files: Sequence[Path], folder: Path) -> list[Record]:
    """
    Records of evaluations, which must be of the weights in the folder.

    Raises:
        ValueError: if a file is no such record, or was measured with other weights, or on a part of the data.
    """
    weights = weights_digest(folder)
    records = []
    for file in files:
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            measured, limit = record["weights"], record["limit"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is no results.json of examples/validate.py, or of an older one: {error!r}."
            ) from error
        if measured != weights:
            raise ValueError(f"{file} was measured with other weights than those in {folder}, on {record['model']}.")
        if limit is not None:
            raise ValueError(f"{file} was measured on the first {limit} images alone (--limit).")
        records.append(record)
    return records


def write_model_card(
    file: Path, folder: Path, repository: str, records: Sequence[Record], license_name: str | None = None
) -> None:
    """
    Write the card of a model folder.

    Args:
        file: to write.
        folder: of the model.
        repository: that it is for, `organization/name`.
        records: what was measured, see `read_results`.
        license_name: the Hub's name of the weights' licence. Of a converted recipe it is known.

    Raises:
        ValueError: if the licence is not known and not given, or another one is known.
    """
    config = AutoConfig.from_pretrained(folder)
    conversion, training = read_conversion(folder), read_training(folder)
    recipe = RECIPES.get(conversion["recipe"]) if conversion else None
    family = family_card(config.model_type)
    parts = [
        "---\n" + _metadata(config, family, repository, recipe, training, license_name).to_yaml() + "\n---",
        f"# {repository.partition('/')[2]}",
        _opening(config, recipe, conversion),
        family.beginning,
        _family_section(family, "Licence") if recipe else "",
        "## Use\n\n" + _snippets(config, repository, bands_of(AutoImageProcessor.from_pretrained(folder))),
        "## Results\n\n" + _results(recipe, records),
        _protocol(config, folder),
        "## Where the weights come from\n\n" + _provenance(recipe, conversion, training),
        _family_section(family, "Limits"),
    ]
    file.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    for record in records:
        add_to_model_card(file, record)


def _metadata(
    config: PreTrainedConfig,
    family: FamilyCard,
    repository: str,
    recipe: PublishedRecipe | None,
    training: dict[str, Any] | None,
    license_name: str | None,
) -> ModelCardData:
    encoder = training["encoder"] if training else None
    license_fields: dict[str, Any]
    if recipe is None:
        license_fields = {"license": license_name} if license_name else encoder_license(encoder)
        if not license_fields:
            raise ValueError("The licence of these weights is not known, as they are of no recipe: say --license.")
    else:
        known = HUB_LICENSES.get(recipe.weights.licence)
        of_family = {key: value for key, value in family.metadata.items() if key.startswith("license")}
        license_fields = {"license": known} if known else of_family
        if license_name not in (None, license_fields["license"]):
            raise ValueError(f"The weights of {recipe.name} are under {recipe.weights.licence}, not {license_name}.")
    return ModelCardData(
        **license_fields,
        library_name="transformers",
        pipeline_tag=PIPELINES.get(_auto_class(config)),
        tags=family.metadata.get("tags", [config.model_type, "vitseg"]),
        datasets=[HUB_DATASETS.get(recipe.label_set, recipe.label_set)] if recipe else None,
        model_name=repository.partition("/")[2],
        base_model=None if encoder is None or Path(encoder).exists() else encoder,
    )


def encoder_license(encoder: str | None) -> dict[str, str]:
    """The Hub's fields for the licence of an encoder of this name; none if it is not known."""
    known = (fields for beginning, fields in ENCODER_LICENSES.items() if (encoder or "").startswith(beginning))
    return dict(next(known, {}))


def _auto_class(config: PreTrainedConfig) -> str:
    return auto_class_of(getattr(config, "auto_map", None) or {}) or "AutoModel"


def _family_section(family: FamilyCard, heading: str) -> str:
    """A section with its heading; nothing where the family's card has none."""
    text = family.sections.get(heading)
    return f"## {heading}\n\n{text}" if text else ""


def _opening(config: PreTrainedConfig, recipe: PublishedRecipe | None, conversion: dict[str, Any] | None) -> str:
    architecture = (config.architectures or [config.model_type])[0]
    if recipe:
        return (
            f"The original authors' weights of the recipe `{recipe.name}`, converted for transformers with vitseg: a "
            f"`{architecture}` with {config.num_labels} classes."
        )
    origin = "converted from an original file" if conversion else "trained"
    return f"A `{architecture}` with {config.num_labels} classes, {origin} with vitseg."


def _snippets(config: PreTrainedConfig, repository: str, num_bands: int | None) -> str:
    auto_class = _auto_class(config)
    snippets = []
    # Pipelines open pictures.
    if num_bands is None and (task := PIPELINES.get(auto_class)):
        call = f'pipeline("{task}", model="{repository}")("photo.jpg")'
        snippets.append(f"```python\nimport vitseg\nfrom transformers import pipeline\n\nanswer = {call}\n```")
    snippets.append(
        "Without vitseg installed, with the code in this repository:\n\n```python\n"
        f"from transformers import AutoImageProcessor, {auto_class}\n\n"
        f'processor = AutoImageProcessor.from_pretrained("{repository}", trust_remote_code=True)\n'
        f'model = {auto_class}.from_pretrained("{repository}", trust_remote_code=True)\n```'
    )
    if num_bands is not None:
        call = 'model(**processor(array, return_tensors="pt"))'
        snippets.append(f"It takes images of {num_bands} bands, arrays with bands first or last: `{call}`.")
    return "\n\n".join(snippets)


def _results(recipe: PublishedRecipe | None, records: Sequence[Record]) -> str:
    parts = []
    if recipe:
        parts.append(
            f"Published, not measured here: **{published_figures(recipe)}** on {recipe.label_set}, by "
            f"{recipe.published.source}."
        )
    if not records:
        return "\n\n".join([*parts, "Nothing was measured with these converted weights."])
    means = ("mean_iou", "mean_accuracy", "overall_accuracy")
    rows = []
    for record in records:
        scores = [record["scores"][mean] for mean in means]
        left_out = f" ({len(record['broken'])} left out)" if record["broken"] else ""
        rows.append(
            (
                f"{Path(record['dataset']).name}, {record['split']}",
                f"{record['images']}{left_out}",
                *("-" if score is None else f"{100 * score:.2f}" for score in scores),
                f"{record['protocol_in_words']}; {record['dtype']} on {record['device']}, vitseg "
                f"{record['versions']['vitseg']}, torch {record['versions']['torch']}",
            )
        )
    header = ("data set", "images", *(MEANS[mean] for mean in means), "protocol")
    return "\n\n".join([*parts, "Measured with these weights:", markdown_table(header, rows)])


def _protocol(config: PreTrainedConfig, folder: Path) -> str:
    if not holds_protocol(config):
        return ""
    protocol = Protocol.of_model(config, AutoImageProcessor.from_pretrained(folder))
    return f"## Test protocol\n\nWhat the folder's image processor and model do by themselves: {protocol.describe()}."


def _provenance(
    recipe: PublishedRecipe | None, conversion: dict[str, Any] | None, training: dict[str, Any] | None
) -> str:
    if conversion is None:
        return _training(training) if training else "They were trained with vitseg."
    file = conversion["file"]
    items = [
        f"File: `{file['name']}`, {file['bytes']} bytes, SHA-256 `{file['sha256']}`",
        f"Converted by vitseg {conversion['vitseg']}, saved as {conversion['dtype']}",
    ]
    if recipe:
        items.insert(0, f"Published by: {recipe.weights.describe()}")
    items += [f"Left out: {count} tensors, {reason}" for reason, count in conversion["dropped"].items()]
    if zero := conversion.get("zero"):
        items.append(f"Zero, because the original has no such bias: {', '.join(zero)}")
    return (
        "\n".join(f"- {item}" for item in items)
        + "\n\n`conversion.json` holds this record, and `fingerprint.json` what the model answers to a fixed input;\n"
        "`python -m vitseg.conversion.fingerprint DIR` compares."
    )


def _training(training: dict[str, Any]) -> str:
    encoder, frozen, lora = training["encoder"], training["freeze"], training["lora"]
    items = [f"Trained with vitseg {training['vitseg']}: {training['iterations']} steps of the recipe "]
    items[0] += f"`{training['recipe']}`"
    if encoder is not None:
        license_fields = encoder_license(encoder)
        name = license_fields.get("license_name", license_fields.get("license", "not known to vitseg"))
        # Where somebody's folder is, is nobody's business.
        items.append(f"Encoder: `{Path(encoder).name if Path(encoder).exists() else encoder}`, licence: {name}")
    if frozen:
        items.append(f"Frozen, and therefore as they were: `{'`, `'.join(frozen)}`")
    if lora is not None:
        layers = f"the layers `{'`, `'.join(lora['targets'])}`" if lora["targets"] else "all linear layers"
        items.append(f"Low-rank adapters of rank {lora['rank']} in {layers} of the encoder")
    # What was trained by an earlier version has no note of these.
    if losses := training.get("losses"):
        listed = ", ".join(f"{name} {json.dumps(value)}" for name, value in losses.items())
        items.append(f"Loss: the method's own, changed by {listed}")
    if augmentation := training.get("augmentation"):
        items.append(f"Augmentation: `{'`, `'.join(transform['name'] for transform in augmentation)}`")
    return "\n".join(f"- {item}" for item in items)
