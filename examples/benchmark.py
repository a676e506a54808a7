# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure training data, metric and models on this machine, each beside what else the field uses:

    python examples/benchmark.py data
    python examples/benchmark.py metric
    python examples/benchmark.py models setr-pup-vit-l-ade20k-512-160k --peer upernet-swin-large --peer segformer-b5
    python examples/benchmark.py models runs/mine/best --device cuda --dtype bfloat16 --batch-size 16 --compile
    python examples/benchmark.py speed --device cuda --dtype float16

data     images/s of one core, from encoded image and label map to a training crop: vitseg.data, and the same pipeline
         in OpenCV and NumPy as mmsegmentation has it
metric   images/s of one core: vitseg's mean IoU, and NumPy histograms as mmsegmentation has them
models   size, arithmetic, speed and memory of recipes (with random weights) and model folders, and of peers (with
         random weights): an encoder of timm (timm:NAME), segformer-b0 to -b5, upernet-swin-tiny, -small, -base, -large
speed    frames/s of SCTNet by its authors' protocol, each published row at its own input size: as it is, fused, fused
         and compiled, and in ONNX Runtime, beside the published figures

Each prints a table and says what was timed. `--output FILE.json` or `FILE.csv` adds the figures to a file.
"""

import argparse
import dataclasses
import functools
import itertools
import multiprocessing
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import timm
import torch
from accelerate.utils.memory import should_reduce_batch_size
from opencv_pipeline import OpenCvPipeline
from PIL import Image
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    SegformerConfig,
    SwinConfig,
    UperNetConfig,
)

from vitseg.data.augmentation import TrainingTransform
from vitseg.data.streaming import SegmentationStream
from vitseg.evaluation.metric import MeanIoU
from vitseg.evaluation.results import device_name
from vitseg.evaluation.throughput import ModelSettings, append_rows, calls_per_second, measure_model, time_in_turn
from vitseg.models.configuration_plain_vit import as_pair
from vitseg.recipes import RECIPES, get_recipe
from vitseg.recipes.cards import markdown_table
from vitseg.recipes.lookup import unknown_name


HEIGHT, WIDTH, NUM_LABELS, IGNORE_INDEX = 512, 683, 150, 255
NUM_EXAMPLES = 32
SEGFORMER = {
    "segformer-b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "segformer-b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "segformer-b2": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "segformer-b3": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 18, 3], "decoder_hidden_size": 768},
    "segformer-b4": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 8, 27, 3], "decoder_hidden_size": 768},
    "segformer-b5": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}
UPERNET_SWIN = {
    "upernet-swin-tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "upernet-swin-small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "upernet-swin-base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
    "upernet-swin-large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12},
}
# What the table of models shows: title, key and format.
MODEL_FIGURES = (
    ("parameters (M)", "parameters", lambda number: f"{number / 1e6:.1f}"),
    ("GFLOPs per image (1e9 multiply-adds)", "gflops", "{:.1f}".format),
    ("input height", "height", str),
    ("input width", "width", str),
    ("batch size", "batch_size", str),
    ("images/s", "images_per_second", "{:.2f}".format),
    ("latency of a batch, median (ms)", "latency_ms", "{:.1f}".format),
    ("latency, smallest (ms)", "latency_ms_min", "{:.1f}".format),
    ("latency, largest (ms)", "latency_ms_max", "{:.1f}".format),
    ("peak memory (MB)", "peak_memory_mb", "{:.0f}".format),
    ("share of the machine's matrix product", "matmul_share", "{:.0%}".format),
)

# Forms of an SCTNet whose speed is measured.
VARIANTS = ("unfused", "fused", "compiled", "onnx")

Row = dict[str, Any]
Example = dict[str, torch.Tensor]


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        rows = args.run(args)
        if args.output:
            machine = {"torch": torch.__version__, "processor": platform.processor() or platform.machine()}
            append_rows(args.output, [row | machine for row in rows])
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=table_file, metavar="FILE", help="add the figures to this .json or .csv file")
    shared.add_argument("--repeats", type=count, default=20, metavar="N", help="timings to take the median of (20)")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="data|metric|models|speed")
    commands.add_parser("data", parents=[shared]).set_defaults(run=benchmark_data)
    commands.add_parser("metric", parents=[shared]).set_defaults(run=benchmark_metric)
    models = commands.add_parser("models", parents=[shared])
    models.set_defaults(run=benchmark_models)
    models.add_argument("models", nargs="+", metavar="NAME_OR_FOLDER", help="recipes and model folders")
    models.add_argument(
        "--peer", action="append", default=[], metavar="NAME", help="measure this one too (repeatable)"
    )
    models.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    models.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    models.add_argument("--batch-size", type=count, default=1, metavar="N", help="halved until it fits in memory (1)")
    models.add_argument("--input-size", type=count, nargs=2, metavar=("H", "W"), help="default: the first model's own")
    models.add_argument("--compile", action="store_true", help="through torch.compile")
    models.add_argument("--channels-last", action="store_true", help="channels-last memory layout")
    models.add_argument("--warmup", type=count, default=3, metavar="N", help="passes before the timed ones (3)")
    speed = commands.add_parser("speed", parents=[shared])
    speed.set_defaults(run=benchmark_speed)
    speed.add_argument("models", nargs="*", metavar="NAME_OR_FOLDER", help="SCTNets (default: all published)")
    speed.add_argument("--peer", choices=list(SEGFORMER), help="measure this one too, at the same sizes")
    speed.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    speed.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of fused and compiled models"
    )
    speed.add_argument("--variants", nargs="+", choices=VARIANTS, default=["unfused", "fused", "compiled"])
    speed.add_argument("--seconds", type=float, default=6.0, help="length of each timing (6)")
    return parser.parse_args(arguments)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def table_file(text: str) -> Path:
    if Path(text).suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .json nor .csv")
    return Path(text)


def benchmark_data(args: argparse.Namespace) -> list[Row]:
    use_one_core()
    pairs = [synthetic_pair(seed) for seed in range(NUM_EXAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        streams = {"vitseg": vitseg_examples(pairs, Path(folder)), "OpenCV and NumPy": opencv_examples(pairs)}
        functions = {name: functools.partial(take, stream, NUM_EXAMPLES) for name, stream in streams.items()}
        row = compare("data", functions, NUM_EXAMPLES, args.repeats)
    kilobytes = np.mean([len(image_file) for image_file, _ in pairs]) / 1e3
    print(
        f"\nInside the timing: read a JPEG of {WIDTH} x {HEIGHT} ({kilobytes:.0f} kB) and its label map (PNG) from "
        "memory or, with vitseg, from Parquet; decode, reduce and (vitseg) check labels; resize by 0.5 to 2, crop to "
        "512 x 512 with less than 75% of a class, flip, distort colours, normalise, pad, to tensors. One core, "
        f"{args.repeats} turns of {NUM_EXAMPLES} images. Collating is not included."
    )
    return [row]


def benchmark_metric(args: argparse.Namespace) -> list[Row]:
    use_one_core()
    rng = np.random.default_rng(0)
    reference = rng.integers(0, NUM_LABELS, (HEIGHT, WIDTH), dtype=np.uint8)
    reference[rng.random(reference.shape) < 0.1] = IGNORE_INDEX
    wrong = rng.random(reference.shape) < 0.2
    prediction = np.where(wrong, rng.integers(0, NUM_LABELS, reference.shape), reference)
    metric = MeanIoU(num_labels=NUM_LABELS, ignore_index=IGNORE_INDEX)
    functions = {
        "vitseg": lambda: metric.add(prediction=prediction, reference=reference),
        "NumPy histograms": lambda: histogram_areas(prediction, reference),
    }
    row = compare("metric", functions, 1, args.repeats)
    print(
        f"\nInside the timing: count the int64 prediction (NumPy) of one image of {WIDTH} x {HEIGHT} and {NUM_LABELS} "
        f"classes against its uint8 annotation. One core, {args.repeats} turns."
    )
    return [row]


def benchmark_models(args: argparse.Namespace) -> list[Row]:
    for name in (*args.models, *args.peer):
        check_name(name)
    device = choose_device(args.device)
    settings = ModelSettings(
        device=device,
        dtype=args.dtype,
        batch_size=args.batch_size,
        input_size=tuple(args.input_size or own_input_size(args.models[0])),
        compile=args.compile,
        channels_last=args.channels_last,
        repeats=args.repeats,
        warmup=args.warmup,
    )
    rows = [measure_in_own_process(name, settings) for name in (*args.models, *args.peer)]
    header = ("", *(row["model"] for row in rows))
    print(markdown_table(header, [(title, *(show(row[key]) for row in rows)) for title, key, show in MODEL_FIGURES]))
    memory = "allocated on the device" if device == "cuda" else "by which the process grew"
    print(
        f"\nInside the timing: {settings.describe()}. Segmentation models take each image in one whole pass; an "
        f"encoder of timm ends with its features. Device: {device_name(torch.device(device))}, "
        f"{torch.get_num_threads()} CPU threads. Memory: the most bytes {memory}, weights included. The last line "
        f"relates the model's multiply-adds per second to those of a large {args.dtype} matrix product in its process."
    )
    return rows


def choose_device(name: str) -> str:
    """Raises ValueError if it is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu.")
    return name


def benchmark_speed(args: argparse.Namespace) -> list[Row]:
    names = args.models or [name for name, recipe in RECIPES.items() if recipe.method == "sctnet"]
    for name in names:
        check_name(name)
        if load_config(name).model_type != "sctnet":
            raise ValueError(f"{name} is not an SCTNet; the speed of other models is measured by `models`.")
    device = choose_device(args.device)
    variants = [*args.variants, *([args.peer] if args.peer else [])]
    rows = []
    for name in names:
        # In a process of its own, where nothing is cached or compiled for another.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            rows.append(process.submit(measure_speed, name, variants, device, args.dtype, args.seconds).result())
    header = ("frames/s", "input", *variants, "published", "published, TensorRT")
    table = [
        (
            row["model"],
            f"{row['height']} x {row['width']}",
            *(f"{row[variant]:.1f}" for variant in variants),
            *("" if row[key] is None else f"{row[key]:.1f}" for key in ("published", "published_tensorrt")),
        )
        for row in rows
    ]
    print(markdown_table(header, table))
    print(
        f"\nInside the timing: one forward pass in evaluation mode from 1 x 3 x height x width random pixel values on "
        f"{device} to scores of the same height and width; random weights for recipes. A loop of {args.seconds:g} s "
        f"after a warm-up. unfused: float32, channels first, eager, the protocol of the published figures; fused: "
        f"{args.dtype}, channels last; compiled: that, through torch.compile; onnx: fused, float32, in ONNX Runtime. "
        f"Device: {device_name(torch.device(device))}, {torch.get_num_threads()} CPU threads. "
        "Published: RTX 3090, PyTorch in float32 and TensorRT in float16."
    )
    return rows


@torch.no_grad()
def measure_speed(name: str, variants: list[str], device: str, dtype: str, seconds: float) -> Row:
    """Frames/s of an SCTNet in each of the variants, or of a peer, as plain numbers."""
    torch.backends.cudnn.benchmark = True
    height, width = as_pair(load_config(name).image_size)
    published = RECIPES[name].published if name in RECIPES else None
    row: Row = {
        "benchmark": "speed",
        "model": name,
        "height": height,
        "width": width,
        "device": device,
        "dtype": dtype,
        "published": published.frames_per_second if published else None,
        "published_tensorrt": published.frames_per_second_tensorrt if published else None,
    }
    images = torch.randn(1, 3, height, width, device=device)
    model = build_model(name, (height, width)).eval().to(device)
    for variant in variants:
        row[variant] = calls_per_second(
            forward_pass(variant, model, images, getattr(torch, dtype)),
            seconds=seconds,
            first_count=100 if device == "cuda" else 1,
            device=device,
        )
    return row


def forward_pass(variant: str, model: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """One forward pass over `images`."""
    size = images.shape[-2:]
    if variant == "unfused":
        return lambda: model(images).logits
    if variant in SEGFORMER:
        peer = build_model(variant, size).eval().to(images)
        # SCTNet's scores have the size of the image.
        return lambda: nn.functional.interpolate(peer(images).logits, size=size, mode="bilinear", align_corners=False)
    fused = model.fuse()
    if variant == "onnx":
        from export import onnx_session

        session, pixels = onnx_session(fused, images), {"pixel_values": images.cpu().numpy()}
        return lambda: session.run(["logits"], pixels)
    fused, images = fused.to(dtype), images.to(dtype=dtype, memory_format=torch.channels_last)
    if variant == "compiled":
        # On a GPU with CUDA graphs; on the CPU with weights laid out for its convolutions beforehand.
        settings: dict[str, Any] = {"mode": "max-autotune"} if images.is_cuda else {"options": {"freezing": True}}
        compiled = torch.compile(fused, fullgraph=True, **settings)
        return lambda: compiled(images).logits
    return lambda: fused(images).logits


def use_one_core() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def compare(benchmark: str, functions: Mapping[str, Callable[[], object]], images: int, repeats: int) -> Row:
    """Prints images/s of two functions, each of which takes so many images in a call, and returns them as a row."""
    seconds = time_in_turn(functions, repeats=repeats)
    rates = {name: [images / second for second in times] for name, times in seconds.items()}
    ours, theirs = seconds.values()
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    lines = [
        (name, *(f"{number:.1f}" for number in (statistics.median(rate), min(rate), max(rate))))
        for name, rate in rates.items()
    ]
    print(markdown_table(("", "images/s per core, median", "smallest", "largest"), lines))
    print(f"\nvitseg is {ratio:.2f} times as fast (median over the turns).")
    our_rate, their_rate = map(statistics.median, rates.values())
    return {
        "benchmark": benchmark,
        "images_per_second": our_rate,
        "reference": list(functions)[1],
        "reference_images_per_second": their_rate,
        "ratio": ratio,
        "repeats": repeats,
    }


def synthetic_pair(seed: int) -> tuple[bytes, bytes]:
    """A JPEG of noise with the spectrum of photographs, and a PNG label map of 0 (none) and nine of 150 classes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf

    def clouds(exponent: float) -> np.ndarray:
        phases = np.exp(2j * np.pi * rng.random(frequency.shape))
        noise = np.fft.irfft2(phases / frequency**exponent, s=(HEIGHT, WIDTH))
        return noise / noise.std()

    brightness = clouds(1.1)
    colours = np.stack([120 + 50 * (brightness + 0.4 * clouds(1.4)) for _ in range(3)], axis=-1)
    height_map = clouds(1.8)
    levels = np.digitize(height_map, np.quantile(height_map, np.arange(0.1, 1, 0.1)))
    class_ids = np.append(0, rng.choice(np.arange(1, NUM_LABELS + 1), 9, replace=False)).astype(np.uint8)
    image_file, label_file = BytesIO(), BytesIO()
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(image_file, "JPEG", quality=90)
    Image.fromarray(class_ids[levels]).save(label_file, "PNG")
    return image_file.getvalue(), label_file.getvalue()


def take(examples: Iterator[Example], number: int) -> None:
    for _ in range(number):
        next(examples)


def vitseg_examples(pairs: list[tuple[bytes, bytes]], folder: Path) -> Iterator[Example]:
    """Endless training examples of these pairs, as training with vitseg makes them; `folder` holds them meanwhile."""
    images, label_maps = zip(*pairs, strict=True)
    features = {"image": datasets.Image(), "label": datasets.Image(), "file_name": datasets.Value("string")}
    columns = {
        "image": [{"bytes": image, "path": None} for image in images],
        "label": [{"bytes": label_map, "path": None} for label_map in label_maps],
        "file_name": [f"{index}.jpg" for index in range(len(pairs))],
    }
    dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    dataset.to_parquet(folder / "train-00000.parquet")
    transform = TrainingTransform(crop_size=(512, 512), scale=(2048, 512))
    return iter(SegmentationStream(folder, transform=transform, num_labels=NUM_LABELS, do_reduce_labels=True))


def opencv_examples(pairs: list[tuple[bytes, bytes]]) -> Iterator[Example]:
    """The same with OpenCV and NumPy."""
    pipeline, rng = OpenCvPipeline(), np.random.default_rng(0)
    return (pipeline(*pair, rng) for pair in itertools.cycle(pairs))


def histogram_areas(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pixels per class of intersection, prediction and annotation, as mmsegmentation counts them."""
    counted = reference != IGNORE_INDEX
    prediction, reference = prediction[counted], reference[counted]
    bins = np.arange(NUM_LABELS + 1)
    return tuple(
        np.histogram(values, bins=bins)[0] for values in (prediction[prediction == reference], prediction, reference)
    )


def check_name(name: str) -> None:
    """Raises ValueError if `name` is nothing that `build_model` can build."""
    is_timm = name.startswith("timm:") and timm.is_model(name.removeprefix("timm:"))
    known = (*RECIPES, *SEGFORMER, *UPERNET_SWIN)
    if not (is_timm or name in known or Path(name).is_dir()):
        raise unknown_name("recipe, model folder or peer", name, known)


def own_input_size(name: str) -> tuple[int, int]:
    """The size that a model was trained for, where its configuration tells."""
    return getattr(load_config(name), "window_size", None) or (512, 512)


def load_config(name: str) -> PreTrainedConfig:
    labels = {"num_labels": NUM_LABELS}
    if name in SEGFORMER:
        return SegformerConfig(**SEGFORMER[name], **labels)
    if name in UPERNET_SWIN:
        backbone_config = SwinConfig(**UPERNET_SWIN[name], out_features=["stage1", "stage2", "stage3", "stage4"])
        return UperNetConfig(backbone_config=backbone_config, use_auxiliary_head=False, **labels)
    if Path(name).is_dir():
        return AutoConfig.from_pretrained(name)
    return get_recipe(name).build_config()


def build_model(name: str, input_size: tuple[int, int]) -> nn.Module:
    """A model by its name, on the default device: with its weights if it is a folder, else with random ones."""
    if name.startswith("timm:"):
        timm_name = name.removeprefix("timm:")
        size = {"img_size": input_size} if timm.get_pretrained_cfg(timm_name).fixed_input_size else {}
        return timm.create_model(timm_name, num_classes=0, global_pool="", **size)
    config = load_config(name)
    config.inference_mode = "whole"
    if Path(name).is_dir() and torch.get_default_device().type != "meta":
        return AutoModelForSemanticSegmentation.from_pretrained(name, config=config)
    return AutoModelForSemanticSegmentation.from_config(config)


def measure(name: str, settings: ModelSettings) -> Row:
    """The figures of a model by its name, and the settings, as plain numbers and texts."""
    figures = measure_model(functools.partial(build_model, name, settings.input_size), settings)
    circumstances = dataclasses.asdict(settings)
    height, width = circumstances.pop("input_size")
    return {"benchmark": "models", "model": name, **figures, "height": height, "width": width, **circumstances}


def measure_in_own_process(name: str, settings: ModelSettings) -> Row:
    """As `measure`, where no other model takes memory, and with half as many images as often as memory runs out."""
    while True:
        try:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                return process.submit(measure, name, settings).result()
        except RuntimeError as error:
            # An operating system short of memory ends the process without a word.
            out_of_memory = isinstance(error, BrokenProcessPool) or should_reduce_batch_size(error)
            if not out_of_memory:
                raise
            if settings.batch_size == 1:
                raise ValueError(f"{name} does not fit into memory, even with one image at a time: {error}") from error
        settings = dataclasses.replace(settings, batch_size=settings.batch_size // 2)
        print(f"{name}: out of memory; trying again with a batch size of {settings.batch_size}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
