# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training data: images/s of one core, beside the same pipeline in OpenCV and NumPy as mmsegmentation has it."""

import argparse
import functools
import itertools
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from vitseg.data.augmentation import TrainingTransform
from vitseg.data.streaming import SegmentationStream

from .arguments import Row
from .comparison import compare
from .opencv_pipeline import OpenCvPipeline


HEIGHT, WIDTH, NUM_LABELS = 512, 683, 150
NUM_EXAMPLES = 32

Example = dict[str, torch.Tensor]


def run(args: argparse.Namespace) -> list[Row]:
    pairs = [synthetic_pair(seed) for seed in range(NUM_EXAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        streams = {"vitseg": vitseg_examples(pairs, Path(folder)), "OpenCV and NumPy": opencv_examples(pairs)}
        functions = {name: functools.partial(take, stream, NUM_EXAMPLES) for name, stream in streams.items()}
        row = compare(functions, NUM_EXAMPLES, args.repeats)
    kilobytes = np.mean([len(image_file) for image_file, _ in pairs]) / 1e3
    print(
        f"\nInside the timing: read a JPEG of {WIDTH} x {HEIGHT} ({kilobytes:.0f} kB) and its label map (PNG) from "
        "memory or, with vitseg, from Parquet; decode, reduce and (vitseg) check labels; resize by 0.5 to 2, crop to "
        "512 x 512 with less than 75% of a class, flip, distort colours, normalise, pad, to tensors. One core, "
        f"{args.repeats} turns of {NUM_EXAMPLES} images. Collating is not included."
    )
    return [row]


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
    return iter(vitseg_stream(pairs, folder, batch_size=1))


def vitseg_stream(pairs: list[tuple[bytes, bytes]], folder: Path, batch_size: int) -> SegmentationStream:
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
    return SegmentationStream(
        folder, transform=transform, num_labels=NUM_LABELS, do_reduce_labels=True, batch_size=batch_size
    )


def opencv_examples(pairs: list[tuple[bytes, bytes]]) -> Iterator[Example]:
    """The same with OpenCV and NumPy."""
    pipeline, rng = OpenCvPipeline(), np.random.default_rng(0)
    return (pipeline(*pair, rng) for pair in itertools.cycle(pairs))
