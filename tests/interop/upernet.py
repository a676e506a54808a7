# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
UPerNet: every configuration shipped for it over Swin, ConvNeXt and BEiT, converted to transformers' own classes.

As in `models`, narrowed, but the folder holds a class of transformers. The loss is compared without ignored pixels,
over which the two average differently. `REFUSED` is shipped too, and has no counterpart, for the reason that is said.
"""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn
from transformers import PreTrainedModel

from vitseg.conversion.fingerprint import load_folder
from vitseg.evaluation.inference import in_windows

from .cases import Case, difference
from .originals import CONFIGURATIONS, NUM_CLASSES, SIDE, SIZES, STRIDE, build, convert, save


COLUMNS = ("whole", "slide", "loss")
FAMILIES = ("beit", "convnext", "swin")
REFUSED = {"swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256": "LoadMultipleRSImageFromFile"}


def cases() -> Iterator[Case]:
    """Each configuration, narrowed."""
    for family in FAMILIES:
        for file in sorted((CONFIGURATIONS / family).glob("*.py")):
            if file.stem in REFUSED:
                yield Case(f"{file.stem}, refused", functools.partial(check_refusal, file, REFUSED[file.stem]))
                continue
            yield Case(file.stem, functools.partial(compare, file))


def compare(file: Path) -> dict[str, float]:
    """The largest differences between mmsegmentation and what the command makes of its checkpoint."""
    config = Config.fromfile(file)
    config.model = narrowed(config.model.to_dict())
    original = build(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(original, config, folder / "iter_160000.pth")
        convert(folder / "iter_160000.pth", folder / "model")
        converted, _ = load_folder(folder / "model")
    backbone = config.model.backbone
    # BEiT takes images of one size alone.
    sizes = (tuple(backbone.img_size),) if backbone.type == "BEiT" else SIZES
    return compare_answers(original, converted, sizes)


def check_refusal(file: Path, reason: str) -> dict[str, float]:
    """
    Raises:
        AssertionError: if the command does not refuse it for this reason.
    """
    config = Config.fromfile(file)
    original = build(config)
    with tempfile.TemporaryDirectory() as name:
        save(original, config, Path(name) / "iter_20000.pth")
        try:
            convert(Path(name) / "iter_20000.pth", Path(name) / "model")
            said = "it converts"
        except ValueError as error:
            said = str(error)
    if reason not in said:
        raise AssertionError(f"{file.stem} is refused for {reason}, but {said}.")
    return {}


def narrowed(model: dict[str, Any]) -> dict[str, Any]:
    """A model as configured, but thin, shallow, for few classes, and for windows of 64 pixels."""
    backbone = model["backbone"]
    if backbone["type"] == "SwinTransformer":
        channels = [16, 32, 64, 128]
        window_size = {7: 5, 12: 3}[backbone["window_size"]]
        backbone |= {"embed_dims": 16, "depths": [2, 2, 3, 2], "num_heads": [1, 2, 4, 8], "window_size": window_size}
    elif backbone["type"] == "BEiT":
        channels = [48] * 4
        backbone |= {"img_size": (SIDE, SIDE), "embed_dims": 48, "num_heads": 3, "num_layers": 6}
        backbone["out_indices"] = (1, 2, 4, 5)
        model["neck"]["embed_dim"] = 48
    else:
        channels = [16, 24, 32, 48]
        backbone["arch"] = {"depths": [1, 1, 2, 1], "channels": channels}
    model["decode_head"] |= {"in_channels": channels, "channels": 32, "num_classes": NUM_CLASSES}
    model["auxiliary_head"] |= {"in_channels": channels[2], "channels": 24, "num_classes": NUM_CLASSES}
    if model["test_cfg"]["mode"] == "slide":
        model["test_cfg"] |= {"crop_size": (SIDE, SIDE), "stride": (STRIDE, STRIDE)}
    return model


def compare_answers(original: Any, converted: PreTrainedModel, sizes: Any) -> dict[str, float]:
    """Logits in one pass and in windows, and the sum of all losses, for label maps without ignored pixels."""
    side = sizes[0]

    def predict(pixel_values: torch.Tensor) -> torch.Tensor:
        logits = converted(pixel_values).logits
        return nn.functional.interpolate(logits, size=pixel_values.shape[-2:], mode="bilinear")

    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(converted.config.num_labels, (1, *side), generator=generator)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label_map[None])) for label_map in labels]
    differences = {"whole": 0.0, "slide": 0.0}
    with torch.no_grad():
        for size in sizes:
            pixel_values = torch.randn(1, 3, *size, generator=generator)
            theirs = answer(original, pixel_values, {"mode": "whole"})
            differences["whole"] = max(differences["whole"], difference(predict(pixel_values), theirs))
        windows = {"crop_size": side, "stride": (STRIDE, STRIDE)}
        pixel_values = torch.randn(1, 3, side[0] + 11, side[1] + 36, generator=generator)
        theirs = answer(original, pixel_values, {"mode": "slide", **windows})
        ours = in_windows(predict, side, (STRIDE, STRIDE), 2)(pixel_values)
        differences["slide"] = difference(ours, theirs)
        pixel_values = torch.randn(1, 3, *side, generator=generator)
        parts = original.loss(pixel_values, samples)
        expected = sum(value for name, value in parts.items() if "loss" in name)
        differences["loss"] = difference(converted(pixel_values, labels=labels).loss, expected)
    return differences


def answer(original: Any, pixel_values: torch.Tensor, test_cfg: dict[str, Any]) -> torch.Tensor:
    """mmsegmentation's own `inference`."""
    original.test_cfg = Config(test_cfg)
    size = tuple(pixel_values.shape[-2:])
    return original.inference(pixel_values, [{"img_shape": size, "ori_shape": size, "pad_shape": size}])
