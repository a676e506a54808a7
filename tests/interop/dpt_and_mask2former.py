# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
DPT and Mask2Former: every configuration shipped for them, converted to transformers' own classes.

As in `models`, but both answer by the outputs of transformers' class. `logits` are those of DPT's pixels or of
Mask2Former's queries; `masks` are those of the queries, and `scores` what docs/conversion.md makes of both. The one
configuration for DPT is refused, because the class resizes otherwise; it converts with aligned corners and a test on
squares. `pixels` are those of a photograph that has the size of the test: transformers resizes with antialiasing.
Mask2Former is compared in double precision, but for the losses: it asks which logits of masks are positive, where
rounding can make a jump.
"""

import copy
import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import mmdet.models  # noqa: F401  (makes Mask2Former's parts known to mmsegmentation)
import torch
import transformers
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from torch.nn import functional
from transformers import AutoImageProcessor, PreTrainedModel

from .cases import Case, difference
from .originals import CONFIGURATIONS, NUM_CLASSES, SIDE, SIZES, build, convert, save
from .photographs import write_photographs


COLUMNS = ("logits", "masks", "scores", "loss", "pixels")
FULL = "mask2former_swin-t_8xb2-160k_ade20k-512x512"
DPT = CONFIGURATIONS / "dpt" / "dpt_vit-b16_8xb2-160k_ade20k-512x512.py"
rand = torch.rand


def cases() -> Iterator[Case]:
    """Each configuration narrowed, and some of them also as they are."""
    yield Case(f"{DPT.stem}, refused", refuse_dpt)
    yield Case(f"{DPT.stem}, on squares", functools.partial(compare, DPT, narrow=True))
    yield Case(f"{DPT.stem}, on squares, full", functools.partial(compare, DPT, narrow=False))
    for file in sorted((CONFIGURATIONS / "mask2former").glob("*.py")):
        yield Case(file.stem, functools.partial(compare, file, narrow=True))
        if file.stem == FULL:
            yield Case(f"{file.stem}, full", functools.partial(compare, file, narrow=False))


def refuse_dpt() -> dict[str, float]:
    """The configuration as it is shipped."""
    config = Config.fromfile(DPT)
    config.model = narrowed(config.model.to_dict())
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "iter_160000.pth"
        save(build(config), config, file)
        try:
            convert(file, Path(name) / "model")
        except ValueError as error:
            if "DPTHead has align_corners=False; only True can be converted" in str(error):
                return {}
            raise
    raise ValueError("It converts as it is.")


def compare(file: Path, narrow: bool) -> dict[str, float]:
    """The largest differences between mmsegmentation and what the command makes of its checkpoint."""
    # It says of ResNet that Mask2Former's authors had no such one.
    transformers.utils.logging.set_verbosity_error()
    config = Config.fromfile(file)
    if narrow:
        config.model = narrowed(config.model.to_dict())
    is_dpt = file == DPT
    if is_dpt:
        test_on_squares(config, side=SIDE if narrow else 512)
    original = build(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(original, config, folder / "iter_160000.pth")
        convert(folder / "iter_160000.pth", folder / "model")
        (class_name,) = json.loads((folder / "model" / "config.json").read_text())["architectures"]
        model_class = getattr(transformers, class_name)
        converted = model_class.from_pretrained(folder / "model").eval()
        differences = compare_dpt(original, converted) if is_dpt else compare_mask2former(original, converted)
        return {**differences, "pixels": compare_pixels(original, config, folder)}


def narrowed(model: dict[str, Any]) -> dict[str, Any]:
    """A model as configured, but thin, shallow, and for few classes."""
    model = copy.deepcopy(model)
    backbone, head = model["backbone"], model["decode_head"]
    head["num_classes"] = NUM_CLASSES
    if backbone["type"] == "VisionTransformer":
        backbone |= {"embed_dims": 48, "num_heads": 3, "num_layers": 4, "out_indices": (0, 1, 2, 3), "img_size": 48}
        channels = {"in_channels": (48,) * 4, "embed_dims": 48, "channels": 32}
        head |= {**channels, "post_process_channels": [16, 24, 32, 48]}
        return model
    if backbone["type"] == "ResNet":
        backbone |= {"base_channels": 8, "depth": 50}
        head["in_channels"] = [32, 64, 128, 256]
    else:
        backbone |= {"embed_dims": 16, "num_heads": [1, 2, 4, 8], "depths": [2, 2, 2, 2]}
        head["in_channels"] = [16, 32, 64, 128]
    head["num_queries"] = 20
    head["loss_cls"]["class_weight"] = [1.0] * NUM_CLASSES + [0.1]
    head["pixel_decoder"]["encoder"]["num_layers"] = 2
    head["transformer_decoder"]["num_layers"] = 4
    head["train_cfg"]["num_points"] = 500
    return model


def test_on_squares(config: Config, side: int) -> None:
    """Aligned corners, and a test whose images are all of one size: what transformers' DPT can do."""
    config.model.decode_head.align_corners = True
    for pipeline in (config.test_pipeline, config.test_dataloader.dataset.pipeline):
        for step in pipeline:
            if step.type == "Resize":
                step.scale, step.keep_ratio = (side, side), False


def compare_dpt(original: Any, converted: PreTrainedModel) -> dict[str, float]:
    side = converted.config.image_size
    pixel_values = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    meta = {"img_shape": (side, side), "ori_shape": (side, side), "pad_shape": (side, side)}
    labels = torch.randint(converted.config.num_labels, (1, side, side), generator=torch.Generator().manual_seed(2))
    # With labels it asks for an auxiliary head, which counts nothing here.
    config = copy.deepcopy(converted.config)
    config.use_auxiliary_head, config.auxiliary_loss_weight = True, 0.0
    trainable = type(converted)(config).eval()
    trainable.load_state_dict(converted.state_dict(), strict=False)
    with torch.no_grad():
        theirs = original.inference(pixel_values, [meta])
        ours = converted(pixel_values).logits
        their_loss = original.loss(pixel_values, samples(labels))["decode.loss_ce"]
        our_loss = trainable(pixel_values, labels=labels).loss
    return {"logits": difference(ours, theirs), "loss": difference(our_loss, their_loss)}


def compare_mask2former(original: Any, converted: PreTrainedModel) -> dict[str, float]:
    differences = {"logits": 0.0, "masks": 0.0, "scores": 0.0, "loss": compare_mask_losses(original, converted)}
    original, converted = original.double(), converted.double()
    for size in SIZES:
        pixel_values = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
        meta = {"img_shape": size, "ori_shape": size, "pad_shape": size}
        with torch.no_grad():
            logits, masks = original.decode_head(original.extract_feat(pixel_values), [SegDataSample()] * 2)
            scores = original.inference(pixel_values, [meta] * 2)
            ours = converted(pixel_values)
        our_masks = functional.interpolate(ours.masks_queries_logits, size, mode="bilinear").sigmoid()
        our_classes = ours.class_queries_logits.softmax(-1)[..., :-1]
        pairs = {
            "logits": (ours.class_queries_logits, logits[-1]),
            "masks": (ours.masks_queries_logits, masks[-1]),
            "scores": (torch.einsum("bqc,bqhw->bchw", our_classes, our_masks), scores),
        }
        for name, pair in pairs.items():
            differences[name] = max(differences[name], difference(*pair))
    return differences


def compare_mask_losses(original: Any, converted: PreTrainedModel) -> float:
    """The sum of the losses of all layers, for label maps with ignored pixels; both draw the same points."""
    generator = torch.Generator().manual_seed(2)
    pixel_values = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(NUM_CLASSES, (2, SIDE // 16, SIDE // 16), generator=generator)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    labels[:, :9] = 255
    classes = [label_map[label_map != 255].unique() for label_map in labels]
    masks = [(label_map == ids[:, None, None]).float() for label_map, ids in zip(labels, classes, strict=True)]
    with torch.no_grad(), mock.patch("torch.rand", points_by_shape):
        theirs = sum(original.loss(pixel_values, samples(labels)).values()).squeeze()
        ours = converted(pixel_values, mask_labels=masks, class_labels=classes).loss
    return difference(ours, theirs)


def points_by_shape(*shape: Any, **options: Any) -> torch.Tensor:
    """In the place of `torch.rand`, the same numbers for a shape, whoever asks."""
    sizes = shape[0] if isinstance(shape[0], tuple) else shape
    return rand(sizes, generator=torch.Generator().manual_seed(sum(sizes)))


def samples(labels: torch.Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=label_map[None])) for label_map in labels]


def compare_pixels(original: Any, config: Config, folder: Path) -> float:
    """What the test pipeline and data preprocessor make of a photograph that has the size of the test, and ours."""
    steps = [step for step in config.test_pipeline if step["type"] != "LoadAnnotations"]
    resize = next(step for step in steps if step["type"] == "Resize")
    height = min(resize.scale)
    width = height * 5 // 4 if resize.keep_ratio else height
    file = folder / "photograph.png"
    Image.open(next(write_photographs(folder))).resize((width, height)).save(file)
    packed = Compose(steps)({"img_path": str(file)})
    data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
    theirs = original.data_preprocessor(data)["inputs"]
    image_processor = AutoImageProcessor.from_pretrained(folder / "model")
    is_reduced = any(step.get("reduce_zero_label", False) for step in config.test_pipeline)
    if is_reduced != image_processor.do_reduce_labels:
        raise ValueError(f"reduce_zero_label is {is_reduced}, but was read as {image_processor.do_reduce_labels}.")
    return difference(image_processor(Image.open(file), return_tensors="pt")["pixel_values"], theirs)
