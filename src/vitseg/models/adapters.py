# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Models saved as what was learned over a pretrained encoder: a PEFT adapter and the heads, and which encoder they belong
to. Loaded, they are ordinary models, with the adapter merged.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import CONFIG_NAME, cached_file, find_adapter_config_file, logging


# Beside PEFT's own files: the `source` of the encoder, and the `digest` of its weights.
ENCODER_FILE = "encoder.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = (ADAPTER_CONFIG, "adapter_model.safetensors")
# How the parameters begin that transformers adds to pyramids.
ADDED_NORMS = "hidden_states_norms."
# Of `from_pretrained`, those that say where files are.
HUB_ARGUMENTS = {"cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token"}
# Those of them that hold for any repository, so that they also say how an adapter's encoder is had.
ENCODER_ARGUMENTS = HUB_ARGUMENTS - {"revision", "subfolder"}
# Plain ViTs of transformers, which has no backbone classes for them; ours computes the same.
PLAIN_VITS = ("deit", "vit", "vit_mae", "vit_msn")


def load_encoder(backbone: PreTrainedModel, source: str, **hub: Any) -> list[str]:
    """
    Load the encoder of a transformers model into a backbone of the same architecture.

    Args:
        backbone: of the class that AutoBackbone has for that model; for one of `PLAIN_VITS`, a [`PlainVitBackbone`].
        source: folder, or repository on the Hub.
        hub: arguments of `from_pretrained` that say how it is had from there, such as `token`.

    Returns:
        The names of the backbone's parameters that the model does not have, and that stay as they are: those of
        `added_modules`, or some of them.

    Raises:
        ValueError: if the weights are not those of such an encoder.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # for heads, which are left out
    try:
        if AutoConfig.from_pretrained(source, **hub).model_type in PLAIN_VITS:
            encoder = AutoModel.from_pretrained(source, dtype=torch.float32, **hub)
            backbone.load_state_dict(_our_names(encoder.state_dict()))
            return []
        # What has another size is named below, where transformers refers to a report that it logs.
        loaded, info = type(backbone).from_pretrained(
            source,
            config=backbone.config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **hub,
        )
    except OSError as error:
        raise ValueError(f"There are no weights of an encoder in {source}, nor on the Hub: {error}") from error
    except RuntimeError as error:
        raise ValueError(f"The weights of {source} do not fit a {type(backbone).__name__}: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    if mismatched := sorted(info["mismatched_keys"]):
        name, found, expected = mismatched[0]
        raise ValueError(
            f"The weights of {source} do not fit a {type(backbone).__name__}: {name} has the shape {tuple(found)}, "
            f"expected {tuple(expected)}."
        )
    missing = sorted(info["missing_keys"])
    if needed := [name for name in missing if not name.startswith(ADDED_NORMS)]:
        raise ValueError(f"{source} lacks weights of a {type(backbone).__name__}: {', '.join(needed)}.")
    backbone.load_state_dict(loaded.state_dict())
    return missing


def added_modules(backbone: PreTrainedModel) -> list[str]:
    """
    The modules that transformers' backbones have beyond the encoders whose weights they load: norms over the feature
    maps of pyramids.
    """
    return [name for name, _ in backbone.named_modules() if name.startswith(ADDED_NORMS)]


def _our_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder of one of `PLAIN_VITS` under the names of our backbone."""
    without = ("pooler.", "embeddings.mask_token")
    return {
        name.replace("patch_embeddings.projection.", "patch_embeddings."): tensor
        for name, tensor in tensors.items()
        if not name.startswith(without)
    }


def encoder_digest(backbone: torch.nn.Module) -> str:
    """The SHA-256 of a backbone's weights in float32, in hexadecimal; without those of `added_modules`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        if not name.startswith(ADDED_NORMS):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def find_adapter(name: str | PathLike | None, arguments: Mapping[str, Any]) -> Path | None:
    """
    The local folder of a model that is saved as an adapter, `None` if it is no such model.

    Args:
        name: folder, or repository on the Hub, whose files are downloaded.
        arguments: of `from_pretrained`, some of which say where and how on the Hub.

    Raises:
        OSError: if a file of the adapter is missing.
    """
    if name is None:
        return None
    hub = {key: arguments[key] for key in HUB_ARGUMENTS & arguments.keys()}
    if find_adapter_config_file(str(name), **hub) is None:
        return None
    try:
        encoder = cached_file(str(name), ENCODER_FILE, **hub)
    except OSError:
        return None  # an adapter beside a whole model, which is transformers' affair
    for file in (CONFIG_NAME, *ADAPTER_FILES):
        cached_file(str(name), file, **hub)
    return Path(encoder).parent


def load_adapted(model: PreTrainedModel, folder: Path, arguments: Mapping[str, Any]) -> PreTrainedModel:
    """
    Give a model, built with random weights, those of the encoder, the adapter and the heads of a folder.

    Args:
        model: of the folder's configuration, in float32.
        folder: what `find_adapter` found.
        arguments: as there; some of them also say how the encoder is had from the Hub.

    Returns:
        The model, with the adapter merged into the encoder's weights.

    Raises:
        ImportError: if PEFT is not installed.
        ValueError: if the encoder cannot be had, or is not the one that the adapter was trained over.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ImportError(f"{folder} holds an adapter, which needs PEFT: pip install peft", name="peft") from error
    source, expected = _read_encoder(folder / ENCODER_FILE)
    remedy = f"Put the original there, or name its folder as `source` in {folder / ENCODER_FILE}."
    try:
        load_encoder(model.backbone, source, **{key: arguments[key] for key in ENCODER_ARGUMENTS & arguments.keys()})
    except ValueError as error:
        raise ValueError(f"The adapter in {folder} lacks its encoder. {remedy} {error}") from error
    digest = encoder_digest(model.backbone)
    if digest != expected:
        raise ValueError(
            f"The adapter in {folder} was trained over an encoder with the digest {expected[:12]}, but {source} has "
            f"{digest[:12]}: it is another, or was changed since. {remedy}"
        )
    with without_peft_warnings():
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()


def _read_encoder(file: Path) -> tuple[str, str]:
    """The source and the digest of an adapter's encoder."""
    try:
        encoder = json.loads(file.read_text(encoding="utf-8"))
        return str(encoder["source"]), str(encoder["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: it does not name an encoder by `source` and `digest`.") from error


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """PEFT asks models for an attribute that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
