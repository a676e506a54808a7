# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Models: every configuration shipped for SETR, Segmenter and SegFormer, converted by the public command.

Each is built by mmsegmentation's own code, narrowed (thinner, for 64 pixels) or as it is (`FULL`), with random
weights. mmengine writes the checkpoint, the command converts it with nothing but that file, and both answer the same
images: logits in one pass and in windows, losses, and the pixels that their test pipelines make of photographs.
"""

import copy
import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel

from .cases import Case, difference
from .originals import CONFIGURATIONS, NUM_CLASSES, SIDE, SIZES, STRIDE, build, convert, save
from .photographs import write_photographs


COLUMNS = ("whole", "slide", "loss", "pixels")
FAMILIES = ("setr", "segmenter", "segformer")
FULL = (
    "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
    "segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512",
    "segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "setr_vit-l_pup_8xb2-160k_ade20k-512x512",
)


def cases() -> Iterator[Case]:
    """Each configuration narrowed, and some of them also as they are."""
    for family in FAMILIES:
        for file in sorted((CONFIGURATIONS / family).glob("*.py")):
            yield Case(file.stem, functools.partial(compare, file, narrow=True))
            if file.stem in FULL:
                yield Case(f"{file.stem}, full", functools.partial(compare, file, narrow=False))


def compare(file: Path, narrow: bool) -> dict[str, float]:
    """The largest differences between mmsegmentation and what the command makes of its checkpoint."""
    config = Config.fromfile(file)
    if narrow:
        config.model = narrowed(config.model.to_dict())
    original = build(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(original, config, folder / "iter_160000.pth")
        convert(folder / "iter_160000.pth", folder / "model")
        converted = AutoModelForSemanticSegmentation.from_pretrained(folder / "model").eval()
        check_protocol(original, converted, config)
        return {
            **compare_logits(original, converted),
            "loss": compare_losses(original, converted),
            "pixels": compare_preprocessing(original, config, folder),
        }


def narrowed(model: dict[str, Any]) -> dict[str, Any]:
    """A model as configured, but thin, shallow, for few classes, and for windows of 64 pixels."""
    model = copy.deepcopy(model)
    backbone, head = model["backbone"], model["decode_head"]
    heads = [head, *_as_list(model.get("auxiliary_head"))]
    for part in heads:
        part["num_classes"] = NUM_CLASSES
    if backbone["type"] == "VisionTransformer":
        width = backbone["embed_dims"]
        taps = backbone.get("out_indices")
        backbone |= {"embed_dims": 48, "num_heads": 3, "img_size": (SIDE, SIDE), "num_layers": 4}
        if isinstance(taps, list | tuple):
            backbone["out_indices"] = tuple(range(4 - len(taps), 4))
        for part in heads:
            part |= {key: 48 for key in ("in_channels", "channels", "embed_dims") if part.get(key) == width}
            if part["type"] == "SegmenterMaskTransformerHead":
                part["num_heads"] = 3
            if part["type"] == "SETRUPHead":
                part["channels"] = 24
        if model.get("neck"):
            model["neck"] |= {"in_channels": [48] * 4, "out_channels": 32}
            head |= {"in_channels": (32,) * 4, "mla_channels": 16, "channels": 64}
            for part in heads[1:]:
                part |= {"in_channels": 32, "channels": 32}
    else:
        width = backbone["embed_dims"] // 4
        backbone |= {"embed_dims": width, "num_layers": [max(number // 2, 1) for number in backbone["num_layers"]]}
        head |= {"in_channels": [width * number for number in backbone["num_heads"]], "channels": 32}
    if model["test_cfg"]["mode"] == "slide":
        model["test_cfg"] |= {"crop_size": (SIDE, SIDE), "stride": (STRIDE, STRIDE)}
    return model


def check_protocol(original: Any, converted: PreTrainedModel, config: Config) -> None:
    stated, ours = original.test_cfg, converted.config
    windows = (tuple(stated.get("crop_size") or ()), tuple(stated.get("stride") or ()))
    expected = windows if stated.mode == "slide" else ((), ())
    read = ((), ()) if ours.inference_mode == "whole" else (_pair(ours.window_size), _pair(ours.window_stride))
    if stated.mode != ours.inference_mode or expected != read:
        raise ValueError(f"The test protocol is {stated}, but was read as {ours.inference_mode}, {read}.")
    names = DATASETS.get(config.test_dataloader.dataset.type).METAINFO["classes"][: ours.num_labels]
    if [name.strip() for name in names] != list(ours.id2label.values()):
        raise ValueError(f"The classes are {names}, but were read as {list(ours.id2label.values())}.")


def compare_logits(original: Any, converted: PreTrainedModel) -> dict[str, float]:
    """In one pass and in windows, through mmsegmentation's own `inference`; relative to the largest logit."""
    differences = {}
    for mode in ("whole", "slide"):
        original.test_cfg = Config({"mode": mode, "crop_size": (SIDE, SIDE), "stride": (STRIDE, STRIDE)})
        protocol: dict[str, Any] = {"inference_mode": mode}
        if mode == "slide":
            protocol |= {"window_size": (SIDE, SIDE), "window_stride": (STRIDE, STRIDE)}
        worst = 0.0
        for size in SIZES:
            pixel_values = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
            meta = {"img_shape": size, "ori_shape": size, "pad_shape": size}
            with torch.no_grad():
                theirs = original.inference(pixel_values, [meta] * 2)
                ours = converted(pixel_values, **protocol).logits
            worst = max(worst, difference(ours, theirs))
        differences[mode] = worst
    return differences


def compare_losses(original: Any, converted: PreTrainedModel) -> float:
    """The losses of all heads, for label maps with ignored pixels; dropout is off."""
    generator = torch.Generator().manual_seed(2)
    pixel_values = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(converted.config.num_labels, (2, SIDE, SIDE), generator=generator)
    labels[:, :9] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label_map[None])) for label_map in labels]
    with torch.no_grad():
        theirs = by_head(original.loss(pixel_values, samples))
        ours = by_head(converted(pixel_values, labels=labels).loss_dict)
    if set(theirs) != set(ours):
        raise ValueError(f"The heads with losses are {sorted(theirs)} there, and {sorted(ours)} here.")
    return max(difference(ours[head], theirs[head]) for head in theirs)


def by_head(losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of the terms that are logged, the losses, one for each head: `decode.loss_ce`, `aux_0.loss_ce`, ..."""
    return {name.partition(".")[0]: loss for name, loss in losses.items() if "loss" in name}


def compare_preprocessing(original: Any, config: Config, folder: Path) -> float:
    """What the test pipeline and data preprocessor make of photographs, and what our image processor does."""
    steps = [step for step in config.test_pipeline if step["type"] != "LoadAnnotations"]
    pipeline, image_processor = Compose(steps), AutoImageProcessor.from_pretrained(folder / "model")
    worst = 0.0
    is_reduced = any(step.get("reduce_zero_label", False) for step in config.test_pipeline)
    if is_reduced != image_processor.do_reduce_labels:
        raise ValueError(f"reduce_zero_label is {is_reduced}, but was read as {image_processor.do_reduce_labels}.")
    for file in write_photographs(folder):
        packed = pipeline({"img_path": str(file)})
        data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        theirs = original.data_preprocessor(data)["inputs"]
        ours = image_processor(Image.open(file), return_tensors="pt")["pixel_values"]
        worst = max(worst, difference(ours, theirs))
    return worst


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
