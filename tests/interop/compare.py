# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Holds conversion against mmsegmentation 1.2.2 itself: `make interop`.

Every configuration that it ships for SETR, Segmenter and SegFormer is built by its own code, narrowed (thinner, for 64
pixels) or as it is (`FULL`), with random weights. mmengine writes the checkpoint, the public command converts it with
nothing but that file, and both answer the same images: logits in one pass and in windows, losses, and the pixels that
their test pipelines make of photographs. A table has the largest differences; more than `TOLERANCE` is a failure.
"""

import contextlib
import copy
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import mmengine
import mmengine.runner
import mmseg
import operators  # noqa: F401
import torch
import transformers
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel

from vitseg import cli


CONFIGURATIONS = Path(mmseg.__file__).parent / ".mim" / "configs"
FAMILIES = ("setr", "segmenter", "segformer")
FULL = (
    "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
    "segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512",
    "segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "setr_vit-l_pup_8xb2-160k_ade20k-512x512",
)
TOLERANCE = 1e-4
NUM_CLASSES = 7
SIDE, STRIDE = 64, 44
# Of narrowed models; one is not a multiple of the patches, one is wider than a window.
SIZES = ((64, 64), (75, 100))
COLUMNS = ("whole", "slide", "loss", "pixels")


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


def build(config: Config) -> torch.nn.Module:
    """mmsegmentation's model, with random weights and statistics."""
    model_config = _without_processes(copy.deepcopy(config.model.to_dict()))
    model_config["pretrained"] = model_config["backbone"]["init_cfg"] = None
    model = MODELS.build(Config({"model": model_config}).model)
    torch.manual_seed(0)
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
    dataset_class = DATASETS.get(config.test_dataloader.dataset.type)
    is_narrowed = config.model.decode_head.num_classes == NUM_CLASSES
    hub = MessageHub.get_instance("interop")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("iter", 160000)
    meta = {
        "cfg": config.pretty_text,
        "mmengine_version": mmengine.__version__,
        "seed": 0,
        "iter": 160000,
        "dataset_meta": {
            key: values[:NUM_CLASSES] if is_narrowed else values for key, values in dataset_class.METAINFO.items()
        },
    }
    content = {"meta": meta, "state_dict": model.state_dict(), "message_hub": hub.state_dict()}
    mmengine.runner.save_checkpoint(content, str(file))


def convert(file: Path, folder: Path) -> PreTrainedModel:
    """The model that the public command makes of a checkpoint."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = cli.main(["convert", "--checkpoint", str(file), "--output", str(folder)])
    if status != 0:
        raise SystemExit(f"{file.name} does not convert: {said.getvalue()}")
    return AutoModelForSemanticSegmentation.from_pretrained(folder).eval()


def compare(config: Config, folder: Path) -> dict[str, float]:
    """The largest differences between mmsegmentation and what the command makes of its checkpoint, by column."""
    original = build(config)
    save(original, config, folder / "iter_160000.pth")
    converted = convert(folder / "iter_160000.pth", folder / "model")
    check_protocol(original, converted, config)
    return {
        **compare_logits(original, converted),
        "loss": compare_losses(original, converted),
        "pixels": compare_preprocessing(original, config, folder),
    }


def check_protocol(original: Any, converted: PreTrainedModel, config: Config) -> None:
    stated, ours = original.test_cfg, converted.config
    windows = (tuple(stated.get("crop_size") or ()), tuple(stated.get("stride") or ()))
    expected = windows if stated.mode == "slide" else ((), ())
    read = ((), ()) if ours.inference_mode == "whole" else (_pair(ours.window_size), _pair(ours.window_stride))
    if stated.mode != ours.inference_mode or expected != read:
        raise SystemExit(f"The test protocol is {stated}, but was read as {ours.inference_mode}, {read}.")
    names = DATASETS.get(config.test_dataloader.dataset.type).METAINFO["classes"][: ours.num_labels]
    if [name.strip() for name in names] != list(ours.id2label.values()):
        raise SystemExit(f"The classes are {names}, but were read as {list(ours.id2label.values())}.")


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
            worst = max(worst, _difference(ours, theirs))
        differences[mode] = worst
    return differences


def compare_losses(original: Any, converted: PreTrainedModel) -> float:
    """The sum of all losses, for label maps with ignored pixels; dropout is off."""
    generator = torch.Generator().manual_seed(2)
    pixel_values = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(converted.config.num_labels, (2, SIDE, SIDE), generator=generator)
    labels[:, :9] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label_map[None])) for label_map in labels]
    with torch.no_grad():
        parts = original.loss(pixel_values, samples)
        theirs = sum(value for name, value in parts.items() if "loss" in name)
        ours = converted(pixel_values, labels=labels).loss
    return _difference(ours, theirs)


def compare_preprocessing(original: Any, config: Config, folder: Path) -> float:
    """What the test pipeline and data preprocessor make of photographs, and what our image processor does."""
    steps = [step for step in config.test_pipeline if step["type"] != "LoadAnnotations"]
    pipeline, image_processor = Compose(steps), AutoImageProcessor.from_pretrained(folder / "model")
    worst = 0.0
    is_reduced = any(step.get("reduce_zero_label", False) for step in config.test_pipeline)
    if is_reduced != image_processor.do_reduce_labels:
        raise SystemExit(f"reduce_zero_label is {is_reduced}, but was read as {image_processor.do_reduce_labels}.")
    for file in photographs(folder):
        packed = pipeline({"img_path": str(file)})
        data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        theirs = original.data_preprocessor(data)["inputs"]
        ours = image_processor(Image.open(file), return_tensors="pt")["pixel_values"]
        worst = max(worst, _difference(ours, theirs))
    return worst


def photographs(folder: Path) -> Iterator[Path]:
    """A photograph, and parts of it: wide, high, small, and grey, as PNG, so that the decoders agree."""
    photograph = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    wide = photograph.crop((0, 100, 501, 320))
    for index, image in enumerate((photograph, wide, wide.transpose(Image.Transpose.ROTATE_90), wide.convert("L"))):
        file = folder / f"photograph_{index}.png"
        image.save(file)
        yield file


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest number where that is above 1; infinite between shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _without_processes(value: Any) -> Any:
    """A configuration with plain batch norms: synchronised ones need a GPU, and compute the same in a test."""
    if isinstance(value, dict):
        return {key: "BN" if item == "SyncBN" else _without_processes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_without_processes, value))
    return value


def main() -> int:
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    mmengine.MMLogger.get_instance("mmengine", log_level="ERROR")
    register_all_modules()
    print(f"mmsegmentation {mmseg.__version__}, mmengine {mmengine.__version__}, torch {torch.__version__}")
    print(f"{'model':58} {'size':8} " + " ".join(f"{column:>8}" for column in COLUMNS))
    failures = 0
    for family in FAMILIES:
        for file in sorted((CONFIGURATIONS / family).glob("*.py")):
            for size in ("narrow", *(("full",) if file.stem in FULL else ())):
                config = Config.fromfile(file)
                if size == "narrow":
                    config.model = narrowed(config.model.to_dict())
                with tempfile.TemporaryDirectory() as folder:
                    differences = compare(config, Path(folder))
                is_close = all(value <= TOLERANCE for value in differences.values())
                failures += not is_close
                figures = " ".join(f"{differences[column]:8.1e}" for column in COLUMNS)
                print(f"{file.stem:58} {size:8} {figures}{'' if is_close else '  too far'}", flush=True)
    print(f"{failures} of them differ by more than {TOLERANCE:g}." if failures else f"All within {TOLERANCE:g}.")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
