# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From an original checkpoint to a model folder, in one pass."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

import vitseg

from ..recipes.labels import load_label_set
from ..replacing import replacing, write_json
from . import fingerprint, provenance
from .base import Converter
from .fingerprint import check_fingerprint, largest_difference, load_folder, take_fingerprint
from .originals import Original
from .pipelines import TestSettings, read_test_settings
from .reading import Checkpoint
from .rules import Renamed, Rule, StateDictMismatch, rename


def check_is_new(output: Path) -> None:
    """
    Raises:
        ValueError: if the folder that is to be written is there, and not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} already exists. Give a new folder, or delete it first.")


def convert(
    original: Original, checkpoint: Checkpoint, output: Path, *, half: bool = False, verify: bool = False
) -> None:
    """
    Convert a checkpoint to a new model folder, and say on the way what becomes of it.

    Args:
        original: what the checkpoint is one of.
        checkpoint: the checkpoint.
        output: the folder to write, which has to be new or empty; where anything fails, nothing is left of it.
        half: save the weights in float16, otherwise in float32, whatever they are in the file.
        verify: load the folder again, compare, and leave a fingerprint in it.

    Raises:
        ValueError: if the folder is there, the checkpoint is not one of this original, does not fit the model in every
            tensor, or is too large for half precision, or the folder does not answer as the model.
    """
    check_is_new(output)
    record = _record(original, checkpoint, half)
    converter = original.converter(checkpoint.state_dict)
    config, image_processor = _configure(original, converter, checkpoint)
    model, renamed = _build_model(converter, config, original.task)
    record["dropped"], record["zero"] = _report(checkpoint, renamed), renamed.zero
    record["notes"] = converter.notes(original.config)
    for note in record["notes"]:
        print(f"Note: {note}")
    _write_folder(model, image_processor, output, record, verify=verify)
    print(f"Wrote {output}: {model.num_parameters() / 1e6:.1f} M parameters, {model.config.num_labels} classes.")


def _record(original: Original, checkpoint: Checkpoint, half: bool) -> dict[str, Any]:
    """Say what was read; returns what the folder will say of it, see [`provenance.read_conversion`]."""
    path = checkpoint.path
    size, digest = path.stat().st_size, provenance.sha256(path)
    meta = _short_entries(checkpoint.meta)
    where = f" under {checkpoint.entry!r}" if checkpoint.entry else ""
    print(f"Read {path.name} ({size / 1e6:.1f} MB, sha256 {digest}), {len(checkpoint.state_dict)} tensors{where}.")
    if checkpoint.other_entries:
        print(f"It holds other weights, too: --weights {' or '.join(checkpoint.other_entries)}.")
    if meta:
        print("Its record: " + ", ".join(f"{name} {value}" for name, value in meta.items()))
    return {
        "recipe": original.recipe.name if original.recipe else None,
        "method": original.method,
        "file": {"name": path.name, "bytes": size, "sha256": digest},
        "meta": meta,
        "dropped": {},
        "zero": [],
        "dtype": "float16" if half else "float32",
        "vitseg": vitseg.__version__,
    }


def _short_entries(meta: Mapping[str, Any]) -> dict[str, str | int]:
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


def _configure(
    original: Original, converter: Converter, checkpoint: Checkpoint
) -> tuple[PreTrainedConfig, BaseImageProcessor]:
    """The recipe's configuration and image processor, or those of the original's configuration."""
    if original.recipe:
        config, image_processor = original.recipe.build_config(), original.recipe.build_image_processor()
    else:
        config, settings, test = _read_original(original, converter, checkpoint)
        _set_label_names(config, test.names)
        _set_palette(config, test.palette)
        image_processor = converter.build_image_processor(config, settings)
        if test.flip or test.ratios:
            print(f"Its own test shows each image {_views(test)}.")
    return converter.adapt_config(config), image_processor


def _read_original(
    original: Original, converter: Converter, checkpoint: Checkpoint
) -> tuple[PreTrainedConfig, dict[str, Any], TestSettings]:
    """For the original's configuration: ours, the settings of the image processor, and what it says beside these."""
    source = original.source
    try:
        config, settings = converter.read_config(original.config), converter.read_image_processor(original.config)
        # Detectors have the pipeline of another framework.
        whole = original.whole_config if original.task == "segmentation" else {}
        test = read_test_settings(whole, checkpoint.meta)
    except KeyError as error:
        raise ValueError(f"{source} lacks the key {error}.") from error
    except (AttributeError, TypeError, StrictDataclassError) as error:
        raise ValueError(f"{source} holds a value of the wrong kind: {error}") from error
    except ValueError as error:
        raise ValueError(f"{source} cannot be converted. {error}" if original.config else str(error)) from error
    return config, {**test.processing, **settings}, test


def _views(test: TestSettings) -> str:
    """How a test shows an image at several scales, and the options that do."""
    scales = " ".join(map(str, test.ratios or (1.0,)))
    flip, option = (", and flipped", " --flip") if test.flip else ("", "")
    return f"at the scales {scales}{flip}: vitseg validate --multi-scale {scales}{option}"


def _set_label_names(config: PreTrainedConfig, names: Sequence[str] | None) -> None:
    """Name the classes as the checkpoint's record does, which is known to be wrong for Pascal Context."""
    if names is None or len(names) != config.num_labels or not all(isinstance(name, str) for name in names):
        return
    names = tuple(name.strip() for name in names)
    pascal_context = load_label_set("pascal_context60")
    older_names = pascal_context.names_in_older_mmseg or ()
    for first in (0, 1):
        # Originals list these classes, with or without the background, in an order that is not that of the ids.
        if names == older_names[first:]:
            names = pascal_context.names[first:]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}


def _set_palette(config: PreTrainedConfig, palette: list[list[int]] | None) -> None:
    """Keep the colours of the classes with the model, if there is one for each."""
    if palette is not None and np.shape(palette) == (config.num_labels, 3):
        config.palette = palette


def _build_model(converter: Converter, config: PreTrainedConfig, task: str) -> tuple[PreTrainedModel, Renamed]:
    """The model with the checkpoint's weights, without auxiliary heads where those of the checkpoint do not fit."""
    try:
        return _fill_model(converter, config, task)
    except StateDictMismatch as mismatch:
        is_auxiliary = all(name.startswith("auxiliary_head.") for name in mismatch.names)
        if not is_auxiliary or not converter.has_optional_heads:
            raise
    config.auxiliary_heads = []
    dropped = Rule(r"auxiliary_head\..*", reason="of another form than the recipe's; only training needs them")
    return _fill_model(converter, config, task, dropped)


def _fill_model(
    converter: Converter, config: PreTrainedConfig, task: str, *first_rules: Rule
) -> tuple[PreTrainedModel, Renamed]:
    """
    The model with the checkpoint's weights, but for new parameters, which are random.

    Raises:
        StateDictMismatch: if the checkpoint does not fit.
    """
    model = converter.build_model(config, task)
    new_parameters = converter.new_parameters(task) or ""
    new = [name for name in model.state_dict() if re.fullmatch(new_parameters, name)]
    expected = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in new and not re.fullmatch(converter.unused_parameters, name)
    }
    rules = [*first_rules, *converter.rules(config)]
    renamed = rename(converter.tensors, rules, expected, absent_biases=converter.absent_biases(config))
    model.load_state_dict(renamed.state_dict, strict=False, assign=True)
    if new:
        modules = sorted({name.split(".")[0] for name in new})
        print(f"Not in the checkpoint, and therefore as before any training: parameters of {', '.join(modules)}.")
    return model.eval(), renamed


def _report(checkpoint: Checkpoint, renamed: Renamed) -> dict[str, int]:
    """Say where the tensors went; returns how many were dropped for each reason."""
    dropped = {reason: len(names) for reason, names in renamed.dropped.items()}
    mapped = Counter(name.partition(".")[0] for name in renamed.state_dict if name not in renamed.zero)
    print(
        f"Converted {len(checkpoint.state_dict) - sum(dropped.values())} of them, to "
        + ", ".join(f"{count} in {module}" for module, count in mapped.items())
    )
    for reason, names in renamed.dropped.items():
        print(f"Dropped {len(names)} ({reason}): {_shortened(names)}")
    if renamed.zero:
        print(f"Zero, because the original has no such bias ({len(renamed.zero)}): {_shortened(renamed.zero)}")
    return dropped


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_folder(
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
