# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""mmsegmentation's models: its shipped configurations, built by its code and saved by mmengine; and our command."""

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import mmengine
import mmengine.runner
import mmseg
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmseg.registry import DATASETS, MODELS

from vitseg import cli


CONFIGURATIONS = Path(mmseg.__file__).parent / ".mim" / "configs"
# Of narrowed models.
NUM_CLASSES = 7
SIDE, STRIDE = 64, 44
# Of images; one is not a multiple of the patches, and is wider than a window.
SIZES = ((64, 64), (75, 100))


def build(config: Config) -> torch.nn.Module:
    """The model of a configuration in test mode, with random weights and statistics."""
    model_config = _without_processes(copy.deepcopy(config.model.to_dict()))
    model_config["pretrained"] = model_config["backbone"]["init_cfg"] = None
    torch.manual_seed(0)
    model = MODELS.build(Config({"model": model_config}).model)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.1 if parameter.ndim > 1 and parameter.numel() < 2**20 else 0.02
            parameter.add_(scale * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.2 * torch.randn_like(buffer))
            if name.endswith("running_var"):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval()


def save(model: torch.nn.Module, config: Config, file: Path) -> None:
    """What mmengine's Runner saves, by its writer: weights, configuration, data set, and curves of a training."""
    metadata = DATASETS.get(config.test_dataloader.dataset.type).METAINFO
    num_classes = config.model.decode_head.num_classes
    hub = MessageHub.get_instance("interop")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("iter", 160000)
    meta = {
        "cfg": config.pretty_text,
        "mmengine_version": mmengine.__version__,
        "seed": 0,
        "iter": 160000,
        "dataset_meta": {key: values[:num_classes] for key, values in metadata.items()},
    }
    content = {"meta": meta, "state_dict": model.state_dict(), "message_hub": hub.state_dict()}
    mmengine.runner.save_checkpoint(content, str(file))


def convert(file: Path, folder: Path) -> None:
    """
    What the public command makes of a checkpoint, with nothing but that file.

    Raises:
        ValueError: with what the command said, if it refuses.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = cli.main(["convert", "--checkpoint", str(file), "--output", str(folder)])
    if status != 0:
        raise ValueError(f"{file.name} does not convert: {said.getvalue()}")


def _without_processes(value: Any) -> Any:
    """A configuration with plain batch norms: synchronised ones need a GPU, and compute the same in a test."""
    if isinstance(value, dict):
        return {key: "BN" if item == "SyncBN" else _without_processes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_without_processes, value))
    return value
